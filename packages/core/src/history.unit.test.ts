/**
 * Random histories: members, operators and the clock in any order. What must hold is the same for all of them, so the only
 * oracle is the invariants and the fold. The last block plants defects and shows that the judge sees them.
 */
import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EntryCommand } from './admit.ts';
import { createChainVerifier } from './chain.ts';
import { evolve, LaneDivergenceError } from './evolve.ts';
import { createLaneFold } from './fold.ts';
import { checkInvariants } from './invariants/check.ts';
import type { LedgerSnapshot } from './invariants/snapshot.ts';
import type { CampaignTerms, LaneState } from './lane.ts';
import { owedRecord } from './lane.ts';
import type { ModelCommand, ModelLedger, ModelSigner } from './model-ledger.ts';
import { createModelLedger } from './model-ledger.ts';
import type { EntryRecord, LaneRecord } from './record.ts';
import { decodeRecord, encodeRecord } from './record-codec.ts';

const sha256 = (data: Uint8Array): Uint8Array => createHash('sha256').update(data).digest();
const keys = generateKeyPairSync('ed25519');
/** A signature costs more than the rest of a history, so equal messages are signed once. */
const signatures = new Map<string, string>();
const signer = {
  sha256,
  kid: 'k1',
  sign: (message: Uint8Array): string => {
    const text = Buffer.from(message).toString('latin1');
    const signature = signatures.get(text) ?? sign(null, message, keys.privateKey).toString('base64url');
    signatures.set(text, signature);
    return signature;
  },
};
const verifySignature = (kid: string, message: Uint8Array, signature: string): boolean =>
  kid === 'k1' && verify(null, message, keys.publicKey, Buffer.from(signature, 'base64url'));
const noSignatures: ModelSigner = { ...signer, sign: () => 'A'.repeat(86) };

function member(n: number, eligible = true): EntryCommand {
  const memberKey = n.toString(16).padStart(32, '0');
  const commitment = Buffer.from(sha256(Buffer.from(memberKey))).toString('hex');
  const qualification = eligible ? { eligible } : { eligible, reason: 'not listed' };
  return { memberKey, member: commitment, answers: null, qualification };
}

type Step =
  | { readonly batch: readonly (readonly [member: number, eligible: boolean])[]; readonly after: number }
  | { readonly command: ModelCommand; readonly after: number };

const seq = fc.integer({ min: 1, max: 14 });
const command: fc.Arbitrary<ModelCommand> = fc.oneof(
  fc.constantFrom<ModelCommand>({ command: 'tick' }, { command: 'pause' }, { command: 'resume' }),
  fc.record({
    command: fc.constant('change-stock' as const),
    capacity: fc.integer({ min: 0, max: 12 }),
    safetyStock: fc.integer({ min: 0, max: 3 }),
  }),
  fc.record({ command: fc.constant('revoke' as const), seq, unitShown: fc.boolean() }),
  fc.record({ command: fc.constant('promote' as const), seq }),
  fc.record({ command: fc.constant('replace' as const), seq }),
);
const rare: fc.Arbitrary<ModelCommand> = fc.oneof(
  fc.constant<ModelCommand>({ command: 'close' }),
  fc.record({ command: fc.constant('restore' as const), epoch: fc.integer({ min: 1, max: 5 }) }),
);
const after = fc.integer({ min: 0, max: 30 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      batch: fc.array(
        fc.tuple(
          fc.integer({ min: 1, max: 30 }),
          fc.integer({ max: 9, min: 0 }).map((n) => n > 0),
        ),
        { maxLength: 6 },
      ),
      after,
    }),
  },
  { weight: 5, arbitrary: fc.record({ command, after }) },
  { weight: 1, arbitrary: fc.record({ command: rare, after }) },
);
const terms: fc.Arbitrary<CampaignTerms> = fc.record({
  capacity: fc.integer({ min: 3, max: 8 }),
  safetyStock: fc.integer({ min: 0, max: 3 }),
  waitlistLimit: fc.integer({ min: 0, max: 4 }),
  closeWhenSoldOut: fc.boolean(),
  startsAt: fc.integer({ min: 0, max: 60 }),
  endsAt: fc.option(fc.integer({ min: 61, max: 600 })),
});

