/**
 * Avro on Kafka from end to end: the bytes in the record, the schema in the AsyncAPI document that a foreign reader takes them apart with, a foreign
 * writer that has only that document, and bytes that are something else.
 */
import { Consumer, MessagesStreamModes, Producer } from '@platformatic/kafka';
import avro from 'avsc';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asyncApiOf } from '../../asyncapi/document.ts';
import { type Bus, createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import { avroEncoding } from '../../encodings/avro.ts';
import type { Message } from '../../message.ts';
import { ack } from '../../outcome.ts';
import { clientOf, createKafkaFixture, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';

const placed = defineChannel({
  name: 'order.placed',
  version: 1,
  schema: Type.Object({ orderId: Type.String({ minLength: 1 }), total: Type.Number({ minimum: 0 }) }),
  encoding: avroEncoding({
    type: 'record',
    name: 'Order',
    fields: [
      { name: 'orderId', type: 'string' },
      { name: 'total', type: 'double' },
    ],
  }),
});

interface ContractInDocument {
  readonly contentType: string;
  readonly payload: { readonly schemaFormat: string; readonly schema: avro.Schema };
}

/** All that somebody else gets of us. */
function contractOf(prefix: string): { readonly topic: string; readonly contract: ContractInDocument } {
  const document = JSON.parse(
    JSON.stringify(
      asyncApiOf({
        title: 'Shop',
        version: '1.0.0',
        servers: { kafka: { url: kafkaUrl ?? '' } },
        publishes: [placed],
        prefix,
      }),
    ),
  ) as {
    channels: Record<string, { bindings: { kafka: { topic: string } } }>;
    components: { messages: Record<string, ContractInDocument> };
  };
  return {
    topic: document.channels['order.placed']?.bindings.kafka.topic ?? '',
    contract: document.components.messages['order.placed.v1'] as ContractInDocument,
  };
}

describe.skipIf(kafkaUrl === undefined)('Avro on Kafka (needs KAFKA_URL)', { timeout: 60_000 }, () => {
  let fixture: KafkaFixture;
  let bus: Bus;
  const got = new Collector<Message>();
  beforeEach(async () => {
    fixture = await createKafkaFixture();
    got.values.length = 0;
    bus = createBus({ engine: fixture.open(), source: '/shop' });
    bus.declare([placed]);
    bus.subscribe(placed, {
      name: 'one',
      handler: (message) => {
        got.add(message);
        return ack();
      },
    });
    await bus.start();
  });
  afterEach(async () => {
    await bus.stop({ drainMs: 500 });
    await fixture.destroy();
  });

  /** The first record, as a client without serializers reads it. */
  async function firstRecord(topic: string) {
    const consumer = new Consumer({ ...clientOf(kafkaUrl ?? ''), groupId: `${fixture.prefix}foreign` });
    const records = new Collector<{ value: Buffer; headers: Map<Buffer, Buffer> }>();
    try {
      const stream = await consumer.consume({
        topics: [topic],
        mode: MessagesStreamModes.EARLIEST,
        autocommit: false,
      });
      stream.on('data', ({ value, headers }) => records.add({ value, headers }));
      const [first] = await records.waitFor(1, 'records');
      await stream.close();
      return first;
    } finally {
      await consumer.close(true);
    }
  }
  async function produce(topic: string, value: Buffer, headers: Readonly<Record<string, string>>) {
    const producer = new Producer(clientOf(kafkaUrl ?? ''));
    const named = new Map(
      Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)]),
    );
    try {
      await producer.send({ messages: [{ topic, partition: 0, value, headers: named }], acks: -1 });
    } finally {
      await producer.close();
    }
  }

  it('what we publish is read by somebody who has the AsyncAPI document and nothing else', async () => {
    const { topic, contract } = contractOf(fixture.prefix);
    expect(contract.contentType).toBe('application/avro');
    expect(contract.payload.schemaFormat).toMatch(/^application\/vnd\.apache\.avro\+json/);
    const data = { orderId: 'A-1', total: 12.5 };
    const { id } = await bus.publish(placed, data, { key: 'A-1' });
    await got.waitFor(1);
    expect(got.values[0]).toMatchObject({ id, key: 'A-1', data, contentType: 'application/avro' });

    const record = await firstRecord(topic);
    expect({ ...avro.Type.forSchema(contract.payload.schema).fromBuffer(record?.value as Buffer) }).toEqual(
      data,
    );
    const headers = Object.fromEntries(
      [...(record?.headers ?? [])].map(([name, value]) => [name.toString(), value.toString()]),
    );
    expect(headers).toMatchObject({
      'content-type': 'application/avro',
      ce_specversion: '1.0',
      ce_id: id,
      ce_type: 'order.placed',
    });
  });

  it('what somebody writes by the document is read; other bytes are a dead letter, and so is what Avro takes and the contract does not', async () => {
    const { topic, contract } = contractOf(fixture.prefix);
    const type = avro.Type.forSchema(contract.payload.schema);
    const headersOf = (id: string) => ({
      'content-type': contract.contentType,
      ce_specversion: '1.0',
      ce_id: id,
      ce_type: 'order.placed',
      ce_source: '/elsewhere',
    });
    await produce(topic, type.toBuffer({ orderId: 'B-1', total: 3 }), headersOf('good'));
    await produce(topic, Buffer.from([250, 1, 2]), headersOf('torn'));
    await produce(topic, type.toBuffer({ orderId: 'B-2', total: -1 }), headersOf('negative'));
    const letters = await eventually(
      () => bus.deadLetters.list(),
      ({ length }) => length === 2,
      'two dead letters',
    );
    await got.waitFor(1);
    expect(got.values.map(({ id, data }) => [id, data])).toEqual([['good', { orderId: 'B-1', total: 3 }]]);
    expect(letters.map(({ messageId, history }) => [messageId, history[0]?.kind])).toEqual([
      ['torn', 'invalid'],
      ['negative', 'invalid'],
    ]);
  });

  it('what older and newer services wrote is read as today’s, or a dead letter with the reason, and what follows goes on', async () => {
    const fields = [
      { name: 'orderId', type: 'string' },
      { name: 'total', type: 'int' },
    ];
    const first = { type: 'record', name: 'Order', fields };
    const today = {
      ...first,
      fields: [
        { name: 'orderId', type: 'string' },
        { name: 'amount', aliases: ['total'], type: 'long' },
        { name: 'currency', type: 'string', default: 'EUR' },
        { name: 'tags', type: { type: 'array', items: 'string' }, default: [] },
      ],
    };
    const name = 'order.changed';
    const old = defineChannel({ name, version: 1, schema: Type.Any(), encoding: avroEncoding(first) });
    const schema = Type.Object({
      orderId: Type.String(),
      amount: Type.Integer(),
      currency: Type.String(),
      tags: Type.Array(Type.String()),
    });
    const changed = defineChannel({
      name,
      version: 3,
      schema,
      encoding: avroEncoding(today, { writers: { 1: first } }),
    });
    const older = createBus({ engine: fixture.open(), source: '/older' });
    older.declare([old]);
    await older.start();
    const newer = createBus({ engine: fixture.open(), source: '/newer' });
    const seen = new Collector<Message>();
    newer.declare([changed]);
    newer.subscribe(changed, {
      name: 'reader',
      handler: (message) => {
        seen.add(message);
        return ack();
      },
    });
    await newer.start();
    try {
      const topic = `${fixture.prefix}${name}`;
      const headersOf = (id: string, version: number) => ({
        'content-type': 'application/avro',
        ce_specversion: '1.0',
        ce_id: id,
        ce_type: name,
        ce_source: '/elsewhere',
        ce_dataschema: `urn:channel:${name}:v${version}`,
      });
      const ofFirst = avro.Type.forSchema(first as avro.Schema).toBuffer({ orderId: 'C-2', total: 4 });
      const claims = avro.Type.forSchema('long').toBuffer(2 ** 40);
      await older.publish(old, { orderId: 'C-1', total: 3 });
      await produce(topic, ofFirst, headersOf('unknown-version', 2));
      await produce(topic, ofFirst, headersOf('not-as-it-says', 3));
      await produce(topic, ofFirst, headersOf('from-tomorrow', 4));
      await produce(topic, Buffer.concat([Buffer.from([2, 65, 2, 2, 65]), claims]), headersOf('bomb', 3));
      await newer.publish(changed, { orderId: 'C-3', amount: 5, currency: 'KRW', tags: ['a'] });
      await seen.waitFor(2);
      const letters = await eventually(
        () => newer.deadLetters.list(),
        ({ length }) => length === 4,
        'four dead letters',
      );
      const bare = seen.values.map(({ data }) => ({ ...(data as object) }));
      expect(bare).toHaveLength(2);
      expect(bare).toContainEqual({ orderId: 'C-1', amount: 3, currency: 'EUR', tags: [] });
      expect(bare).toContainEqual({ orderId: 'C-3', amount: 5, currency: 'KRW', tags: ['a'] });
      const reasons = Object.fromEntries(
        letters.map(({ messageId, history }) => [messageId, `${history[0]?.kind}: ${history[0]?.reason}`]),
      );
      expect(reasons).toEqual({
        'unknown-version': expect.stringMatching(/^invalid: .*Avro schema of version 2 is not known/),
        'not-as-it-says': expect.stringMatching(/^invalid: .*end before what they announce/),
        'from-tomorrow': expect.stringMatching(/^invalid: .*version 4 is newer than the known 3/),
        bomb: expect.stringMatching(/^invalid: .*end before what they announce/),
      });
    } finally {
      await older.stop({ drainMs: 500 });
      await newer.stop({ drainMs: 500 });
    }
  });
});
