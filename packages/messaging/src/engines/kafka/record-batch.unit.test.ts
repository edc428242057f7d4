import { createRecordsBatch, Reader, readRecordsBatches } from '@platformatic/kafka';
import { describe, expect, it } from 'vitest';
import { readBatches } from './log-record.ts';
import { writeBatch } from './record-batch.ts';
import type { Parcel } from './wire.ts';

const bytes = (text: string): Buffer => Buffer.from(text);
const head = { timestamp: 1_700_000_000_123n, producerId: 12n, producerEpoch: 3, firstSequence: 77 };

const parcels: readonly Parcel[] = [
  { key: bytes('k'), value: bytes('{"n":1}'), headers: [['ce_id', bytes('ä1')]] },
  { key: undefined, value: bytes('x'.repeat(70_000)), headers: [] },
  {
    key: bytes(''),
    value: undefined,
    headers: [
      ['ce_é', bytes('')],
      ['ce_id', bytes('y'.repeat(64))],
    ],
  },
  { key: bytes('z'.repeat(8_192)), value: bytes(''), headers: [] },
  ...Array.from({ length: 300 }, (_, index) => ({
    key: undefined,
    value: bytes('v'.repeat(index)),
    headers: [['n', bytes(String(index))]] as const,
  })),
];

describe('a batch as it is sent', () => {
  it('is read by the client and by this engine as it was given', () => {
    const written = writeBatch(parcels, head);
    const [theirs] = readRecordsBatches(Reader.from(written));
    expect(theirs).toMatchObject({
      firstOffset: 0n,
      magic: 2,
      attributes: 0,
      lastOffsetDelta: parcels.length - 1,
      length: written.length - 12,
      firstTimestamp: head.timestamp,
      maxTimestamp: head.timestamp,
      producerId: 12n,
      producerEpoch: 3,
      firstSequence: 77,
    });
    const given = parcels.map(({ key = null, value = null, headers }) => ({
      key,
      value,
      headers: headers.map(([name, text]) => [bytes(name), text]),
    }));
    expect(theirs?.records.map(({ key, value, headers }) => ({ key, value, headers }))).toEqual(given);
    expect(theirs?.records.map(({ offsetDelta }) => offsetDelta)).toEqual(parcels.map((_, index) => index));
    const [ours] = readBatches(written);
    expect(ours?.records.map(({ key, value, headers }) => ({ key, value, headers }))).toEqual(given);
  });

  it('has the checksum that the client would write', () => {
    const messages = parcels.map(({ key, value, headers }) => ({
      key,
      value,
      topic: 't',
      partition: 0,
      timestamp: head.timestamp,
      headers: new Map(headers.map(([name, text]) => [bytes(name), text])),
    }));
    const sequences = { getWithDefault: () => head.firstSequence };
    const theirs = createRecordsBatch(messages as never, { ...head, sequences } as never).buffer;
    expect(writeBatch(parcels, head).equals(theirs)).toBe(true);
  });
});
