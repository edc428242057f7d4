import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { answersCommitment, memberCommitment } from './commitments.ts';
import { bytesOfHex, concatBytes, hexOf, isDigest, utf8Of } from './hex.ts';
import {
  batchTree,
  createTreeAccumulator,
  inclusionPath,
  leafHash,
  nodeHash,
  rootFromPath,
  treeHashesOf,
  treeRoot,
} from './merkle.ts';
import type { Checkpoint, Receipt } from './receipt.ts';
import {
  buildReceipt,
  checkpointMessage,
  genesisHead,
  headOf,
  sealBatch,
  signedHeadMessage,
} from './receipt.ts';
import { headAfter, verifyCheckpoint, verifyOpening, verifyReceipt } from './receipt-check.ts';
import type { EntryRecord } from './record.ts';
import { encodeRecord } from './record-codec.ts';

const sha256 = (data: Uint8Array): Uint8Array => createHash('sha256').update(data).digest();
const hash = (...parts: readonly (string | Uint8Array)[]): string => {
  const whole = createHash('sha256');
  for (const part of parts) whole.update(part);
  return whole.digest('hex');
};

describe('bytes', () => {
  test('hex and UTF-8 agree with the platform', () => {
    fc.assert(
      fc.property(
        fc.uint8Array(),
        fc.string({ unit: 'binary' }),
        fc.nat({ max: 3 }),
        (bytes, text, offset) => {
          expect(hexOf(bytes)).toBe(Buffer.from(bytes).toString('hex'));
          expect(bytesOfHex(hexOf(bytes))).toEqual(new Uint8Array(bytes));
          const encoded = new TextEncoder().encode(text);
          expect(utf8Of(text, offset)).toEqual(concatBytes([new Uint8Array(offset), encoded]));
        },
      ),
    );
    expect(utf8Of('a\ud800b')).toEqual(new TextEncoder().encode('a\ud800b'));
  });
  test.each(['a', 'AB', 'g0', '0 '])('not hex: %j', (text) => {
    expect(() => bytesOfHex(text)).toThrow(RangeError);
    expect(isDigest(text.repeat(32).slice(0, 64))).toBe(false);
  });
});

/** The recursive definition of RFC 6962, section 2.1, as an oracle. */
function rfcRoot(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 1) return leaves[0]!;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return nodeHash(rfcRoot(leaves.slice(0, k)), rfcRoot(leaves.slice(k)), sha256);
}
function rfcPath(leaves: readonly Uint8Array[], m: number): Uint8Array[] {
  if (leaves.length === 1) return [];
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  const [left, right] = [leaves.slice(0, k), leaves.slice(k)];
  return m < k ? [...rfcPath(left, m), rfcRoot(right)] : [...rfcPath(right, m - k), rfcRoot(left)];
}
const leavesOf = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => leafHash(`record ${i}`, sha256));

describe('merkle trees', () => {
  test('leaf and node', () => {
    expect(hexOf(leafHash('abc', sha256))).toBe(hash(Buffer.from([0]), 'abc'));
    expect(hexOf(leafHash(Buffer.from('abc'), sha256))).toBe(hash(Buffer.from([0]), 'abc'));
    const [a, b] = leavesOf(2) as [Uint8Array, Uint8Array];
    expect(hexOf(nodeHash(a, b, sha256))).toBe(hash(Buffer.from([1]), a, b));
  });

  test('every size up to 40: root and paths of RFC 6962, each path leads to the root from its own place only', () => {
    const accumulator = createTreeAccumulator(sha256);
    expect(() => accumulator.root()).toThrow(RangeError);
    for (let count = 1; count <= 40; count++) {
      const leaves = leavesOf(count);
      const root = rfcRoot(leaves);
      const tree = batchTree(leaves.map(hexOf), treeHashesOf(sha256));
      accumulator.add(leaves[count - 1]!);
      expect(hexOf(accumulator.root())).toBe(hexOf(root));
      expect(accumulator.size).toBe(count);
      expect(hexOf(treeRoot(leaves, sha256))).toBe(hexOf(root));
      expect(tree.root).toBe(hexOf(root));
      leaves.forEach((leaf, i) => {
        const path = rfcPath(leaves, i);
        expect(tree.paths[i]).toEqual(path.map(hexOf));
        expect(inclusionPath(leaves, i, sha256).map(hexOf)).toEqual(path.map(hexOf));
        const places = leaves.map((_, j) => rootFromPath(leaf, j, count, path, sha256));
        expect(places.map((found) => found !== null && hexOf(found) === hexOf(root)).indexOf(true)).toBe(i);
        expect(places.filter((found) => found !== null && hexOf(found) === hexOf(root))).toHaveLength(1);
      });
    }
  });

  test('a path of the wrong length leads nowhere', () => {
    const leaves = leavesOf(5);
    const path = inclusionPath(leaves, 1, sha256);
    expect(rootFromPath(leaves[1]!, 1, 5, path.slice(1), sha256)).toBeNull();
    expect(rootFromPath(leaves[1]!, 1, 5, [...path, path[0]!], sha256)).toBeNull();
    expect(rootFromPath(leaves[1]!, 5, 5, path, sha256)).toBeNull();
    expect(() => inclusionPath(leaves, 5, sha256)).toThrow(RangeError);
    expect(() => treeRoot([], sha256)).toThrow(RangeError);
  });
});

