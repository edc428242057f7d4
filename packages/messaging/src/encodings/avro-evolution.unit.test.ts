/** Bytes of another schema than today's, case by case: what is read, and the words of what is refused. What is refused is a dead letter (avro.int.test.ts). */
import avro from 'avsc';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { defineChannel, type Upcast } from '../channel.ts';
import type { Message } from '../message.ts';
import { readMessage } from '../reading.ts';
import { type AvroOptions, type AvroSchema, avroEncoding } from './avro.ts';

type Field = readonly [name: string, type: unknown, more?: object];
const record = (fields: readonly Field[], more: object = {}): Readonly<Record<string, unknown>> => ({
  type: 'record',
  name: 'Order',
  fields: fields.map(([name, type, rest]) => ({ name, type, ...rest })),
  ...more,
});
const bytesOf = (schema: AvroSchema, data: unknown): Buffer =>
  avro.Type.forSchema(schema as avro.Schema).toBuffer(data);
const id: Field = ['id', 'string'];
const n: Field = ['n', 'int'];
const first = record([id, n]);
const order = { id: 'A-1', n: 7 };

const received = (data: unknown, version: number): Message => ({
  id: 'm-1',
  type: 'order.placed',
  version,
  source: '/elsewhere',
  time: '2026-01-01T00:00:00.000Z',
  headers: {},
  data,
});
/** A channel at version 2, of whose first version the bytes are. */
const channelOf = (
  today: AvroSchema,
  options: AvroOptions,
  upcasters?: Record<number, (data: never) => Upcast>,
) =>
  defineChannel({
    name: 'order.placed',
    version: 2,
    schema: Type.Any(),
    encoding: avroEncoding(today, options),
    ...(upcasters ? { upcasters } : {}),
  });
const read = (today: AvroSchema, writer: Readonly<Record<string, unknown>>, data: unknown) =>
  readMessage(channelOf(today, { writers: { 1: writer } }), received(bytesOf(writer, data), 1));
const symbols = (...names: readonly string[]): object => ({ type: 'enum', name: 'S', symbols: names });
const fruits = (...names: readonly string[]) => record([['s', symbols(...names)]]);

describe('an older schema', () => {
  it.each<
    [name: string, today: AvroSchema, writer: Readonly<Record<string, unknown>>, data: object, seen: object]
  >([
    [
      'lacks a field with a default',
      record([id, n, ['c', 'string', { default: 'EUR' }]]),
      first,
      order,
      { ...order, c: 'EUR' },
    ],
    ['has a field that is gone', record([id]), first, order, { id: 'A-1' }],
    [
      'has an array that is gone',
      record([id]),
      record([['xs', { type: 'array', items: 'long' }], id]),
      { xs: [1, 2], id: 'A-1' },
      { id: 'A-1' },
    ],
    [
      'has a field by another name, an alias',
      record([['orderId', 'string', { aliases: ['id'] }], n]),
      first,
      order,
      { orderId: 'A-1', n: 7 },
    ],
    ['has the fields in another order', first, record([n, id]), order, order],
    ['has an int where a long is', record([id, ['n', 'long']]), first, order, order],
    ['has an int where a double is', record([id, ['n', 'double']]), first, order, order],
    [
      'has a field that may be null today',
      record([id, ['n', ['null', 'int'], { default: null }]]),
      first,
      order,
      order,
    ],
    ['has fewer symbols', fruits('A', 'B'), fruits('A'), { s: 'A' }, { s: 'A' }],
    [
      'is named otherwise, an alias',
      record([id, n], { aliases: ['Old'] }),
      record([id, n], { name: 'Old' }),
      order,
      order,
    ],
  ])('that %s is read', (_name, today, writer, data, seen) => {
    expect(read(today, writer, data)).toMatchObject({ message: { data: seen } });
    const reading = read(today, writer, data) as { message: Message };
    expect(Object.keys(reading.message.data as object)).toEqual(Object.keys(seen));
  });

  it('control: the same bytes by today’s schema alone are nonsense that fits, or fail', () => {
    const swapped = record([
      ['b', 'string'],
      ['a', 'string'],
    ]);
    const bytes = bytesOf(
      record([
        ['a', 'string'],
        ['b', 'string'],
      ]),
      { a: '1', b: '2' },
    );
    expect({ ...avro.Type.forSchema(swapped as unknown as avro.Schema).fromBuffer(bytes) }).toEqual({
      b: '1',
      a: '2',
    });
  });

  it.each<[name: string, today: AvroSchema, writer: Readonly<Record<string, unknown>>, why: RegExp]>([
    [
      'lacks a field without a default',
      record([id, n, ['c', 'string']]),
      first,
      /version 1 wrote.*default-less Order\.c/,
    ],
    [
      'has a field by another name, no alias',
      record([['orderId', 'string'], n]),
      first,
      /default-less Order\.orderId/,
    ],
    ['has a long where an int is', first, record([id, ['n', 'long']]), /cannot read "long" as "int"/],
    [
      'may have null where nothing may be',
      first,
      record([id, ['n', ['null', 'int'], { default: null }]]),
      /cannot read "null" as "int"/,
    ],
    ['has more symbols', fruits('A'), fruits('A', 'B'), /cannot read "S" as "S"/],
    ['is named otherwise, no alias', first, record([id, n], { name: 'Old' }), /no alias found for Old/],
  ])('that %s is refused when the encoding is made, not at a message', (_name, today, writer, why) => {
    expect(() => avroEncoding(today, { writers: { 1: writer } })).toThrow(why);
  });

  it('that nobody named is refused at the message, and so is a newer one', () => {
    expect(readMessage(channelOf(first, {}), received(bytesOf(first, order), 1))).toEqual({
      fault: expect.stringContaining('the Avro schema of version 1 is not known: name it in "writers"'),
    });
    const newer = record([id, n, ['c', 'string', { default: 'EUR' }]]);
    expect(readMessage(channelOf(first, {}), received(bytesOf(newer, { ...order, c: 'KRW' }), 3))).toEqual({
      fault: expect.stringContaining('version 3 is newer than the known 2'),
    });
  });
});

