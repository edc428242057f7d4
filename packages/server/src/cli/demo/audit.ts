/**
 * The auditor: compares what the crowd was told (answers and receipts) with the exported chain of records and with the mails that arrived.
 * It asks no counter of the server. Pure: everything is passed in.
 */
import {
  type LaneRecord,
  type LaneState,
  type Receipt,
  type ReceiptOpening,
  type Sha256,
  type VerifySignature,
  verifyOpening,
  verifyReceipt,
} from '@doorbuster/core';
import { emailOf } from './crowd-plan.ts';
import type { KeptAnswer } from './crowd.ts';

export interface ReceivedMail {
  readonly to: string;
  readonly text: string;
  readonly at: number;
}
export interface AuditInput {
  readonly answers: Iterable<KeptAnswer>;
  /** recordNo -> the record's exported bytes (text), after the whole chain was verified. */
  readonly exported: ReadonlyMap<number, string>;
  readonly records: readonly LaneRecord[];
  /** The fold of all records. */
  readonly lane: LaneState;
  readonly mails: readonly ReceivedMail[];
  /** All codes that were imported. */
  readonly codes: ReadonlySet<string>;
  /** Finds the voucher code in a mail. */
  readonly codePattern: RegExp;
  readonly sha256: Sha256;
  readonly verifySignature: VerifySignature;
}
export interface AuditResult {
  readonly delivered: number;
  /** Units given beyond the capacity or twice, by the counters, by the records and by the codes that arrived; the largest. */
  readonly oversold: number;
  /** Entries told 200 or 201 that the records do not hold as told. */
  readonly acknowledgedLost: number;
  /** Members who received more than one distinct code, and codes that reached more than one member. */
  readonly servedTwice: number;
  /** Winners by the records whose code never arrived, or arrived elsewhere. */
  readonly undelivered: number;
  readonly receiptsChecked: number;
  readonly faults: readonly string[];
  readonly lastMailAt: number;
}

interface Told {
  readonly seq: number;
  readonly verdict: string;
  /** When the first such answer had arrived, ms. */
  readonly at: number;
}

/** Of this member by the rules, not of a broken request or for now. */
const isRefusal = ({ status, verdict }: KeptAnswer): boolean =>
  verdict !== null && (status === 403 || status === 409 || status === 410);

export function audit(input: AuditInput): AuditResult {
  const faults: string[] = [];
  const fault = (text: string): void => void (faults.length < 50 && faults.push(text));
  const entries = new Map(input.records.filter((r) => r.type === 'ENTRY').map((r) => [r.seq, r]));
  const told = new Map<number, Told>();
  let lost = 0;
  let receiptsChecked = 0;
  for (const answer of input.answers) {
    if (answer.status === 410) receiptsChecked += checkRefusal(answer, input, fault);
    if (answer.status !== 200 && answer.status !== 201) {
      const earlier = told.get(answer.member);
      if (earlier && isRefusal(answer) && answer.sentAt > earlier.at)
        fault(
          `member ${answer.member} was told ${earlier.verdict} ${earlier.seq}, then refused: ${answer.verdict}`,
        );
      continue;
    }
    const body = answer.body as {
      seq: number;
      verdict: string;
      receipt: Receipt | string;
      opening?: ReceiptOpening;
    };
    if (body.verdict !== 'won' && body.verdict !== 'waitlisted') continue;
    const before = told.get(answer.member);
    if (before && (before.seq !== body.seq || before.verdict !== body.verdict))
      fault(
        `member ${answer.member} was told ${before.verdict} ${before.seq}, then ${body.verdict} ${body.seq}`,
      );
    if (before) continue;
    told.set(answer.member, { seq: body.seq, verdict: body.verdict, at: answer.answeredAt });
    const entry = entries.get(body.seq);
    const problem = entry ? receiptProblem(body, entry, input) : 'no such record';
    receiptsChecked++;
    if (problem) {
      lost++;
      fault(`member ${answer.member}, seq ${body.seq}: ${problem}`);
    }
  }
  const seqs = [...told.values()].map((t) => t.seq);
  if (new Set(seqs).size !== seqs.length) fault('two members were told the same number');
  const mails = auditMails(input, told, fault);
  const issued = input.lane.issued + input.lane.void;
  const oversold = Math.max(
    issued - input.lane.capacity,
    mails.distinctCodes - input.lane.capacity,
    unitsBeyond(input),
  );
  return {
    delivered: mails.delivered,
    oversold,
    acknowledgedLost: lost,
    servedTwice: mails.servedTwice,
    undelivered: mails.undelivered,
    receiptsChecked,
    faults,
    lastMailAt: mails.lastMailAt,
  };
}

function asReceipt(value: Receipt | string): Receipt {
  return typeof value === 'string' ? (JSON.parse(value) as Receipt) : value;
}

