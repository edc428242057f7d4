/**
 * Signs batch heads and checkpoints. Ed25519 is deterministic: signing a head again after a crash gives the same bytes, so a receipt that
 * was handed out is reproduced, not replaced.
 */
import { hash, sign } from 'node:crypto';
import type { Digest, Sha256, TreeHashes } from '@doorbuster/core';
import type { SigningKey } from '../secrets.ts';

/** SHA-256 as core asks for it. */
export const sha256: Sha256 = (data) => hash('sha256', data, 'buffer');

/** The same to hex, at half the cost: no buffer is made for the digest. */
export function sha256Hex(data: Uint8Array): Digest {
  return hash('sha256', data, 'hex');
}

const nodeBytes = Buffer.alloc(65, 1);

/** Trees of records, hashed natively from text to hex. */
export const treeHashes: TreeHashes = {
  leaf: (record) => hash('sha256', `\0${record}`, 'hex'),
  node(left, right) {
    nodeBytes.write(left, 1, 'hex');
    nodeBytes.write(right, 33, 'hex');
    return hash('sha256', nodeBytes, 'hex');
  },
};

export class Signer {
  readonly #keys = new Map<string, SigningKey>();
  /** The id of the key that signs new batches. */
  readonly kid: string;

  /** `keys`: newest first, at least one. */
  constructor(keys: readonly SigningKey[]) {
    const newest = keys[0];
    if (newest === undefined) throw new Error('a signer needs a key');
    for (const key of keys) this.#keys.set(key.kid, key);
    this.kid = newest.kid;
  }

  has(kid: string): boolean {
    return this.#keys.has(kid);
  }

  /** 64 bytes. Throws when the key is not known: the secrets file does not fit the ledger. */
  sign(kid: string, message: Uint8Array): Uint8Array {
    const key = this.#keys.get(kid);
    if (key === undefined) throw new Error(`no signing key ${kid}`);
    return sign(null, message, key.privateKey);
  }
}
