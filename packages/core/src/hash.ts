/** SHA-256 as a parameter: `core` imports nothing, so whoever calls it brings the hash. 32 bytes out. */
import type { Digest } from './record.ts';

export type Sha256 = (data: Uint8Array) => Uint8Array;

/**
 * The two hashes of a tree of records, from text and hex to hex: what is computed once or twice for every record. `treeHashesOf` makes them of
 * any `Sha256`; whoever has a native hash that takes text and gives hex brings its own, at a third of the cost.
 */
export interface TreeHashes {
  /** SHA-256(0x00 || UTF-8 of the record). */
  readonly leaf: (record: string) => Digest;
  /** SHA-256(0x01 || left || right). */
  readonly node: (left: Digest, right: Digest) => Digest;
}
