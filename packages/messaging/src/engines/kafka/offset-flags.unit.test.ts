import { describe, expect, it } from 'vitest';
import { OffsetFlags, OUT, PENDING, SETTLED } from './offset-flags.ts';

const FAR = 3 * 10 ** 12;

describe('the flags of offsets', () => {
  it('are found again in the order of the log, over gaps of any size', () => {
    const flags = new OffsetFlags();
    for (const offset of [FAR, 5, 1_023, 1_024, FAR + 1]) flags.set(offset, PENDING);
    flags.set(FAR + 2, OUT);
    const found: number[] = [];
    for (let at = flags.next(PENDING, 0); at < Infinity; at = flags.next(PENDING, at + 1)) found.push(at);
    expect(found).toEqual([5, 1_023, 1_024, FAR, FAR + 1]);
    expect(flags.next(OUT, 0)).toBe(FAR + 2);
  });

  it('end where they are asked to', () => {
    const flags = new OffsetFlags();
    flags.set(10, PENDING);
    expect([flags.next(PENDING, 0, 10), flags.next(PENDING, 0, 11), flags.next(SETTLED, 0, 11)]).toEqual([
      10, 10, 11,
    ]);
    expect(flags.next(PENDING, 11, FAR)).toBe(FAR);
  });

  it('are forgotten in pages, and those that are left stay', () => {
    const flags = new OffsetFlags();
    for (const offset of [0, 1_023, 1_024]) flags.set(offset, SETTLED);
    flags.forgetBelow(1_024);
    expect([0, 1_023, 1_024].map((offset) => flags.get(offset))).toEqual([0, 0, SETTLED]);
  });
});
