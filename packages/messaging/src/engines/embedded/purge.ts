/**
 * Purging: what every subscription has settled leaves the log, so that the file does not grow for ever. A range delete costs less per message
 * the longer it is, and a turn should stay short: hence a least and a greatest run.
 */
import { lowestOf } from './positions.ts';
import type { Statements } from './statements.ts';
import type { Log } from './state.ts';
import type { Subscription } from './subscription.ts';

const LEAST_RUN = 1_000;
const GREATEST_RUN = 5_000;

export interface Keeping {
  /** Settled messages stay so long; undefined: they may go at once. */
  readonly keepMs: number | undefined;
  /** ms since the epoch. */
  readonly now: number;
}

/** Deletes up to the slowest subscription, and of what it settled only what is old enough. */
export function purgeSettled(
  sql: Statements,
  log: Log,
  subscriptions: readonly Subscription[],
  { keepMs, now }: Keeping,
): void {
  const needed = lowestNeeded(log, subscriptions);
  if (needed - log.floor < LEAST_RUN) return;
  purgeBelow(
    sql,
    log,
    keepMs === undefined ? needed : Math.min(needed, oldEnough(sql, log, keepMs, now)),
    LEAST_RUN,
  );
}

/**
 * Where what is young enough to stay begins. A look at the last message of the least run tells when there will be something to delete,
 * so that a channel that keeps its messages costs one look in that time and no search a turn.
 */
function oldEnough(sql: Statements, log: Log, keepMs: number, now: number): number {
  if (now < log.keptUntil) return log.floor;
  const last = sql.oldestMessage.get(log.floor + LEAST_RUN - 1, log.head) as
    | { stored_at: number }
    | undefined;
  if (!last || last.stored_at >= now - keepMs) {
    log.keptUntil = (last?.stored_at ?? now) + keepMs + 1;
    return log.floor;
  }
  return firstSince(sql, log, now - keepMs);
}

/** Deletes what is older than `keepFrom` (ms since the epoch), for a log that nobody subscribed to. */
export function purgeUnsubscribed(sql: Statements, log: Log, keepFrom: number): void {
  purgeBelow(sql, log, firstSince(sql, log, keepFrom), 1);
}

function purgeBelow(sql: Statements, log: Log, needed: number, leastRun: number): void {
  // The newest message stays: at the next start it tells where the numbering stands.
  const end = Math.min(needed, log.head, log.floor + GREATEST_RUN);
  if (end - log.floor < leastRun) return;
  sql.deleteMessages.run(log.floor, end);
  log.floor = end;
}

function lowestNeeded(log: Log, subscriptions: readonly Subscription[]): number {
  let lowest = log.head;
  for (const { cursors } of subscriptions) {
    const cursor = cursors.find((one) => one.log === log);
    if (cursor) lowest = Math.min(lowest, lowestOf(cursor));
  }
  return lowest;
}

/** Positions of a log are in order of time, so the first young enough one is found by halving. */
export function firstSince(sql: Statements, log: Log, keepFrom: number): number {
  let low = log.floor;
  let high = log.head + 1;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const row = sql.oldestMessage.get(middle, log.head) as
      | { position: number; stored_at: number }
      | undefined;
    if (row && row.stored_at < keepFrom) low = row.position + 1;
    else high = middle;
  }
  return low;
}