/** Null when the receipt is signed, is of this record, is in the exported chain, and opens to the member. */
function receiptProblem(
  body: { seq: number; receipt: Receipt | string; opening?: ReceiptOpening },
  entry: LaneRecord,
  input: AuditInput,
): string | null {
  const receipt = asReceipt(body.receipt);
  const checked = verifyReceipt(receipt, input.sha256, input.verifySignature);
  if (!checked.ok) return `receipt: ${checked.reason}`;
  if (checked.record.type !== 'ENTRY' || checked.record.seq !== body.seq)
    return 'the receipt is of another record';
  if (input.exported.get(entry.recordNo) !== receipt.record)
    return 'the exported record differs from the receipt';
  if (!body.opening || !verifyOpening(receipt, body.opening, input.sha256))
    return 'the receipt does not open to the member';
  return null;
}

/** Everyone refused with 410 holds the receipt of the SOLD_OUT or CLOSED record. */
function checkRefusal(answer: KeptAnswer, input: AuditInput, fault: (text: string) => void): number {
  const body = answer.body as { verdict?: string; receipt?: Receipt | string };
  if (!body.receipt) {
    fault(`member ${answer.member}: 410 without a receipt`);
    return 0;
  }
  const receipt = asReceipt(body.receipt);
  const key = receipt.record;
  if (verifiedRefusals.get(input)?.has(key)) return 1;
  const checked = verifyReceipt(receipt, input.sha256, input.verifySignature);
  if (!checked.ok) fault(`member ${answer.member}: receipt of ${body.verdict}: ${checked.reason}`);
  else if (checked.record.type !== 'SOLD_OUT' && checked.record.type !== 'CLOSED')
    fault(`member ${answer.member}: refused by a ${checked.record.type} record`);
  else if (input.exported.get(checked.record.recordNo) !== receipt.record)
    fault(`member ${answer.member}: the refusing record is not in the chain`);
  else verifiedRefusals.set(input, (verifiedRefusals.get(input) ?? new Set()).add(key));
  return 1;
}
/** One record refuses thousands: its receipt is verified once per audit. */
const verifiedRefusals = new WeakMap<AuditInput, Set<string>>();

/** Units that were granted and not taken back, by seq. */
function liveGrants(records: readonly LaneRecord[]): ReadonlyMap<number, number> {
  const grants = new Map<number, number>();
  for (const r of records) {
    if (r.type === 'ENTRY' && r.unit !== null) grants.set(r.seq, r.unit);
    else if (r.type === 'PROMOTED') grants.set(r.seq, r.unit);
    else if (r.type === 'REPLACED') grants.set(r.seq, r.newUnit);
    else if (r.type === 'REVOKED') grants.delete(r.seq);
  }
  return grants;
}

/** Units of the records that do not exist, and units that two live grants hold. */
function unitsBeyond({ records, lane }: AuditInput): number {
  const grants = [...liveGrants(records).values()];
  const real = new Set(grants.filter((unit) => unit <= lane.capacity));
  return grants.length - real.size;
}

function auditMails(input: AuditInput, told: ReadonlyMap<number, Told>, fault: (text: string) => void) {
  const codesOf = new Map<string, Set<string>>();
  const holderOf = new Map<string, string>();
  let lastMailAt = 0;
  let servedTwice = 0;
  for (const mail of input.mails) {
    lastMailAt = Math.max(lastMailAt, mail.at);
    const code = input.codePattern.exec(mail.text)?.[0];
    if (!code || !input.codes.has(code)) {
      fault(`a mail to ${mail.to} carries no code of the pool`);
      continue;
    }
    codesOf.set(mail.to, (codesOf.get(mail.to) ?? new Set()).add(code));
    const holder = holderOf.get(code);
    if (holder !== undefined && holder !== mail.to) {
      servedTwice++;
      fault(`one code reached ${holder} and ${mail.to}`);
    }
    holderOf.set(code, mail.to);
  }
  for (const [to, codes] of codesOf)
    if (codes.size > 1) {
      servedTwice++;
      fault(`${to} received ${codes.size} codes`);
    }
  const grants = liveGrants(input.records);
  const winners = new Map(
    [...told].filter(([, t]) => grants.has(t.seq)).map(([member, t]) => [emailOf(member), t.seq]),
  );
  let delivered = 0;
  for (const to of codesOf.keys()) {
    if (winners.has(to)) delivered++;
    else fault(`${to} received a code without having won`);
  }
  const undelivered = Math.max(0, grants.size - delivered);
  if (undelivered > 0) fault(`${undelivered} of ${grants.size} winners received nothing`);
  return { delivered, servedTwice, undelivered, distinctCodes: holderOf.size, lastMailAt };
}
