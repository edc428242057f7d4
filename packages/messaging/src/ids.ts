/**
 * Message ids: UUIDv7 (RFC 9562), made from a clock and a source of randomness that are both arguments.
 * The time in front keeps indexes local; it is never used for order.
 */
import { randomFillSync } from 'node:crypto';
import type { Clock } from './clock.ts';

export interface Ids {
  /** A new UUIDv7 in its canonical lower-case form. */
  next(): string;
}

export interface Randomness {
  /** Fills the bytes with random ones and returns them. */
  fill(bytes: Uint8Array): Uint8Array;
}

export const systemRandomness: Randomness = Object.freeze({
  fill: (bytes: Uint8Array) => randomFillSync(bytes),
});

/** A number from 0 to below 1. */
export function drawFraction(randomness: Randomness): number {
  return new DataView(randomness.fill(new Uint8Array(4)).buffer).getUint32(0) / 2 ** 32;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const RANDOM_PER_ID = 10;
/** One call to the system per 409 ids: a call per id costs more than the rest of the publish. */
const POOL_BYTES = 4090;

export function createIds(clock: Clock, randomness: Randomness = systemRandomness): Ids {
  const pool = new Uint8Array(POOL_BYTES);
  let used = POOL_BYTES;
  const hex = (byte: number): string => HEX[byte & 0xff] as string;
  let lastMs = Number.NaN;
  let front = '';

  return {
    next() {
      if (used + RANDOM_PER_ID > POOL_BYTES) {
        randomness.fill(pool);
        used = 0;
      }
      const random = (index: number): number => pool[used + index] as number;
      const now = clock.now();
      if (now !== lastMs) {
        const time = now.toString(16).padStart(12, '0');
        front = `${time.slice(0, 8)}-${time.slice(8, 12)}-`;
        lastMs = now;
      }
      const id =
        `${front}${hex(0x70 | (random(0) & 0x0f))}${hex(random(1))}-` +
        `${hex(0x80 | (random(2) & 0x3f))}${hex(random(3))}-` +
        hex(random(4)) +
        hex(random(5)) +
        hex(random(6)) +
        hex(random(7)) +
        hex(random(8)) +
        hex(random(9));
      used += RANDOM_PER_ID;
      return id;
    },
  };
}
