import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Eligibility, EligibilityRule, MemberAttributes } from './eligibility.ts';
import { checkEligibility, defaultReasons, qualify } from './eligibility.ts';

const since: EligibilityRule = { rule: 'purchased-since', since: 1_000 };
const orders: EligibilityRule = {
  rule: 'min-orders',
  orders: 3,
  reason: { ko: '세 번 이상', en: 'three or more' },
};
const tier: EligibilityRule = { rule: 'tier', anyOf: ['gold', 'vip'] };
const tag: EligibilityRule = { rule: 'tag', anyOf: ['beta'] };
const listed = (...rules: readonly EligibilityRule[]): Eligibility => ({ audience: 'listed', rules });
const good: MemberAttributes = { lastPurchaseAt: 1_000, orders: 3, tier: 'vip', tags: ['x', 'beta'] };

describe('qualify', () => {
  test.each<readonly [name: string, eligibility: Eligibility, attributes: MemberAttributes | undefined]>([
    ['anyone', { audience: 'anyone', rules: [] }, undefined],
    ['listed', listed(), {}],
    ['every rule at its edge', listed(since, orders, tier, tag), good],
  ])('eligible: %s', (_, eligibility, attributes) => {
    expect(qualify(eligibility, attributes)).toEqual({ eligible: true });
  });

  test.each<
    readonly [name: string, change: MemberAttributes | undefined, ruleIndex: number | null, reason: object]
  >([
    ['not on the list', undefined, null, defaultReasons['not-listed']],
    ['bought too long ago', { ...good, lastPurchaseAt: 999 }, 0, defaultReasons['purchased-since']],
    [
      'one order short, in the words of the shop',
      { ...good, orders: 2 },
      1,
      { ko: '세 번 이상', en: 'three or more' },
    ],
    ['another tier', { ...good, tier: 'silver' }, 2, defaultReasons.tier],
    ['no tag', { ...good, tags: [] }, 3, defaultReasons.tag],
    ['nothing known', {}, 0, defaultReasons['purchased-since']],
    [
      'the first rule that fails speaks',
      { ...good, tier: 'x', orders: 0 },
      1,
      { ko: '세 번 이상', en: 'three or more' },
    ],
  ])('not eligible: %s', (_, attributes, ruleIndex, reason) => {
    expect(qualify(listed(since, orders, tier, tag), attributes)).toEqual({
      eligible: false,
      ruleIndex,
      reason,
    });
  });
});

describe('definitions', () => {
  test('good ones have no fault', () => {
    expect(checkEligibility(listed(since, orders, tier, tag))).toEqual([]);
    expect(checkEligibility({ audience: 'anyone', rules: [] })).toEqual([]);
  });
  test.each<readonly [name: string, eligibility: unknown, pointers: readonly string[]]>([
    ['no object', 7, ['']],
    ['no audience', { rules: [] }, ['/audience']],
    ['no list of rules', { audience: 'listed' }, ['/rules']],
    ['an unknown field', { ...listed(), note: 1 }, ['/note']],
    ['rules for anyone', { audience: 'anyone', rules: [tag] }, ['/rules']],
    ['21 rules', listed(...Array.from({ length: 21 }, () => tag)), ['/rules']],
    ['a rule that is none', { audience: 'listed', rules: [null] }, ['/rules/0']],
    ['an unknown rule', { audience: 'listed', rules: [{ rule: 'constructor' }] }, ['/rules/0/rule']],
    ['a field of another rule', { audience: 'listed', rules: [{ ...tag, orders: 1 }] }, ['/rules/0/orders']],
    [
      'a date in words',
      { audience: 'listed', rules: [{ ...since, since: '2026-01-01' }] },
      ['/rules/0/since'],
    ],
    [
      'half an order',
      { audience: 'listed', rules: [{ rule: 'min-orders', orders: 0.5 }] },
      ['/rules/0/orders'],
    ],
    ['no words', { audience: 'listed', rules: [{ ...tier, anyOf: [] }] }, ['/rules/0/anyOf']],
    ['a reason without words', { audience: 'listed', rules: [{ ...tier, reason: {} }] }, ['/rules/0/reason']],
  ])('%s', (_, eligibility, pointers) => {
    expect(checkEligibility(eligibility).map((fault) => fault.pointer)).toEqual(pointers);
  });
  test('never throws on any JSON', () => {
    const rule = fc.record({
      rule: fc.constantFrom('tag', 'tier', 'min-orders'),
      anyOf: fc.jsonValue(),
      reason: fc.jsonValue(),
    });
    fc.assert(
      fc.property(
        fc.oneof(fc.jsonValue(), fc.record({ audience: fc.jsonValue(), rules: fc.array(rule) })),
        (value) => {
          expect(Array.isArray(checkEligibility(value))).toBe(true);
        },
      ),
    );
  });
});
