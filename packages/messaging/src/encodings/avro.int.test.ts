/** Avro through the bus: what is stored, what comes back, what becomes a dead letter, and how an older schema is read. */
import { DatabaseSync } from 'node:sqlite';
import avro from 'avsc';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { decodeCloudEvent } from '../cloud-event.ts';
import { Collector, eventually } from '../conformance/fixture.ts';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import type { Message } from '../message.ts';
import { ack } from '../outcome.ts';
import { readMessage } from '../reading.ts';
import { avroEncoding } from './avro.ts';

const first = {
  type: 'record',
  name: 'Order',
  fields: [
    { name: 'orderId', type: 'string' },
    { name: 'total', type: 'double' },
  ],
};
const second = { ...first, fields: [...first.fields, { name: 'currency', type: 'string', default: 'EUR' }] };
const schema = Type.Object({ orderId: Type.String(), total: Type.Number({ minimum: 0 }) });
const placed = defineChannel({ name: 'order.placed', version: 1, schema, encoding: avroEncoding(first) });

async function running(): Promise<{ bus: Bus; got: Collector<Message> }> {
  const bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/t' });
  const got = new Collector<Message>();
  bus.declare([placed]);
  bus.subscribe(placed, {
    name: 'one',
    handler: (message) => {
      got.add(message);
      return ack();
    },
  });
  await bus.start();
  return { bus, got };
}

const foreign = (data: unknown, more: Partial<Message> = {}): Message => ({
  id: 'f-1',
  type: 'order.placed',
  version: 1,
  source: '/elsewhere',
  time: '2026-01-01T00:00:00.000Z',
  data,
  headers: {},
  ...more,
});

describe('on a channel', () => {
  it('the data comes back as it was, and bytes are what was stored', async () => {
    const { bus, got } = await running();
    await bus.publish(placed, { orderId: 'A-1', total: 12.5 });
    await got.waitFor(1);
    await bus.stop();
    expect(got.values[0]).toMatchObject({
      data: { orderId: 'A-1', total: 12.5 },
      contentType: 'application/avro',
    });
  });

  it('carries the numbers that JSON has no word for', async () => {
    const { bus, got } = await running();
    await bus.publish(placed, { orderId: 'a', total: Number.POSITIVE_INFINITY });
    const [message] = await got.waitFor(1);
    expect(message?.data).toEqual({ orderId: 'a', total: Number.POSITIVE_INFINITY });
    await bus.stop();
  });

  it('refuses to publish what fits the contract but not the Avro schema', async () => {
    const narrow = defineChannel({
      name: 'narrow',
      version: 1,
      schema: Type.Object({ n: Type.Number() }),
      encoding: avroEncoding({ type: 'record', name: 'N', fields: [{ name: 'n', type: 'int' }] }),
    });
    const bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/t' });
    bus.declare([narrow]);
    await bus.start();
    await expect(bus.publish(narrow, { n: 1.5 })).rejects.toMatchObject({ code: 'DB_MSG_INVALID_DATA' });
    await bus.stop();
  });

  it('makes bytes of another schema a dead letter that says so, and the next message goes on', async () => {
    const { bus, got } = await running();
    await bus.forward([
      {
        channel: 'order.placed',
        message: foreign(new Uint8Array([1, 2, 3]), { contentType: 'application/avro' }),
      },
      { channel: 'order.placed', message: foreign({ orderId: 'json', total: 1 }, { id: 'f-2' }) },
    ]);
    await got.waitFor(1);
    const [letter] = await eventually(
      () => bus.deadLetters.list(),
      (letters) => letters.length === 1,
      'the dead letter',
    );
    await bus.stop();
    expect(letter?.history[0]?.kind).toBe('invalid');
    expect(got.values[0]?.data).toEqual({ orderId: 'json', total: 1 });
    expect(decodeCloudEvent(letter?.raw ?? '').data).toEqual(Buffer.from([1, 2, 3]));
  });

  it('control: an encoding that looks at nothing hands the same bytes to the handler', () => {
    const blind = defineChannel({
      name: 'blind',
      version: 1,
      schema: {},
      encoding: { contentType: 'application/avro', encode: () => new Uint8Array(), decode: (bytes) => bytes },
    });
    const wrong = foreign(new Uint8Array([1, 2, 3]), { contentType: 'application/avro' });
    expect(readMessage(blind, wrong)).toHaveProperty('message');
    expect(readMessage(placed, wrong)).toHaveProperty('fault');
  });
});

describe('an older writer', () => {
  const today = Type.Object({ orderId: Type.String(), total: Type.Number(), currency: Type.String() });
  const bytesOf = (writer: object, data: unknown): Uint8Array =>
    avro.Type.forSchema(writer as avro.Schema).toBuffer(data);
  const old = bytesOf(first, { orderId: 'A-1', total: 2 });

  it('is resolved by the version of the message', () => {
    const channel = defineChannel({
      name: 'order.placed',
      version: 2,
      schema: today,
      encoding: avroEncoding(second, { writers: { 1: first } }),
    });
    expect(readMessage(channel, foreign(old))).toMatchObject({
      message: { data: { orderId: 'A-1', total: 2, currency: 'EUR' } },
    });
  });

  it('is refused when its schema is not known', () => {
    const encoding = avroEncoding(second);
    const channel = defineChannel({ name: 'order.placed', version: 2, schema: today, encoding });
    expect(readMessage(channel, foreign(old))).toMatchObject({
      fault: expect.stringContaining('name it in "writers"'),
    });
  });

  it('that cannot be resolved is refused when the channel is made', () => {
    const other = { type: 'record', name: 'Order', fields: [{ name: 'orderId', type: 'int' }] };
    expect(() => avroEncoding(second, { writers: { 1: other } })).toThrow(/version 1.*cannot be read/);
    expect(() => avroEncoding({ type: 'nonsense' })).toThrow(/not an Avro schema/);
  });
});

describe('a foreign record in the frame of a schema registry', () => {
  const encoding = avroEncoding(second, { registry: { id: 42, writers: { 7: first } } });
  const channel = defineChannel({
    name: 'order.placed',
    version: 1,
    schema: Type.Object({ orderId: Type.String(), total: Type.Number(), currency: Type.String() }),
    encoding,
  });
  const frame = (id: number, writer: object, data: unknown): Uint8Array =>
    Buffer.concat([Buffer.from([0, 0, 0, 0, id]), avro.Type.forSchema(writer as avro.Schema).toBuffer(data)]);

  it.each([
    ['today', frame(42, second, { orderId: 'A', total: 1, currency: 'KRW' }), 'KRW'],
    ['an earlier one', frame(7, first, { orderId: 'A', total: 1 }), 'EUR'],
  ])('is read when it was written with %s', (_name, bytes, currency) => {
    expect(readMessage(channel, foreign(bytes))).toMatchObject({ message: { data: { currency } } });
  });

  it('is refused with an unknown number or without a frame, and ours has the frame', () => {
    const data = { orderId: 'A', total: 1 };
    expect(readMessage(channel, foreign(frame(9, first, data)))).toMatchObject({
      fault: expect.stringContaining('schema 9 is not known'),
    });
    expect(readMessage(channel, foreign(new Uint8Array([1, 2])))).toMatchObject({
      fault: expect.stringContaining('do not begin with'),
    });
    expect(Array.from(encoding.encode({ ...data, currency: 'KRW' }).subarray(0, 5))).toEqual([
      0, 0, 0, 0, 42,
    ]);
  });
});
