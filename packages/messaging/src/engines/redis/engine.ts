/**
 * The engine on Redis Streams: a stream per channel and priority level, a consumer group per subscription, and every move of a message one Lua
 * script. Several processes may use one server, told apart from other users of it by the prefix.
 *
 * How each sentence of the port is kept, and what was rejected, is in docs/messaging/engines/redis.md; the keys are listed in lua/prelude.ts.
 */
import type { Engine } from '../../engine.ts';
import type { EngineLacking } from '../../needs.ts';
import { type OpenClient, openClient } from '../../redis/client.ts';
import { redisServerOf } from '../../redis/server.ts';
import { RedisConnection } from './connection.ts';
import { type RedisEngineOptions, settingsOf } from './options.ts';
import type { PresenceTimes } from './presence.ts';

export type { RedisEngineOptions } from './options.ts';

/** Throws DB_MSG_INVALID_OPTIONS when the prefix could not be told from the rest of a key. */
export function createRedisEngine(options: RedisEngineOptions): EngineLacking<'broadcast'> {
  return redisEngineOn(openClient, options);
}

/** The engine on connections of the caller's making: for tests that lose answers, plant defects on the way, or see by one sign only that somebody is gone. */
export function redisEngineOn(
  open: OpenClient,
  options: RedisEngineOptions,
  times: Partial<PresenceTimes> = {},
): Engine {
  const settings = settingsOf(options, times);
  return {
    name: 'redis',
    server: redisServerOf(settings),
    // A subscription is a group of this name on each stream of its channel.
    consumerGroupOf: ({ name }) => name,
    connect: (context) => RedisConnection.open(open, settings, context),
  };
}
