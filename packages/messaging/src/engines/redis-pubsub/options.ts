/** What a caller may say of the broadcast engine, with defaults and checks. */
import { safeHook } from '../../hook.ts';
import { redisDefaults, type RedisServerOptions } from '../../redis/server.ts';
import { COUNT, refuseBadNumbers, SPAN_MS } from '../../sound-numbers.ts';
import { withDefaults } from '../../with-defaults.ts';

export interface RedisBroadcastOptions extends RedisServerOptions {
  /** Of all Pub/Sub channels: `<prefix>:broadcast:<channel>`. Default `doorbuster`. */
  readonly prefix?: string;
  /**
   * Messages a slow subscriber may have waiting in its memory, for a handler or for their next attempt; beyond it the newest are dropped and counted as expired. What its
   * handlers have comes on top. Default 10,000.
   */
  readonly maxWaiting?: number;
  /** Default: a warning of the process. What it throws is passed over; the first time is a warning of the process. */
  readonly onNotice?: (notice: RedisBroadcastNotice) => void;
}

/** `lost`: handlers gave these messages up, and there is nowhere to keep them; a reason for each. */
export interface RedisBroadcastNotice {
  readonly kind: 'lost';
  readonly channel: string;
  readonly subscription: string;
  readonly reasons: readonly string[];
}

export type Settings = Required<RedisBroadcastOptions>;

const DEFAULTS = { ...redisDefaults, maxWaiting: 10_000, onNotice: warnOfLoss } as const;

const NUMBERS = {
  connectTimeoutMs: SPAN_MS,
  answerTimeoutMs: SPAN_MS,
  maxMessageBytes: COUNT,
  maxWaiting: COUNT,
} as const;

/** Throws DB_MSG_INVALID_OPTIONS when a number is out of its bounds. */
export function settingsOf(options: RedisBroadcastOptions): Settings {
  const settings = withDefaults(options, DEFAULTS);
  refuseBadNumbers('the broadcast engine', settings, NUMBERS);
  const { onNotice } = options;
  return onNotice
    ? { ...settings, onNotice: safeHook('onNotice of the broadcast engine', onNotice) }
    : settings;
}

/** What a channel is called on the server. */
export const pubsubNameOf = ({ prefix }: Settings, channel: string): string =>
  `${prefix}:broadcast:${channel}`;

/** What is lost is never lost in silence. */
function warnOfLoss({ channel, subscription, reasons }: RedisBroadcastNotice): void {
  process.emitWarning(
    `Redis Pub/Sub keeps no dead letters; subscription "${subscription}" of "${channel}" lost ${reasons.length}: ${reasons.join('; ')}`,
    { type: 'DoorbusterRedisWarning' },
  );
}
