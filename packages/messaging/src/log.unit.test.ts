/** A log of the application that fails: nothing that writes to it ends, and nobody has to know of it but a person. */
import { afterEach, beforeEach, expect, it, type MockInstance, vi } from 'vitest';
import { createBus } from './bus.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import { createLeader } from './leader.ts';
import { createLocks, type LockEngine } from './lock.ts';
import { type Log, safeLog, silentLog } from './log.ts';
import { createRelay } from './relay.ts';
import { createCircuitBreaker } from './resilience/circuit-breaker.ts';
import { createScriptedEngine } from './testing/scripted-engine.ts';

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 30; turn += 1) await Promise.resolve();
};
const fail = (): never => {
  throw new Error('the disk of the log is full');
};
const throwing: Log = { debug: fail, info: fail, warn: fail, error: fail };

let warned: MockInstance<typeof process.emitWarning>;
const unhandled: unknown[] = [];
const keep = (error: unknown): void => void unhandled.push(error);
beforeEach(() => {
  warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  unhandled.length = 0;
  process.prependListener('unhandledRejection', keep);
});
afterEach(() => {
  warned.mockRestore();
  process.off('unhandledRejection', keep);
});

it('writes to the log that was given, as its own method', () => {
  class Own {
    readonly lines: unknown[] = [];
    debug = (...line: unknown[]): void => void this.lines.push(line);
    info(...line: unknown[]): void {
      this.lines.push(line);
    }
    warn = this.debug;
    error = this.debug;
  }
  const own = new Own();
  const log = safeLog(own);
  log.info({ n: 1 }, 'one');
  log.error({ n: 2 }, 'two');
  expect(own.lines).toEqual([
    [{ n: 1 }, 'one'],
    [{ n: 2 }, 'two'],
  ]);
  expect(safeLog(undefined)).toBe(silentLog);
});

it.each<[string, () => unknown]>([
  ['throws', fail],
  ['rejects', () => Promise.reject(new Error('the disk of the log is full'))],
  ['is not there', undefined as unknown as () => unknown],
])('passes over one that %s, and says so once', async (_, method) => {
  const log = safeLog({ ...silentLog, warn: method });
  for (let n = 0; n < 3; n += 1) log.warn({ n }, 'said');
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).toEqual([]);
  expect(warned).toHaveBeenCalledTimes(1);
  expect(warned).toHaveBeenCalledWith(expect.stringContaining('a log failed'), expect.anything());
});

/** One grant; `lost` takes it away. */
function lockEngine(): LockEngine & { lost: boolean } {
  const engine = {
    name: 'fake',
    lost: false,
    tryAcquire: async (_name: string, _owner: string, ttlMs: number) => ({ fence: 1n, ttlMs }),
    renew: async () => !engine.lost,
    release: async () => true,
    close: async () => {},
  };
  return engine;
}

it('ends no campaign of a leader', async () => {
  const clock = createManualClock();
  const locks = createLocks({ engine: lockEngine(), clock, log: throwing });
  let terms = 0;
  const work = (): never => {
    terms += 1;
    throw new Error('broken work');
  };
  const leader = createLeader({ locks, name: 'work', ttlMs: 3_000, clock, log: throwing, onElected: work });
  leader.start();
  for (let n = 0; n < 5; n += 1) {
    await turns();
    clock.advance(1_000);
  }
  await turns();
  expect(terms).toBeGreaterThan(3);
  await leader.stop();
});

it('keeps no lock from being lost', async () => {
  const clock = createManualClock();
  const engine = lockEngine();
  const lock = await createLocks({ engine, clock, log: throwing }).acquire('a', { ttlMs: 1_000 });
  engine.lost = true;
  clock.advance(400);
  await turns();
  expect(lock?.signal.aborted).toBe(true);
});

it('keeps no bus from ending when its engine failed, nor its owner from hearing of it', async () => {
  const engine = createScriptedEngine();
  const fatal: Error[] = [];
  const bus = createBus({ engine, source: '/t', log: throwing, onFatal: (error) => fatal.push(error) });
  await bus.start();
  const dead = new Error('dead');
  engine.fail(dead);
  expect(fatal).toEqual([dead]);
  expect((await bus.view()).state).toBe('stopped');
  await bus.stop();
});

it('ends no relay', async () => {
  const clock = createManualClock();
  let reads = 0;
  let away = true;
  const relay = createRelay({
    clock,
    log: throwing,
    source: {
      readUnpublished: async () => {
        reads += 1;
        if (away) throw new Error('no database');
        return [];
      },
      markPublished: async () => {},
    },
    bus: { forward: async () => [] },
    backOffMs: 10,
  });
  relay.start();
  for (let n = 0; n < 12; n += 1) {
    away = n < 10;
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(1_000);
  }
  expect(reads).toBeGreaterThan(3);
  await relay.stop();
  expect(unhandled).toEqual([]);
});

it('makes no failure of a call through a circuit breaker', async () => {
  const breaker = createCircuitBreaker({ clock: createManualClock(), log: throwing, isFailure: fail });
  await expect(breaker.run(() => 'done')).resolves.toBe('done');
});