function take(
  ledger: ModelLedger,
  steps: readonly Step[],
  between: (ledger: ModelLedger) => void = () => {},
): void {
  let now = 10;
  for (const one of steps) {
    now += one.after;
    if ('batch' in one)
      ledger.admit(
        one.batch.map(([n, eligible]) => member(n, eligible)),
        now,
      );
    else ledger.command(one.command, now);
    between(ledger);
  }
}

function ledgerOf(of: CampaignTerms, by: ModelSigner = noSignatures): ModelLedger {
  return createModelLedger('spring', of, 'd'.repeat(64), 5, by);
}

describe('any history', () => {
  test('keeps the invariants after every step', () => {
    const reached = new Set<string>();
    fc.assert(
      fc.property(terms, fc.array(step, { maxLength: 40 }), (of, steps) => {
        const ledger = ledgerOf(of);
        take(ledger, steps, () => {
          expect(checkInvariants(ledger.snapshot())).toEqual([]);
          expect(owedRecord(ledger.lane)).toBeNull();
        });
        const verified = checkInvariants(
          ledger.snapshot(),
          { receipts: [] },
          { sha256, verifySignature: null },
        );
        expect(verified).toEqual([]);
        for (const record of ledger.records) reached.add(record.type);
      }),
      { numRuns: 400, seed: 1 },
    );
    // The generator must reach every kind of record, or the property says less than it seems to.
    expect([...reached].sort()).toEqual([
      'CLOSED',
      'ENTRY',
      'OPENED',
      'PAUSED',
      'PROMOTED',
      'PUBLISHED',
      'REOPENED',
      'REPLACED',
      'RESTORED',
      'RESUMED',
      'REVOKED',
      'SOLD_OUT',
      'STOCK_CHANGED',
    ]);
  });

  test('folds to the state that was returned, through the text of its records', () => {
    fc.assert(
      fc.property(terms, fc.array(step, { maxLength: 40 }), (of, steps) => {
        const ledger = ledgerOf(of);
        take(ledger, steps);
        const decoded = ledger.records.map((record) => decodeRecord(encodeRecord(record)));
        expect(decoded).toEqual(ledger.records);
        expect(decoded.reduce<LaneState | null>(evolve, null)).toEqual(ledger.lane);
        const fold = createLaneFold();
        for (const record of decoded) fold.add(record);
        expect(fold.lane()).toEqual(ledger.lane);
      }),
      { numRuns: 300, seed: 2 },
    );
  });

  test('gives every member one verdict for ever', () => {
    fc.assert(
      fc.property(terms, fc.array(step, { maxLength: 30 }), (of, steps) => {
        const ledger = ledgerOf(of);
        const first = new Map<string, string>();
        let now = 10;
        for (const one of steps) {
          now += one.after;
          if (!('batch' in one)) {
            ledger.command(one.command, now);
            continue;
          }
          const commands = one.batch.map(([n]) => member(n));
          ledger.admit(commands, now).forEach((decision, i) => {
            if (decision.verdict !== 'won' && decision.verdict !== 'waitlisted') return;
            const told = JSON.stringify({ ...decision, repeated: null });
            const { memberKey } = commands[i]!;
            expect(decision.repeated).toBe(first.has(memberKey));
            expect(first.get(memberKey) ?? told).toBe(told);
            first.set(memberKey, told);
          });
        }
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  test('never tells "sold out" while a place is left, and never lets anyone in early, late or while paused', () => {
    fc.assert(
      fc.property(terms, fc.array(step, { maxLength: 30 }), (of, steps) => {
        const ledger = ledgerOf(of);
        let now = 10;
        let visitor = 1_000;
        for (const one of steps) {
          now += one.after;
          if ('batch' in one)
            ledger.admit(
              one.batch.map(([n]) => member(n)),
              now,
            );
          else ledger.command(one.command, now);
          const before = ledger.lane;
          const [decision] = ledger.admit([member(visitor++)], now);
          const due = before.phase === 'scheduled' && now >= of.startsAt;
          const ended = of.endsAt !== null && now >= of.endsAt;
          const place = before.free > 0 || before.waiting < before.waitlistLimit;
          const opened = before.phase === 'open' || due;
          const { verdict } = decision!;
          expect(verdict === 'won' || verdict === 'waitlisted').toBe(opened && !ended && place);
          expect(verdict === 'sold-out' && before.phase !== 'closed' && place).toBe(false);
        }
      }),
      { numRuns: 200, seed: 4 },
    );
  });

  test('can be checked by a stranger: receipts, chain, signatures', () => {
    fc.assert(
      fc.property(terms, fc.array(step, { minLength: 5, maxLength: 20 }), (of, steps) => {
        const ledger = ledgerOf(of, signer);
        take(ledger, steps);
        const crypto = { sha256, verifySignature };
        expect(checkInvariants(ledger.snapshot(), { receipts: ledger.receipts() }, crypto)).toEqual([]);
      }),
      { numRuns: 20, seed: 5 },
    );
  });
});

const richTerms: CampaignTerms = {
  capacity: 4,
  safetyStock: 1,
  waitlistLimit: 2,
  closeWhenSoldOut: false,
  startsAt: 0,
  endsAt: null,
};

/** A history with a bit of everything: three winners of whom one was revoked, one replaced, one promoted. */
function richLedger(): ModelLedger {
  const ledger = ledgerOf(richTerms, signer);
  ledger.admit(
    [1, 2, 3, 4, 5, 6].map((n) => member(n)),
    100,
  );
  expect(ledger.command({ command: 'revoke', seq: 2, unitShown: false }, 110)).toBeNull();
  expect(ledger.command({ command: 'replace', seq: 1 }, 120)).toBeNull();
  return ledger;
}

describe('a chain', () => {
  /** Every change of one record of a good chain that keeps it well formed must break the fold. */
  const records = richLedger().records;
  const plants: readonly (readonly [name: string, plant: (all: LaneRecord[]) => void])[] = [
    ['a record left out', (all) => void all.splice(3, 1)],
    ['two records swapped', (all) => void all.splice(2, 2, all[3]!, all[2]!)],
    [
      'SOLD_OUT forgotten',
      (all) =>
        renumber(
          all,
          all.findIndex((r) => r.type === 'SOLD_OUT'),
        ),
    ],
    [
      'REOPENED forgotten',
      (all) =>
        renumber(
          all,
          all.findIndex((r) => r.type === 'REOPENED'),
        ),
    ],
    [
      'PROMOTED forgotten',
      (all) =>
        renumber(
          all,
          all.findIndex((r) => r.type === 'PROMOTED'),
        ),
    ],
    ['OPENED forgotten', (all) => renumber(all, 1)],
  ];

  function renumber(all: LaneRecord[], without: number): void {
    all.splice(without, 1);
    all.forEach((record, i) => void (all[i] = { ...record, recordNo: i + 1 }));
    const last = { recordNo: all.length + 1, type: 'PAUSED' as const, at: 130 };
    all.push(last);
  }

  test.each([...plants])('%s cannot be folded', (_, plant) => {
    const all = records.slice();
    plant(all);
    const fold = createLaneFold();
    expect(() => all.forEach((record) => fold.add(record))).toThrow(LaneDivergenceError);
  });

  test.each([
    ['a unit twice', { unit: 1 }],
    ['a unit beyond the next', { unit: 4 }],
    ['no unit', { unit: null }],
    ['a place on the waitlist while a unit is free', { verdict: 'waitlisted', unit: null }],
    ['a seq left out', { seq: 3 }],
    ['a seq twice', { seq: 1 }],
  ] as const)('the second entry with %s cannot follow', (_, change) => {
    const second = records.findIndex((record) => record.type === 'ENTRY' && record.seq === 2);
    const lane = records.slice(0, second).reduce<LaneState | null>(evolve, null);
    expect(() => evolve(lane, { ...records[second]!, ...change } as LaneRecord)).toThrow(LaneDivergenceError);
  });

  test('a lane begins with PUBLISHED, once', () => {
    expect(() => evolve(null, { recordNo: 1, type: 'OPENED', at: 0 })).toThrow(LaneDivergenceError);
    const lane = evolve(null, records[0]!);
    expect(() => evolve(lane, { ...records[0]!, recordNo: 2 })).toThrow(LaneDivergenceError);
    expect(() => evolve(lane, { recordNo: 2, type: 'OPENED', at: -1 })).toThrow(LaneDivergenceError);
  });

  test('an entry at endsAt, an epoch that does not rise and a member twice cannot follow', () => {
    const ledger = ledgerOf({ ...richTerms, capacity: 9, endsAt: 500 });
    ledger.admit([member(1)], 100);
    const { lane } = ledger;
    const next = { ...ledger.records[2]!, recordNo: 4, seq: 2, unit: 2 } as EntryRecord;
    const other = { ...next, member: 'e'.repeat(64) };
    expect(evolve(lane, { ...other, at: 499 }).seq).toBe(2);
    expect(() => evolve(lane, { ...other, at: 500 })).toThrow(LaneDivergenceError);
    expect(() => evolve(lane, { recordNo: 4, type: 'RESTORED', at: 110, epoch: 1 })).toThrow(
      LaneDivergenceError,
    );
    const fold = createLaneFold();
    for (const record of ledger.records) fold.add(record);
    expect(() => fold.add(next)).toThrow(LaneDivergenceError);
  });

  test('one entry cannot be revoked twice, though the counters would allow it', () => {
    const fold = createLaneFold();
    for (const record of records) fold.add(record);
    const again = {
      recordNo: records.length + 1,
      type: 'REVOKED',
      at: 200,
      seq: 2,
      unit: 3,
      unitBecomes: 'void',
    } as const;
    expect(() => evolve(fold.lane(), again)).not.toThrow();
    expect(() => fold.add(again)).toThrow(LaneDivergenceError);
  });

  test('any changed character of any record is found, at its batch', () => {
    const { batches } = richLedger().snapshot();
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 127 }), (b, i, flip) => {
        const chain = createChainVerifier(sha256, verifySignature);
        const at = b % batches.length;
        const batch = batches[at]!;
        const text = batch.records.join('\n');
        const place = i % text.length;
        const changed =
          text.slice(0, place) + String.fromCharCode(text.charCodeAt(place) ^ flip) + text.slice(place + 1);
        const results = batches.map((one, n) =>
          chain.add(n === at ? { ...one, records: changed.split('\n') } : one),
        );
        expect(results.findIndex((result) => !result.ok)).toBe(at);
        expect(results.slice(at).every((result) => !result.ok)).toBe(true);
      }),
      { numRuns: 150, seed: 6 },
    );
  });

  test('a batch left out, twice, from another lane or with another key is found', () => {
    const { batches } = richLedger().snapshot();
    const [first, second, third] = batches as [
      (typeof batches)[number],
      (typeof batches)[number],
      (typeof batches)[number],
    ];
    const reasonOf = (...list: (typeof batches)[number][]) => {
      const chain = createChainVerifier(sha256, verifySignature);
      const last = list.map((batch) => chain.add(batch)).at(-1)!;
      return last.ok ? null : last.reason;
    };
    expect(reasonOf(first, second, third)).toBeNull();
    expect(reasonOf(first, third)).toBe('record-number-gap');
    expect(reasonOf(first, first)).toBe('record-number-gap');
    expect(reasonOf(first, { ...second, head: { ...second.head, campaign: 'other' } })).toBe('other-lane');
    expect(reasonOf(first, { ...second, head: { ...second.head, prevHead: 'f'.repeat(64) } })).toBe(
      'previous-head-wrong',
    );
    expect(reasonOf(first, { ...second, head: { ...second.head, count: 99 } })).toBe('count-wrong');
    expect(reasonOf(first, { ...second, head: { ...second.head, time: 0.5 } })).toBe('head-wrong');
    expect(reasonOf(first, { ...second, head: { ...second.head, head: 'f'.repeat(64) } })).toBe('head-wrong');
    expect(reasonOf(first, { ...second, head: { ...second.head, epoch: 2 } })).toBe('signature-invalid');
    const unsigned = createChainVerifier(sha256, null);
    expect(unsigned.add({ ...first, head: { ...first.head, epoch: 2 } })).toMatchObject({
      reason: 'epoch-wrong',
    });
    expect(reasonOf(first, { ...second, kid: 'k2' })).toBe('signature-invalid');
    expect(reasonOf(first, { ...second, signature: first.signature })).toBe('signature-invalid');
  });
});

describe('the judge sees', () => {
  const good = richLedger().snapshot();
  type Loose<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer U)[] ? Loose<U>[] : T[K] };
  const plants: readonly (readonly [
    invariant: string,
    name: string,
    plant: (s: Loose<LedgerSnapshot>) => void,
  ])[] = [
    [
      'I1',
      'one more unit than the capacity',
      (s) => void s.entries.push({ ...s.entries[0]!, seq: 99, memberKey: 'x', unit: 5, status: 'granted' }),
    ],
    [
      'I1',
      'one unit with two holders',
      (s) => void Object.assign(s.entries[2]!, { unit: s.entries[0]!.unit }),
    ],
    [
      'I1',
      'a unit issued to nobody',
      (s) => void Object.assign(s.entries[0]!, { unit: null, status: 'revoked' }),
    ],
    ['I1', 'a void unit that somebody holds', (s) => void Object.assign(s.units.at(-1)!, { state: 'void' })],
    [
      'I3',
      'one member with two entries',
      (s) => void Object.assign(s.entries[1]!, { memberKey: s.entries[0]!.memberKey }),
    ],
    [
      'I3',
      'a revoked entry that keeps its unit',
      (s) => void Object.assign(s.entries[0]!, { status: 'revoked' }),
    ],
    ['I4', 'a gap in the order', (s) => void Object.assign(s.entries[1]!, { seq: 9 })],
    ['I4', 'an entry lost', (s) => void s.entries.pop()],
    [
      'I4',
      'two entries swapped',
      (s) => {
        const [a, b] = [s.entries[0]!, s.entries[2]!];
        [a.memberKey, b.memberKey, a.seq, b.seq] = [b.memberKey, a.memberKey, b.seq, a.seq];
      },
    ],
    [
      'I4',
      'a lane that its records do not tell',
      (s) => void Object.assign(s.lanes[0]!, { capacity: 9, free: 5 }),
    ],
    ['I6', 'a unit lost', (s) => void Object.assign(s.lanes[0]!, { issued: s.lanes[0]!.issued - 1 })],
    ['I6', 'a waiting entry that the counter forgot', (s) => void Object.assign(s.lanes[0]!, { waiting: 0 })],
    [
      'I6',
      'a unit that came back and was forgotten',
      (s) => void Object.assign(s.lanes[0]!, { returnedUnits: [1] }),
    ],
    ['I6', 'a negative counter', (s) => void Object.assign(s.lanes[0]!, { free: -1, reserved: 1 })],
  ];
  test('nothing wrong in a good ledger', () => {
    expect(checkInvariants(good, {}, { sha256, verifySignature })).toEqual([]);
  });
  test.each([...plants])('%s: %s', (invariant, _, plant) => {
    const bad = structuredClone(good) as Loose<LedgerSnapshot>;
    plant(bad);
    const found = checkInvariants(bad as LedgerSnapshot, {}, { sha256, verifySignature });
    expect(found.map((violation) => violation.invariant)).toContain(invariant);
  });
});
