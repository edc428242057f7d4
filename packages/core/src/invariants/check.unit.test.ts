/**
 * The judge on evidence from outside: for every promise a history that keeps it and histories that break it. The tables' own
 * planted defects are in `history.unit.test.ts`.
 */
import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { EntryCommand } from '../admit.ts';
import { createModelLedger } from '../model-ledger.ts';
import { checkInvariants } from './check.ts';
import type {
  DeliveredMessage,
  DeliverySnapshot,
  Evidence,
  LedgerSnapshot,
  ObservedAnswer,
  ObservedCommit,
  PaymentSnapshot,
} from './snapshot.ts';

const sha256 = (data: Uint8Array): Uint8Array => createHash('sha256').update(data).digest();
const keys = generateKeyPairSync('ed25519');
const kid = 'k1';
const signer = {
  sha256,
  kid,
  sign: (message: Uint8Array) => sign(null, message, keys.privateKey).toString('base64url'),
};
const verifySignature = (_: string, message: Uint8Array, signature: string): boolean =>
  verify(null, message, keys.publicKey, Buffer.from(signature, 'base64url'));
const crypto = { sha256, verifySignature };

const keyOf = (n: number): string => n.toString(16).padStart(32, '0');
const member = (n: number): EntryCommand => ({
  memberKey: keyOf(n),
  member: n.toString(16).padStart(64, '0'),
  answers: null,
  qualification: { eligible: true },
});

/**
 *   t=100  OPENED, entries 1 and 2, SOLD_OUT     records 2-5
 *   t=200  entry 1 revoked unshown, REOPENED      records 6-7
 *   t=300  entry 3 on unit 1, SOLD_OUT            records 8-9
 */
const terms = {
  capacity: 2,
  safetyStock: 0,
  waitlistLimit: 0,
  closeWhenSoldOut: false,
  startsAt: 0,
  endsAt: null,
};
const ledger = createModelLedger('spring', terms, 'd'.repeat(64), 5, signer);
ledger.admit([member(1), member(2)], 100);
ledger.command({ command: 'revoke', seq: 1, unitShown: false }, 200);
ledger.admit([member(3)], 300);

const place = { campaign: 'spring', lane: 0 };
const delivery = (seq: number, unit: number): DeliverySnapshot => ({
  ...place,
  seq,
  unit,
  state: 'delivered',
});
const snapshot: LedgerSnapshot = {
  ...ledger.snapshot(),
  deliveries: [delivery(2, 2), delivery(3, 1)],
  vouchers: [
    { campaign: 'spring', unit: 1, voucher: 'A' },
    { campaign: 'spring', unit: 2, voucher: 'B' },
  ],
};

const commits: readonly ObservedCommit[] = [
  { ...place, firstRecordNo: 1, count: 1, committedAt: 6 },
  { ...place, firstRecordNo: 2, count: 4, committedAt: 101 },
  { ...place, firstRecordNo: 6, count: 2, committedAt: 201 },
  { ...place, firstRecordNo: 8, count: 2, committedAt: 301 },
];

const won = (
  n: number,
  seq: number,
  unit: number,
  recordNo: number,
  startedAt: number,
  endedAt: number,
): ObservedAnswer => ({
  ...place,
  memberKey: keyOf(n),
  verdict: 'won',
  seq,
  unit,
  recordNo,
  startedAt,
  endedAt,
});
const soldOut = (startedAt: number, endedAt: number, recordNo: number | null = null): ObservedAnswer => ({
  ...place,
  memberKey: keyOf(99),
  verdict: 'sold-out',
  seq: null,
  unit: null,
  recordNo,
  startedAt,
  endedAt,
});
const message = (n: number, voucher: string, shownAt: number): DeliveredMessage => ({
  campaign: 'spring',
  memberKey: keyOf(n),
  voucher,
  shownAt,
});
const answers = [
  won(1, 1, 1, 3, 90, 102),
  won(2, 2, 2, 4, 90, 101),
  soldOut(95, 110, 5),
  won(3, 3, 1, 8, 290, 305),
];
const messages = [message(2, 'B', 150), message(3, 'A', 400)];
const calm = { since: 1_000, observedAt: 61_000 };
const evidence: Evidence = { answers, messages, commits, calm, receipts: ledger.receipts(), payments: [] };

const invariantsOf = (changed: Evidence, of: Partial<LedgerSnapshot> = {}): string[] =>
  checkInvariants({ ...snapshot, ...of }, { ...evidence, ...changed }, crypto).map(
    (violation) => violation.invariant,
  );

test('a history that keeps every promise', () => {
  expect(checkInvariants(snapshot, evidence, crypto)).toEqual([]);
});

describe('I2: what was signed or acknowledged stands', () => {
  const receipt = ledger.receipts()[3]!;
  const other = createModelLedger('spring', terms, 'd'.repeat(64), 5, signer);
  other.admit([member(7), member(8)], 100);
  test.each<readonly [name: string, changed: Evidence]>([
    ['a receipt that does not verify', { receipts: [{ ...receipt, time: 7 }] }],
    ['a good receipt of a history that is gone', { receipts: other.receipts() }],
    ['an acknowledged entry lost', { answers: [won(50, 4, 2, 10, 310, 320)] }],
    ['another seq than was told', { answers: [won(1, 2, 1, 3, 90, 102)] }],
    ['another unit than was told', { answers: [won(1, 1, 2, 3, 90, 102)] }],
    ['another verdict than was told', { answers: [{ ...won(1, 1, 1, 3, 90, 102), verdict: 'waitlisted' }] }],
  ])('%s', (_, changed) => {
    expect(invariantsOf(changed)).toContain('I2');
  });
  test('receipts are never skipped in silence', () => {
    expect(() => checkInvariants(snapshot, { receipts: [receipt] })).toThrow(RangeError);
  });
});

