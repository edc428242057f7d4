/**
 * Records where they lie in what a broker answered. The client makes two buffers for each header and keeps them as long as the message waits; most
 * of what a consumer cost went into that. Here a batch is walked once, by the lengths in it, and a record is a place in its bytes: it is taken apart when
 * somebody wants it. Names and values that are the same in record after record (type, source, contract) are compared with those of the
 * record before and not made again.
 *
 *   batch:   first offset | length | epoch | magic | crc | attributes | last delta | first time | ... | count | records
 *   record:  length | attributes | time delta | offset delta | key | value | headers     (all numbers of variable length)
 */
import { compressionsAlgorithms, type Reader } from '@platformatic/kafka';
import { MessagingError } from '../../errors.ts';

export interface RecordBatch {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly attributes: number;
  readonly producerId: bigint;
  /** Timestamp of the first one, ms since the epoch. */
  readonly since: number;
  readonly count: number;
  /** All of them, made anew at each look. */
  readonly records: readonly LogRecord[];
  /** One after the other, made as they are taken. */
  run(): RecordRun;
}

export interface RecordRun {
  /** How many are left. */
  readonly left: number;
  take(most: number): readonly LogRecord[];
}

/** What is the same in all records that have the same headers in the same order. */
export interface HeaderNames {
  readonly names: readonly string[];
  readonly isEvent: boolean;
  readonly hasExpiry: boolean;
  /** Whether the toolkit's own headers are among them. */
  readonly hasOwn: boolean;
}

export interface RecordLike {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [Buffer | null, Buffer | null])[];
  readonly hasValue: boolean;
  names(): HeaderNames;
  /** Goes through the headers in their order. */
  visitTexts(visit: (name: string, text: string) => void): void;
  valueText(): string;
  keyText(): string | undefined;
}

export interface LogRecord extends RecordLike {
  readonly offset: number;
  /** ms since the epoch, as the producer or the broker stamped it. */
  readonly timestamp: number;
}

/** In front of the names of the toolkit's own headers. */
export const OWN = 'db-';
const LENGTH_AT = 8;
const MAGIC_AT = 16;
const ATTRIBUTES_AT = 21;
const LAST_DELTA_AT = 23;
const FIRST_TIME_AT = 27;
const PRODUCER_AT = 43;
const COUNT_AT = 57;
const RECORDS_AT = 61;
/** The first offset and the length, which the length does not count. */
const HEAD = 12;
const IS_COMPRESSED = 0b111;
const MAGIC = 2;

/** All whole batches; the last one of an answer may be cut off. */
export function readBatches(bytes: Buffer): readonly RecordBatch[] {
  const batches: RecordBatch[] = [];
  for (let at = 0; at + RECORDS_AT <= bytes.length; ) {
    const end = at + HEAD + bytes.readInt32BE(at + LENGTH_AT);
    if (end > bytes.length) break;
    batches.push(readBatch(bytes.subarray(at, end)));
    at = end;
  }
  return batches;
}

function readBatch(bytes: Buffer): RecordBatch {
  if (bytes[MAGIC_AT] !== MAGIC) throw broken(`a batch of format ${bytes[MAGIC_AT]}`);
  const firstOffset = Number(bytes.readBigInt64BE(0));
  const attributes = bytes.readInt16BE(ATTRIBUTES_AT);
  const since = Number(bytes.readBigInt64BE(FIRST_TIME_AT));
  const count = bytes.readInt32BE(COUNT_AT);
  const plain = plainOf(bytes.subarray(RECORDS_AT), attributes & IS_COMPRESSED);
  // Here the lengths are looked at, so that taking a record cannot fail later.
  cursor.set(plain, 0);
  for (let left = count; left > 0; left -= 1) {
    const length = cursor.number();
    if (!(length >= 0 && cursor.at + length <= plain.length))
      throw broken('a record that goes beyond its batch');
    cursor.at += length;
  }
  const run = (): RecordRun => new StoredRun(plain, firstOffset, since, count);
  return {
    firstOffset,
    lastOffset: firstOffset + bytes.readInt32BE(LAST_DELTA_AT),
    attributes,
    producerId: bytes.readBigInt64BE(PRODUCER_AT),
    since,
    count,
    get records() {
      return run().take(count);
    },
    run,
  };
}

