/**
 * When to try again: exponential, capped, with full jitter in its upper half, so that deliveries that failed together do not come back
 * together. Draws from the injected randomness, so that a simulated run repeats itself.
 */
import type { Randomness } from '../randomness.ts';

export interface BackoffPolicy {
  /** Wait after the first failure, ms. */
  readonly firstMs: number;
  /** No wait is longer, ms. */
  readonly maxMs: number;
}

/**
 * Milliseconds to wait before the try after `failures` failures (1 or more), never less than what the provider asked for (its wish is
 * capped at 15 minutes: a provider that says "tomorrow" is a case for a person, and the parked limit brings it there).
 */
export function backoffMs(
  policy: BackoffPolicy,
  failures: number,
  randomness: Randomness,
  atLeastMs = 0,
): number {
  const full = Math.min(policy.maxMs, policy.firstMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  return Math.ceil(Math.max(full / 2, Math.min(atLeastMs, LONGEST_WISH_MS)) + jitterMs(randomness, full / 2));
}

/** A share of `spreadMs` between 0 and 1, from two random bytes. */
export function jitterMs(randomness: Randomness, spreadMs: number): number {
  const [high = 0, low = 0] = randomness.bytes(2);
  return ((high * 256 + low) / 65_536) * spreadMs;
}

const LONGEST_WISH_MS = 15 * 60_000;
