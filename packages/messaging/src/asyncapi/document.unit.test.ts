/** Documents are held against the official JSON Schema of AsyncAPI 3.1, and against what the channels really are. */
import { createRequire } from 'node:module';
import { Ajv } from 'ajv';
import addFormatsModule from 'ajv-formats';
import Type from 'typebox';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineChannel } from '../channel.ts';
import type { StandardSchema } from '../contract.ts';
import { avroEncoding } from '../encodings/avro.ts';
import { type AsyncApiDocument, type AsyncApiOptions, asyncApiOf } from './document.ts';

const specification = createRequire(import.meta.url)(
  '@asyncapi/specs/schemas/3.1.0-without-$id.json',
) as object;
const addFormats = addFormatsModule as unknown as (ajv: Ajv) => void;
const ajv = new Ajv({ strict: false, allErrors: true });
addFormats(ajv);
const validate = ajv.compile(specification);
const faultsOf = (document: unknown): string[] => {
  // As it would be read from a file.
  const valid = validate(JSON.parse(JSON.stringify(document)));
  return valid
    ? []
    : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
};

const order = Type.Object({ orderId: Type.String(), total: Type.Number({ minimum: 0 }) });
const placed = defineChannel({ name: 'order.placed', version: 2, schema: order, order: 'key' });
const priced = defineChannel({
  name: 'price.asked',
  version: 1,
  schema: Type.Object({ sku: Type.String() }),
  reply: Type.Object({ cents: Type.Integer() }),
});
const avro = {
  type: 'record',
  name: 'Order',
  fields: [{ name: 'orderId', type: 'string', doc: 'of the shop' }],
};
const packed = defineChannel({
  name: 'order.packed',
  version: 1,
  schema: Type.Object({ orderId: Type.String({ minLength: 1 }) }),
  encoding: avroEncoding(avro),
});
const standard = (jsonSchema?: object): StandardSchema<{ n: number }> => ({
  '~standard': {
    version: 1,
    vendor: 'acme',
    validate: (value) => ({ value: value as { n: number } }),
    ...(jsonSchema === undefined ? {} : { jsonSchema: { input: () => jsonSchema } }),
  },
});
const opaque = defineChannel({ name: 'opaque', version: 1, schema: standard() });

const service: AsyncApiOptions = {
  title: 'Shop',
  version: '1.4.0',
  publishes: [placed, priced],
  subscribes: [
    { channel: placed, name: 'mailer' },
    { channel: packed, name: 'shipper' },
    { channel: priced, name: 'prices' },
  ],
  channels: [opaque],
};
const at = (document: AsyncApiDocument, ...path: string[]): unknown =>
  path.reduce<unknown>((value, part) => (value as Record<string, unknown> | undefined)?.[part], document);

