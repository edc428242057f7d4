/**
 * The Kafka engine: a topic per channel, a consumer group per subscription, and what is settled written beside the group's offsets. What each sentence
 * of the port becomes on Kafka, and what Kafka cannot do, is written down in docs/messaging/engines/kafka.md.
 */
import type { EngineLacking } from '../../needs.ts';
import { serverOf } from '../../server-address.ts';
import { KafkaConnection } from './connection.ts';
import { namesOf } from './names.ts';
import { type KafkaEngineOptions, settingsOf } from './options.ts';

export type { KafkaEngineOptions, KafkaNotice } from './options.ts';

/** The client's, for a broker that is named without one. */
const DEFAULT_PORT = 9_092;

export function createKafkaEngine(options: KafkaEngineOptions): EngineLacking<'broadcast'> {
  const settings = settingsOf(options);
  const names = namesOf(settings.prefix);
  return {
    name: 'kafka',
    server: serverOf(
      settings.brokers.map((broker) => `kafka://${broker}`),
      DEFAULT_PORT,
    ),
    consumerGroupOf: ({ channel, name }) => names.group(channel, name),
    connect: (context) => KafkaConnection.open(settings, context),
  };
}