describe('I3: no one is served twice', () => {
  test.each<readonly [name: string, changed: Evidence, of: Partial<LedgerSnapshot>]>([
    ['two vouchers for one member', { messages: [...messages, message(2, 'A', 450)] }, {}],
    ['one voucher for two members', { messages: [...messages, message(4, 'B', 450)] }, {}],
    [
      'one voucher on two units',
      {},
      { vouchers: [...snapshot.vouchers, { campaign: 'spring', unit: 2, voucher: 'A' }] },
    ],
  ])('%s', (_, changed, of) => {
    expect(invariantsOf(changed, of)).toContain('I3');
  });
  test('the same voucher twice to one member is one', () => {
    expect(invariantsOf({ messages: [...messages, message(2, 'B', 450)] })).toEqual([]);
  });
  test('the voucher of a voided unit does not count for its member, and may reach no other', () => {
    const replaced = createModelLedger(
      'spring',
      { ...terms, capacity: 3, safetyStock: 2 },
      'd'.repeat(64),
      5,
      signer,
    );
    replaced.admit([member(1)], 100);
    replaced.command({ command: 'replace', seq: 1 }, 200);
    const vouchers = [...snapshot.vouchers];
    const found = (list: readonly DeliveredMessage[]) =>
      checkInvariants({ ...replaced.snapshot(), vouchers }, { messages: list });
    expect(found([message(1, 'A', 150), message(1, 'B', 250)])).toEqual([]);
    expect(found([message(1, 'A', 150), message(2, 'A', 250)])).toHaveLength(1);
  });
});

describe('I5: told sold out', () => {
  test.each<readonly [name: string, answer: ObservedAnswer, truthful: boolean]>([
    ['as it sold out', soldOut(90, 101), true],
    ['while it was', soldOut(120, 130), true],
    ['begun while it was, answered after it reopened', soldOut(200, 250), true],
    ['after it sold out again', soldOut(350, 360), true],
    ['before it was durable', soldOut(90, 100), false],
    ['begun and answered while a unit was free', soldOut(201, 300), false],
    ['begun before it opened', soldOut(1, 2), false],
  ])('%s', (_, answer, truthful) => {
    expect(invariantsOf({ answers: [answer] })).toEqual(truthful ? [] : ['I5']);
  });
  test('several processes have their tolerance', () => {
    expect(invariantsOf({ answers: [soldOut(220, 230)], soldOutToleranceMs: 20 })).toEqual([]);
    expect(invariantsOf({ answers: [soldOut(221, 230)], soldOutToleranceMs: 20 })).toEqual(['I5']);
  });
});

describe('I7: money', () => {
  const paid: PaymentSnapshot = { campaign: 'spring', order: 'o1', captured: true, unit: 1, refund: 'none' };
  test.each<readonly [name: string, payment: PaymentSnapshot, kept: boolean]>([
    ['a unit', paid, true],
    ['a finished refund', { ...paid, unit: null, refund: 'finished' }, true],
    ['nothing was captured', { ...paid, captured: false, unit: null }, true],
    ['neither', { ...paid, unit: null }, false],
    ['a refund that is due', { ...paid, unit: null, refund: 'due' }, false],
    ['both', { ...paid, refund: 'finished' }, false],
  ])('%s', (_, payment, kept) => {
    expect(invariantsOf({ payments: [payment] })).toEqual(kept ? [] : ['I7']);
  });
});

describe('I8: everything is settled in the end', () => {
  const states = (state: DeliverySnapshot['state']) => ({
    deliveries: [delivery(2, 2), { ...delivery(3, 1), state }],
  });
  test.each(['due', 'sending', 'unknown', 'cancelled'] as const)('a delivery that is %s', (state) => {
    expect(invariantsOf({}, states(state))).toEqual(['I8']);
    expect(invariantsOf({ calm: { since: 1_001, observedAt: 61_000 } }, states(state))).toEqual([]);
  });
  test('parked is settled; missing and said-to-be-delivered are not', () => {
    expect(invariantsOf({ messages: [message(2, 'B', 150)] }, states('parked'))).toEqual([]);
    expect(invariantsOf({}, { deliveries: [delivery(2, 2)] })).toEqual(['I8']);
    expect(invariantsOf({ messages: [message(2, 'B', 150)] })).toEqual(['I8']);
  });
});

describe('I9: nothing is shown before it is durable', () => {
  test.each<readonly [name: string, changed: Evidence]>([
    ['an entry acknowledged before its commit', { answers: [won(2, 2, 2, 4, 90, 100)] }],
    ['a record that never became durable', { commits: commits.slice(0, 3) }],
    ['a voucher sent before its grant', { messages: [message(2, 'B', 99), message(3, 'A', 400)] }],
    ['a voucher that nobody was granted', { messages: [...messages, message(4, 'Z', 400)] }],
  ])('%s', (_, changed) => {
    expect(invariantsOf(changed)).toContain('I9');
  });
});
