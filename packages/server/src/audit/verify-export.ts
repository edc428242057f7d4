/**
 * Checking offline, from the public keys alone: an exported chain (NDJSON, one `ExportedBatch` of core a line) and a single receipt. Reads what strangers send, so nothing
 * here trusts a shape: a line that is not a batch is a fault with its number, never an exception.
 */
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import {
  createChainVerifier,
  type ExportedBatch,
  isDigest,
  type ReceiptCheck,
  type VerifySignature,
  verifyReceipt,
} from '@doorbuster/core';
import { sha256 } from './signer.ts';

export type ExportReport =
  | {
      readonly ok: true;
      readonly campaign: string;
      readonly records: number;
      readonly batches: number;
      readonly entries: number;
      readonly head: string;
      readonly recordsRoot: string;
    }
  | { readonly ok: false; readonly line: number; readonly fault: string };

/** The export must begin with the first record of the lane: only then do the records say everything. */
export async function verifyExport(
  ndjson: Readable,
  verifySignature: VerifySignature,
): Promise<ExportReport> {
  const chain = createChainVerifier(sha256, verifySignature);
  let batches = 0;
  let line = 0;
  for await (const text of createInterface({ input: ndjson, crlfDelay: Number.POSITIVE_INFINITY })) {
    line++;
    if (text.trim() === '') continue;
    const batch = readBatch(text);
    if (typeof batch === 'string') return { ok: false, line, fault: `line ${line}: ${batch}` };
    const checked = chain.add(batch);
    if (!checked.ok) return { ok: false, line, fault: `line ${line}: ${checked.reason}, ${checked.detail}` };
    batches++;
  }
  const campaign = chain.fold.lane()?.campaign;
  if (campaign === undefined) return { ok: false, line, fault: 'there is no batch in it' };
  return {
    ok: true,
    campaign,
    records: chain.recordNo,
    batches,
    entries: chain.fold.entries.size,
    head: chain.head,
    recordsRoot: chain.recordsRoot(),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

/** The batch of a line, or what is wrong with it. */
function readBatch(text: string): ExportedBatch | string {
  let batch: Fields | null;
  try {
    batch = fieldsOf(JSON.parse(text));
  } catch {
    return 'not JSON';
  }
  const head = fieldsOf(batch?.['head']);
  if (batch === null || head === null) return 'not a batch';
  const fault = faultOfHead(head);
  if (fault !== null) return fault;
  if (typeof batch['kid'] !== 'string' || typeof batch['signature'] !== 'string') return 'it is not signed';
  const { records } = batch;
  if (!Array.isArray(records) || !records.every((record) => typeof record === 'string'))
    return 'records is not a list of texts';
  return batch as unknown as ExportedBatch;
}

function faultOfHead(head: Fields): string | null {
  if (typeof head['campaign'] !== 'string') return 'it names no campaign';
  const number = ['lane', 'epoch', 'firstRecordNo', 'count', 'time'].find(
    (name) => !Number.isSafeInteger(head[name]) || (head[name] as number) < 0,
  );
  if (number !== undefined) return `${number} is not a number`;
  const digest = ['prevHead', 'root', 'head'].find((name) => !isDigest(head[name]));
  return digest === undefined ? null : `${digest} is not a digest`;
}

/** `text`: a receipt as JSON, alone or under `receipt` as the API's answers carry it. */
export function verifyReceiptText(text: string, verifySignature: VerifySignature): ReceiptCheck {
  let value: unknown;
  try {
    value = JSON.parse(text);
    const inner = (value as { receipt?: unknown } | null)?.receipt;
    if (inner !== undefined) value = typeof inner === 'string' ? JSON.parse(inner) : inner;
  } catch {
    return { ok: false, reason: 'malformed' };
  }
  return verifyReceipt(value, sha256, verifySignature);
}
