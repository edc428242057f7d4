/**
 * Signs batch heads and checkpoints. Ed25519 is deterministic: signing a head again after a crash gives the same bytes, so a receipt that
 * was handed out is reproduced, not replaced.
 */
import { createHash, hash, sign } from 'node:crypto';
import type { Sha256 } from '@doorbuster/core';
import type { SigningKey } from '../secrets.ts';

/** SHA-256 as core asks for it. */
export const sha256: Sha256 =
  typeof hash === 'function'
    ? (data) => hash('sha256', data, 'buffer')
    : (data) => createHash('sha256').update(data).digest();

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
