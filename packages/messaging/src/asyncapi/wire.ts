/** How a message looks on each wire: which CloudEvents attributes are where, and the bindings that AsyncAPI has for it. */
import type { Channel } from '../channel.ts';
import type { Json } from './contracts.ts';

/** Kinds of wire a message may have; `structured` is one JSON envelope, as the embedded engine and Redis store it. */
export type Wire = 'kafka' | 'amqp' | 'structured';

const WIRES: Readonly<Record<string, Wire>> = {
  kafka: 'kafka',
  'kafka-secure': 'kafka',
  amqp: 'amqp',
  amqps: 'amqp',
};

/** The one wire of all servers; undefined when there is none or they differ. */
export function wireOf(protocols: readonly string[]): Wire | undefined {
  const wires = new Set(protocols.map((protocol) => WIRES[protocol] ?? 'structured'));
  return wires.size === 1 ? [...wires][0] : undefined;
}

const PREFIXES: Readonly<Record<Exclude<Wire, 'structured'>, string>> = {
  kafka: 'ce_',
  amqp: 'cloudEvents_',
};

interface Attribute {
  readonly name: string;
  readonly schema: Json;
  readonly isRequired: boolean;
}

function attributesOf(channel: Channel, type: string): readonly Attribute[] {
  const text = (description: string): Json => ({ type: 'string', description });
  const always = (name: string, schema: Json): Attribute => ({ name, schema, isRequired: true });
  const maybe = (name: string, schema: Json): Attribute => ({ name, schema, isRequired: false });
  return [
    always('specversion', { type: 'string', const: '1.0' }),
    always('id', text('Stays the same through retries, redeliveries and redrives: the key of an inbox.')),
    always('type', { type: 'string', const: type }),
    always('source', { type: 'string', format: 'uri-reference', description: 'Who published it.' }),
    always('time', { type: 'string', format: 'date-time' }),
    always('dataschema', { type: 'string', const: `urn:channel:${type}:v${channel.version}` }),
    (channel.order === 'key' ? always : maybe)('partitionkey', text('Messages of one key keep their order.')),
    maybe('correlationid', text('Shared by all messages of one conversation.')),
    maybe('causationid', text('Id of the message that caused this one.')),
    maybe('expirytime', { type: 'string', format: 'date-time', description: 'Dropped unhandled after it.' }),
    maybe('traceparent', text('W3C trace context in which the message was made.')),
    ...(channel.requires.routing === undefined ? [] : [maybe('routingkey', text('What bindings look at.'))]),
  ];
}

/** JSON Schema of the headers. Without one wire the attributes have their plain names and the description says where to look. */
export function headersOf(channel: Channel, type: string, wire: Wire | undefined): Json {
  const prefix = wire === 'kafka' || wire === 'amqp' ? PREFIXES[wire] : '';
  const attributes = attributesOf(channel, type);
  return {
    type: 'object',
    description: describeWire(wire),
    properties: Object.fromEntries(attributes.map(({ name, schema }) => [`${prefix}${name}`, schema])),
    required: attributes.filter(({ isRequired }) => isRequired).map(({ name }) => `${prefix}${name}`),
  };
}

function describeWire(wire: Wire | undefined): string {
  if (wire === 'structured')
    return 'CloudEvents 1.0 in structured mode: these attributes and the payload (as "data") are one JSON object.';
  if (wire === undefined)
    return 'CloudEvents 1.0 attributes. On Kafka they are headers with the prefix "ce_", on AMQP 0-9-1 with "cloudEvents_", elsewhere fields of one JSON envelope.';
  return 'CloudEvents 1.0 in binary mode: attributes are headers, the body is the data.';
}

/** Where the conversation of a message is said. */
export function correlationOf(wire: Wire | undefined): Json {
  const prefix = wire === 'kafka' || wire === 'amqp' ? PREFIXES[wire] : '';
  return { location: `$message.header#/${prefix}correlationid` };
}

export function channelBindings(channel: Channel, wire: Wire | undefined, prefix: string): Json | undefined {
  if (wire === 'kafka') return { kafka: { topic: `${prefix}${channel.name}`, bindingVersion: '0.5.0' } };
  if (wire === 'amqp') {
    // Order per key hashes keys to queues, and a direct exchange leads to them.
    const type = channel.order === 'key' ? 'direct' : (channel.requires.routing ?? 'fanout');
    const exchange = { name: `${prefix}${channel.name}`, type, durable: true, autoDelete: false };
    return { amqp: { is: 'routingKey', exchange, bindingVersion: '0.3.0' } };
  }
  return undefined;
}

export function messageBindings(channel: Channel, wire: Wire | undefined): Json | undefined {
  if (wire === 'kafka' && channel.order === 'key')
    return { kafka: { key: { type: 'string', description: 'The partition key.' }, bindingVersion: '0.5.0' } };
  return undefined;
}

/** The group belongs to the subscription; how it is called on the broker is the engine's business. */
export function receiveBindings(subscription: string, wire: Wire | undefined): Json | undefined {
  if (wire !== 'kafka') return undefined;
  const groupId = {
    type: 'string',
    description: `The consumer group of the subscription "${subscription}".`,
  };
  return { kafka: { groupId, bindingVersion: '0.5.0' } };
}
