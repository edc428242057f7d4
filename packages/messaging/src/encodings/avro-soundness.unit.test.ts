/** Bytes that announce more than they hold: refused before avsc believes them. The controls show what avsc alone makes of the same kind. */
import avro from 'avsc';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { defineChannel } from '../channel.ts';
import { encodeData } from '../encoding.ts';
import { avroEncoding } from './avro.ts';
import { soundnessOf } from './avro-soundness.ts';

const array = (items: unknown) => ({ type: 'array', items });
const map = (values: unknown) => ({ type: 'map', values });
const typeOf = (schema: unknown): avro.Type => avro.Type.forSchema(schema as avro.Schema);
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const number = (value: number): string => typeOf('long').toBuffer(value).toString('hex');
const check = (schema: unknown, bytes: Buffer): void => soundnessOf(typeOf(schema))?.(bytes);
const bomb = hex(`${number(2 ** 40)} 00`);

describe('is refused', () => {
  it.each<[name: string, schema: unknown, bytes: Buffer, why: RegExp]>([
    ['an array of more longs than there are bytes', array('long'), bomb, /end before what they announce/],
    ['the same of strings', array('string'), bomb, /end before what they announce/],
    ['a map of more entries than there are bytes', map('long'), bomb, /end before what they announce/],
    ['an array of very many nulls', array('null'), bomb, /more than 65536 items in it take no byte/],
    [
      'an array of arrays of nulls',
      array(array('null')),
      hex(`${number(2)} ${number(60_000)} 00 ${number(60_000)} 00 00`),
      /take no byte/,
    ],
    [
      'a block whose size is negative',
      array('long'),
      hex(`01 ${number(-2)} 02 00`),
      /has not the size that it says/,
    ],
    [
      'a block whose size is another',
      array('long'),
      hex(`01 ${number(9)} 02 00`),
      /has not the size that it says/,
    ],
    ['a string of a negative length in an array', array('string'), hex(`02 ${number(-3)} 00`), /end before/],
    [
      'a number without an end',
      array('long'),
      hex('02 ffffffffffffffffffff 00'),
      /longer than numbers of Avro/,
    ],
    ['a branch that a union has not', array(['null', 'long']), hex(`02 ${number(7)} 00`), /has no branch 7/],
    [
      'a map with the key __proto__',
      map('long'),
      hex(`02 12 ${Buffer.from('__proto__').toString('hex')} 02 00`),
      /the key "__proto__"/,
    ],
  ])('%s', (_name, schema, bytes, why) => {
    expect(() => check(schema, bytes)).toThrow(why);
  });

  it('by the encoding, also in a field that today’s schema has no more', () => {
    const old = {
      type: 'record',
      name: 'R',
      fields: [
        { name: 'xs', type: array('long') },
        { name: 'n', type: 'int' },
      ],
    };
    const today = { ...old, fields: [{ name: 'n', type: 'int' }] };
    const encoding = avroEncoding(today, { writers: { 1: old } });
    const decode = (bytes: Buffer): unknown =>
      encoding.decode(bytes, { written: 1, current: 2, isUpcast: false });
    expect(() => decode(bomb)).toThrow(/end before/);
    // By itself avsc goes back as far as it came, for ever.
    expect(() => decode(hex(`01 ${number(-2)} 02 00 02`))).toThrow(/has not the size/);
    expect(decode(typeOf(old).toBuffer({ xs: [1, 2], n: 3 }))).toEqual({ n: 3 });
  });

  it('when it is written: what the encoding does not read it does not write', () => {
    const nothing = { type: 'record', name: 'Nothing', fields: [] };
    const lists = avroEncoding(array(nothing));
    const version = { written: 1, current: 1, isUpcast: false };
    const items = (count: number): object[] => Array.from({ length: count }, () => ({}));
    expect(lists.decode(lists.encode(items(65_536)), version)).toHaveLength(65_536);
    expect(() => lists.encode(items(65_537))).toThrow(/more than 65536 items in it take no byte/);
    // By itself avsc writes both.
    expect(typeOf(array(nothing)).toBuffer(items(65_537))).not.toHaveLength(0);
    const many = defineChannel({ name: 'many', version: 1, schema: Type.Array(Type.Any()), encoding: lists });
    expect(() => encodeData(many, items(65_537))).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_DATA' }),
    );
    const own = JSON.parse('{"__proto__":1}') as unknown;
    for (const options of [{}, { registry: { id: 7 } }])
      expect(() => avroEncoding(map('long'), options).encode(own)).toThrow(/the key "__proto__"/);
    expect(typeOf(map('long')).toBuffer(own)).not.toHaveLength(0);
  });

  it('control: avsc alone makes items that nobody wrote', () => {
    const million = hex(`${number(1_000_000)} 00`);
    expect(typeOf(array('null')).fromBuffer(million)).toHaveLength(1_000_000);
    expect(() => check(array('null'), million)).toThrow(/take no byte/);
  });
});

describe('is let through', () => {
  const tree = {
    type: 'record',
    name: 'Tree',
    fields: [
      { name: 'name', type: 'string' },
      { name: 'weights', type: map(['null', 'double']) },
      { name: 'leaf', type: { type: 'fixed', name: 'F', size: 3 } },
      { name: 'colour', type: { type: 'enum', name: 'E', symbols: ['A', 'B'] } },
      { name: 'flags', type: array('boolean') },
      { name: 'bytes', type: 'bytes' },
      {
        name: 'dates',
        type: array({ type: 'record', name: 'Day', fields: [{ name: 'day', type: 'long' }] }),
      },
    ],
  };

  it('whatever avsc writes, and to its last byte', () => {
    const type = typeOf(tree);
    for (let round = 0; round < 300; round += 1) {
      const bytes = type.toBuffer(type.random());
      expect(() => check(tree, bytes)).not.toThrow();
      // One byte less is one too few, wherever a tree ends.
      expect(() => check(tree, bytes.subarray(0, -1))).toThrow(/end before/);
    }
  });

  it('a schema that holds itself', () => {
    const self = { type: 'record', name: 'Node', fields: [{ name: 'nodes', type: array('Node') }] };
    const leaf = { nodes: [] };
    const bytes = typeOf(self).toBuffer({ nodes: [{ nodes: [leaf, leaf] }, leaf] });
    expect(() => check(self, bytes)).not.toThrow();
    expect(() => check(self, bytes.subarray(0, -1))).toThrow(/end before/);
  });

  it('blocks with their right size, several of them, and a few items of nothing', () => {
    expect(() => check(array('long'), hex(`01 ${number(1)} 02 03 ${number(2)} 02 04 00`))).not.toThrow();
    expect(() => check(array('null'), hex(`${number(100)} 00`))).not.toThrow();
  });

  it('a schema without arrays and maps, unlooked at', () => {
    expect(
      soundnessOf(typeOf({ type: 'record', name: 'R', fields: [{ name: 'n', type: 'int' }] })),
    ).toBeUndefined();
  });
});
