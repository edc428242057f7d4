import {
  type CompressionAlgorithmValue,
  createRecordsBatch,
  Reader,
  readRecordsBatches,
} from '@platformatic/kafka';
import { describe, expect, it } from 'vitest';
import { type LogRecord, readBatches } from './log-record.ts';

interface Given {
  readonly key?: Buffer;
  readonly value?: Buffer;
  readonly headers: Map<Buffer, Buffer>;
  readonly timestamp: bigint;
}

const bytes = (text: string): Buffer => Buffer.from(text);
const headersOf = (headers: Record<string, string>): Map<Buffer, Buffer> =>
  new Map(Object.entries(headers).map(([name, text]) => [bytes(name), bytes(text)]));

const given: readonly Given[] = [
  {
    key: bytes('k'),
    value: bytes('{"n":1}'),
    headers: headersOf({ ce_id: 'ä1', ce_type: 'orders' }),
    timestamp: 5n,
  },
  { value: bytes('{"n":2}'), headers: headersOf({ ce_id: 'ä2', ce_type: 'orders' }), timestamp: 4n },
  {
    value: bytes('x'.repeat(300)),
    headers: headersOf({ ce_id: '3', ce_type: 'refunds' }),
    timestamp: 1_000_000_000n,
  },
  { key: bytes(''), headers: headersOf({ 'db-rank': '7', ce_id: '' }), timestamp: 6n },
  { headers: headersOf({}), timestamp: 7n },
];

function stored(compression: CompressionAlgorithmValue = 'none'): Buffer {
  const messages = given.map((one) => ({ ...one, topic: 't', partition: 0 }));
  return createRecordsBatch(messages as never, { compression } as never).buffer;
}

const textsOf = (record: LogRecord): readonly (readonly [string, string])[] => {
  const texts: (readonly [string, string])[] = [];
  record.visitTexts((name, text) => texts.push([name, text]));
  return texts;
};

describe('records in what a broker sent', () => {
  it.each(['none', 'gzip', 'lz4'] as const)('are what the client reads there: %s', (compression) => {
    const [ours] = readBatches(stored(compression));
    const [theirs] = readRecordsBatches(Reader.from(stored(compression)));
    expect(ours?.records.map(({ key, value, headers }) => ({ key, value, headers }))).toEqual(
      theirs?.records.map(({ key, value, headers }) => ({ key, value, headers })),
    );
    expect(ours?.records.map(({ timestamp }) => timestamp)).toEqual([5, 4, 1_000_000_000, 6, 7]);
    expect(ours?.records.map(({ offset }) => offset)).toEqual([0, 1, 2, 3, 4]);
    expect(ours).toMatchObject({ firstOffset: 0, lastOffset: 4, attributes: theirs?.attributes });
  });

  it('are taken apart in any order, and again', () => {
    const [batch] = readBatches(stored());
    const records = batch?.records ?? [];
    for (const order of [records, records.toReversed(), records])
      for (const record of order) {
        expect(textsOf(record)).toEqual(
          record.headers.map(([name, text]) => [name?.toString(), text?.toString()]),
        );
        expect(record.keyText()).toBe(record.key?.toString());
        expect(record.valueText()).toBe(record.value?.toString() ?? '');
        expect(record.hasValue).toBe(record.value !== null);
        expect(record.names().hasOwn).toBe(textsOf(record).some(([name]) => name.startsWith('db-')));
      }
  });

  it('end before a batch that was cut off, and a broken length is refused', () => {
    const whole = stored();
    expect(readBatches(Buffer.concat([whole, whole.subarray(0, whole.length - 1)]))).toHaveLength(1);
    expect(readBatches(Buffer.concat([whole, whole]))).toHaveLength(2);
    const broken = Buffer.from(whole);
    broken[61] = 0xfe; // the first record's length, now more than the batch has
    broken[62] = 0x7f;
    expect(() => readBatches(broken)).toThrow(/goes beyond its batch/);
  });
});
