/** What is the leader's own, on a lock in memory: hand-over on stop and on loss, no new campaign while old work runs. On servers: conformance/leader-cases.ts. */
import { afterEach, describe, expect, it } from 'vitest';
import { Collector, signal } from './conformance/fixture.ts';
import { createLeader, type Leader, type LeaderOptions } from './leader.ts';
import { MessagingError } from './errors.ts';
import { createLocks, type LockEngine } from './lock.ts';
import { silentLog } from './log.ts';
import { createManualClock, type ManualClock } from './conformance/manual-clock.ts';

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

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 30; turn += 1) await Promise.resolve();
};
async function advance(clock: ManualClock, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 250) {
    clock.advance(Math.min(250, left));
    await turns();
  }
}

const untilOver = (over: AbortSignal): Promise<void> =>
  new Promise((resolve) => over.addEventListener('abort', () => resolve(), { once: true }));

/** On the clock of a test and a lock in memory, with what the test says otherwise. */
function leaderOn(
  clock: ManualClock,
  engine: LockEngine,
  more: Pick<LeaderOptions, 'onElected'> & Partial<LeaderOptions>,
): Leader {
  return createLeader({ locks: createLocks({ engine, clock }), name: 'work', ttlMs: 3_000, clock, ...more });
}

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
      await untilOver(over);
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
        await untilOver(over);
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

  it('gives the lock back after the grace when its work does not end, says for how long, and the late write is refused', async () => {
    const clock = createManualClock();
    const told: string[] = [];
    const engine = memoryEngine();
    const locks = createLocks({ engine, clock });
    let seen = 0n;
    const write = (fence: bigint): boolean => {
      if (fence < seen) return false;
      seen = fence;
      return true;
    };
    let lateWrite: (() => boolean) | undefined;
    const mayEnd = signal();
    const parts = { locks, name: 'work', ttlMs: 3_000, graceMs: 5_000, clock };
    const log = {
      ...silentLog,
      error: (fields: object, what: string) => told.push(what + JSON.stringify(fields)),
    };
    const deaf = createLeader({
      ...parts,
      log,
      async onElected(_over, fence) {
        lateWrite = () => write(fence);
        await mayEnd.fired;
      },
    });
    const terms: bigint[] = [];
    const next = createLeader({
      ...parts,
      async onElected(over, fence) {
        terms.push(fence);
        write(fence);
        await untilOver(over);
      },
    });
    leaders.push(next);
    deaf.start();
    await turns();
    next.start();
    const stopping = deaf.stop({ drainMs: 60_000 });
    await advance(clock, 4_500);
    expect(deaf.view()).toMatchObject({ state: 'steppingDown', overdueMs: 4_500, lastError: undefined });
    expect([terms, told]).toEqual([[], []]);
    await advance(clock, 1_500);
    expect(terms).toEqual([2n]);
    expect(deaf.view().lastError).toContain(
      'goes on 5000 ms after it was told to end: the lock is kept no longer',
    );
    expect(told).toHaveLength(1);
    expect(lateWrite?.()).toBe(false);
    await advance(clock, 5_000);
    expect(told).toHaveLength(2);
    expect(deaf.view().lastError).toContain('goes on 10000 ms');
    mayEnd.fire();
    await stopping;
    expect(deaf.view()).toMatchObject({ state: 'stopped', overdueMs: undefined });
    expect(lateWrite?.()).toBe(false);
    expect(next.view().state).toBe('leading');
    await Promise.all([next.stop(), advance(clock, 1)]);
    expect(clock.nextTimerAt()).toBeUndefined();
  });

  it('control: with an endless grace the lock stays with the work that does not end', async () => {
    const clock = createManualClock();
    const engine = memoryEngine();
    const locks = createLocks({ engine, clock });
    const deaf = createLeader({
      locks,
      name: 'work',
      ttlMs: 3_000,
      graceMs: 1e12,
      clock,
      onElected: () => new Promise(() => {}),
    });
    deaf.start();
    await turns();
    void deaf.stop();
    await advance(clock, 600_000);
    expect(await locks.acquire('work', { ttlMs: 1_000 })).toBeUndefined();
  });

  it('keeps the lock with an endless grace until the work ends, tells nothing, and then hands over', async () => {
    const clock = createManualClock();
    const told: string[] = [];
    const locks = createLocks({ engine: memoryEngine(), clock });
    const mayEnd = signal();
    const deaf = createLeader({
      locks,
      name: 'work',
      ttlMs: 3_000,
      graceMs: Number.POSITIVE_INFINITY,
      clock,
      log: { ...silentLog, error: (_fields, what) => told.push(what) },
      onElected: () => mayEnd.fired,
    });
    deaf.start();
    await turns();
    const stopping = deaf.stop({ drainMs: Number.POSITIVE_INFINITY });
    await advance(clock, 600_000);
    expect(await locks.acquire('work', { ttlMs: 1_000 })).toBeUndefined();
    expect(deaf.view()).toMatchObject({ state: 'steppingDown', overdueMs: 600_000, lastError: undefined });
    mayEnd.fire();
    await Promise.all([stopping, advance(clock, 1)]);
    expect(await locks.acquire('work', { ttlMs: 1_000 })).toBeDefined();
    expect(told).toEqual([]);
  });

  it('keeps no timer with an endless grace for work whose lock was lost', async () => {
    const clock = createManualClock();
    const engine = memoryEngine();
    const leader = leaderOn(clock, engine, {
      graceMs: Number.POSITIVE_INFINITY,
      onElected: () => new Promise(() => {}),
    });
    leader.start();
    await turns();
    engine.takeAway();
    await advance(clock, 3_000);
    expect(leader.view().state).toBe('steppingDown');
    await Promise.all([leader.stop({ drainMs: 0 }), advance(clock, 1)]);
    expect(clock.nextTimerAt()).toBeUndefined();
  });

  it('keeps no timer once it is stopped, for work that does not end and was told of already', async () => {
    const clock = createManualClock();
    const engine = memoryEngine();
    const told: string[] = [];
    const leader = leaderOn(clock, engine, {
      graceMs: 1_000,
      log: { ...silentLog, error: (_fields, what) => told.push(what) },
      onElected: () => new Promise(() => {}),
    });
    leader.start();
    await turns();
    engine.takeAway();
    await advance(clock, 20_000);
    const overdue = (): number => told.filter((what) => what.includes('does not end')).length;
    const before = overdue();
    expect(before).toBeGreaterThan(2);
    // It is told while the stop still waits for it, and not again afterwards.
    const stopping = leader.stop({ drainMs: 60_000 });
    await advance(clock, 60_000);
    await stopping;
    await turns();
    const during = overdue();
    expect(during).toBeGreaterThan(before);
    expect(during).toBeLessThan(before + 5);
    expect(clock.nextTimerAt()).toBeUndefined();
    expect(leader.view().state).toBe('stopped');
    expect(overdue()).toBe(during);
  });

  it('says that the server of its lock is away, once a minute, and goes on when it is back', async () => {
    const clock = createManualClock();
    const engine = memoryEngine();
    let away = true;
    const cut: LockEngine = {
      ...engine,
      tryAcquire: async (...asked) => {
        if (away) throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the server is away');
        return engine.tryAcquire(...asked);
      },
    };
    const told: string[] = [];
    const leader = createLeader({
      locks: createLocks({ engine: cut, clock }),
      name: 'work',
      ttlMs: 3_000,
      clock,
      log: { ...silentLog, error: (_fields, what) => told.push(what) },
      onElected: untilOver,
    });
    leaders.push(leader);
    leader.start();
    await advance(clock, 59_000);
    expect(leader.view()).toMatchObject({ state: 'campaigning', lastError: expect.stringContaining('away') });
    expect(told).toHaveLength(1);
    await advance(clock, 2_000);
    expect(told).toHaveLength(2);
    away = false;
    await advance(clock, 1_000);
    expect(leader.view().state).toBe('leading');
  });

  it('campaigns again though the release of its lock is never answered', async () => {
    const clock = createManualClock();
    const engine = memoryEngine();
    let terms = 0;
    const silent: LockEngine = {
      ...engine,
      release: (lease) => {
        // It is released, and the answer is lost on its way.
        if (terms === 1) return engine.release(lease).then(() => new Promise(() => {}));
        return engine.release(lease);
      },
    };
    const leader = leaderOn(clock, silent, {
      async onElected(over) {
        terms += 1;
        if (terms > 1) await untilOver(over);
      },
    });
    leaders.push(leader);
    leader.start();
    await advance(clock, 7_000);
    expect([terms, leader.view().state]).toEqual([2, 'leading']);
  });

  it('begins no work when it was told to stop between the answer of the lock and the work', async () => {
    const engine = memoryEngine();
    const real = createLocks({ engine });
    let terms = 0;
    const asked = signal();
    const leader: Leader = createLeader({
      locks: {
        ...real,
        close: () => real.close(),
        async acquire(...args) {
          const lock = await real.acquire(...args);
          void leader.stop();
          asked.fire();
          return lock;
        },
      },
      name: 'work',
      ttlMs: 300,
      onElected: () => {
        terms += 1;
        return new Promise(() => {});
      },
    });
    leader.start();
    await asked.fired;
    await turns();
    expect(terms).toBe(0);
    expect(await real.acquire('work', { ttlMs: 300 })).toBeDefined();
  });

  it('says that its lock was lost, once, and that another may lead when its work does not end', async () => {
    const clock = createManualClock();
    const engine = memoryEngine();
    const told: string[] = [];
    const tell = (fields: object, what: string) => told.push(what + JSON.stringify(fields));
    const log = { ...silentLog, warn: tell, error: tell };
    const mayEnd = signal();
    const leader = leaderOn(clock, engine, {
      locks: createLocks({ engine, clock, log }),
      log,
      onElected: () => mayEnd.fired,
    });
    leader.start();
    await turns();
    engine.takeAway();
    await advance(clock, 2_000);
    expect(told).toEqual([expect.stringContaining('the lock of a leader was lost')]);
    await advance(clock, 2_500);
    expect(told).toHaveLength(2);
    expect(told[1]).toContain('the lock was lost, another may lead');
    expect(told[1]).not.toContain('kept no longer');
    mayEnd.fire();
    await Promise.all([leader.stop(), advance(clock, 1)]);
  });

  it('tells an outage once, though its locks have a log too', async () => {
    const clock = createManualClock();
    const told: string[] = [];
    const tell = (_fields: object, what: string) => told.push(what);
    const log = { ...silentLog, warn: tell, error: tell };
    const tryAcquire = async (): Promise<never> => {
      throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the server is away');
    };
    const leader = createLeader({
      locks: createLocks({ engine: { ...memoryEngine(), tryAcquire }, clock, log }),
      name: 'work',
      ttlMs: 3_000,
      clock,
      log,
      onElected: () => {},
    });
    leaders.push(leader);
    leader.start();
    await advance(clock, 5_000);
    expect(told).toEqual(['the lock of a leader cannot be asked for; it is tried again']);
  });

  it('says why its lock was lost', async () => {
    const clock = createManualClock();
    const engine = memoryEngine();
    const leader = leaderOn(clock, engine, {
      onElected: untilOver,
    });
    leaders.push(leader);
    leader.start();
    await turns();
    engine.takeAway();
    await advance(clock, 1_000);
    expect(leader.view().lastError).toContain('the renewal was refused');
  });
});
