/**
 * A rate cap: at most `permits` takes per `perMs`, smoothed (GCRA, the leaky bucket as a meter), with a burst.
 * One number is kept: the theoretical time of the next take. It caps one process; a provider's limit that several
 * processes share has to be divided among them.
 */
import type { Clock } from '../clock.ts';
import { pause } from '../clock.ts';
import { MessagingError } from '../errors.ts';
import { refuseBadNumbers, SPAN_MS, WAIT_MS } from '../sound-numbers.ts';
import { withDefaults } from '../with-defaults.ts';

export interface RateCapOptions {
  readonly clock: Clock;
  /** Takes allowed per `perMs`; above 0. */
  readonly permits: number;
  /** Length of the window in ms. Default 1,000. */
  readonly perMs?: number;
  /** Takes that may come at once after a quiet time. Default 1: evenly spaced. */
  readonly burst?: number;
  /** Longest time a caller of `take` waits, ms; beyond it DB_MSG_RATE_CAP_FULL. Default: no limit. */
  readonly maxWaitMs?: number;
}

export interface RateCap {
  /** Waits for its turn, in the order of the calls. Rejects with DB_MSG_RATE_CAP_FULL, or the signal's reason. */
  take(signal?: AbortSignal): Promise<void>;
  /** Takes at once and returns 0, or takes nothing and returns the ms until a take would succeed. */
  tryTake(): number;
  /** The provider said "slow down": nothing is granted for `ms` from now. Throws DB_MSG_INVALID_OPTIONS for what is no number from 0. */
  backOff(ms: number): void;
}

const RULES = {
  permits: { from: 0, above: true },
  perMs: SPAN_MS,
  burst: { from: 1 },
  maxWaitMs: { from: 0, endless: true },
} as const;

/** Up to here a clock in ms still counts single ones; beyond it a take and what it waits for are the same time, or none. */
const COUNTED_MS = { from: 0, to: Number.MAX_SAFE_INTEGER } as const;
const DERIVED = {
  'perMs / permits': { ...COUNTED_MS, above: true },
  '(burst - 1) * perMs / permits': COUNTED_MS,
} as const;

/** Throws DB_MSG_INVALID_OPTIONS for what is no number or out of its bounds, and for a rate whose takes lie too far apart to be told. */
export function createRateCap(options: RateCapOptions): RateCap {
  const settings = withDefaults(options, { perMs: 1_000, burst: 1, maxWaitMs: Number.POSITIVE_INFINITY });
  refuseBadNumbers('a rate cap', settings, RULES);
  const { clock, permits, perMs, burst, maxWaitMs } = settings;
  const spacing = perMs / permits;
  const tolerance = spacing * (burst - 1);
  const derived = { 'perMs / permits': spacing, '(burst - 1) * perMs / permits': tolerance };
  refuseBadNumbers('a rate cap', derived, DERIVED);
  let next = Number.NEGATIVE_INFINITY;

  const waitFor = (now: number): number => Math.max(0, next - tolerance - now);
  const grant = (now: number): void => {
    next = Math.max(next, now) + spacing;
  };

  return {
    async take(signal) {
      signal?.throwIfAborted();
      const now = clock.monotonic();
      const wait = waitFor(now);
      if (wait > maxWaitMs) {
        throw new MessagingError('DB_MSG_RATE_CAP_FULL', `the rate cap is booked for ${Math.ceil(wait)} ms`, {
          retryAfterMs: wait,
        });
      }
      // Booked before the wait, so that callers are served in order; an aborted booking is lost, never doubled.
      grant(now);
      if (wait > 0) await pause(clock, wait, signal);
      signal?.throwIfAborted();
    },
    tryTake() {
      const now = clock.monotonic();
      const wait = waitFor(now);
      if (wait === 0) grant(now);
      return wait;
    },
    backOff(ms) {
      refuseBadNumbers('backOff of a rate cap', { ms }, { ms: WAIT_MS });
      next = Math.max(next, clock.monotonic() + ms + tolerance);
    },
  };
}
