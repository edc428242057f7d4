import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { CampaignDefinition } from './definition.ts';
import { definitionFormFaults, frozenChanges, mergePatch } from './definition-patch.ts';

/** The cases of RFC 7396, appendix A. */
const cases: readonly [unknown, unknown, unknown][] = [
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: 'b', c: null }, { a: 'b' }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];
test.each(cases)('merging into %j the patch %j gives %j', (target, patch, merged) => {
  expect(mergePatch(target, patch)).toEqual(merged);
});

test('a patch reaches no prototype', () => {
  const merged = mergePatch(
    { a: {} },
    JSON.parse('{"__proto__":{"polluted":1},"a":{"__proto__":{"polluted":1}}}'),
  );
  expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
});

const definition: CampaignDefinition = {
  title: { en: 'Drop' },
  prize: { en: 'Voucher' },
  startsAt: '2026-12-01T10:00:00+09:00',
  stock: { capacity: 10 },
  reward: { messengers: ['file'] },
};

test('after publication words and ways may change, terms may not', () => {
  const changed = (patch: unknown) =>
    frozenChanges(definition, mergePatch(definition, patch) as CampaignDefinition);
  expect(
    changed({
      title: { en: 'New' },
      rules: { en: 'r' },
      description: { ko: '설명' },
      page: { notice: { en: 'n' } },
    }),
  ).toEqual([]);
  expect(
    changed({ reward: { messengers: ['smtp'], message: { subject: { en: 's' }, body: { en: 'b' } } } }),
  ).toEqual([]);
  expect(changed({ stock: { capacity: 11 } })).toEqual(['/stock']);
  expect(changed({ prize: { en: 'Less' } })).toEqual(['/prize']);
  expect(changed({ endsAt: '2026-12-02T10:00:00+09:00' })).toEqual(['/endsAt']);
  expect(changed({ reward: { voucherSource: 'other' } })).toEqual(['/reward/voucherSource']);
  expect(changed({ intake: 'queued', eligibility: { audience: 'listed' } })).toEqual([
    '/intake',
    '/eligibility',
  ]);
  expect(changed({ startsAt: definition.startsAt, stock: { capacity: 10 } })).toEqual([]);
});

test('faults of form are told together, and ill-formed text is one', () => {
  expect(definitionFormFaults(definition)).toEqual([]);
  const pointers = definitionFormFaults({ ...definition, stock: { capacity: 0 }, extra: 1 }).map(
    (fault) => fault.pointer,
  );
  expect(pointers).toEqual(expect.arrayContaining(['/stock/capacity', '/extra']));
  expect(definitionFormFaults({ ...definition, title: { en: 'a\ud800' } })).toEqual([
    { pointer: '/title/en', message: 'must be well-formed Unicode' },
  ]);
});

test('no JSON makes the check throw', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(definitionFormFaults(mergePatch(definition, value))).toBeInstanceOf(Array);
    }),
  );
});
