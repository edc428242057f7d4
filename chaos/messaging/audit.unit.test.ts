import { describe, expect, it } from 'vitest';
import { judge } from './audit.ts';

const effects = (...numbers: readonly number[]) => numbers.map((n) => ({ n, key: n % 2 }));

describe('the judge of a long run', () => {
  it('finds nothing where every message had one effect, in order on its key', () => {
    expect(judge(effects(0, 2, 1, 4, 3, 5), 6, { order: true })).toEqual({
      lost: 0,
      handledTwice: 0,
      orderBroken: 0,
    });
  });

  it('counts what never came', () => {
    expect(judge(effects(0, 1, 3), 6, { order: true })).toEqual({ lost: 3, handledTwice: 0, orderBroken: 0 });
  });

  it('counts each effect beyond the first, and does not call it out of order', () => {
    expect(judge(effects(0, 1, 2, 0, 0), 3, { order: true })).toEqual({
      lost: 0,
      handledTwice: 2,
      orderBroken: 0,
    });
  });

  it('says nothing of an order that is not promised, where it says 1 of one that is', () => {
    const found = judge(effects(0, 4, 2, 1, 3), 5, { order: false });
    expect(found).toEqual({ lost: 0, handledTwice: 0, orderBroken: null });
  });

  it('counts a first effect behind a later message of its key, and no other', () => {
    expect(judge(effects(0, 4, 2, 1, 3), 5, { order: true })).toEqual({
      lost: 0,
      handledTwice: 0,
      orderBroken: 1,
    });
  });
});
