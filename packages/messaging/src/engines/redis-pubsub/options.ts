/** What a caller may say of the broadcast engine, with defaults. */
import { redisDefaults, type RedisServerOptions } from '../../redis/server.ts';

export interface RedisBroadcastOptions extends RedisServerOptions {
  /** Of all Pub/Sub channels: `<prefix>:broadcast:<channel>`. Default `doorbuster`. */
  readonly prefix?: string;
  /** Messages a slow subscriber may have waiting in its memory; beyond it the newest are dropped and counted as expired. Default 10,000. */
  readonly maxWaiting?: number;
}

export type Settings = Required<RedisBroadcastOptions>;

const DEFAULTS = { ...redisDefaults, maxWaiting: 10_000 } as const;

export const settingsOf = (options: RedisBroadcastOptions): Settings => ({ ...DEFAULTS, ...options });

/** What a channel is called on the server. */
export const pubsubNameOf = ({ prefix }: Settings, channel: string): string =>
  `${prefix}:broadcast:${channel}`;
