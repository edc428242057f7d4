import { describe, expect, it } from 'vitest';
import { share } from './assigner.ts';

const shares = (owned: Record<string, number[]>, partitions: number): Record<string, readonly number[]> =>
  Object.fromEntries(share(new Map(Object.entries(owned)), partitions));

describe('partitions are shared out', () => {
  it('evenly, every one to exactly one member', () => {
    for (let members = 1; members <= 7; members += 1) {
      const owned = Object.fromEntries(Array.from({ length: members }, (_, index) => [`m${index}`, []]));
      const all = Object.values(shares(owned, 6));
      expect(all.flat().toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
      const sizes = all.map(({ length }) => length);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }
  });

  it('moving only what a newcomer needs', () => {
    expect(shares({ a: [0, 1, 2, 3], b: [] }, 4)).toEqual({ a: [0, 1], b: [2, 3] });
    expect(shares({ a: [0, 1], b: [2, 3], c: [] }, 4)).toMatchObject({ b: [2] });
  });

  it('giving what a leaver had to the others, who keep theirs', () => {
    expect(shares({ a: [0, 1], c: [3] }, 4)).toEqual({ a: [0, 1], c: [2, 3] });
  });

  it('once, when two say that they have the same', () => {
    expect(
      Object.values(shares({ a: [0, 1], b: [1, 0] }, 2))
        .flat()
        .toSorted((a, b) => a - b),
    ).toEqual([0, 1]);
  });
});
