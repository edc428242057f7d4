/**
 * Locks on Redis: a key with an expiry per name, and a counter beside it for the fence. The counter has no expiry and survives every release. When
 * it is missing (the first time, or after the server lost its data) it begins at the server's time in microseconds, so that a server that forgot goes on above
 * what it gave before instead of below.
 *
 * One primary. A failover or a restart may lose the last writes (replication and `appendfsync everysec` are later than the answer), and with
 * them a grant: then two hold the name, and only the fence tells them apart, by the time in it. It is not Redlock; several primaries would not change what a lease
 * cannot promise.
 */
import { MessagingError, type MessagingErrorCode } from '../errors.ts';
import type { Lease, LockEngine } from '../lock.ts';

/** The part of a connected node-redis client that is used; it stays the caller's. */
export interface RedisCommands {
  sendCommand(args: readonly string[]): Promise<unknown>;
}

export interface RedisLockOptions {
  readonly client: RedisCommands;
  /** In front of every key. Default `lock:`. */
  readonly prefix?: string;
}

/**
 * KEYS 1 the lock, 2 its counter. ARGV 1 owner, 2 ttl in ms.
 * Returns the fence, or 0 while another holds it.
 */
const ACQUIRE = `
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return '0' end
if redis.call('EXISTS', KEYS[2]) == 0 then
  local now = redis.call('TIME')
  redis.call('SET', KEYS[2], string.format('%d%06d', now[1], now[2]))
end
redis.call('INCR', KEYS[2])
return redis.call('GET', KEYS[2])`;

/** KEYS 1 the lock. ARGV 1 owner, 2 ttl in ms. Returns 1 renewed, 0 not this owner's any more. */
const RENEW = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;

/** KEYS 1 the lock. ARGV 1 owner. Returns 1 deleted, 0 not this owner's. */
const RELEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

/** By the first word of the server's reply; whatever else fails is the connection's. */
const REPLIES: readonly (readonly [RegExp, MessagingErrorCode])[] = [
  [/^(OOM|MISCONF|NOREPLICAS)\b/, 'DB_MSG_ENGINE_FULL'],
  [
    /^(NOAUTH|WRONGPASS|NOPERM)\b|^ERR (The user executing the script can't|AUTH <password> called without|Client sent AUTH, but no password)/,
    'DB_MSG_ENGINE_REFUSED',
  ],
  [/^(ERR|WRONGTYPE|NOSCRIPT|CROSSSLOT|MOVED|ASK)\b/, 'DB_MSG_ENGINE_FAILED'],
];

/** What trying again cannot mend is told as that: a waiter would else try for ever without a word. */
function faultOf(error: unknown): MessagingError {
  const message = error instanceof Error ? error.message : String(error);
  const known = REPLIES.find(([pattern]) => pattern.test(message));
  return new MessagingError(known?.[1] ?? 'DB_MSG_ENGINE_UNREACHABLE', `redis: ${message}`, { cause: error });
}

export function createRedisLockEngine({ client, prefix = 'lock:' }: RedisLockOptions): LockEngine {
  // In braces, so that both keys of a name lie in one slot of a cluster.
  const key = (name: string): string => `${prefix}{${name}}`;
  const evaluate = async (
    script: string,
    keys: readonly string[],
    args: readonly string[],
  ): Promise<unknown> => {
    try {
      return await client.sendCommand(['EVAL', script, String(keys.length), ...keys, ...args]);
    } catch (error) {
      throw faultOf(error);
    }
  };
  return {
    name: 'redis',
    async tryAcquire(name, owner, ttlMs) {
      const ttl = Math.trunc(ttlMs);
      const fence = await evaluate(ACQUIRE, [key(name), `${key(name)}:fence`], [owner, String(ttl)]);
      return String(fence) === '0' ? undefined : { fence: BigInt(String(fence)), ttlMs: ttl };
    },
    async renew({ name, owner }: Lease, ttlMs) {
      return Number(await evaluate(RENEW, [key(name)], [owner, String(Math.trunc(ttlMs))])) === 1;
    },
    async release({ name, owner }: Lease) {
      return Number(await evaluate(RELEASE, [key(name)], [owner])) === 1;
    },
    async close() {},
  };
}
