/**
 * What the OpenTelemetry semantic conventions for messaging ask of the spans and metrics that a bus makes, as data for tests: each attribute by its name and its level.
 *
 * Source: https://github.com/open-telemetry/semantic-conventions, release 1.44.0 (tag v1.44.0), status "development": `spans.yaml`, `metrics.yaml`, `common.yaml`,
 * `kafka.yaml` and `rabbitmq.yaml` in `model/messaging`. An attribute without a level there is a recommended one. The conditions are named here in words of ours. Not here:
 * the operation `receive` and its metrics, which a bus that hands out has not, and systems that no engine is of.
 *
 * For another release read those files again, and change this list and `CONVENTIONS_VERSION` together.
 */
export const SOURCE_VERSION = '1.44.0';

export type Condition =
  | 'if failed'
  | 'if it has a type'
  | 'if of one destination'
  | 'if of few values'
  | 'if templated'
  | 'if of a batch'
  | 'if the address is known'
  | 'if consumed in a group'
  | 'if consumed by subscription'
  | 'if temporary'
  | 'if anonymous'
  | 'if routed by a key'
  | 'if there is a delivery tag'
  | 'if a tombstone';

export type Level = 'required' | 'recommended' | 'opt-in' | Condition;

export type Asked = readonly [name: string, level: Level];

export type SpanType =
  | 'create.producer'
  | 'send.producer'
  | 'send.client'
  | 'process.consumer'
  | 'settle.client';

const OF_ALL: readonly Asked[] = [
  ['error.type', 'if failed'],
  ['messaging.system', 'required'],
  ['messaging.operation.name', 'required'],
  ['messaging.operation.type', 'if it has a type'],
  ['messaging.destination.name', 'if of one destination'],
  ['messaging.destination.template', 'if templated'],
  ['messaging.destination.partition.id', 'recommended'],
  ['messaging.message.id', 'recommended'],
  ['messaging.message.conversation_id', 'recommended'],
  ['server.address', 'recommended'],
  ['server.port', 'recommended'],
];
const OF_CALLS: readonly Asked[] = [
  ['network.peer.address', 'recommended'],
  ['network.peer.port', 'recommended'],
];
const OF_CLIENTS: readonly Asked[] = [
  ['messaging.batch.message_count', 'if of a batch'],
  ['messaging.client.id', 'recommended'],
];
const OF_CONTENTS: readonly Asked[] = [
  ['messaging.message.body.size', 'opt-in'],
  ['messaging.message.envelope.size', 'opt-in'],
];
const OF_SENDS = [...OF_ALL, ...OF_CALLS, ...OF_CLIENTS, ...OF_CONTENTS];

export const SPANS: Readonly<Record<SpanType, readonly Asked[]>> = {
  'create.producer': [...OF_ALL, ...OF_CONTENTS],
  'send.producer': OF_SENDS,
  'send.client': OF_SENDS,
  'process.consumer': [...OF_ALL, ...OF_CLIENTS, ...OF_CONTENTS],
  'settle.client': [...OF_ALL, ...OF_CALLS, ...OF_CLIENTS],
};

const KAFKA_SENT: readonly Asked[] = [
  ['messaging.kafka.message.key', 'recommended'],
  ['messaging.kafka.message.tombstone', 'if a tombstone'],
  ['messaging.kafka.offset', 'recommended'],
  ['messaging.kafka.cluster.id', 'recommended'],
];
const RABBIT_DESTINATION: readonly Asked[] = [
  ['messaging.rabbitmq.destination.routing_key', 'if routed by a key'],
  ['messaging.destination.temporary', 'if temporary'],
  ['messaging.destination.anonymous', 'if anonymous'],
];

/** What the systems ask beside the above, by the value of `messaging.system`. */
export const SPANS_OF: Readonly<Record<string, Readonly<Partial<Record<SpanType, readonly Asked[]>>>>> = {
  kafka: {
    'create.producer': KAFKA_SENT.slice(0, 2),
    'send.producer': KAFKA_SENT,
    'send.client': KAFKA_SENT,
    'process.consumer': [['messaging.consumer.group.name', 'if consumed in a group'], ...KAFKA_SENT],
    'settle.client': [
      ['messaging.consumer.group.name', 'if consumed in a group'],
      ['messaging.kafka.offset', 'recommended'],
      ['messaging.kafka.cluster.id', 'recommended'],
    ],
  },
  // There a destination's name is required of each of these, where elsewhere it is `if of one destination`.
  rabbitmq: {
    'send.producer': [['messaging.destination.name', 'required'], ...RABBIT_DESTINATION],
    'process.consumer': [
      ['messaging.destination.name', 'required'],
      ['messaging.rabbitmq.message.delivery_tag', 'if there is a delivery tag'],
      ...RABBIT_DESTINATION,
    ],
    'settle.client': [
      ['messaging.destination.name', 'required'],
      ['messaging.rabbitmq.message.delivery_tag', 'if there is a delivery tag'],
    ],
  },
};

const MEASURED: readonly Asked[] = [
  ['error.type', 'if failed'],
  ['messaging.system', 'required'],
  ['messaging.operation.name', 'required'],
  ['messaging.destination.name', 'if of few values'],
  ['messaging.destination.template', 'if templated'],
  ['messaging.destination.partition.id', 'recommended'],
  ['server.address', 'if the address is known'],
  ['server.port', 'recommended'],
];
const CONSUMED: readonly Asked[] = [
  ...MEASURED,
  ['messaging.consumer.group.name', 'if consumed in a group'],
  ['messaging.destination.subscription.name', 'if consumed by subscription'],
];

export const METRICS: Readonly<Record<string, readonly Asked[]>> = {
  'messaging.client.operation.duration': [...CONSUMED, ['messaging.operation.type', 'if it has a type']],
  'messaging.process.duration': CONSUMED,
  'messaging.client.sent.messages': MEASURED,
  'messaging.client.consumed.messages': CONSUMED,
};