const keys = generateKeyPairSync('ed25519');
const signed = (message: Uint8Array): string => sign(null, message, keys.privateKey).toString('base64url');
const verifySignature = (kid: string, message: Uint8Array, signature: string): boolean =>
  kid === 'k1' && verify(null, message, keys.publicKey, Buffer.from(signature, 'base64url'));

const salt = '00112233445566778899aabbccddeeff';
const memberKey = 'ffeeddccbbaa99887766554433221100';

function entry(seq: number): EntryRecord {
  const member = memberCommitment(salt, memberKey, sha256);
  return {
    recordNo: seq + 6,
    type: 'ENTRY',
    at: 1_700_000_000_000,
    seq,
    verdict: 'won',
    unit: seq,
    member,
    answers: null,
  };
}

const texts = Array.from({ length: 11 }, (_, i) => encodeRecord(entry(i + 1)));
const place = {
  campaign: 'spring',
  lane: 0,
  epoch: 1,
  prevHead: 'cd'.repeat(32),
  firstRecordNo: 7,
  time: 1_700_000_000_123,
};
const sealed = sealBatch(place, texts, sha256);
const signature = signed(signedHeadMessage(sealed.head));
const receipts = texts.map((text, i) => buildReceipt(sealed.head, text, sealed.paths[i]!, 'k1', signature));
const receipt = receipts[4]!;

