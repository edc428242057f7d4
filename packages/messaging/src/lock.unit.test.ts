/** The part of the locks that no engine has: time on this side, renewals, waiting. On a clock that is moved by hand. */
import { expect, it } from 'vitest';
import type { LockEngine } from './lock.ts';
import { createLocks } from './lock.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import { MessagingError } from './errors.ts';
import { silentLog } from './log.ts';

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
};
const away = (): never => {
  throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'away');
};

function engineWith(parts: Partial<LockEngine> = {}): LockEngine {
  return {
    name: 'fake',
    tryAcquire: async (_name, _owner, ttlMs) => ({ fence: 7n, ttlMs }),
    renew: async () => true,
    release: async () => true,
    close: async () => {},
    ...parts,
  };
}

it('renews every third of the ttl, and stops when it is released', async () => {
  const clock = createManualClock();
  let renewals = 0;
  const engine = engineWith({ renew: async () => (renewals += 1) > 0 });
  const lock = await createLocks({ engine, clock }).acquire('a', { ttlMs: 3_000 });
  for (let second = 0; second < 10; second += 1) {
    clock.advance(1_000);
    await settle();
  }
  expect(renewals).toBe(10);
  expect(lock?.held()).toBe(true);
  expect(await lock?.release()).toBe('released');
  clock.advance(60_000);
  await settle();
  expect(renewals).toBe(10);
  expect(clock.nextTimerAt()).toBeUndefined();
});

it('is lost at the end of its ttl while the server is out of reach, not before and not later', async () => {
  const clock = createManualClock();
  const lock = await createLocks({ engine: engineWith({ renew: async () => away() }), clock }).acquire('a', {
    ttlMs: 3_000,
  });
  clock.advance(2_999);
  await settle();
  expect(lock?.held()).toBe(true);
  expect(lock?.signal.aborted).toBe(false);
  clock.advance(1);
  expect(lock?.signal.reason).toMatchObject({ code: 'DB_MSG_LOCK_LOST' });
});

it('counts from before the request: an answer that took longer than the lease is no grant', async () => {
  const clock = createManualClock();
  let released = 0;
  const slow = engineWith({
    async tryAcquire(_name, _owner, ttlMs) {
      clock.advance(ttlMs);
      return { fence: 7n, ttlMs };
    },
    release: async () => (released += 1) > 0,
  });
  expect(await createLocks({ engine: slow, clock }).acquire('a', { ttlMs: 1_000 })).toBeUndefined();
  expect(released).toBe(1);
});

it('a renewal that is answered after the end does not revive it', async () => {
  const clock = createManualClock();
  const late = engineWith({
    async renew(_lease, ttlMs) {
      clock.advance(ttlMs);
      return true;
    },
  });
  const lock = await createLocks({ engine: late, clock }).acquire('a', { ttlMs: 1_000, autoRenew: false });
  expect(await lock?.renew()).toBe(false);
  expect(lock?.held()).toBe(false);
});

it('gives back what it lost, without waiting for it, and says lost afterwards', async () => {
  const clock = createManualClock();
  const released: string[] = [];
  const answers = [Promise.withResolvers<boolean>(), Promise.withResolvers<boolean>()] as const;
  const engine = engineWith({
    release: async ({ owner }) => {
      released.push(owner);
      return (answers[released.length - 1] ?? answers[1]).promise;
    },
  });
  const locks = createLocks({ engine, clock });
  const lock = await locks.acquire('a', { ttlMs: 1_000, autoRenew: false });
  clock.advance(1_000);
  expect(lock?.signal.reason).toMatchObject({ code: 'DB_MSG_LOCK_LOST' });
  expect(released.length).toBe(1);
  const late = lock?.release();
  answers[0].resolve(true);
  expect(await late).toBe('lost');
  // A server that is away then is no news.
  const other = await locks.acquire('a', { ttlMs: 1_000, autoRenew: false });
  clock.advance(1_000);
  answers[1].reject(new Error('away'));
  expect(await other?.release()).toBe('lost');
  expect(released.length).toBe(2);
});

it('a release that the server did not hear rejects, each time, and says lost only of a loss', async () => {
  const lock = await createLocks({
    engine: engineWith({ release: async () => away() }),
    clock: createManualClock(),
  }).acquire('a', { ttlMs: 1_000 });
  for (let time = 0; time < 2; time += 1)
    await expect(lock?.release()).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
});

