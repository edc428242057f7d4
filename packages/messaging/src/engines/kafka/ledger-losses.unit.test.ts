/** How many messages a gap in the log may have cost: what was read or settled before is none of them. */
import { describe, expect, it } from 'vitest';
import { Ledger } from './ledger.ts';

/** As the next owner finds it: one at the watermark was not settled, some above it were. */
function ledgerAt(watermark: number, settledAbove: readonly number[]): Ledger {
  const former = new Ledger(watermark);
  former.reach(watermark);
  for (const offset of settledAbove) former.reach(offset);
  for (const offset of settledAbove) former.settle(offset);
  return Ledger.decode(watermark, former.encode('member').text).ledger;
}

describe('a log that begins later than it was read', () => {
  it.each([
    ['nothing is gone', 5, [], 5, 0],
    ['all up to the new beginning', 5, [], 12, 7],
    ['all but what was settled above the watermark', 5, [7, 9], 12, 5],
    ['what is settled behind the new beginning changes nothing', 5, [7, 14], 12, 6],
    ['a beginning that lies before', 5, [], 3, 0],
  ])('%s', (_name, watermark, settled, start, lost) => {
    const ledger = ledgerAt(watermark, settled);
    expect(ledger.watermark).toBe(watermark);
    expect(ledger.lose(start)).toBe(lost);
    expect(ledger.watermark).toBe(Math.max(watermark, start));
  });

  it('what was read and is still out is none of it: only what lies behind', () => {
    const ledger = new Ledger(0);
    for (const offset of [0, 1, 2]) ledger.reach(offset);
    ledger.handOut(1);
    expect(ledger.lose(10)).toBe(7);
    expect([ledger.position, ledger.watermark]).toEqual([10, 10]);
  });

  it('what the owner could read lies between where it began, or what is left begins, and how far it came', () => {
    const ledger = ledgerAt(5, [7]);
    const read = (): readonly number[] => [4, 5, 7, 9, 12].filter((offset) => ledger.hasRead(offset));
    expect(read()).toEqual([]);
    for (const offset of [5, 6, 8, 9]) ledger.reach(offset);
    expect(read()).toEqual([5, 7, 9]);
    ledger.settle(5);
    expect(read()).toEqual([5, 7, 9]);
    ledger.lose(8);
    expect(read()).toEqual([9]);
  });
});
