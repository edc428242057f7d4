/**
 * Bytes are walked by their schema before avsc reads them, where the schema has arrays or maps. avsc believes the number of items that a block
 * begins with and asks only at the end whether the bytes were there: a few bytes that announce 2^40 items take all memory, and the process that died of
 * them gets them again when it is back. A block's size that is not its own sends avsc's skipping to and fro for ever, and the key `__proto__` of a map
 * sets a prototype. Not a decoder, and nothing for schemas without arrays and maps: what those read is bounded by the schema.
 */
import avro from 'avsc';

interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
  /** Items that took no byte: of nulls, the bytes bound nothing. */
  empty: number;
}
type Walk = (cursor: Cursor) => void;

const MAX_EMPTY_ITEMS = 65_536;
const VARINT_BYTES = 10;
const PROTO = Buffer.from('__proto__');

/** Throws a TypeError at bytes that no writer of the schema has written. Undefined for a schema that needs no such look. */
export function soundnessOf(type: avro.Type): ((bytes: Uint8Array) => void) | undefined {
  const seen = new Map<avro.Type, Walk>();
  const walk = walkOf(type, seen);
  const isBlock = (one: avro.Type): boolean =>
    one instanceof avro.types.ArrayType || one instanceof avro.types.MapType;
  if (![...seen.keys()].some(isBlock)) return undefined;
  return (bytes) => walk({ bytes, at: 0, empty: 0 });
}

function walkOf(type: avro.Type, seen: Map<avro.Type, Walk>): Walk {
  const known = seen.get(type);
  if (known) return known;
  // A type may hold itself: what stands here meanwhile leads to the walk when there is one.
  seen.set(type, (cursor) => walk(cursor));
  const walk = made(type, (inner) => walkOf(inner, seen));
  seen.set(type, walk);
  return walk;
}

function made(type: avro.Type, inner: (type: avro.Type) => Walk): Walk {
  const { types } = avro;
  if (type instanceof types.LogicalType) return inner(type.underlyingType);
  if (type instanceof types.RecordType) {
    const fields = type.fields.map((field) => inner(field.type));
    return (cursor) => {
      for (const field of fields) field(cursor);
    };
  }
  if (type instanceof types.ArrayType) return blocks(inner(type.itemsType));
  if (type instanceof types.MapType) return blocks(entry(inner(type.valuesType)));
  if (type instanceof types.UnwrappedUnionType || type instanceof types.WrappedUnionType)
    return branch(type.types.map(inner));
  if (type instanceof types.FixedType) return bytesOf(type.size);
  return primitives[type.typeName] ?? long;
}

const bytesOf =
  (count: number): Walk =>
  (cursor) =>
    pass(cursor, count);

const primitives: Readonly<Record<string, Walk>> = {
  null: () => {},
  boolean: bytesOf(1),
  float: bytesOf(4),
  double: bytesOf(8),
  bytes: (cursor) => pass(cursor, long(cursor)),
  string: (cursor) => pass(cursor, long(cursor)),
};

function pass(cursor: Cursor, count: number): void {
  if (count < 0 || cursor.at + count > cursor.bytes.length) throw torn();
  cursor.at += count;
}

/** A zigzag varint; beyond 2^53 it is inexact, which is far beyond what any buffer holds. */
function long(cursor: Cursor): number {
  let sum = 0;
  for (let index = 0; index < VARINT_BYTES; index += 1) {
    const byte = cursor.bytes[cursor.at];
    if (byte === undefined) throw torn();
    cursor.at += 1;
    sum += (byte & 0x7f) * 128 ** index;
    if (byte < 0x80) return sum % 2 === 0 ? sum / 2 : -(sum + 1) / 2;
  }
  throw new TypeError('a number in it is longer than numbers of Avro are');
}

function branch(branches: readonly Walk[]): Walk {
  return (cursor) => {
    const index = long(cursor);
    const walk = branches[index];
    if (!walk) throw new TypeError(`a union in it has no branch ${index}`);
    walk(cursor);
  };
}

function entry(value: Walk): Walk {
  return (cursor) => {
    const length = long(cursor);
    const start = cursor.at;
    pass(cursor, length);
    if (length === PROTO.length && PROTO.equals(cursor.bytes.subarray(start, cursor.at)))
      throw new TypeError('a map in it has the key "__proto__"');
    value(cursor);
  };
}

function blocks(item: Walk): Walk {
  return (cursor) => {
    for (let count = long(cursor); count !== 0; count = long(cursor)) {
      const size = count < 0 ? long(cursor) : undefined;
      const start = cursor.at;
      for (let left = Math.abs(count); left > 0; left -= 1) {
        const before = cursor.at;
        item(cursor);
        if (cursor.at === before) countEmpty(cursor);
      }
      if (size !== undefined && size !== cursor.at - start)
        throw new TypeError('a block in it has not the size that it says');
    }
  };
}

function countEmpty(cursor: Cursor): void {
  cursor.empty += 1;
  if (cursor.empty > MAX_EMPTY_ITEMS)
    throw new TypeError(`more than ${MAX_EMPTY_ITEMS} items in it take no byte`);
}

const torn = (): TypeError => new TypeError('the bytes end before what they announce');
