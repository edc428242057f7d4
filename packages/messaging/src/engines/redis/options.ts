/** What a caller may say of the engine on streams, with defaults and checks. */
import { redisDefaults, type RedisServerOptions, refuseBadPrefix } from '../../redis/server.ts';
import { withDefaults } from '../../with-defaults.ts';
import { PRESENCE_TIMES, type PresenceTimes } from './presence.ts';

export interface RedisEngineOptions extends RedisServerOptions {
  /** Of all keys; a bus finds the messages of those with the same prefix. Default `doorbuster`; empty: keys begin with their colon. */
  readonly prefix?: string;
  /** How long a channel that nobody subscribed to keeps its messages, ms. Default 7 days. */
  readonly keepUnsubscribedMs?: number;
  /** Idle time after which an entry that a stranger read in one of our groups is taken over, ms. Default 60,000. */
  readonly strangerIdleMs?: number;
}

const DEFAULTS = {
  ...redisDefaults,
  keepUnsubscribedMs: 7 * 86_400_000,
  strangerIdleMs: 60_000,
} as const;

export type Settings = Required<RedisEngineOptions> & { readonly times: PresenceTimes };

/** Throws DB_MSG_INVALID_OPTIONS when the prefix could not be told from the rest of a key. */
export function settingsOf(options: RedisEngineOptions, times: Partial<PresenceTimes>): Settings {
  refuseBadPrefix(options.prefix ?? DEFAULTS.prefix);
  return { ...withDefaults(options, DEFAULTS), times: { ...PRESENCE_TIMES, ...times } };
}
