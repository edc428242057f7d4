/**
 * A holder that is made to be killed or stopped. Arguments: module URL, its argument, and as JSON `{ scenario, name, ttlMs, path }`.
 * `hold`: acquires, tells `held <fence>`, and when it loses the lock tells `lost` and what the fenced resource at `path` says to its write.
 * `contend`: takes the lock `rounds` times and enters a room (a folder at `path`) that only one can be in.
 * `lead`: campaigns for good; tells `elected <fence>` with each term, and at its end `over` and what the fenced resource at `path` says to its write.
 */
import { appendFileSync, mkdirSync, rmdirSync, writeSync } from 'node:fs';
import { pause, systemClock } from '../clock.ts';
import { createLeader } from '../leader.ts';
import { createLocks, type LockEngine, type Locks } from '../lock.ts';
import { openFencedResource } from './fenced-resource.ts';

export interface LockErrand {
  readonly scenario: 'hold' | 'contend' | 'lead';
  readonly name: string;
  readonly ttlMs: number;
  readonly path: string;
  readonly rounds?: number;
}

const [module = '', argument = '', errand = '{}'] = process.argv.slice(2);
const { openLockEngine: open } = (await import(module)) as {
  openLockEngine: (argument: string) => Promise<LockEngine>;
};
const tell = (line: string): void => void writeSync(1, `${line}\n`);
const { scenario, name, ttlMs, path, rounds = 0 } = JSON.parse(errand) as LockErrand;
const locks = createLocks({ engine: await open(argument), retryMs: 20 });
// From here on the patience of a case counts.
tell('ready');
await { hold, contend, lead }[scenario](locks);
process.exit(0);

async function hold(from: Locks): Promise<void> {
  const lock = await from.acquire(name, { ttlMs, waitMs: 20_000 });
  if (!lock) throw new Error('the lock was not to be had');
  const lost = new Promise<void>((resolve) => {
    lock.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  tell(`held ${lock.fence}`);
  await lost;
  tell(`lost ${lock.held()} ${(lock.signal.reason as { code: string }).code}`);
  const resource = openFencedResource(path);
  tell(`wrote ${resource.write('the sleeper', lock.fence)}`);
  tell(`released ${await lock.release()}`);
}

function lead(from: Locks): Promise<never> {
  const onElected = async (signal: AbortSignal, fence: bigint): Promise<void> => {
    tell(`elected ${fence}`);
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    tell(`over ${openFencedResource(path).write('a leader of the past', fence)}`);
  };
  createLeader({ locks: from, name, ttlMs, restMs: 20, onElected }).start();
  return new Promise(() => {});
}

async function contend(from: Locks): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const lock = await from.acquire(name, { ttlMs, waitMs: 30_000 });
    if (!lock) throw new Error('the lock was not to be had');
    try {
      mkdirSync(`${path}/room`);
    } catch {
      return tell('overlap');
    }
    appendFileSync(`${path}/fences`, `${lock.fence}\n`);
    await pause(systemClock, 2);
    rmdirSync(`${path}/room`);
    await lock.release();
  }
  tell('done');
}
