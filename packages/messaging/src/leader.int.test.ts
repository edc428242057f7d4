/** Leaders on real locks: one at a time, succession on stop and on loss, no new campaign while old work runs. */
import { Pool } from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { Collector, eventually, signal } from './conformance/fixture.ts';
import { createIds } from './ids.ts';
import { systemClock } from './clock.ts';
import { createLeader, type Leader } from './leader.ts';
import { createLocks, type LockEngine } from './lock.ts';
import { createPostgresLockEngine } from './locks/postgres.ts';

/** An engine in memory, for what is the leader's own; `takeAway` is a lost lease. */
function memoryEngine(): LockEngine & { takeAway(): void } {
  let holder: string | undefined;
  let fence = 0n;
  return {
    name: 'memory',
    async tryAcquire(_name, owner, ttlMs) {
      if (holder !== undefined) return undefined;
      holder = owner;
      return { fence: (fence += 1n), ttlMs };
    },
    renew: async ({ owner }) => holder === owner,
    async release({ owner }) {
      if (holder !== owner) return false;
      holder = undefined;
      return true;
    },
    close: async () => {},
    takeAway: () => void (holder = undefined),
  };
}

const leaders: Leader[] = [];
afterEach(async () => {
  await Promise.all(leaders.splice(0).map((leader) => leader.stop()));
});

interface Term {
  readonly who: string;
  readonly fence: bigint;
}

function candidate(engine: LockEngine, who: string, terms: Collector<Term>): Leader {
  const leader = createLeader({
    locks: createLocks({ engine, retryMs: 10 }),
    name: 'work',
    ttlMs: 300,
    restMs: 1,
    async onElected(over, fence) {
      terms.add({ who, fence });
      await new Promise<void>((resolve) => over.addEventListener('abort', () => resolve(), { once: true }));
    },
  });
  leaders.push(leader);
  leader.start();
  return leader;
}

describe('a leader', () => {
  it('hands over when it is stopped, and the next has a higher fence', async () => {
    const engine = memoryEngine();
    const terms = new Collector<Term>();
    const first = candidate(engine, 'first', terms);
    await terms.waitFor(1);
    const second = candidate(engine, 'second', terms);
    expect([first.view().state, second.view().state]).toEqual(['leading', 'campaigning']);
    await first.stop();
    await terms.waitFor(2);
    expect(terms.values).toEqual([
      { who: 'first', fence: 1n },
      { who: 'second', fence: 2n },
    ]);
    expect(first.view().state).toBe('stopped');
  });

  it('steps down when its lock is lost, and campaigns again only when its work has ended', async () => {
    const engine = memoryEngine();
    const terms = new Collector<bigint>();
    const mayEnd = signal();
    const told = signal();
    const leader = createLeader({
      locks: createLocks({ engine, retryMs: 10 }),
      name: 'work',
      ttlMs: 150,
      restMs: 1,
      async onElected(over, fence) {
        terms.add(fence);
        if (fence > 1n) return;
        await new Promise<void>((resolve) => over.addEventListener('abort', () => resolve(), { once: true }));
        told.fire();
        await mayEnd.fired;
      },
    });
    leaders.push(leader);
    leader.start();
    await terms.waitFor(1);
    engine.takeAway();
    await told.fired;
    expect(leader.view().state).toBe('steppingDown');
    expect(terms.values).toEqual([1n]);
    mayEnd.fire();
    await terms.waitFor(2);
    expect(terms.values.slice(0, 2)).toEqual([1n, 2n]);
  });

  it('gives the term back when its work throws, and says why', async () => {
    const engine = memoryEngine();
    const terms = new Collector<bigint>();
    const leader = createLeader({
      locks: createLocks({ engine, retryMs: 10 }),
      name: 'work',
      ttlMs: 300,
      restMs: 1,
      onElected(_over, fence) {
        terms.add(fence);
        throw new Error('broken work');
      },
    });
    leaders.push(leader);
    leader.start();
    await terms.waitFor(3);
    expect(leader.view().lastError).toContain('broken work');
  });
});

const url = process.env['DATABASE_URL'];
describe.skipIf(!url)('leaders on PostgreSQL (set DATABASE_URL to run it)', () => {
  it('are one at a time, through ten successions', async () => {
    const schema = `leader_${createIds(systemClock).next().replaceAll('-', '')}`;
    const pool = new Pool({ connectionString: url, max: 4, options: `-c search_path=${schema}` });
    await pool.query(`CREATE SCHEMA ${schema}`);
    const engine = createPostgresLockEngine({ pool });
    await engine.prepare();
    const terms = new Collector<Term>();
    let leading = 0;
    for (let round = 1; round <= 10; round += 1) {
      const leader = candidate(engine, String(round), terms);
      await eventually(
        async () => leader.view().state,
        (state) => state === 'leading',
        'leading',
      );
      leading = leaders.filter((one) => one.view().state === 'leading').length;
      expect(leading).toBe(1);
      await leader.stop();
    }
    const fences = terms.values.map(({ fence }) => fence);
    expect(fences).toEqual(fences.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(fences).size).toBe(10);
    await Promise.all(leaders.splice(0).map((leader) => leader.stop()));
    await pool.query(`DROP SCHEMA ${schema} CASCADE`);
    await pool.end();
  });
});