describe('the document', () => {
  it.each([
    ['no server', {}],
    ['RabbitMQ', { main: { url: 'amqp://user:secret@broker:5672/shop', description: 'the broker' } }],
    ['Kafka', { main: { url: 'kafka://one:9092' } }],
    ['Redis', { main: { url: 'redis://cache:6379/2' } }],
    ['the embedded file', { main: { url: 'sqlite:./bus.db' } }],
    ['several', { a: { url: 'amqp://a' }, b: { url: 'kafka://b:9092' } }],
  ])('is valid AsyncAPI 3.1 with %s', (_name, servers) => {
    const document = asyncApiOf({ ...service, servers });
    expect(faultsOf(document)).toEqual([]);
    expect(JSON.stringify(document)).not.toContain('secret');
  });

  it.each([
    ['in a list of hosts', 'kafka://app:first@one:9092,app:SECRET@two:9092', { host: 'two:9092' }],
    ['that holds a slash', 'amqp://app:SEC/RET@host/v', { host: 'host', pathname: '/v' }],
    ['that holds an @', 'redis://app:SEC@RET@host', { host: 'host' }],
    ['that holds what begins a query', 'amqp://app:SEC?RET@host/v', { host: 'host', pathname: '/v' }],
    ['that holds what begins a fragment', 'amqps://app:SEC#RET@host', { host: 'host' }],
    ['that holds a line break', 'redis://app:SEC\nRET@host', { host: 'host' }],
    ['of a scheme in capitals', 'REDIS://app:SEC/RET@host', { host: 'host' }],
  ])('shows no part of a password %s', (_what, url, shown) => {
    const document = asyncApiOf({ ...service, servers: { main: { url } } });
    expect(document.servers).toEqual({ main: { ...shown, protocol: url.slice(0, url.indexOf(':')) } });
    expect(JSON.stringify(document)).not.toMatch(/SEC|RET|first/);
  });

  it('keeps the path of a file, whatever it holds', () => {
    const { servers } = asyncApiOf({ ...service, servers: { main: { url: 'sqlite:///var/a@b/bus.db' } } });
    expect(servers).toEqual({
      main: { host: 'localhost', pathname: '/var/a@b/bus.db', protocol: 'sqlite' },
    });
  });

  it('control: the schema refuses what is not AsyncAPI', () => {
    const document = asyncApiOf(service);
    const wrong = { ...document, operations: { x: { action: 'shout', channel: { $ref: '#/channels/x' } } } };
    expect(faultsOf(wrong).length).toBeGreaterThan(0);
    expect(faultsOf({ ...document, asyncapi: '2.0.0' }).length).toBeGreaterThan(0);
  });

  it('has every channel once, an operation per use, and no reference that leads nowhere', () => {
    const document = asyncApiOf(service);
    expect(Object.keys(document.channels)).toEqual([
      'opaque',
      'order.packed',
      'order.placed',
      'price.asked',
      'price.asked.reply',
    ]);
    expect(Object.keys(document.operations)).toEqual([
      'send.order.placed',
      'send.price.asked',
      'receive.order.placed.mailer',
      'receive.order.packed.shipper',
      'receive.price.asked.prices',
    ]);
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(
      ([, path]) => path,
    );
    expect(references.length).toBeGreaterThan(10);
    for (const path of references) expect(at(document, ...(path as string).split('/'))).toBeDefined();
  });

  it('has an operation for each of several subscriptions, whatever dots are in their names', () => {
    const on = (name: string) => defineChannel({ name, version: 1, schema: order });
    const [a, ab] = [on('a'), on('a.b')];
    const pairs = [
      [a, 'b.c'],
      [ab, 'c'],
      [a, 'b%2Ec'],
      [ab, 'c.'],
      [a, 'plain'],
    ] as const;
    const subscribes = pairs.map(([channel, name]) => ({ channel, name }));
    const document = asyncApiOf({ title: 'Shop', version: '1', subscribes });
    expect(faultsOf(document)).toEqual([]);
    expect(Object.keys(document.operations)).toEqual([
      'receive.a.b%2Ec',
      'receive.a.b.c',
      'receive.a.b%252Ec',
      'receive.a.b.c%2E',
      'receive.a.plain',
    ]);
    const shown = Object.values(document.operations).map((one) => [
      at(one as never, 'channel', '$ref'),
      at(one as never, 'title'),
    ]);
    expect(shown).toEqual(pairs.map(([{ name }, title]) => [`#/channels/${name}`, title]));
  });

  it('has the replies to a channel beside a channel of their name', () => {
    const asked = defineChannel({ name: 'x', version: 1, schema: order, reply: Type.String() });
    const other = defineChannel({ name: 'x.reply', version: 1, schema: Type.Number() });
    const document = asyncApiOf({ title: 'Shop', version: '1', publishes: [asked, other] });
    expect(faultsOf(document)).toEqual([]);
    expect(Object.keys(document.channels)).toEqual(['x', 'x:reply', 'x.reply']);
    expect(at(document, 'channels', 'x.reply', 'address')).toBe('x.reply');
    expect(at(document, 'channels', 'x:reply')).toEqual({
      address: null,
      messages: { 'x.reply': { $ref: '#/components/messages/x.reply' } },
    });
    expect(at(document, 'operations', 'send.x', 'reply')).toMatchObject({
      channel: { $ref: '#/channels/x:reply' },
      messages: [{ $ref: '#/channels/x:reply/messages/x.reply' }],
    });
    expect(at(document, 'components', 'messages', 'x.reply', 'payload')).toEqual({ type: 'string' });
    expect(at(document, 'components', 'messages', 'x.reply.v1', 'payload')).toEqual({ type: 'number' });
  });

  it('refuses two channels of one name and a server that is no URL', () => {
    const other = defineChannel({ name: 'order.placed', version: 1, schema: order });
    expect(() => asyncApiOf({ ...service, channels: [other] })).toThrow(/two channels/);
    expect(() => asyncApiOf({ ...service, servers: { main: { url: '@SECRET' } } })).toThrow(
      /"main": not a URL[^@]*$/,
    );
  });
});

