/** I2 and I4: what was signed or acknowledged stays true, and the order stands. */
import type { MemberKey } from '../admit.ts';
import { createChainVerifier } from '../chain.ts';
import type { LaneFold } from '../fold.ts';
import type { LaneState } from '../lane.ts';
import type { Receipt } from '../receipt.ts';
import { verifyReceipt } from '../receipt-check.ts';
import { canonicalJson } from '../canonical-json.ts';
import type {
  EntrySnapshot,
  InvariantCrypto,
  LedgerSnapshot,
  ObservedAnswer,
  Violation,
} from './snapshot.ts';
import { laneKey } from './snapshot.ts';

/** I4: seq runs 1..n without gap and in the order of the records; with a chain, it verifies and folds to what the tables say. */
export function checkOrder(snapshot: LedgerSnapshot, crypto: InvariantCrypto | null): Violation[] {
  const found: Violation[] = [];
  const entries = entriesByLane(snapshot);
  for (const lane of snapshot.lanes) {
    const key = laneKey(lane);
    const broken = (detail: string) => void found.push({ invariant: 'I4', detail: `${key}: ${detail}` });
    const rows = entries.get(key) ?? [];
    checkNumbers(lane, rows, broken);
    if (crypto === null || snapshot.batches.length === 0) continue;
    const fold = checkChain(snapshot, lane, crypto, broken);
    if (fold !== null) compareFold(fold, lane, rows, broken);
  }
  return found;
}

function entriesByLane(snapshot: LedgerSnapshot): Map<string, EntrySnapshot[]> {
  const all = new Map<string, EntrySnapshot[]>();
  for (const entry of snapshot.entries) {
    const rows = all.get(laneKey(entry));
    if (rows === undefined) all.set(laneKey(entry), [entry]);
    else rows.push(entry);
  }
  for (const rows of all.values()) rows.sort((a, b) => a.seq - b.seq);
  return all;
}

function checkNumbers(
  lane: LaneState,
  rows: readonly EntrySnapshot[],
  broken: (detail: string) => void,
): void {
  if (rows.length !== lane.seq) broken(`the last seq is ${lane.seq}, there are ${rows.length} entries`);
  let before = 0;
  rows.forEach((entry, i) => {
    if (entry.seq !== i + 1) broken(`expected seq ${i + 1}, found ${entry.seq}`);
    if (entry.recordNo <= before || entry.recordNo > lane.recordNo)
      broken(`entry ${entry.seq} has record ${entry.recordNo}`);
    before = entry.recordNo;
  });
}

function checkChain(
  snapshot: LedgerSnapshot,
  lane: LaneState,
  { sha256, verifySignature }: InvariantCrypto,
  broken: (detail: string) => void,
): LaneFold | null {
  const chain = createChainVerifier(sha256, verifySignature);
  for (const batch of snapshot.batches) {
    if (batch.head.campaign !== lane.campaign || batch.head.lane !== lane.lane) continue;
    const checked = chain.add(batch);
    if (checked.ok) continue;
    broken(
      `the batch at record ${checked.firstRecordNo} does not verify: ${checked.reason}, ${checked.detail}`,
    );
    return null;
  }
  return chain.fold;
}

/** The tables are what the records say. */
function compareFold(
  fold: LaneFold,
  lane: LaneState,
  rows: readonly EntrySnapshot[],
  broken: (detail: string) => void,
): void {
  const folded = fold.lane();
  const told = folded === null ? 'nothing' : canonicalJson(folded);
  if (told !== canonicalJson(lane)) broken(`the lane is ${canonicalJson(lane)}, the records say ${told}`);
  if (fold.entries.size !== rows.length)
    broken(`${rows.length} entries, the records say ${fold.entries.size}`);
  for (const row of rows) {
    const entry = fold.entries.get(row.seq);
    const fields = ['recordNo', 'verdict', 'firstUnit', 'status', 'unit'] as const;
    const differing = entry === undefined ? 'all' : fields.find((field) => entry[field] !== row[field]);
    if (differing !== undefined) broken(`entry ${row.seq} differs from its records in ${differing}`);
  }
}

/** I2: every signed receipt verifies, and its record stands in the ledger, the same text under the same number. */
export function checkReceipts(
  snapshot: LedgerSnapshot,
  receipts: readonly Receipt[],
  crypto: InvariantCrypto,
): Violation[] {
  const found: Violation[] = [];
  const records = recordsByNumber(snapshot);
  for (const receipt of receipts) {
    const place = `${laneKey(receipt)}: receipt of ${receipt.record}`;
    const checked = verifyReceipt(receipt, crypto.sha256, crypto.verifySignature ?? (() => true));
    if (!checked.ok) {
      found.push({ invariant: 'I2', detail: `${place} does not verify: ${checked.reason}` });
      continue;
    }
    const stored = records.get(`${laneKey(receipt)}#${checked.record.recordNo}`);
    if (stored !== receipt.record)
      found.push({ invariant: 'I2', detail: `${place} is not in the ledger, which has ${stored}` });
  }
  return found;
}

function recordsByNumber(snapshot: LedgerSnapshot): Map<string, string> {
  const records = new Map<string, string>();
  for (const { head, records: texts } of snapshot.batches) {
    texts.forEach((text, i) => void records.set(`${laneKey(head)}#${head.firstRecordNo + i}`, text));
  }
  return records;
}

/** I2 for plain answers: an acknowledged entry is in the ledger as it was told, and a member is never told two different things. */
export function checkAcknowledged(snapshot: LedgerSnapshot, answers: readonly ObservedAnswer[]): Violation[] {
  const found: Violation[] = [];
  const entries = new Map<string, EntrySnapshot>();
  for (const entry of snapshot.entries) entries.set(memberPlace(entry), entry);
  for (const answer of answers) {
    if (answer.verdict !== 'won' && answer.verdict !== 'waitlisted') continue;
    const entry = entries.get(memberPlace(answer));
    const place = `${laneKey(answer)}: member ${answer.memberKey} was told ${answer.verdict}, seq ${answer.seq}, unit ${answer.unit}`;
    if (entry === undefined) found.push({ invariant: 'I2', detail: `${place}, and has no entry` });
    else if (!isAsTold(entry, answer)) {
      const stored = `${entry.verdict}, seq ${entry.seq}, unit ${entry.firstUnit}`;
      found.push({ invariant: 'I2', detail: `${place}, the ledger says ${stored}` });
    }
  }
  return found;
}

function memberPlace(of: { readonly campaign: string; readonly memberKey: MemberKey }): string {
  return `${of.campaign}/${of.memberKey}`;
}

function isAsTold(entry: EntrySnapshot, answer: ObservedAnswer): boolean {
  const same =
    entry.verdict === answer.verdict && entry.seq === answer.seq && entry.firstUnit === answer.unit;
  return same && (answer.recordNo === null || answer.recordNo === entry.recordNo);
}