it('is lost at once when the renewal is refused or the engine says so', async () => {
  const clock = createManualClock();
  const gone = new AbortController();
  const refusing = createLocks({ engine: engineWith({ renew: async () => false }), clock });
  const first = await refusing.acquire('a', { ttlMs: 1_000 });
  expect(await first?.renew()).toBe(false);
  expect(first?.signal.aborted).toBe(true);
  const engine = engineWith({
    tryAcquire: async (_n, _o, ttlMs) => ({ fence: 1n, ttlMs, gone: gone.signal }),
  });
  const second = await createLocks({ engine, clock }).acquire('a', { ttlMs: 1_000 });
  gone.abort();
  expect(second?.held()).toBe(false);
});

it('waits as long as it is told, through times when the server is out of reach', async () => {
  const clock = createManualClock();
  let tries = 0;
  const engine = engineWith({
    async tryAcquire(_name, _owner, ttlMs) {
      tries += 1;
      if (tries === 1) away();
      return tries < 4 ? undefined : { fence: 1n, ttlMs };
    },
  });
  const waiting = createLocks({ engine, clock, retryMs: 100 }).acquire('a', { ttlMs: 1_000, waitMs: 10_000 });
  for (let turn = 0; turn < 10; turn += 1) {
    await settle();
    clock.advance(150);
  }
  expect((await waiting)?.fence).toBe(1n);
  const over = new AbortController();
  const never = createLocks({ engine: engineWith({ tryAcquire: async () => undefined }), clock }).acquire(
    'a',
    { ttlMs: 1_000, waitMs: Number.POSITIVE_INFINITY, signal: over.signal },
  );
  over.abort();
  expect(await never).toBeUndefined();
});

it('goes on waiting though the hook of a failed try throws', async () => {
  const clock = createManualClock();
  let tries = 0;
  const engine = engineWith({
    async tryAcquire(_name, _owner, ttlMs) {
      tries += 1;
      return tries === 1 ? away() : { fence: 1n, ttlMs };
    },
  });
  const waiting = createLocks({ engine, clock, retryMs: 100 }).acquire('a', {
    ttlMs: 1_000,
    waitMs: 10_000,
    onFailedTry: () => {
      throw new Error('a broken hook');
    },
  });
  await settle();
  clock.advance(150);
  expect((await waiting)?.fence).toBe(1n);
});

it('tells a loss to the hook or to the log, not to both, and is lost though the hook throws', async () => {
  const clock = createManualClock();
  const told: string[] = [];
  const log = { ...silentLog, warn: (_fields: object, what: string) => told.push(what) };
  const locks = createLocks({ engine: engineWith({ renew: async () => false }), clock, log });
  const lost: unknown[] = [];
  const hooked = await locks.acquire('a', { ttlMs: 1_000, onLost: (error) => lost.push(error.code) });
  await hooked?.renew();
  expect([lost, told]).toEqual([['DB_MSG_LOCK_LOST'], []]);
  await (await locks.acquire('a', { ttlMs: 1_000 }))?.renew();
  expect(told).toEqual(['a lock was lost']);
  const onLost = (): never => {
    throw new Error('a broken hook');
  };
  const broken = await locks.acquire('a', { ttlMs: 1_000, onLost });
  expect(await broken?.renew()).toBe(false);
  expect(broken?.signal.aborted).toBe(true);
});

it('tells whoever works under it first, and the hook then', async () => {
  const told: string[] = [];
  const locks = createLocks({ engine: engineWith({ renew: async () => false }), clock: createManualClock() });
  const lock = await locks.acquire('a', { ttlMs: 1_000, onLost: () => told.push('hook') });
  lock?.signal.addEventListener('abort', () => told.push('signal'), { once: true });
  await lock?.renew();
  expect(told).toEqual(['signal', 'hook']);
});