describe('a message', () => {
  it('has the CloudEvents headers of its wire, and the key where order needs one', () => {
    const kafka = asyncApiOf({ ...service, servers: { main: { url: 'kafka://one:9092' } } });
    const headers = at(kafka, 'components', 'messages', 'order.placed.v2', 'headers') as {
      required: string[];
      properties: Record<string, unknown>;
    };
    expect(headers.required).toContain('ce_partitionkey');
    expect(headers.properties['ce_dataschema']).toEqual({
      type: 'string',
      const: 'urn:channel:order.placed:v2',
    });
    expect(at(kafka, 'components', 'messages', 'order.placed.v2', 'bindings', 'kafka', 'key')).toBeDefined();
    expect(at(kafka, 'channels', 'order.placed', 'bindings', 'kafka', 'topic')).toBe(
      'doorbuster.order.placed',
    );
    const amqp = asyncApiOf({ ...service, servers: { main: { url: 'amqp://broker' } }, prefix: '' });
    expect(at(amqp, 'channels', 'price.asked', 'bindings', 'amqp', 'exchange')).toMatchObject({
      name: 'price.asked',
      type: 'fanout',
    });
    const redis = asyncApiOf({ ...service, servers: { main: { url: 'redis://cache' } } });
    expect(at(redis, 'components', 'messages', 'order.placed.v2', 'contentType')).toBe(
      'application/cloudevents+json',
    );
    expect(at(redis, 'channels', 'order.placed', 'bindings')).toBeUndefined();
  });

  it('shows its JSON Schema as it is, and names the draft where AsyncAPI could misread it', () => {
    const tuple = defineChannel({
      name: 'tuple',
      version: 1,
      schema: { type: 'array', prefixItems: [{ type: 'string' }] } as never,
    });
    const document = asyncApiOf({ ...service, channels: [tuple] });
    expect(faultsOf(document)).toEqual([]);
    expect(at(document, 'components', 'messages', 'order.placed.v2', 'payload')).toEqual(
      JSON.parse(JSON.stringify(order)),
    );
    expect(at(document, 'components', 'messages', 'tuple.v1', 'payload')).toMatchObject({
      schemaFormat: 'application/schema+json;version=draft-2020-12',
    });
  });

  it('shows an Avro schema in its format, and the contract beside it', () => {
    const document = asyncApiOf(service);
    const message = at(document, 'components', 'messages', 'order.packed.v1') as Record<string, unknown>;
    expect(message['contentType']).toBe('application/avro');
    expect(message['payload']).toEqual({
      schemaFormat: 'application/vnd.apache.avro+json;version=1.9.0',
      schema: expect.objectContaining({ type: 'record', name: 'Order' }),
    });
    expect(message['x-contract']).toMatchObject({ properties: { orderId: { minLength: 1 } } });
  });

  it('says of a Standard Schema that it cannot show its shape, unless the vendor gives a JSON Schema', () => {
    expect(at(asyncApiOf(service), 'components', 'messages', 'opaque.v1', 'payload')).toEqual({
      description: expect.stringContaining('acme, which gives no JSON Schema'),
      'x-standard-schema': 'acme',
    });
    const shown = defineChannel({
      name: 'shown',
      version: 1,
      schema: standard({ type: 'object', properties: { n: { type: 'number' } } }),
    });
    expect(
      at(asyncApiOf({ ...service, channels: [shown] }), 'components', 'messages', 'shown.v1', 'payload'),
    ).toEqual({ type: 'object', properties: { n: { type: 'number' } } });
  });

  it('shows what travels by a schema of zod, and of one that JSON Schema has no words for says why not', () => {
    const ofZod = (name: string, at: z.ZodType) =>
      defineChannel({ name, version: 1, schema: z.object({ orderId: z.string().min(1), at }) });
    const made = z.iso.datetime().transform((text) => new Date(text));
    const channels = [ofZod('made', made), ofZod('coerced', z.coerce.date())];
    const document = asyncApiOf({ ...service, channels });
    expect(faultsOf(document)).toEqual([]);
    expect(at(document, 'components', 'messages', 'made.v1', 'payload')).toMatchObject({
      type: 'object',
      properties: { orderId: { type: 'string', minLength: 1 }, at: { type: 'string', format: 'date-time' } },
      required: ['orderId', 'at'],
    });
    expect(at(document, 'components', 'messages', 'coerced.v1', 'payload')).toEqual({
      description: expect.stringMatching(/by zod, which cannot say it in JSON Schema \(.*[Dd]ate.*\)/),
      'x-standard-schema': 'zod',
    });
  });

  it('says of a schema of valibot that it gives no JSON Schema', () => {
    const schema = v.object({ at: v.pipe(v.string(), v.isoTimestamp()) });
    const document = asyncApiOf({ ...service, channels: [defineChannel({ name: 'v', version: 1, schema })] });
    expect(faultsOf(document)).toEqual([]);
    expect(at(document, 'components', 'messages', 'v.v1', 'payload')).toEqual({
      description: expect.stringContaining('valibot, which gives no JSON Schema'),
      'x-standard-schema': 'valibot',
    });
  });
});
