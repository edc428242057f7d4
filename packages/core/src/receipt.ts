/**
 * Receipts and batch heads (shapes of RFC 6962):
 *   leaf   = SHA-256(0x00 || record bytes)          record bytes = UTF-8 of `encodeRecord(record)`
 *   node   = SHA-256(0x01 || left || right)
 *   head(b)= SHA-256(head(b-1) || root(b) || u64be(first recordNo) || u32be(count) || u64be(time ms))   head(0) = 32 zero bytes
 *   signed = UTF-8("doorbuster-head-v1\n" + campaign + "\n" + lane + "\n" + epoch + "\n" + hex(head))
 * The signature is Ed25519 over `signed`, made once per batch, after the commit.
 */
import type { Sha256, TreeHashes } from './hash.ts';
import { bytesOfHex, hexOf, utf8Of } from './hex.ts';
import { batchTree, treeHashesOf } from './merkle.ts';
import type { Digest, EpochMs } from './record.ts';

export interface BatchHead {
  readonly campaign: string;
  readonly lane: number;
  readonly epoch: number;
  readonly prevHead: Digest;
  readonly root: Digest;
  readonly firstRecordNo: number;
  readonly count: number;
  readonly time: EpochMs;
  readonly head: Digest;
}

export interface Receipt {
  readonly v: 1;
  readonly campaign: string;
  readonly lane: number;
  readonly epoch: number;
  /** `encodeRecord` of the record: the very bytes that were hashed. */
  readonly record: string;
  /** Sibling digests from the leaf to the root. */
  readonly path: readonly Digest[];
  readonly prevHead: Digest;
  readonly firstRecordNo: number;
  readonly count: number;
  readonly time: EpochMs;
  readonly kid: string;
  /** base64url Ed25519 signature. */
  readonly signature: string;
}

/** What lets the holder of an entry's receipt show that it is theirs: SHA-256(salt || member key) is the record's `member`. Hex. */
export interface ReceiptOpening {
  readonly salt: string;
  readonly memberKey: string;
}

/** The latest head, signed and public every second: two people can compare it to find a split view. */
export interface Checkpoint {
  readonly v: 1;
  readonly campaign: string;
  readonly lane: number;
  readonly epoch: number;
  readonly recordNo: number;
  readonly head: Digest;
  readonly time: EpochMs;
  readonly kid: string;
  /** base64url Ed25519 over UTF-8("doorbuster-checkpoint-v1\n" + campaign + "\n" + lane + "\n" + epoch + "\n" + recordNo + "\n" + head + "\n" + time). */
  readonly signature: string;
}

/** Checks an Ed25519 signature; brought by the caller. */
export type VerifySignature = (kid: string, message: Uint8Array, signature: string) => boolean;

/** The head before the first batch. */
export const genesisHead: Digest = '0'.repeat(64);

export interface HeadParts {
  readonly prevHead: Digest;
  readonly root: Digest;
  readonly firstRecordNo: number;
  readonly count: number;
  readonly time: EpochMs;
}

/** `head(b)`, see the top of this file. */
export function headOf(parts: HeadParts, sha256: Sha256): Digest {
  const bytes = new Uint8Array(84);
  bytes.set(bytesOfHex(parts.prevHead), 0);
  bytes.set(bytesOfHex(parts.root), 32);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(64, BigInt(parts.firstRecordNo));
  view.setUint32(72, parts.count);
  view.setBigUint64(76, BigInt(parts.time));
  return hexOf(sha256(bytes));
}

export interface LaneId {
  readonly campaign: string;
  readonly lane: number;
  readonly epoch: number;
}

/** The bytes that are signed for a batch. */
export function signedHeadMessage(of: LaneId & { readonly head: Digest }): Uint8Array {
  return utf8Of(`doorbuster-head-v1\n${of.campaign}\n${of.lane}\n${of.epoch}\n${of.head}`);
}

/** The bytes that are signed for a checkpoint. */
export function checkpointMessage(of: Omit<Checkpoint, 'v' | 'kid' | 'signature'>): Uint8Array {
  const place = `${of.campaign}\n${of.lane}\n${of.epoch}\n${of.recordNo}`;
  return utf8Of(`doorbuster-checkpoint-v1\n${place}\n${of.head}\n${of.time}`);
}

/** The head of a batch and the path of each of its records. */
export interface SealedBatch {
  readonly head: BatchHead;
  /** One per record, in order. */
  readonly paths: readonly (readonly Digest[])[];
}

/** Seals the encoded records of one durable batch: tree, head, paths. Needs at least one record. */
export function sealBatch(
  batch: LaneId & { readonly prevHead: Digest; readonly firstRecordNo: number; readonly time: EpochMs },
  records: readonly string[],
  sha256: Sha256,
  hashes: TreeHashes = treeHashesOf(sha256),
): SealedBatch {
  const { root, paths } = batchTree(records.map(hashes.leaf), hashes);
  const { campaign, lane, epoch, prevHead, firstRecordNo, time } = batch;
  const parts = { prevHead, root, firstRecordNo, count: records.length, time };
  return { head: { campaign, lane, epoch, ...parts, head: headOf(parts, sha256) }, paths };
}

/** The receipt of one record of a sealed and signed batch. */
export function buildReceipt(
  head: BatchHead,
  record: string,
  path: readonly Digest[],
  kid: string,
  signature: string,
): Receipt {
  const { campaign, lane, epoch, prevHead, firstRecordNo, count, time } = head;
  return { v: 1, campaign, lane, epoch, record, path, prevHead, firstRecordNo, count, time, kid, signature };
}
