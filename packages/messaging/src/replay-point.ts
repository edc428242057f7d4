/**
 * Where a rewind may go, checked before an engine is asked. A time in the future would skip all that waits and all that comes until then, and nobody means that: who mistypes
 * a year loses a backlog. Whoever does mean all that waits says `latest`.
 */
import type { ReplayPoint } from './engine.ts';
import { MessagingError } from './errors.ts';

/** The clocks of producers, brokers and of whoever rewinds differ a little: what was just published may lie so far ahead of ours. */
const CLOCK_SLACK_MS = 5_000;

export function isInFuture(timeMs: number, now: number): boolean {
  return timeMs > now + CLOCK_SLACK_MS;
}

/** Throws DB_MSG_INVALID_OPTIONS for a time that is none, or in the future. `now` is ms since the epoch. */
export function refuseBadPoint(from: ReplayPoint, now: number): void {
  if (typeof from !== 'object' || !('timeMs' in from)) return;
  const { timeMs } = from;
  if (!Number.isFinite(timeMs))
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'timeMs is milliseconds since the epoch');
  if (isInFuture(timeMs, now))
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `timeMs ${timeMs} is in the future; to skip all that waits, rewind to 'latest'`,
    );
}
