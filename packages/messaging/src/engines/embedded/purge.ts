/**
 * Purging: what every subscription has settled leaves the log, so that the file does not grow for ever. A range delete costs less per message
 * the longer it is, and a turn should stay short: hence a least and a greatest run.
 */
import { lowestOf } from './positions.ts';
import type { Statements } from './statements.ts';
import type { Log, Subscription } from './subscription.ts';

const LEAST_RUN = 1_000;
const GREATEST_RUN = 5_000;

/** Deletes up to the slowest subscription. */
export function purgeSettled(sql: Statements, log: Log, subscriptions: readonly Subscription[]): void {
  purgeBelow(sql, log, lowestNeeded(log, subscriptions), LEAST_RUN);
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
function firstSince(sql: Statements, log: Log, keepFrom: number): number {
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