describe('receipts', () => {
  test('the head is what the header says it is', () => {
    const numbers = Buffer.alloc(20);
    numbers.writeBigUInt64BE(7n, 0);
    numbers.writeUInt32BE(11, 8);
    numbers.writeBigUInt64BE(1_700_000_000_123n, 12);
    const parts = [Buffer.from(place.prevHead, 'hex'), Buffer.from(sealed.head.root, 'hex'), numbers];
    expect(sealed.head.head).toBe(hash(...parts));
    const message = `doorbuster-head-v1\nspring\n0\n1\n${sealed.head.head}`;
    expect(Buffer.from(signedHeadMessage(sealed.head)).toString()).toBe(message);
  });

  test('every receipt of a batch verifies and gives its record', () => {
    receipts.forEach((one, i) => {
      expect(verifyReceipt(one, sha256, verifySignature)).toEqual({
        ok: true,
        record: entry(i + 1),
        head: sealed.head.head,
      });
    });
  });

  test('any changed character anywhere makes it fail', () => {
    const text = JSON.stringify(receipt);
    const believed: string[] = [];
    for (let i = 0; i < text.length; i++) {
      for (const flip of [1, 2, 32]) {
        const changed = text.slice(0, i) + String.fromCharCode(text.charCodeAt(i) ^ flip) + text.slice(i + 1);
        const value = parsed(changed);
        if (value === undefined || JSON.stringify(value) === text) continue;
        if (verifyReceipt(value, sha256, verifySignature).ok) believed.push(changed);
      }
    }
    expect(believed).toEqual([]);
  });

  function parsed(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }

  test.each<
    readonly [name: string, change: Partial<Record<keyof Receipt | 'extra', unknown>>, reason: string]
  >([
    ['no record', { record: 7 }, 'malformed'],
    ['a further field', { extra: 1 }, 'malformed'],
    ['another version', { v: 2 }, 'malformed'],
    ['a line break in the campaign', { campaign: 'spring\n0' }, 'malformed'],
    ['a fraction in the time', { time: 0.5 }, 'malformed'],
    ['an unreadable record', { record: '{}' }, 'record-unreadable'],
    ['a record of another batch', { record: encodeRecord(entry(12)) }, 'record-outside-batch'],
    ['a short path', { path: receipt.path.slice(1) }, 'path-wrong-length'],
    ['the path of another record', { path: receipts[3]!.path }, 'signature-invalid'],
    ['the record of another', { record: receipts[3]!.record }, 'signature-invalid'],
    ['another lane', { lane: 1 }, 'signature-invalid'],
    ['another epoch', { epoch: 2 }, 'signature-invalid'],
    ['an unknown key', { kid: 'k2' }, 'signature-invalid'],
  ])('refused: %s', (_, change, reason) => {
    expect(verifyReceipt({ ...receipt, ...change }, sha256, verifySignature)).toEqual({ ok: false, reason });
  });

  test('never throws on any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(verifyReceipt(value, sha256, verifySignature)).toEqual({ ok: false, reason: 'malformed' });
      }),
    );
    const shape = fc.record(
      Object.fromEntries(
        Object.entries(receipt).map(([key, value]) => [
          key,
          fc.oneof(fc.constant<unknown>(value), fc.jsonValue()),
        ]),
      ),
    );
    fc.assert(fc.property(shape, (value) => void verifyReceipt(value, sha256, verifySignature)));
  });

  test('its holder can open it, nobody else can', () => {
    expect(memberCommitment(salt, memberKey, sha256)).toBe(hash(Buffer.from(salt + memberKey, 'hex')));
    expect(verifyOpening(receipt, { salt, memberKey }, sha256)).toBe(true);
    expect(verifyOpening(receipt, { salt, memberKey: salt }, sha256)).toBe(false);
    expect(verifyOpening(receipt, { salt: memberKey, memberKey }, sha256)).toBe(false);
    expect(verifyOpening(receipt, { salt: 'zz', memberKey }, sha256)).toBe(false);
    expect(verifyOpening(receipt, { salt, memberKey: memberKey.slice(2) }, sha256)).toBe(false);
    const soldOut = { ...receipt, record: encodeRecord({ recordNo: 7, type: 'SOLD_OUT', at: 1 }) };
    expect(verifyOpening(soldOut, { salt, memberKey }, sha256)).toBe(false);
  });

  test('answers are committed in canonical form', () => {
    const commitment = answersCommitment(salt, { b: 'ㄱ', a: ['x', 'y'] }, sha256);
    expect(commitment).toBe(hash(Buffer.from(salt, 'hex'), '{"a":["x","y"],"b":"ㄱ"}'));
    expect(answersCommitment(salt, { a: ['x', 'y'], b: 'ㄱ' }, sha256)).toBe(commitment);
    expect(() => answersCommitment('00', {}, sha256)).toThrow(RangeError);
  });
});

describe('checkpoints', () => {
  const unsigned = { campaign: 'spring', lane: 0, epoch: 1, recordNo: 17, head: sealed.head.head, time: 5 };
  const checkpoint: Checkpoint = {
    v: 1,
    ...unsigned,
    kid: 'k1',
    signature: signed(checkpointMessage(unsigned)),
  };

  test('verify, and no changed field does', () => {
    expect(verifyCheckpoint(checkpoint, verifySignature)).toBe(true);
    const changes: readonly object[] = [
      { recordNo: 18 },
      { head: genesisHead },
      { time: 6 },
      { epoch: 2 },
      { lane: 1 },
      { kid: 'k2' },
      { v: 2 },
    ];
    for (const change of changes)
      expect(verifyCheckpoint({ ...checkpoint, ...change }, verifySignature)).toBe(false);
    expect(verifyCheckpoint(null, verifySignature)).toBe(false);
  });

  test('a receipt lies under a later checkpoint when its head leads there', () => {
    const next = { root: hexOf(leafHash('x', sha256)), firstRecordNo: 18, count: 1, time: 9 };
    const later = headOf({ ...next, prevHead: sealed.head.head }, sha256);
    const checked = verifyReceipt(receipt, sha256, verifySignature);
    expect(checked.ok && headAfter(checked.head, [next], sha256)).toBe(later);
    expect(checked.ok && headAfter(checked.head, [{ ...next, time: 8 }], sha256)).not.toBe(later);
  });
});