class StoredRun implements RecordRun {
  left: number;
  readonly #plain: Buffer;
  readonly #firstOffset: number;
  readonly #since: number;
  #at = 0;

  constructor(plain: Buffer, firstOffset: number, since: number, count: number) {
    this.#plain = plain;
    this.#firstOffset = firstOffset;
    this.#since = since;
    this.left = count;
  }

  take(most: number): readonly LogRecord[] {
    const records: LogRecord[] = [];
    cursor.set(this.#plain, this.#at);
    for (; this.left > 0 && records.length < most; this.left -= 1) {
      const length = cursor.number();
      const end = cursor.at + length;
      cursor.at += 1;
      const timestamp = this.#since + cursor.number();
      const offset = this.#firstOffset + cursor.number();
      records.push(new StoredRecord(offset, timestamp, this.#plain, cursor.at));
      cursor.at = end;
    }
    this.#at = cursor.at;
    return records;
  }
}

function plainOf(bytes: Buffer, bitmask: number): Buffer {
  if (bitmask === 0) return bytes;
  const algorithm = Object.values(compressionsAlgorithms).find((one) => one.bitmask === bitmask);
  if (!algorithm) throw broken(`a compression of number ${bitmask}`);
  return algorithm.decompressSync(bytes);
}

function broken(what: string): MessagingError {
  return new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `a broker sent ${what}`);
}

/** Reads numbers of variable length. One is enough: nothing here waits. */
class Cursor {
  bytes: Uint8Array = new Uint8Array();
  at = 0;

  set(bytes: Uint8Array, at: number): void {
    this.bytes = bytes;
    this.at = at;
  }

  /** Zigzag, seven bits a byte. */
  number(): number {
    let byte = this.bytes[this.at++] as number;
    if (byte < 128) return (byte >>> 1) ^ -(byte & 1);
    let value = byte & 127;
    for (let scale = 128; byte >= 128; scale *= 128) {
      byte = this.bytes[this.at++] as number;
      value += (byte & 127) * scale;
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** Over one length and what it counts; -1 is nothing. */
  skip(): void {
    const length = this.number();
    if (length > 0) this.at += length;
  }
}

const cursor = new Cursor();

class KnownNames implements HeaderNames {
  readonly names: readonly string[];
  readonly isEvent: boolean;
  readonly hasExpiry: boolean;
  readonly hasOwn: boolean;
  readonly #bytes: readonly Uint8Array[];
  /** The values of the record before, at the same places. */
  readonly #values: Kept[];

  constructor(names: readonly Uint8Array[]) {
    this.#bytes = names.map((one) => Uint8Array.from(one));
    this.names = names.map((one) => Buffer.from(one).toString());
    this.isEvent = this.names.includes('ce_id');
    this.hasExpiry = this.names.includes('ce_expirytime');
    this.hasOwn = this.names.some((name) => name.startsWith(OWN));
    this.#values = names.map(() => ({ bytes: EMPTY, text: '', vain: 0 }));
  }

  fits(bytes: Uint8Array, at: number, headersAt: Cursor): boolean {
    headersAt.set(bytes, at);
    const count = headersAt.number();
    if (count !== this.names.length) return false;
    for (let index = 0; index < count; index += 1) {
      const length = headersAt.number();
      if (!isSame(this.#bytes[index] as Uint8Array, bytes, headersAt.at, length)) return false;
      headersAt.at += Math.max(0, length);
      headersAt.skip();
    }
    return true;
  }

  textAt(index: number, bytes: Buffer, from: number, length: number): string {
    const kept = this.#values[index] as Kept;
    if (kept.vain >= MOST_VAIN) return bytes.toString('utf8', from, from + length);
    if (isSame(kept.bytes, bytes, from, length)) {
      kept.vain = 0;
      return kept.text;
    }
    const text = bytes.toString('utf8', from, from + length);
    const isLong = length > LONGEST_KEPT;
    kept.vain += 1;
    kept.text = isLong ? '' : text;
    kept.bytes = isLong ? EMPTY : Uint8Array.from(bytes.subarray(from, from + length));
    return text;
  }
}

/** The value of the record before. */
interface Kept {
  bytes: Uint8Array;
  text: string;
  /** Other ones in a row: of an id nothing is worth keeping. */
  vain: number;
}

const MOST_VAIN = 32;
const LONGEST_KEPT = 64;
const EMPTY = Buffer.alloc(0);

/** The last byte first: ids and times differ there. */
function isSame(known: Uint8Array, bytes: Uint8Array, from: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let index = length - 1; index >= 0; index -= 1) if (known[index] !== bytes[from + index]) return false;
  return true;
}

/** Of the last record that was looked at: the next one nearly always has the same. */
let lastNames = new KnownNames([]);

class StoredRecord implements LogRecord {
  readonly offset: number;
  readonly timestamp: number;
  readonly #bytes: Buffer;
  /** Of the key's length. */
  readonly #at: number;
  #names: KnownNames | undefined;

  constructor(offset: number, timestamp: number, bytes: Buffer, at: number) {
    this.offset = offset;
    this.timestamp = timestamp;
    this.#bytes = bytes;
    this.#at = at;
  }

  get key(): Buffer | null {
    cursor.set(this.#bytes, this.#at);
    return this.#taken(cursor.number());
  }

  get value(): Buffer | null {
    cursor.set(this.#bytes, this.#at);
    cursor.skip();
    return this.#taken(cursor.number());
  }

  get headers(): readonly (readonly [Buffer | null, Buffer | null])[] {
    const headers: (readonly [Buffer | null, Buffer | null])[] = [];
    cursor.set(this.#bytes, this.#headersAt());
    for (let left = cursor.number(); left > 0; left -= 1) {
      const name = this.#taken(cursor.number());
      headers.push([name, this.#taken(cursor.number())]);
    }
    return headers;
  }

  get hasValue(): boolean {
    cursor.set(this.#bytes, this.#at);
    cursor.skip();
    return cursor.number() >= 0;
  }

  names(): HeaderNames {
    return this.#known();
  }

  visitTexts(visit: (name: string, text: string) => void): void {
    const known = this.#known();
    const { names } = known;
    const bytes = this.#bytes;
    cursor.set(bytes, this.#headersAt());
    cursor.number();
    for (let index = 0; index < names.length; index += 1) {
      cursor.skip();
      const length = Math.max(0, cursor.number());
      const text = known.textAt(index, bytes, cursor.at, length);
      cursor.at += length;
      visit(names[index] as string, text);
    }
  }

  valueText(): string {
    cursor.set(this.#bytes, this.#at);
    cursor.skip();
    const length = cursor.number();
    return length <= 0 ? '' : this.#bytes.toString('utf8', cursor.at, cursor.at + length);
  }

  keyText(): string | undefined {
    cursor.set(this.#bytes, this.#at);
    const length = cursor.number();
    return length < 0 ? undefined : this.#bytes.toString('utf8', cursor.at, cursor.at + length);
  }

  #known(): KnownNames {
    if (this.#names) return this.#names;
    if (!lastNames.fits(this.#bytes, this.#headersAt(), cursor))
      lastNames = new KnownNames(this.headers.map(([name]) => name ?? EMPTY));
    this.#names = lastNames;
    return lastNames;
  }

  #headersAt(): number {
    cursor.set(this.#bytes, this.#at);
    cursor.skip();
    cursor.skip();
    return cursor.at;
  }

  #taken(length: number): Buffer | null {
    if (length < 0) return null;
    const from = cursor.at;
    cursor.at = from + length;
    return this.#bytes.subarray(from, from + length);
  }
}

/** A record that lies in no log: put together from its parts. */
export function looseRecord({
  key,
  value,
  headers,
}: Pick<RecordLike, 'key' | 'value' | 'headers'>): RecordLike {
  const names = new KnownNames(headers.map(([name]) => name ?? EMPTY));
  return {
    key,
    value,
    headers,
    hasValue: value !== null,
    names: () => names,
    visitTexts: (visit) =>
      headers.forEach(([, text], index) => visit(names.names[index] ?? '', text?.toString() ?? '')),
    valueText: () => value?.toString() ?? '',
    keyText: () => key?.toString(),
  };
}

/** The bytes of a record set in an answer, in one piece. */
export function recordBytes(reader: Reader, size: number): Buffer {
  const bytes = reader.buffer.slice(reader.position, reader.position + size);
  reader.skip(size);
  return bytes;
}