it('gives back what is held when it is closed, and then closes the engine, once', async () => {
  const clock = createManualClock();
  const told: string[] = [];
  const engine = engineWith({
    async release({ name }) {
      told.push(name);
      return name === 'a' ? true : away();
    },
    close: async () => void told.push('closed'),
  });
  const locks = createLocks({ engine, clock });
  const [a] = [await locks.acquire('a', { ttlMs: 3_000 }), await locks.acquire('b', { ttlMs: 3_000 })];
  const done = await locks.acquire('c', { ttlMs: 3_000 });
  await done?.release().catch(() => {});
  told.length = 0;
  await Promise.all([locks.close(), locks.close()]);
  expect(told).toEqual(['a', 'b', 'closed']);
  expect(a?.signal.reason).toMatchObject({ code: 'DB_MSG_STOPPED' });
  expect(clock.nextTimerAt()).toBeUndefined();
  await expect(locks.acquire('a', { ttlMs: 3_000 })).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
});

it('is closed after 5 s, whatever a server that stands still does not answer', async () => {
  const clock = createManualClock();
  let isClosed = false;
  const locks = createLocks({ engine: engineWith({ release: () => new Promise(() => {}) }), clock });
  await locks.acquire('a', { ttlMs: 60_000 });
  const closing = locks.close().then(() => (isClosed = true));
  clock.advance(4_999);
  await settle();
  expect(isClosed).toBe(false);
  clock.advance(1);
  await closing;
  expect(clock.nextTimerAt()).toBeUndefined();
});

it('ends every wait when it is closed, and gives back before that what it gets meanwhile', async () => {
  const clock = createManualClock();
  const told: string[] = [];
  const { promise: answer, resolve } = Promise.withResolvers<{ fence: bigint; ttlMs: number }>();
  const engine = engineWith({
    tryAcquire: async (name) => (name === 'taken' ? undefined : answer),
    release: async ({ name }) => told.push(name) > 0,
    close: async () => void told.push('closed'),
  });
  const locks = createLocks({ engine, clock });
  const waits = ['taken', 'late'].map((name) =>
    locks.acquire(name, { ttlMs: 3_000, waitMs: Number.POSITIVE_INFINITY }),
  );
  const ends = Promise.allSettled(waits);
  await settle();
  const closing = locks.close();
  await settle();
  expect(told).toEqual([]);
  resolve({ fence: 7n, ttlMs: 3_000 });
  await closing;
  for (const end of await ends)
    expect(end).toMatchObject({ status: 'rejected', reason: { code: 'DB_MSG_STOPPED' } });
  expect(told).toEqual(['late', 'closed']);
  expect(clock.nextTimerAt()).toBeUndefined();
});

it('waits in its close for releases that are under way, also of what was lost', async () => {
  const clock = createManualClock();
  const told: string[] = [];
  const answers: (() => void)[] = [];
  const engine = engineWith({
    renew: async () => away(),
    release: ({ name }) =>
      new Promise((resolve) => {
        answers.push(() => {
          told.push(name);
          resolve(true);
        });
      }),
    close: async () => void told.push('closed'),
  });
  const locks = createLocks({ engine, clock, log: silentLog });
  await locks.acquire('lost', { ttlMs: 3_000, onLost: () => {} });
  clock.advance(3_000);
  const released = await locks.acquire('released', { ttlMs: 3_000 });
  const releasing = released?.release();
  const closing = locks.close();
  await settle();
  expect(told).toEqual([]);
  for (const answer of answers) answer();
  await Promise.all([closing, releasing]);
  expect(told).toEqual(['lost', 'released', 'closed']);
});

it('says that it is closed, and tells nobody of a try that failed by that', async () => {
  const told: unknown[] = [];
  const log = { ...silentLog, warn: (_: object, text: string) => void told.push(text) };
  const { promise: answer, reject } = Promise.withResolvers<never>();
  const engine = engineWith({ tryAcquire: () => answer });
  const locks = createLocks({ engine, clock: createManualClock(), log });
  const waiting = locks.acquire('a', { ttlMs: 3_000, waitMs: Number.POSITIVE_INFINITY });
  const closing = locks.close();
  reject(new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'closed under it'));
  await expect(waiting).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
  await closing;
  expect(told).toEqual([]);
});

it('refuses names and times out of bounds', async () => {
  const locks = createLocks({ engine: engineWith(), clock: createManualClock() });
  for (const [name, ttlMs] of [
    ['', 1_000],
    ['a/b', 1_000],
    ['a', 99],
    ['a', Number.NaN],
  ] as const)
    await expect(locks.acquire(name, { ttlMs })).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
});
