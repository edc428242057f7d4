/**
 * Checking receipts and checkpoints offline, from the public key alone. Everything here takes what a stranger sends, so shapes
 * are checked first, strictly: one value has one spelling, or a changed receipt would still verify. Nothing here throws on bad input.
 */
import { memberCommitment } from './commitments.ts';
import type { Sha256 } from './hash.ts';
import { bytesOfHex, hexOf, isDigest, isHex } from './hex.ts';
import { leafHash, rootFromPath } from './merkle.ts';
import type { Checkpoint, HeadParts, Receipt, ReceiptOpening, VerifySignature } from './receipt.ts';
import { checkpointMessage, headOf, signedHeadMessage } from './receipt.ts';
import type { Digest, LaneRecord } from './record.ts';
import { decodeRecord, isCampaignId, RecordFormatError } from './record-codec.ts';

/** Why a receipt does not verify, in the order of the checks. */
export type ReceiptFault =
  | 'malformed'
  | 'record-unreadable'
  | 'record-outside-batch'
  | 'path-wrong-length'
  | 'signature-invalid';

export type ReceiptCheck =
  | {
      readonly ok: true;
      readonly record: LaneRecord /** the head that the receipt proves */;
      readonly head: Digest;
    }
  | { readonly ok: false; readonly reason: ReceiptFault };

const receiptFields = [
  'v',
  'campaign',
  'lane',
  'epoch',
  'record',
  'path',
  'prevHead',
  'firstRecordNo',
  'count',
  'time',
  'kid',
  'signature',
] as const;
const checkpointFields = [
  'v',
  'campaign',
  'lane',
  'epoch',
  'recordNo',
  'head',
  'time',
  'kid',
  'signature',
] as const;

type Fields = Readonly<Record<string, unknown>>;

/** The object's fields when it has exactly these, else null. */
function exactFields(value: unknown, names: readonly string[]): Fields | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const present = Object.keys(value);
  return present.length === names.length && names.every((name) => Object.hasOwn(value, name))
    ? (value as Fields)
    : null;
}

function isCount(value: unknown, lowest: number, highest = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isInteger(value) && (value as number) >= lowest && (value as number) <= highest;
}

/** 64 bytes in base64url without padding; the last character has only the bits that count, so one signature has one spelling. */
const signaturePattern = /^[A-Za-z0-9_-]{85}[AQgw]$/;

function isSignedPlace(fields: Fields): boolean {
  const { v, campaign, lane, epoch, time, kid, signature } = fields;
  const place =
    v === 1 && isCampaignId(campaign) && isCount(lane, 0, 65_535) && isCount(epoch, 1) && isCount(time, 0);
  return (
    place &&
    typeof kid === 'string' &&
    kid.length <= 200 &&
    typeof signature === 'string' &&
    signaturePattern.test(signature)
  );
}

/** True when the value has exactly the shape of a receipt; says nothing of its truth. */
export function isReceipt(value: unknown): value is Receipt {
  const fields = exactFields(value, receiptFields);
  if (fields === null || !isSignedPlace(fields)) return false;
  const { record, path, prevHead, firstRecordNo, count } = fields;
  const batch = isDigest(prevHead) && isCount(firstRecordNo, 1) && isCount(count, 1, 0xffff_ffff);
  return (
    batch &&
    typeof record === 'string' &&
    record.length <= 1_000 &&
    Array.isArray(path) &&
    path.length <= 32 &&
    path.every(isDigest)
  );
}

export function isCheckpoint(value: unknown): value is Checkpoint {
  const fields = exactFields(value, checkpointFields);
  return (
    fields !== null && isSignedPlace(fields) && isCount(fields['recordNo'], 1) && isDigest(fields['head'])
  );
}

/** Checks a receipt against the public keys behind `verifySignature`. Any changed byte makes it fail. */
export function verifyReceipt(
  receipt: unknown,
  sha256: Sha256,
  verifySignature: VerifySignature,
): ReceiptCheck {
  if (!isReceipt(receipt)) return { ok: false, reason: 'malformed' };
  const record = readRecord(receipt.record);
  if (record === null) return { ok: false, reason: 'record-unreadable' };
  const index = record.recordNo - receipt.firstRecordNo;
  if (index < 0 || index >= receipt.count) return { ok: false, reason: 'record-outside-batch' };
  const path = receipt.path.map(bytesOfHex);
  const root = rootFromPath(leafHash(receipt.record, sha256), index, receipt.count, path, sha256);
  if (root === null) return { ok: false, reason: 'path-wrong-length' };
  const head = headOf({ ...receipt, root: hexOf(root) }, sha256);
  const signed = verifySignature(receipt.kid, signedHeadMessage({ ...receipt, head }), receipt.signature);
  return signed ? { ok: true, record, head } : { ok: false, reason: 'signature-invalid' };
}

function readRecord(text: string): LaneRecord | null {
  try {
    return decodeRecord(text);
  } catch (error) {
    if (error instanceof RecordFormatError) return null;
    throw error;
  }
}

/** True when the holder's salt and member key are those of the entry: shows whose receipt it is. Check the receipt itself too. */
export function verifyOpening(receipt: Receipt, opening: ReceiptOpening, sha256: Sha256): boolean {
  const record = readRecord(receipt.record);
  if (record === null || record.type !== 'ENTRY') return false;
  const { salt, memberKey } = opening;
  if (!isHex(memberKey, 16) || typeof salt !== 'string' || salt.length < 32 || !isHex(salt, salt.length / 2))
    return false;
  return memberCommitment(salt, memberKey, sha256) === record.member;
}

export function verifyCheckpoint(checkpoint: unknown, verifySignature: VerifySignature): boolean {
  return (
    isCheckpoint(checkpoint) &&
    verifySignature(checkpoint.kid, checkpointMessage(checkpoint), checkpoint.signature)
  );
}

/**
 * The head that later batches lead to, from the head a receipt proves (`verifyReceipt`). Equal to a checkpoint's head, it shows that
 * the receipt's record lies under that checkpoint. `later`: root, first record, count, time of each following batch, in order.
 */
export function headAfter(
  head: Digest,
  later: readonly Omit<HeadParts, 'prevHead'>[],
  sha256: Sha256,
): Digest {
  return later.reduce((prevHead, parts) => headOf({ ...parts, prevHead }, sha256), head);
}