describe('a newer schema by its number in a registry', () => {
  const newer = record([id, ['n', 'int'], ['c', 'string', { default: 'EUR' }]]);
  const framed = (number: number, data: object): Buffer =>
    Buffer.concat([Buffer.from([0, 0, 0, 0, number]), bytesOf(newer, data)]);

  it('is read by today’s when it is named, and refused by its number when it is not', () => {
    const bytes = framed(9, { ...order, c: 'KRW' });
    const known = channelOf(first, { registry: { id: 8, writers: { 9: newer } } });
    expect(readMessage(known, received(bytes, 2))).toMatchObject({ message: { data: order } });
    expect(readMessage(channelOf(first, { registry: { id: 8 } }), received(bytes, 2))).toEqual({
      fault: expect.stringContaining('schema 9 is not known here'),
    });
  });
});

describe('numbers beyond what a number holds', () => {
  const longs = record([['n', 'long']]);
  it('are refused, not rounded', () => {
    const bytes = Buffer.from('feffffffffffffffff01', 'hex');
    expect(readMessage(channelOf(longs, {}), received(bytes, 2))).toEqual({
      fault: expect.stringContaining('potential precision loss'),
    });
    expect(() => avroEncoding(longs).encode({ n: 2 ** 53 })).toThrow(/invalid "long"/);
  });
});

describe('with upcasters', () => {
  const today = record([['orderId', 'string', { aliases: ['id'] }], n]);
  const upcasters = {
    1: ({ id: old, n: count }: { id: string; n: number }) => ({ orderId: old, n: count + 1 }),
  };
  const upcast = { orderId: 'A-1', n: 8 };

  it('they get what the version wrote, of Avro as of JSON', () => {
    const channel = channelOf(today, { writers: { 1: first } }, upcasters);
    expect(readMessage(channel, received(order, 1))).toMatchObject({ message: { data: upcast, version: 2 } });
    expect(readMessage(channel, received(bytesOf(first, order), 1))).toMatchObject({
      message: { data: upcast, version: 2 },
    });
  });

  it('bytes with today’s number are today’s also when the message does not say its version', () => {
    const channel = channelOf(today, { registry: { id: 8, writers: { 7: first } } }, upcasters);
    const framed = (number: number, schema: AvroSchema, data: object): Buffer =>
      Buffer.concat([Buffer.from([0, 0, 0, 0, number]), bytesOf(schema, data)]);
    expect(readMessage(channel, received(framed(8, today, { orderId: 'A-1', n: 7 }), 1))).toMatchObject({
      message: { data: { orderId: 'A-1', n: 7 } },
    });
    expect(readMessage(channel, received(framed(7, first, order), 1))).toMatchObject({
      message: { data: upcast },
    });
  });
});

describe('the number of a registry', () => {
  it.each([Number.NaN, 1.5, -1, 2 ** 32, Number.POSITIVE_INFINITY, '7', null, undefined])(
    'is refused where no frame can hold it: %j',
    (number) => {
      expect(() => avroEncoding(first, { registry: { id: number as number } })).toThrow(
        expect.objectContaining({
          code: 'DB_MSG_INVALID_OPTIONS',
          message: expect.stringContaining('registry.id is a whole number from 0 to 4294967295, not'),
        }),
      );
    },
  );

  it.each([0, 2 ** 32 - 1])('is written and read as it is: %d (the control)', (number) => {
    const { encode, decode } = avroEncoding(first, { registry: { id: number } });
    const written = encode(order);
    expect(Buffer.from(written).readUInt32BE(1)).toBe(number);
    expect(decode(written, { written: 1, current: 1, isUpcast: false })).toEqual(order);
  });
});
