/**
 * The broadcast engine on Redis Pub/Sub: every subscriber that is connected hears every message, at most once. It loses what nobody hears, what
 * is published while a subscriber is away, and what a process held when it ended; its confirmations state `none`. For notices whose next
 * edition makes the last one worthless (a price, a cache to be dropped), not for work.
 *
 * What it cannot promise it refuses, loudly: channels that require order, delay, priority, time to live or a durability are refused at the start; a publish with a due
 * time or a priority rejects; a dead letter is told (`onNotice`), because there is nowhere to keep it. A retry is kept in this process's memory alone.
 */
import type { Engine } from '../../engine.ts';
import type { EngineLacking } from '../../needs.ts';
import { type ConnectRedis, connectRedis, redisServerOf } from '../../redis/server.ts';
import { BroadcastConnection } from './connection.ts';
import { type RedisBroadcastOptions, settingsOf } from './options.ts';

export type { RedisBroadcastNotice, RedisBroadcastOptions } from './options.ts';

/** Whatever the server: nothing is kept. */
type BroadcastLacks =
  | 'confirm'
  | 'order'
  | 'delay'
  | 'priority'
  | 'ttl'
  | 'replay'
  | 'routing'
  | 'deadLetters';

export function createRedisBroadcastEngine(options: RedisBroadcastOptions): EngineLacking<BroadcastLacks> {
  return broadcastEngineOn(connectRedis, options);
}

/** The engine on connections of the caller's making: for tests that plant defects on the way. */
export function broadcastEngineOn(connect: ConnectRedis, options: RedisBroadcastOptions): Engine {
  const settings = settingsOf(options);
  return {
    name: 'redis-pubsub',
    server: redisServerOf(settings),
    connect: ({ clock }) => BroadcastConnection.open(connect, settings, clock),
  };
}
