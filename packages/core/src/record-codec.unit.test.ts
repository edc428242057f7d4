import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalJson } from './canonical-json.ts';
import type { LaneRecord } from './record.ts';
import { decodeRecord, encodeRecord, isCampaignId, RecordFormatError } from './record-codec.ts';

const digest = 'ab'.repeat(32);
const records: readonly LaneRecord[] = [
  {
    recordNo: 1,
    type: 'PUBLISHED',
    at: 5,
    campaign: 'spring-2026',
    lane: 0,
    definition: digest,
    capacity: 5,
    safetyStock: 1,
    waitlistLimit: 0,
    closeWhenSoldOut: true,
    startsAt: 10,
    endsAt: null,
  },
  { recordNo: 2, type: 'OPENED', at: 10 },
  { recordNo: 3, type: 'PAUSED', at: 10 },
  { recordNo: 4, type: 'RESUMED', at: 10 },
  { recordNo: 5, type: 'ENTRY', at: 11, seq: 1, verdict: 'won', unit: 1, member: digest, answers: null },
  {
    recordNo: 6,
    type: 'ENTRY',
    at: 11,
    seq: 2,
    verdict: 'waitlisted',
    unit: null,
    member: digest,
    answers: digest,
  },
  { recordNo: 7, type: 'SOLD_OUT', at: 11 },
  { recordNo: 8, type: 'REOPENED', at: 12, free: 0 },
  { recordNo: 9, type: 'STOCK_CHANGED', at: 12, capacity: 9, safetyStock: 0 },
  { recordNo: 10, type: 'REVOKED', at: 13, seq: 1, unit: 1, unitBecomes: 'void' },
  { recordNo: 11, type: 'REVOKED', at: 13, seq: 2, unit: null, unitBecomes: null },
  { recordNo: 12, type: 'PROMOTED', at: 13, seq: 2, unit: 2 },
  { recordNo: 13, type: 'REPLACED', at: 13, seq: 2, unit: 2, newUnit: 3 },
  { recordNo: 14, type: 'CLOSED', at: 14, reason: 'operator' },
  { recordNo: 15, type: 'RESTORED', at: 15, epoch: 2 },
];

describe('records as text', () => {
  test.each(records.map((record) => [record.type, record] as const))('%s comes back', (_, record) => {
    const text = encodeRecord(record);
    expect(decodeRecord(text)).toEqual(record);
    expect(text).toBe(JSON.stringify(record));
  });

  test.each([
    ['not JSON', '{'],
    ['no object', '[1]'],
    ['null', 'null'],
    ['no type', '{"recordNo":1,"at":1}'],
    ['a type from the prototype', '{"recordNo":1,"type":"constructor","at":1}'],
    ['an unknown type', '{"recordNo":1,"type":"SOLD","at":1}'],
    ['an unknown field', '{"recordNo":1,"type":"OPENED","at":1,"by":"x"}'],
    ['a field missing', '{"recordNo":1,"type":"REOPENED","at":1}'],
    ['record 0', '{"recordNo":0,"type":"OPENED","at":1}'],
    ['a fraction', '{"recordNo":1.5,"type":"OPENED","at":1}'],
    ['a number as text', '{"recordNo":"1","type":"OPENED","at":1}'],
    ['a negative time', '{"recordNo":1,"type":"OPENED","at":-1}'],
    ['minus zero', '{"recordNo":1,"type":"OPENED","at":-0}'],
    ['another spelling of a number', '{"recordNo":1e0,"type":"OPENED","at":1}'],
    ['a space', '{"recordNo":1, "type":"OPENED","at":1}'],
    ['another order', '{"type":"OPENED","recordNo":1,"at":1}'],
    ['a key twice', '{"recordNo":1,"recordNo":1,"type":"OPENED","at":1}'],
    ['a winner without a unit', encodeRecord({ ...records[4], unit: null } as LaneRecord)],
    ['a waiting entry with a unit', encodeRecord({ ...records[5], unit: 3 } as LaneRecord)],
    ['a revoked unit that becomes nothing', encodeRecord({ ...records[9], unitBecomes: null } as LaneRecord)],
    ['upper-case hex', encodeRecord({ ...records[4], member: digest.toUpperCase() } as LaneRecord)],
    ['a unit too high', encodeRecord({ ...records[4], unit: 1_000_000_001 } as LaneRecord)],
  ])('refused: %s', (_, text) => {
    expect(() => decodeRecord(text)).toThrow(RecordFormatError);
  });

  test('any other text is refused with the one error', () => {
    const known = new Set(records.map(encodeRecord));
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        fc.pre(!known.has(text));
        expect(() => decodeRecord(text)).toThrow(RecordFormatError);
      }),
      { numRuns: 500 },
    );
  });

  test('ids of campaigns', () => {
    expect(['spring', 'A.b_c-9', '0190b8f2-7c1e-7000-8000-000000000000'].every(isCampaignId)).toBe(true);
    expect(['', '-a', 'a\nb', 'a"b', '한', 'a'.repeat(129), 7].some(isCampaignId)).toBe(false);
  });
});

describe('canonical JSON', () => {
  test.each([
    [{ b: 1, a: [true, null, 'x'] }, '{"a":[true,null,"x"],"b":1}'],
    [{ a: undefined, b: 2 }, '{"b":2}'],
    [{ '€': 1, '\r': 2, '1': 3, '😀': 4, ö: 5 }, '{"\\r":2,"1":3,"ö":5,"€":1,"😀":4}'],
    [[1e21, 1e-7, 0.1, -0, 100], '[1e+21,1e-7,0.1,0,100]'],
    ['한국\u2028"\\\u0007', '"한국\u2028\\"\\\\\\u0007"'],
  ])('%j', (value, text) => {
    expect(canonicalJson(value)).toBe(text);
  });

  test.each([[Number.NaN], [Number.POSITIVE_INFINITY], ['\ud800'], [1n], [undefined], [() => 1]])(
    'refused: %s',
    (value) => {
      expect(() => canonicalJson(value)).toThrow(TypeError);
    },
  );

  test.each([
    [{ a: [{ x: 1, y: 'ㄱ' }], b: null }, '{"a":[{"x":1,"y":"ㄱ"}],"b":null}'],
    [{ a: [{ y: 'ㄱ', x: 1 }], b: null }, '{"a":[{"x":1,"y":"ㄱ"}],"b":null}'],
    [{ 9: 1, 10: 2 }, '{"10":2,"9":1}'],
    [{ a: undefined, b: -0 }, '{"b":0}'],
    [{ a: { toJSON: undefined, b: 1 } }, '{"a":{"b":1}}'],
  ])('the same text whether the keys were in order or not: %j', (value, text) => {
    expect(canonicalJson(value)).toBe(text);
  });

  test('no value of its own class speaks for itself', () => {
    expect(canonicalJson({ a: Object.assign(['x'], { note: 1 }) })).toBe('{"a":["x"]}');
    expect(canonicalJson(new Date(0))).toBe('{}');
    expect(() => canonicalJson({ toJSON: () => 1 })).toThrow(TypeError);
  });

  test('does not depend on the order of keys, and is JSON', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalJson(reversed)).toBe(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});
