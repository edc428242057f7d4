/**
 * The RabbitMQ engine: quorum queues, confirmed publishes, one queue per subscription. What each sentence of the port becomes on AMQP 0-9-1, and
 * what RabbitMQ cannot do, is written down in docs/messaging/engines/rabbitmq.md.
 *
 * Two connections, because an alarm of the broker (memory, disk) stops reading the whole connection of whoever publishes: acknowledgements and
 * heartbeats of consumers would stop with it.
 */
import type { EngineLacking } from '../../needs.ts';
import { serverOf } from '../../server-address.ts';
import { RabbitConnection } from './connection.ts';
import { type RabbitEngineOptions, settingsOf } from './options.ts';

export type { RabbitEngineOptions, RabbitNotice } from './options.ts';
export type { QueueType } from './names.ts';
export type { Route } from './route.ts';

export function createRabbitEngine(options: RabbitEngineOptions): EngineLacking<'broadcast' | 'replay'> {
  const settings = settingsOf(options);
  return {
    name: 'rabbitmq',
    server: serverOf(settings.urls, settings.urls[0]?.startsWith('amqps:') ? 5_671 : 5_672),
    async connect(context) {
      const connection = new RabbitConnection(settings, context);
      await connection.open();
      return connection;
    },
  };
}
