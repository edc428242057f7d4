/**
 * Checking an exported log: batch by batch, in order, in memory that grows with the entries only. Every link of the argument is
 * checked: numbers without gap, root over the very texts, head over the root and the head before, signature over the head, and
 * that each record can follow the state before it (so seq is gap-free and no unit is given twice).
 */
import { LaneDivergenceError } from './evolve.ts';
import type { LaneFold } from './fold.ts';
import { createLaneFold } from './fold.ts';
import type { Sha256 } from './hash.ts';
import { hexOf } from './hex.ts';
import { createTreeAccumulator, leafHash, treeRoot } from './merkle.ts';
import type { BatchHead, VerifySignature } from './receipt.ts';
import { genesisHead, headOf, signedHeadMessage } from './receipt.ts';
import type { Digest } from './record.ts';
import { decodeRecord, RecordFormatError } from './record-codec.ts';

/** One batch of an exported log. The epoch of its head is the lane's after its last record. */
export interface ExportedBatch {
  readonly head: BatchHead;
  /** `encodeRecord` of its records, in order. */
  readonly records: readonly string[];
  readonly kid: string;
  /** base64url Ed25519 over `signedHeadMessage(head)`. */
  readonly signature: string;
}

export type ChainFault =
  | 'other-lane'
  | 'epoch-wrong'
  | 'previous-head-wrong'
  | 'record-number-gap'
  | 'count-wrong'
  | 'record-unreadable'
  | 'root-wrong'
  | 'head-wrong'
  | 'signature-invalid'
  | 'record-cannot-follow';

export type ChainCheck =
  | { readonly ok: true }
  | {
      readonly ok: false;
      readonly reason: ChainFault;
      readonly firstRecordNo: number;
      readonly detail: string;
    };

export interface ChainVerifier {
  /** Checks the next batch. After a fault every further batch gets the same answer. */
  add(batch: ExportedBatch): ChainCheck;
  /** Number of the last record that verified; 0 before the first. */
  readonly recordNo: number;
  /** The head of the last batch that verified. */
  readonly head: Digest;
  /** Lane, entries and units as the records tell them. */
  readonly fold: LaneFold;
  /** The root over all records so far, published at close. Throws a `RangeError` before the first. */
  recordsRoot(): Digest;
}

/** `verifySignature` null leaves the signatures out: for a ledger that checks its own tables before it has signed. */
export function createChainVerifier(sha256: Sha256, verifySignature: VerifySignature | null): ChainVerifier {
  const fold = createLaneFold();
  const tree = createTreeAccumulator(sha256);
  let recordNo = 0;
  let head = genesisHead;
  let broken: ChainCheck | null = null;

  function check(batch: ExportedBatch): ChainCheck {
    const lane = fold.lane();
    const leaves = batch.records.map((record) => leafHash(record, sha256));
    const fault =
      faultOfPlace(batch, lane, recordNo, head) ??
      faultOfHead(batch, leaves, sha256, verifySignature) ??
      faultOfRecords(batch, fold);
    if (fault !== null) return { ok: false, ...fault, firstRecordNo: batch.head.firstRecordNo };
    for (const leaf of leaves) tree.add(leaf);
    recordNo += batch.records.length;
    head = batch.head.head;
    return { ok: true };
  }

  return {
    add(batch) {
      if (broken !== null) return broken;
      const checked = check(batch);
      if (!checked.ok) broken = checked;
      return checked;
    },
    get recordNo() {
      return recordNo;
    },
    get head() {
      return head;
    },
    fold,
    recordsRoot: () => hexOf(tree.root()),
  };
}

type Fault = { readonly reason: ChainFault; readonly detail: string } | null;

/** The batch continues this chain: same lane, next number, previous head. */
function faultOfPlace(
  { head, records }: ExportedBatch,
  lane: { readonly campaign: string; readonly lane: number } | null,
  recordNo: number,
  prevHead: Digest,
): Fault {
  if (lane !== null && (head.campaign !== lane.campaign || head.lane !== lane.lane)) {
    return { reason: 'other-lane', detail: `${head.campaign}/${head.lane}` };
  }
  if (head.firstRecordNo !== recordNo + 1)
    return { reason: 'record-number-gap', detail: `expected record ${recordNo + 1}` };
  if (head.prevHead !== prevHead) return { reason: 'previous-head-wrong', detail: `expected ${prevHead}` };
  if (!Number.isSafeInteger(head.time) || head.time < 0)
    return { reason: 'head-wrong', detail: 'the time is not a time' };
  if (records.length === 0 || records.length !== head.count) {
    return { reason: 'count-wrong', detail: `${records.length} records, the head says ${head.count}` };
  }
  return null;
}

function faultOfHead(
  batch: ExportedBatch,
  leaves: readonly Uint8Array[],
  sha256: Sha256,
  verifySignature: VerifySignature | null,
): Fault {
  const { head, kid, signature } = batch;
  const root = hexOf(treeRoot(leaves, sha256));
  if (root !== head.root) return { reason: 'root-wrong', detail: `the records give ${root}` };
  const own = headOf(head, sha256);
  if (own !== head.head) return { reason: 'head-wrong', detail: `the parts give ${own}` };
  if (verifySignature !== null && !verifySignature(kid, signedHeadMessage(head), signature)) {
    return { reason: 'signature-invalid', detail: `key ${kid}` };
  }
  return null;
}

function faultOfRecords({ head, records }: ExportedBatch, fold: LaneFold): Fault {
  let epoch = fold.lane()?.epoch ?? null;
  for (const text of records) {
    try {
      const record = decodeRecord(text);
      fold.add(record);
      if (record.type === 'PUBLISHED' && (record.campaign !== head.campaign || record.lane !== head.lane)) {
        return { reason: 'other-lane', detail: `${record.campaign}/${record.lane}` };
      }
      if (record.type === 'RESTORED') epoch = record.epoch;
      if (record.type === 'PUBLISHED') epoch = 1;
    } catch (error) {
      if (error instanceof RecordFormatError) return { reason: 'record-unreadable', detail: error.message };
      if (error instanceof LaneDivergenceError)
        return { reason: 'record-cannot-follow', detail: error.message };
      throw error;
    }
  }
  return head.epoch === epoch
    ? null
    : { reason: 'epoch-wrong', detail: `the records say ${epoch}, the head ${head.epoch}` };
}
