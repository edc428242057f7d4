import { describe, expect, it } from 'vitest';
import { LATER_WINDOW, Ledger, WINDOW } from './ledger.ts';
import { decodeSet, encodeSet } from './offset-set.ts';

/** Reads `count` records from `from` on. */
function ledgerOf(from: number, count: number): Ledger {
  const ledger = new Ledger(from);
  for (let offset = from; offset < from + count; offset += 1) ledger.reach(offset);
  return ledger;
}

const again = (ledger: Ledger, ahead = 0): Ledger => {
  const { watermark, text } = ledger.encode('m1', ahead);
  return Ledger.decode(watermark, text).ledger;
};

describe('the watermark', () => {
  it('is the lowest offset that is not settled, in whatever order they are', () => {
    const ledger = ledgerOf(10, 5);
    ledger.settle(12);
    ledger.settle(14);
    expect(ledger.watermark).toBe(10);
    ledger.settle(10);
    expect(ledger.watermark).toBe(11);
    ledger.settle(11);
    expect(ledger.watermark).toBe(13);
    ledger.settle(13);
    expect([ledger.watermark, ledger.settledAbove]).toEqual([15, 0]);
  });

  it('passes what is nobody’s, and what the log has lost', () => {
    const ledger = new Ledger(0);
    ledger.reach(3);
    expect(ledger.watermark).toBe(3);
    ledger.reach(7);
    ledger.settle(3);
    expect(ledger.watermark).toBe(7);
    ledger.skipTo(9);
    ledger.settle(7);
    expect(ledger.watermark).toBe(9);
    ledger.lose(20);
    expect([ledger.watermark, ledger.position]).toEqual([20, 20]);
  });
});

describe('the text beside the offset', () => {
  it('keeps what is settled above the watermark', () => {
    const ledger = ledgerOf(100, 10);
    for (const offset of [101, 102, 103, 107]) ledger.settle(offset);
    const read = again(ledger);
    expect([100, 101, 102, 103, 104, 107, 108].map((offset) => read.isSettled(offset))).toEqual([
      false,
      true,
      true,
      true,
      false,
      true,
      false,
    ]);
  });

  it('counts what was out when its holder is gone, and only then', () => {
    const ledger = ledgerOf(0, 4);
    ledger.handOut(0);
    ledger.handOut(2);
    ledger.giveBack(2);
    const gone = again(ledger);
    gone.takeOver(true);
    expect([0, 1, 2].map((offset) => gone.countOf(offset))).toEqual([1, 0, 0]);
    const moved = again(ledger);
    moved.takeOver(false);
    expect([moved.countOf(0), moved.outCount]).toEqual([0, 0]);
  });

  it('adds to the counts from life to life, and forgets them with the settlement', () => {
    let ledger = ledgerOf(5, 3);
    for (let life = 1; life <= 3; life += 1) {
      ledger.handOut(5);
      ledger = again(ledger);
      ledger.takeOver(true);
      for (const offset of [5, 6, 7]) ledger.reach(offset);
      expect(ledger.countOf(5)).toBe(life);
    }
    ledger.settle(5);
    expect(again(ledger).countOf(5)).toBe(0);
  });

  it('writes the next ones down before they are handed out, unless one was in vain before', () => {
    const ledger = ledgerOf(0, 10);
    ledger.handOut(0);
    const { marks } = ledger.encode('m1', 2);
    expect([[0, 1, 2, 3].map((offset) => marks.has(offset)), marks.size]).toEqual([
      [true, true, true, false],
      3,
    ]);
    ledger.confirm(marks);
    expect([1, 2, 3].map((offset) => ledger.isNoted(offset))).toEqual([true, true, false]);
    ledger.giveBack(1);
    expect(ledger.isNoted(1)).toBe(false);
    ledger.abandon(0);
    expect(ledger.encode('m1', 2).marks.size).toBe(0);
  });

  it('fits into what Kafka allows, however mixed it is', () => {
    const ledger = ledgerOf(1_000_000, WINDOW);
    for (let offset = 1; offset < WINDOW; offset += 2) ledger.settle(1_000_000 + offset);
    for (let offset = 0; offset < WINDOW; offset += 2) ledger.handOut(1_000_000 + offset);
    const { text } = ledger.encode('m'.repeat(60), 256);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4_096);
  });

  it('cuts off what does not fit, from the end', () => {
    const ledger = ledgerOf(0, LATER_WINDOW);
    for (let offset = 1; offset < LATER_WINDOW; offset += 2) ledger.settle(offset);
    for (let offset = 0; offset < LATER_WINDOW; offset += 2) ledger.handOut(offset);
    expect(Buffer.byteLength(ledger.encode('m'.repeat(60)).text)).toBeLessThanOrEqual(4_096);
    const read = again(ledger);
    expect([1, 2, 3, 4].map((offset) => read.isSettled(offset))).toEqual([true, false, true, false]);
    expect(read.isSettled(LATER_WINDOW - 1)).toBe(false);
  });

  it('takes a text of somebody else as none', () => {
    const { ledger, holder } = Ledger.decode(42, 'written by hand');
    expect([ledger.watermark, ledger.settledAbove, holder]).toEqual([42, 0, '']);
  });
});

it('sets of offsets come back as they were, as runs or as a bitmap', () => {
  for (const offsets of [[], [7], [7, 8, 9, 40], Array.from({ length: 500 }, (_, index) => 7 + index * 2)])
    expect(decodeSet(encodeSet(new Set(offsets), 7), 7)).toEqual(offsets);
});

describe('what the broker knows to be out', () => {
  function read(count: number): Ledger {
    const ledger = new Ledger();
    for (let offset = 0; offset < count; offset += 1) ledger.reach(offset);
    return ledger;
  }

  it('is what was confirmed, unless a commit under way says otherwise', () => {
    const ledger = read(4);
    ledger.confirm(ledger.encode('me', 4).marks);
    expect([0, 1, 2, 3].map((offset) => ledger.isNoted(offset))).toEqual([true, true, true, true]);
    // Written down for fewer than before: until the broker has it nobody knows which of the two counts.
    const { marks } = ledger.encode('me', 2);
    expect([0, 1, 2, 3].map((offset) => ledger.isNoted(offset))).toEqual([true, true, false, false]);
    ledger.confirm(marks);
    expect([0, 1, 2, 3].map((offset) => ledger.isNoted(offset))).toEqual([true, true, false, false]);
  });

  it('stays open behind a commit that failed, until a later one is taken', () => {
    const ledger = read(2);
    ledger.confirm(ledger.encode('me', 2).marks);
    for (const ahead of [2, 0, 2]) ledger.encode('me', ahead);
    const later = ledger.encode('me', 2);
    expect([0, 1].map((offset) => ledger.isNoted(offset))).toEqual([false, false]);
    ledger.confirm(later.marks);
    expect([0, 1].map((offset) => ledger.isNoted(offset))).toEqual([true, true]);
  });
});
