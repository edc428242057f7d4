/** What is the leader's own, on a lock in memory: hand-over on stop and on loss, no new campaign while old work runs. On servers: conformance/leader-cases.ts. */
import { afterEach, describe, expect, it } from 'vitest';
import { Collector, signal } from './conformance/fixture.ts';
import { createLeader, type Leader } from './leader.ts';
import { createLocks, type LockEngine } from './lock.ts';

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
