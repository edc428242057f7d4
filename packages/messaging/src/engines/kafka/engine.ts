/**
 * The Kafka engine: a topic per channel, a consumer group per subscription, and what is settled written beside the group's offsets. What each sentence
 * of the port becomes on Kafka, and what Kafka cannot do, is written down in docs/messaging/engines/kafka.md.
 */
import type { EngineLacking } from '../../needs.ts';
import { KafkaConnection } from './connection.ts';
import { type KafkaEngineOptions, settingsOf } from './options.ts';

export type { KafkaEngineOptions, KafkaNotice } from './options.ts';

export function createKafkaEngine(options: KafkaEngineOptions): EngineLacking<'broadcast'> {
  const settings = settingsOf(options);
  return { name: 'kafka', connect: (context) => KafkaConnection.open(settings, context) };
}
