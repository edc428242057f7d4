import { describe, expect, it } from 'vitest';
import { noFloor, tooFew, totalFor } from './kill-floor.ts';

const floor = { kills: 3, publisherKills: 1 };
const met = (kills: number, publisherKills: number) => ({ kills, publisherKills });

describe('how many kills a run has to meet', () => {
  it('finds too few, of workers and of the publisher, and nothing where there are enough', () => {
    expect(tooFew(floor, met(3, 1))).toEqual([]);
    expect(tooFew(floor, met(2, 1))).toEqual(['2 kills, at least 3 are wanted']);
    expect(tooFew(floor, met(4, 0))).toEqual(['0 kills of the publisher, at least 1 is wanted']);
    expect(tooFew(noFloor, met(0, 0))).toEqual([]);
  });

  it.each([
    ['what is left is enough for now', 79_999, met(0, 0), 100_000],
    ['it is nearly through and met too few', 80_000, met(2, 1), 120_000],
    ['none of them was the publisher', 80_000, met(3, 0), 120_000],
    ['it met them', 80_000, met(3, 1), 100_000],
  ])(
    'publishes more before it runs out, and only until it has met them: %s',
    (_, confirmed, kills, total) => {
      expect(totalFor({ total: 100_000, confirmed, step: 20_000 }, floor, kills)).toBe(total);
    },
  );

  it('publishes no more where no kill is wanted', () => {
    expect(totalFor({ total: 100, confirmed: 100, step: 20_000 }, noFloor, met(0, 0))).toBe(100);
  });
});
