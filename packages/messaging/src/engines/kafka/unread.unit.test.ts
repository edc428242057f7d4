import { expect, it } from 'vitest';
import { readBatches } from './log-record.ts';
import { writeBatch } from './record-batch.ts';
import { Unread } from './unread.ts';

const head = { timestamp: 1_000n, producerId: 1n, producerEpoch: 0, firstSequence: 0 };

/** A batch of so many records from this offset on. */
function batchOf(offset: number, count: number) {
  const parcels = Array.from({ length: count }, () => ({ key: undefined, value: undefined, headers: [] }));
  const bytes = writeBatch(parcels, head);
  bytes.writeBigInt64BE(BigInt(offset), 0);
  return readBatches(bytes);
}

it('gives back what it keeps, batch by batch, and says where the log goes on', () => {
  const unread = new Unread();
  expect([unread.isEmpty, unread.end, unread.since, unread.take(5).records]).toEqual([
    true,
    0,
    undefined,
    [],
  ]);
  unread.keep([...batchOf(3, 3), ...batchOf(9, 1)], 12);
  unread.keep([], 15);
  unread.keep(batchOf(20, 2), 22);
  expect([unread.count, unread.end, unread.since]).toEqual([6, 22, 1_000]);
  const taken: (readonly [readonly number[], number])[] = [];
  while (!unread.isEmpty) {
    const { records, next } = unread.take(2);
    taken.push([records.map(({ offset }) => offset), next]);
  }
  expect(taken).toEqual([
    [[3, 4], 5],
    [[5], 6],
    [[9], 12],
    [[], 15],
    [[20, 21], 22],
  ]);
  expect([unread.count, unread.isEmpty]).toEqual([0, true]);
});
