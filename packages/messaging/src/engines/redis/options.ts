/** What a caller may say of the engine on streams, with defaults and checks. */
import { redisDefaults, type RedisServerOptions, refuseBadPrefix } from '../../redis/server.ts';
import { COUNT, refuseBadNumbers, SPAN_MS, WAIT_MS } from '../../sound-numbers.ts';
import { withDefaults } from '../../with-defaults.ts';
import { PRESENCE_TIMES, type PresenceTimes } from './presence.ts';

export interface RedisEngineOptions extends RedisServerOptions {
  /** Of all keys; a bus finds the messages of those with the same prefix. Default `doorbuster`; empty: keys begin with their colon. */
  readonly prefix?: string;
  /** How long a channel that nobody subscribed to keeps its messages, ms. Default 7 days. */
  readonly keepUnsubscribedMs?: number;
  /** Idle time after which an entry that a stranger read in one of our groups is taken over, ms. Default 60,000. */
  readonly strangerIdleMs?: number;
  /**
   * Of a channel with order per key and without priorities, when it is made; it keeps them. As many consumers of a subscription can work at the same time. 1 to
   * 256; 0: no shards, every consumer takes of every key, at several times the cost. Default 16.
   */
  readonly shards?: number;
}

const DEFAULTS = {
  ...redisDefaults,
  keepUnsubscribedMs: 7 * 86_400_000,
  strangerIdleMs: 60_000,
  shards: 16,
} as const;

export type Settings = Required<RedisEngineOptions> & { readonly times: PresenceTimes };

/** A claim asks each shard of its consumer. */
const MOST_SHARDS = 256;

const NUMBERS = {
  connectTimeoutMs: SPAN_MS,
  answerTimeoutMs: SPAN_MS,
  maxMessageBytes: COUNT,
  keepUnsubscribedMs: WAIT_MS,
  strangerIdleMs: WAIT_MS,
  shards: { from: 0, to: MOST_SHARDS, whole: true },
} as const;

/** Throws DB_MSG_INVALID_OPTIONS when the prefix could not be told from the rest of a key, or a number is out of its bounds. */
export function settingsOf(options: RedisEngineOptions, times: Partial<PresenceTimes>): Settings {
  refuseBadPrefix(options.prefix ?? DEFAULTS.prefix);
  const settings = withDefaults(options, DEFAULTS);
  refuseBadNumbers('the engine on Redis streams', settings, NUMBERS);
  return { ...settings, times: { ...PRESENCE_TIMES, ...times } };
}
