/** Looking at what waits, and moving a subscription to another place of its logs. Both run inside the writer's turn. */
import type { ReplayPoint } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { countUnbound, takes } from './bindings.ts';
import { endOf, wholeMs } from './positions.ts';
import { firstSince } from './purge.ts';
import type { Cursor, Log } from './state.ts';
import type { Statements } from './statements.ts';
import type { LogRow, Subscription } from './subscription.ts';
import type { PeekedRow } from './turn.ts';

/** What was put off or given back comes first, as it does when it is handed out; then the logs, the highest priority first. */
export function peekWaiting(
  sql: Statements,
  subscription: Subscription,
  limit: number,
  now: number,
): PeekedRow[] {
  const deferred = sql.waitingDeferred.all(subscription.id, now, now, limit) as unknown as {
    origin: number;
    body: string;
  }[];
  const found = deferred.map(({ origin, body }) => ({ offset: String(origin), body }));
  for (const cursor of subscription.cursors) peekLog(sql, subscription, cursor, { limit, now, found });
  return found;
}

function peekLog(
  sql: Statements,
  { routing }: Subscription,
  cursor: Cursor,
  into: { readonly limit: number; readonly now: number; readonly found: PeekedRow[] },
): void {
  const rows = sql.readRouted.iterate(cursor.next, cursor.log.head, -1) as unknown as Iterable<LogRow>;
  for (const [position, expiresAt, , body, route = null] of rows) {
    if (into.found.length >= into.limit) return;
    if (expiresAt !== null && expiresAt <= into.now) continue;
    if (takes(routing, cursor.bindings, position, route)) into.found.push({ offset: String(position), body });
  }
}

/**
 * Moves every cursor. What was put off and is in the log from the point on comes from there again, so its copy goes; a copy that the log
 * does not have (purged meanwhile, or an edited redrive) stays. What is before the point goes.
 */
export function rewind(sql: Statements, subscription: Subscription, from: ReplayPoint): void {
  const offset = refuseBadOffset(subscription, from);
  for (const cursor of subscription.cursors) {
    const { log } = cursor;
    const timeMs = timeOf(sql, log, from, offset);
    if (timeMs === undefined) {
      const point = pointIn(log, from, offset);
      sql.deleteDeferredBefore.run(subscription.id, log.base, point);
      cursor.next = Math.max(point, log.floor);
    } else {
      sql.deleteDeferredOlder.run(subscription.id, log.base, endOf(log), wholeMs(timeMs));
      cursor.next = firstSince(sql, log, timeMs);
    }
    sql.deleteDeferredOfLog.run(subscription.id, cursor.next, endOf(log));
    cursor.dirty = true;
    countUnbound(sql, cursor);
  }
  subscription.load();
}

/** Of a point that is an offset, its place. */
export function refuseBadOffset(subscription: Subscription, from: ReplayPoint): Offset | undefined {
  return typeof from === 'object' && 'offset' in from ? offsetIn(subscription, from.offset) : undefined;
}

function pointIn(log: Log, from: ReplayPoint, offset: Offset | undefined): number {
  if (offset?.log === log) return offset.position;
  return from === 'earliest' ? log.base : log.head + 1;
}

interface Offset {
  readonly log: Log;
  readonly position: number;
}

function offsetIn({ cursors, channel }: Subscription, text: string): Offset {
  const position = /^\d{1,16}$/.test(text) ? Number(text) : -1;
  const log = cursors.find((one) => position >= one.log.base && position <= one.log.head + 1)?.log;
  if (!log)
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `"${text}" is no offset of channel "${channel}"`);
  return { log, position };
}

/** Set where the point is a time. An offset is a place in one log; in those of other priorities it means its time. */
function timeOf(
  sql: Statements,
  log: Log,
  from: ReplayPoint,
  offset: Offset | undefined,
): number | undefined {
  if (typeof from === 'object' && 'timeMs' in from) return from.timeMs;
  if (!offset || offset.log === log) return undefined;
  const row = sql.oldestMessage.get(offset.position, offset.log.head) as { stored_at: number } | undefined;
  return row?.stored_at;
}
