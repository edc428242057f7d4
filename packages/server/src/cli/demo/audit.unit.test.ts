import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import {
  createModelLedger,
  encodeRecord,
  type LaneRecord,
  memberCommitment,
  type ModelLedger,
  type Receipt,
} from '@doorbuster/core';
import { describe, expect, it } from 'vitest';
import { type AuditInput, type AuditResult, audit } from './audit.ts';
import { emailOf } from './crowd-plan.ts';
import type { KeptAnswer } from './crowd.ts';

/**
 * Honest evidence, made with the product's own rules: 5 units, 8 members, one of whom asks twice. Each test then plants one lie; the audit that
 * says zeros to the honest evidence must name it.
 */
const opensAt = 1_000;
const during = 2_000;
const units = 5;
const members = 8;
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const sha256 = (data: Uint8Array): Uint8Array => createHash('sha256').update(data).digest();
const saltOf = (member: number): string => (member + 1).toString(16).padStart(32, '0');
const keyOf = (member: number): string => (0xa00 + member).toString(16).padStart(32, '0');
const codeOf = (unit: number): string => `DB-0000-0000-0000-000${unit}`;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Kept = Mutable<KeptAnswer> & { body: Record<string, unknown> };
type Evidence = Mutable<Omit<AuditInput, 'answers' | 'exported' | 'records' | 'mails' | 'codes'>> & {
  answers: Kept[];
  exported: Map<number, string>;
  records: LaneRecord[];
  mails: { to: string; text: string; at: number }[];
  codes: Set<string>;
};

function play(): ModelLedger {
  const terms = {
    capacity: units,
    safetyStock: 0,
    waitlistLimit: 0,
    closeWhenSoldOut: false,
    startsAt: opensAt,
    endsAt: null,
  };
  const signer = {
    sha256,
    kid: 'k1',
    sign: (message: Uint8Array) => sign(null, message, privateKey).toString('base64url'),
  };
  const ledger = createModelLedger('spring', terms, 'd'.repeat(64), 500, signer);
  for (let from = 0; from < members; from += 3)
    ledger.admit(
      Array.from({ length: Math.min(3, members - from) }, (_, i) => ({
        memberKey: keyOf(from + i),
        member: memberCommitment(saltOf(from + i), keyOf(from + i), sha256),
        answers: null,
        qualification: { eligible: true as const },
      })),
      during + from,
    );
  return ledger;
}

function answerOf(member: number, status: number, body: Record<string, unknown>, at = during): Kept {
  return {
    member,
    kind: 'entry',
    sentAt: at,
    answeredAt: at + 5,
    status,
    verdict: String(body.verdict),
    body,
  };
}

function honest(): Evidence {
  const ledger = play();
  const receipts = new Map(
    ledger.records.map((record, i) => [record.recordNo, ledger.receipts()[i] as Receipt]),
  );
  const answers: Kept[] = [];
  const mails: Evidence['mails'] = [];
  const soldOut = ledger.records.find((record) => record.type === 'SOLD_OUT');
  for (let member = 0; member < members; member++) {
    const entry = ledger.records.find((record) => record.type === 'ENTRY' && record.seq === member + 1);
    if (entry?.type !== 'ENTRY') {
      answers.push(
        answerOf(member, 410, { verdict: 'sold-out', receipt: receipts.get(soldOut?.recordNo ?? 0) }),
      );
      continue;
    }
    const opening = { salt: saltOf(member), memberKey: keyOf(member) };
    answers.push(
      answerOf(member, 201, {
        verdict: 'won',
        seq: entry.seq,
        receipt: structuredClone(receipts.get(entry.recordNo)),
        opening,
      }),
    );
    mails.push({ to: emailOf(member), text: `Your code: ${codeOf(entry.unit ?? 0)}.`, at: during + 100 });
  }
  const first = answers[0] as Kept;
  answers.push({
    ...first,
    kind: 'retry',
    status: 200,
    sentAt: during + 50,
    body: { ...first.body, repeated: true },
  });
  return {
    answers,
    exported: new Map(ledger.records.map((record) => [record.recordNo, encodeRecord(record)])),
    records: [...ledger.records],
    lane: ledger.lane,
    mails,
    codes: new Set(Array.from({ length: units }, (_, i) => codeOf(i + 1))),
    codePattern: /\bDB(?:-[0-9A-F]{4}){4}\b/,
    sha256,
    verifySignature: (kid, message, signature) =>
      kid === 'k1' && verify(null, message, publicKey, Buffer.from(signature, 'base64url')),
  };
}

const zeros = { oversold: 0, acknowledgedLost: 0, servedTwice: 0, undelivered: 0, faults: [] };

describe('the audit of honest evidence', () => {
  it('says zeros', () => {
    expect(audit(honest())).toEqual({ ...zeros, delivered: 5, receiptsChecked: 8, lastMailAt: during + 100 });
  });

  it('takes a mail that came twice with the same code, receipts as text, and a refusal before the entry', () => {
    const evidence = honest();
    evidence.mails.push(structuredClone(evidence.mails[0]!));
    for (const answer of evidence.answers) answer.body.receipt = JSON.stringify(answer.body.receipt);
    evidence.answers.unshift(answerOf(0, 409, { verdict: 'not-open' }, 10));
    expect(audit(evidence)).toMatchObject({ ...zeros, delivered: 5 });
  });
});

