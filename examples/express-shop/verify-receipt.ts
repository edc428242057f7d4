/**
 * Checks a receipt offline, from the public keys alone, with nothing but node:crypto:
 *
 *   node examples/express-shop/verify-receipt.ts receipt.json keys.json
 *
 * The record is a leaf of the Merkle tree of its batch (RFC 6962), the batch is a link of the chain, and the link is signed. `doorbuster verify
 * --receipt` does the same and is stricter about what it reads; this is the whole argument on one page.
 */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface Receipt {
  campaign: string;
  lane: number;
  epoch: number;
  record: string;
  path: string[];
  prevHead: string;
  firstRecordNo: number;
  count: number;
  time: number;
  kid: string;
  signature: string;
}
export interface KeySet {
  keys: { kid: string; kty: string; crv: string; x: string }[];
}

const sha256 = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest();
const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/** The record that the receipt proves; throws when it proves nothing. */
export function provenRecord(receipt: Receipt, keys: KeySet): Record<string, unknown> {
  const record = JSON.parse(receipt.record) as { recordNo: number };
  let node = sha256(Buffer.of(0), Buffer.from(receipt.record));
  let index = record.recordNo - receipt.firstRecordNo;
  if (!(index >= 0 && index < receipt.count)) throw new Error('the record is not of this batch');
  const path = receipt.path.map(hex);
  for (let last = receipt.count - 1; last > 0; last >>= 1, index >>= 1) {
    if (index === last && index % 2 === 0) continue;
    const sibling = path.shift();
    if (!sibling) throw new Error('the path is too short');
    node = index % 2 === 1 ? sha256(Buffer.of(1), sibling, node) : sha256(Buffer.of(1), node, sibling);
  }
  if (path.length > 0) throw new Error('the path is too long');
  const numbers = Buffer.alloc(20);
  numbers.writeBigUInt64BE(BigInt(receipt.firstRecordNo), 0);
  numbers.writeUInt32BE(receipt.count, 8);
  numbers.writeBigUInt64BE(BigInt(receipt.time), 12);
  const head = sha256(hex(receipt.prevHead), node, numbers).toString('hex');
  const message = `doorbuster-head-v1\n${receipt.campaign}\n${receipt.lane}\n${receipt.epoch}\n${head}`;
  const jwk = keys.keys.find((key) => key.kid === receipt.kid);
  if (!jwk) throw new Error('no such public key');
  const key = createPublicKey({ key: { kty: jwk.kty, crv: jwk.crv, x: jwk.x }, format: 'jwk' });
  if (!verify(null, Buffer.from(message), key, Buffer.from(receipt.signature, 'base64url')))
    throw new Error('the signature is wrong');
  return record as Record<string, unknown>;
}

if (import.meta.main) {
  const [receipt, keys] = process.argv
    .slice(2)
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as unknown);
  process.stdout.write(`${JSON.stringify(provenRecord(receipt as Receipt, keys as KeySet))}\n`);
}
