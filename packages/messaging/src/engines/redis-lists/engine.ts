/**
 * The engine on Redis lists, for teams whose work already lies in lists and who cannot move it to streams: LPUSH on one side, a move into a list of the
 * consumer's own on the other. It is the weakest durable engine of the toolkit and says so: a list is one queue, so a channel has one subscription, and
 * there is no order per key, no delay, no priority, no replay and no routing. What it does keep is at least once: leases with a fence,
 * counted attempts, retries with their state, dead letters with their history. docs/messaging/engines/redis-lists.md has the mapping.
 */
import type { Engine } from '../../engine.ts';
import type { EngineLacking } from '../../needs.ts';
import { type OpenClient, openClient } from '../../redis/client.ts';
import { redisServerOf } from '../../redis/server.ts';
import { ListsConnection } from './connection.ts';
import { type RedisListsEngineOptions, settingsOf } from './options.ts';

export type { RedisListsEngineOptions } from './options.ts';

/** Whatever the server: a list is one queue. */
type ListsLack = 'order' | 'delay' | 'priority' | 'replay' | 'routing' | 'broadcast';

/** Throws DB_MSG_INVALID_OPTIONS when the prefix could not be told from the rest of a key. */
export function createRedisListsEngine(options: RedisListsEngineOptions): EngineLacking<ListsLack> {
  return redisListsEngineOn(openClient, options);
}

/** The engine on connections of the caller's making: for tests that plant defects on the way. */
export function redisListsEngineOn(open: OpenClient, options: RedisListsEngineOptions): Engine {
  const settings = settingsOf(options);
  return {
    name: 'redis-lists',
    server: redisServerOf(settings),
    connect: (context) => ListsConnection.open(open, settings, context),
  };
}
