/** Randomness as a port, as time is (`Clock` of the messaging package): production code runs in the simulator with seeded ones. */
import { randomFillSync } from 'node:crypto';

export interface Randomness {
  /** Fresh bytes, unpredictable in production. */
  bytes(length: number): Uint8Array;
}

const POOL_BYTES = 16 * 1024;

/** Draws from a pool, because one call to the kernel per salt would show on the hot path. */
export function systemRandomness(): Randomness {
  let pool = new Uint8Array(0);
  let used = 0;
  return {
    bytes(length) {
      if (length > POOL_BYTES) return randomFillSync(new Uint8Array(length));
      if (used + length > pool.length) {
        pool = randomFillSync(new Uint8Array(POOL_BYTES));
        used = 0;
      }
      used += length;
      return pool.slice(used - length, used);
    },
  };
}

/** A fresh id for rows that people name (imports, batches): 16 characters of base64url. Says nothing and orders nothing. */
export function newId(randomness: Randomness): string {
  return Buffer.from(randomness.bytes(12)).toString('base64url');
}
