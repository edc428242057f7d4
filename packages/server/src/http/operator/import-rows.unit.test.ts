import fc from 'fast-check';
import { expect, test } from 'vitest';
import { codeColumns, memberColumns, readMember, readVoucherCode } from './import-rows.ts';

test('a member from CSV: all text, empty means not given', () => {
  const read = readMember({
    memberId: ' m-1 ',
    email: 'kim@example.com',
    phone: '010-1234-5678',
    locale: 'ko',
    lastPurchaseAt: '2026-09-01T09:00:00+09:00',
    orders: '3',
    tier: 'gold',
    tags: 'vip; early;vip',
  });
  expect(read).toEqual({
    ok: true,
    row: {
      memberId: 'm-1',
      contact: { email: 'kim@example.com', phone: '01012345678', locale: 'ko' },
      attributes: {
        lastPurchaseAt: Date.parse('2026-09-01T00:00:00Z'),
        orders: 3,
        tier: 'gold',
        tags: ['vip', 'early'],
      },
    },
  });
  expect(readMember({ memberId: 'm', email: '', phone: '', orders: '', tags: '' })).toEqual({
    ok: true,
    row: { memberId: 'm', contact: null, attributes: {} },
  });
});

test('a member from JSON: typed', () => {
  expect(readMember({ memberId: 'm', orders: 2, tags: ['a'], email: null })).toEqual({
    ok: true,
    row: { memberId: 'm', contact: null, attributes: { orders: 2, tags: ['a'] } },
  });
});

const wrongMembers: readonly [Record<string, unknown>, string][] = [
  [{}, 'memberId is missing'],
  [{ memberId: '  ' }, 'memberId is missing'],
  [{ memberId: 7 }, 'memberId is not text'],
  [{ memberId: 'x'.repeat(257) }, 'memberId is longer than 256 characters'],
  [{ memberId: 'a\u0000b' }, 'memberId has characters that are not text'],
  [{ memberId: 'a\ud800' }, 'memberId has characters that are not text'],
  [{ memberId: 'm', email: 'nobody' }, 'email is not an address'],
  [{ memberId: 'm', email: 'a@b.c\r\nBcc: x@y.z' }, 'email has characters that are not text'],
  [{ memberId: 'm', phone: 'call me' }, 'phone is not a number'],
  [{ memberId: 'm', locale: 'fr' }, 'locale is ko or en'],
  [{ memberId: 'm', orders: '-1' }, 'orders is not a whole number'],
  [{ memberId: 'm', orders: 1.5 }, 'orders is not a whole number'],
  [
    { memberId: 'm', lastPurchaseAt: 'yesterday' },
    'lastPurchaseAt is not a time like 2026-12-01T10:00:00+09:00 or a date like 2026-12-01',
  ],
  [
    { memberId: 'm', lastPurchaseAt: '2026-13-01' },
    'lastPurchaseAt is not a time like 2026-12-01T10:00:00+09:00 or a date like 2026-12-01',
  ],
  [{ memberId: 'm', tags: 7 }, 'tags is not a list of texts'],
  [{ memberId: 'm', vip: 'yes' }, 'unknown field "vip"'],
];
test.each(wrongMembers)('a member %j is refused: %s', (raw, message) => {
  expect(readMember(raw)).toEqual({ ok: false, message });
});

const wrongCodes: readonly [Record<string, unknown>, string][] = [
  [{ pin: '1' }, 'code is missing'],
  [{ code: 'c', url: 'javascript:alert(1)' }, 'url is not an http or https address'],
  [{ code: 'c', url: 'not a url' }, 'url is not an http or https address'],
  [
    { code: 'c', validUntil: 'soon' },
    'validUntil is not a time like 2026-12-01T10:00:00+09:00 or a date like 2026-12-01',
  ],
];
test.each(wrongCodes)('a code %j is refused: %s', (raw, message) => {
  expect(readVoucherCode(raw)).toEqual({ ok: false, message });
});

test('a code keeps what was given', () => {
  expect(
    readVoucherCode({ code: ' GIFT-1 ', pin: '42', url: 'https://gift.example/1', validUntil: '2027-01-31' }),
  ).toEqual({
    ok: true,
    row: { code: 'GIFT-1', pin: '42', url: 'https://gift.example/1', validUntil: '2027-01-31' },
  });
});

test('no row, whatever it holds, throws', () => {
  const raw = fc.dictionary(
    fc.constantFrom(...memberColumns, ...codeColumns, '__proto__', 'x'),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(raw, (row) => {
      for (const read of [readMember(row as never), readVoucherCode(row as never)])
        expect(read.ok || read.message !== '').toBe(true);
    }),
  );
});
