/** What a lock on Redis makes of the server's replies: whether trying again can help. */
import { expect, it } from 'vitest';
import { createLocks } from '../lock.ts';
import { createManualClock } from '../conformance/manual-clock.ts';
import { createRedisLockEngine } from './redis.ts';

const locksThatSay = (message: string) =>
  createRedisLockEngine({ client: { sendCommand: () => Promise.reject(new Error(message)) } });

it.each([
  ["NOPERM User app has no permissions to run the 'eval' command", 'DB_MSG_ENGINE_REFUSED', false],
  ['NOAUTH Authentication required.', 'DB_MSG_ENGINE_REFUSED', false],
  ["ERR The user executing the script can't run this command", 'DB_MSG_ENGINE_REFUSED', false],
  ['ERR AUTH <password> called without any password configured', 'DB_MSG_ENGINE_REFUSED', false],
  ['WRONGTYPE Operation against a key holding the wrong kind of value', 'DB_MSG_ENGINE_FAILED', false],
  ["OOM command not allowed when used memory > 'maxmemory'.", 'DB_MSG_ENGINE_FULL', true],
  ['LOADING Redis is loading the dataset in memory', 'DB_MSG_ENGINE_UNREACHABLE', true],
  ['Socket closed unexpectedly', 'DB_MSG_ENGINE_UNREACHABLE', true],
])('%s: %s', async (message, code, retryable) => {
  await expect(locksThatSay(message).tryAcquire('a', 'me', 1_000)).rejects.toMatchObject({ code, retryable });
});

it('ends a wait without end when the server will never allow it', async () => {
  const locks = createLocks({ engine: locksThatSay('NOPERM no'), clock: createManualClock() });
  await expect(locks.acquire('a', { ttlMs: 1_000, waitMs: Number.POSITIVE_INFINITY })).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_REFUSED',
  });
});
