/**
 * Merkle trees in the shapes of RFC 6962: `leaf = SHA-256(0x00 || record)`, `node = SHA-256(0x01 || left || right)`, the left part
 * of a tree is the largest power of two. Built level by level with the last odd node moved up unchanged, which gives the same tree
 * as the recursive definition, and every path of a batch from one pass: n - 1 node hashes for n leaves.
 */
import type { Sha256, TreeHashes } from './hash.ts';
import { bytesOfHex, hexOf, utf8Of } from './hex.ts';
import type { Digest } from './record.ts';

/** The leaf of a record's text (or of bytes). */
export function leafHash(record: string | Uint8Array, sha256: Sha256): Uint8Array {
  if (typeof record === 'string') return sha256(utf8Of(record, 1));
  const prefixed = new Uint8Array(record.length + 1);
  prefixed.set(record, 1);
  return sha256(prefixed);
}

export function nodeHash(left: Uint8Array, right: Uint8Array, sha256: Sha256): Uint8Array {
  const bytes = new Uint8Array(65);
  bytes[0] = 1;
  bytes.set(left, 1);
  bytes.set(right, 33);
  return sha256(bytes);
}

/** In plain JavaScript over any hash. */
export function treeHashesOf(sha256: Sha256): TreeHashes {
  return {
    leaf: (record) => hexOf(leafHash(record, sha256)),
    node: (left, right) => hexOf(nodeHash(bytesOfHex(left), bytesOfHex(right), sha256)),
  };
}

/** Every level, leaves first; the last holds the root alone. Needs at least one leaf. */
function levelsOf<Node>(
  leaves: readonly Node[],
  nodeOf: (left: Node, right: Node) => Node,
): (readonly Node[])[] {
  if (leaves.length === 0) throw new RangeError('a tree has at least one leaf');
  const levels = [leaves];
  for (let level = leaves; level.length > 1; levels.push(level)) {
    const above: Node[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const left = level[i] as Node;
      const right = level[i + 1];
      above.push(right === undefined ? left : nodeOf(left, right));
    }
    level = above;
  }
  return levels;
}

export function treeRoot(leaves: readonly Uint8Array[], sha256: Sha256): Uint8Array {
  const levels = levelsOf(leaves, (left, right) => nodeHash(left, right, sha256));
  return (levels.at(-1) as readonly Uint8Array[])[0] as Uint8Array;
}

/** The sibling at every level where there is one, from the leaf to the root. */
function pathIn<T>(levels: readonly (readonly T[])[], index: number): T[] {
  const path: T[] = [];
  for (let depth = 0; depth < levels.length - 1; depth++) {
    const sibling = (levels[depth] as readonly T[])[(index >> depth) ^ 1];
    if (sibling !== undefined) path.push(sibling);
  }
  return path;
}

/** Sibling digests from the leaf at `index` to the root. */
export function inclusionPath(leaves: readonly Uint8Array[], index: number, sha256: Sha256): Uint8Array[] {
  if (!Number.isInteger(index) || index < 0 || index >= leaves.length) throw new RangeError('no such leaf');
  return pathIn(
    levelsOf(leaves, (left, right) => nodeHash(left, right, sha256)),
    index,
  );
}

/** The root of a batch and all its paths, in the order of the leaves. */
export function batchTree(
  leaves: readonly Digest[],
  hashes: TreeHashes,
): { readonly root: Digest; readonly paths: Digest[][] } {
  const levels = levelsOf(leaves, hashes.node);
  return {
    root: (levels.at(-1) as readonly Digest[])[0] as Digest,
    paths: leaves.map((_, index) => pathIn(levels, index)),
  };
}

/** The root that a leaf at `index` of `count` and its path lead to; null when the path has the wrong length for that place. */
export function rootFromPath(
  leaf: Uint8Array,
  index: number,
  count: number,
  path: readonly Uint8Array[],
  sha256: Sha256,
): Uint8Array | null {
  if (!Number.isInteger(index) || !Number.isInteger(count) || index < 0 || index >= count) return null;
  let node = leaf;
  let used = 0;
  let place = index;
  for (let last = count - 1; last > 0; last = Math.floor(last / 2), place = Math.floor(place / 2)) {
    if (place === last && place % 2 === 0) continue;
    const sibling = path[used++];
    if (sibling === undefined) return null;
    node = place % 2 === 1 ? nodeHash(sibling, node, sha256) : nodeHash(node, sibling, sha256);
  }
  return used === path.length ? node : null;
}

/** The root over ever more leaves in O(log n) memory: for the one root over all records that is published at close. */
export interface TreeAccumulator {
  add(leaf: Uint8Array): void;
  readonly size: number;
  /** Throws a `RangeError` before the first leaf. */
  root(): Uint8Array;
}

export function createTreeAccumulator(sha256: Sha256): TreeAccumulator {
  /** Roots of full trees, largest first, one for each bit of `size`. */
  const peaks: Uint8Array[] = [];
  let size = 0;
  return {
    add(leaf) {
      let node = leaf;
      for (let rest = size; rest % 2 === 1; rest = (rest - 1) / 2)
        node = nodeHash(peaks.pop() as Uint8Array, node, sha256);
      peaks.push(node);
      size++;
    },
    get size() {
      return size;
    },
    root() {
      if (peaks.length === 0) throw new RangeError('a tree has at least one leaf');
      return peaks.reduceRight((right, left) => nodeHash(left, right, sha256));
    },
  };
}
