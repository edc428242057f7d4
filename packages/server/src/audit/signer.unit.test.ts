/** The native hashes of the hot path give what core's plain ones give. */
import { treeHashesOf } from '@doorbuster/core';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { sha256, sha256Hex, treeHashes } from './signer.ts';

const plain = treeHashesOf(sha256);
const digest = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));

it('hashes leaves and nodes as core does', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), digest, digest, (record, left, right) => {
      expect(treeHashes.leaf(record)).toBe(plain.leaf(record));
      expect(treeHashes.node(left, right)).toBe(plain.node(left, right));
    }),
  );
});

it('tells a node from a leaf of the same bytes, and left from right', () => {
  const [a, b] = [treeHashes.leaf('a'), treeHashes.leaf('b')];
  expect(treeHashes.node(a, b)).not.toBe(treeHashes.node(b, a));
  expect(treeHashes.leaf('a')).not.toBe(sha256Hex(Buffer.from('a')));
  expect(sha256Hex(Buffer.from('a'))).toBe(Buffer.from(sha256(Buffer.from('a'))).toString('hex'));
});
