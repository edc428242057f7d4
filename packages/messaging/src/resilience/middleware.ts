/**
 * Rate cap, bulkhead and circuit breaker as layers around a handler. Refused is not failed: the message is put off, without counting an
 * attempt, for as long as the part says.
 */
import { MessagingError } from '../errors.ts';
import type { Middleware } from '../middleware.ts';
import { type Outcome, snooze } from '../outcome.ts';
import { refuseBadNumbers, WAIT_MS } from '../sound-numbers.ts';
import type { Bulkhead } from './bulkhead.ts';
import type { CircuitBreaker } from './circuit-breaker.ts';
import type { RateCap } from './rate-cap.ts';

const REFUSALS: ReadonlySet<string> = new Set([
  'DB_MSG_RATE_CAP_FULL',
  'DB_MSG_BULKHEAD_FULL',
  'DB_MSG_BREAKER_OPEN',
]);
export interface PutOffOptions {
  /** How long a message is put off where the part cannot say when there will be room, ms. Default 1,000. */
  readonly putOffMs?: number;
}

/** Handlers start no faster than the cap allows; when too many wait already, the message is put off. */
export function rateCapped(cap: RateCap, options: PutOffOptions = {}): Middleware {
  const putOffMs = putOffOf(options);
  return (_message, { signal }, next) =>
    unlessRefused(putOffMs, async () => {
      await cap.take(signal);
      return next();
    });
}

/** At most as many handlers at once as the bulkhead has places, over all subscriptions that share it. A message that loses its lease in the queue leaves it. */
export function bulkheaded(bulkhead: Bulkhead, options: PutOffOptions = {}): Middleware {
  const putOffMs = putOffOf(options);
  return (_message, { signal }, next) => unlessRefused(putOffMs, () => bulkhead.run(next, signal));
}

/** While the breaker is open messages are put off until it lets a probe through, and while the probe runs by `putOffMs`. What counts as a failure is the breaker's `isFailure`; outcomes are its values. */
export function breakered(breaker: CircuitBreaker, options: PutOffOptions = {}): Middleware {
  const putOffMs = putOffOf(options);
  return (_message, _context, next) => unlessRefused(putOffMs, () => breaker.run(next));
}

/** Throws DB_MSG_INVALID_OPTIONS where the layer is made: inside it every message would fail of it. */
function putOffOf({ putOffMs = 1_000 }: PutOffOptions): number {
  refuseBadNumbers('a layer around a handler', { putOffMs }, { putOffMs: WAIT_MS });
  return putOffMs;
}

async function unlessRefused(putOffMs: number, call: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof MessagingError) || !REFUSALS.has(error.code)) throw error;
    return snooze(Math.max(1, error.retryAfterMs ?? putOffMs));
  }
}