/** What a lie must show as: a count above zero, or a fault that says it. */
const lies: readonly (readonly [
  name: string,
  plant: (evidence: Evidence) => void,
  shown: Partial<AuditResult> | string,
])[] = [
  [
    'an entry acknowledged and not in the chain',
    ({ records, exported, mails }) => {
      const gone = records.findIndex((record) => record.type === 'ENTRY' && record.seq === 3);
      exported.delete(records[gone]!.recordNo);
      records.splice(gone, 1);
      mails.splice(2, 1);
    },
    { acknowledgedLost: 1 },
  ],
  [
    'an entry that the chain holds otherwise',
    ({ exported, records }) => {
      const entry = records.find((record) => record.type === 'ENTRY')!;
      exported.set(entry.recordNo, encodeRecord({ ...entry, at: entry.at + 1 }));
    },
    { acknowledgedLost: 1 },
  ],
  [
    'a tampered receipt',
    ({ answers }) => {
      const receipt = answers[1]!.body.receipt as Mutable<Receipt>;
      receipt.record = receipt.record.replace('"unit":2', '"unit":1');
    },
    { acknowledgedLost: 1 },
  ],
  [
    'a receipt with the signature of another',
    ({ answers }) => {
      (answers[0]!.body.receipt as Mutable<Receipt>).signature = (
        answers[4]!.body.receipt as Receipt
      ).signature;
    },
    { acknowledgedLost: 1 },
  ],
  [
    'a receipt signed with a key that is not published',
    ({ answers }) => void ((answers[1]!.body.receipt as Mutable<Receipt>).kid = 'k2'),
    { acknowledgedLost: 1 },
  ],
  [
    'the receipt of another member',
    ({ answers }) => void (answers[1]!.body.receipt = answers[2]!.body.receipt),
    { acknowledgedLost: 1 },
  ],
  [
    'a receipt that opens to nobody',
    ({ answers }) => void (answers[1]!.body.opening = { salt: saltOf(7), memberKey: keyOf(1) }),
    { acknowledgedLost: 1 },
  ],
  [
    'two members told one number',
    ({ answers }) => void Object.assign(answers[1]!.body, answers[0]!.body),
    'two members were told the same number',
  ],
  [
    'another answer to a repeat',
    ({ answers }) => void (answers.at(-1)!.body = { ...answers.at(-1)!.body, seq: 4 }),
    'was told won 1, then won 4',
  ],
  [
    'a winner who is refused afterwards',
    ({ answers }) =>
      void answers.push({
        ...answers.find((answer) => answer.status === 410)!,
        member: 0,
        sentAt: during + 60,
      }),
    'was told won 1, then refused',
  ],
  ['a code that two members hold', ({ mails }) => void (mails[1]!.text = mails[0]!.text), { servedTwice: 1 }],
  [
    'two codes to one member',
    ({ mails }) => void mails.push({ ...mails[0]!, text: mails[1]!.text }),
    { servedTwice: 2 },
  ],
  [
    'one member served twice, with a fresh code',
    ({ mails, codes }) => {
      codes.add(codeOf(6));
      mails.push({ ...mails[0]!, text: codeOf(6) });
    },
    { servedTwice: 1, oversold: 1 },
  ],
  [
    'an extra unit by the records',
    (evidence) => void (evidence.lane = { ...evidence.lane, issued: units + 1 }),
    { oversold: 1 },
  ],
  [
    'an extra unit by the mails',
    ({ mails, codes }) => {
      codes.add(codeOf(6));
      mails.push({ to: emailOf(6), text: codeOf(6), at: during });
    },
    { oversold: 1 },
  ],
  [
    'one unit in two records',
    ({ records }) => {
      const at = records.findIndex((record) => record.type === 'ENTRY' && record.seq === 2);
      records[at] = { ...records[at], unit: 1 } as LaneRecord;
    },
    { oversold: 1 },
  ],
  [
    'a mail to somebody who did not win',
    ({ mails }) => void (mails[0]!.to = emailOf(6)),
    'received a code without having won',
  ],
  ['a mail that never came', ({ mails }) => void mails.pop(), { undelivered: 1, delivered: 4 }],
  [
    'a code that nobody imported',
    ({ mails }) => void (mails[0]!.text = codeOf(9)),
    'carries no code of the pool',
  ],
  [
    'a refusal without its proof',
    ({ answers }) => void delete answers.find((answer) => answer.status === 410)!.body.receipt,
    '410 without a receipt',
  ],
  [
    'a refusal by a record that refuses nobody',
    ({ answers }) =>
      void (answers.find((answer) => answer.status === 410)!.body.receipt = answers[0]!.body.receipt),
    'refused by a ENTRY record',
  ],
  [
    'a refusal by a record that the chain does not hold',
    ({ exported, records }) =>
      void exported.delete(records.find((record) => record.type === 'SOLD_OUT')!.recordNo),
    'the refusing record is not in the chain',
  ],
];

/** The fields of the result that are asked for, in their order. */
function pick(result: AuditResult, fields: Partial<AuditResult>): Partial<AuditResult> {
  return Object.fromEntries(Object.keys(fields).map((name) => [name, result[name as keyof AuditResult]]));
}

describe('the audit of a lie', () => {
  it.each(lies)('catches %s', (_, plant, shown) => {
    const evidence = honest();
    plant(evidence);
    const result = audit(evidence);
    expect(
      typeof shown === 'string' ? result.faults.join('\n') : JSON.stringify(pick(result, shown)),
    ).toContain(typeof shown === 'string' ? shown : JSON.stringify(shown));
    expect(result.faults.length + result.oversold, 'a lie must fail the demo').toBeGreaterThan(0);
  });
});
