/** Listing, redriving and discarding dead letters inside the writer's transaction. The filter is the only dynamic SQL of the engine. */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import type { DeadLetterFilter, DeadLetterRecord, FailureRecord } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { Statements } from './statements.ts';
import type { DeadRow, Subscription } from './subscription.ts';
import type { MovedCount } from './turn.ts';

type FindSubscription = (row: DeadRow) => Subscription | undefined;

export function listDead(
  db: DatabaseSync,
  sql: Statements,
  query: { readonly filter: DeadLetterFilter; readonly limit: number; readonly after: string | undefined },
): readonly DeadLetterRecord[] {
  const after = query.after === undefined ? 0 : numberOf(sql, query.after);
  return select(db, query.filter, after, query.limit).map(recordOf);
}

/** A letter that is gone has no place any more: beginning anew in silence would show again what was seen, and a loop over pages might never end. */
function numberOf(sql: Statements, id: string): number {
  const row = sql.deadNumber.get(id) as { number: number } | undefined;
  if (row) return row.number;
  throw new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    `there is no dead letter "${id}" to go on after: it was redriven or discarded, so begin anew`,
  );
}

export function redriveDead(
  db: DatabaseSync,
  sql: Statements,
  query: { readonly filter: DeadLetterFilter; readonly limit: number },
  find: FindSubscription,
): MovedCount {
  const moved = new Set<number>();
  let stuck = 0;
  for (const row of select(db, query.filter, 0, query.limit)) {
    if (moved.has(row.number)) continue;
    const subscription = find(row);
    if (!subscription) {
      stuck += 1;
      continue;
    }
    const sequence =
      row.in_lane === 1 ? (sql.deadOfKey.all(row.subscription, row.key) as unknown as DeadRow[]) : [row];
    subscription.revive(sequence);
    for (const one of sequence) moved.add(one.number);
  }
  return { moved: moved.size, remaining: Math.max(0, count(db, query.filter) - stuck) };
}

/** What takes the place of a dead letter. */
export interface Replacement {
  readonly id: string;
  readonly body: string;
  /** ms since the epoch. */
  readonly expiresAt: number | null;
  readonly state: string;
}

/** Puts the replacement where the letter was, the parked sequence of its key around it. False when there is no such letter. */
export function redriveEditedDead(
  sql: Statements,
  { id, body, expiresAt, state }: Replacement,
  find: FindSubscription,
): boolean {
  const row = sql.deadById.get(id) as unknown as DeadRow | undefined;
  if (!row) return false;
  const subscription = find(row);
  if (!subscription)
    throw new MessagingError(
      'DB_MSG_UNKNOWN_CHANNEL',
      `subscription "${row.subscription_name}" of "${row.channel}" is gone: nobody could get the message`,
    );
  const edited: DeadRow = { ...row, body, expires_at: expiresAt, state };
  const sequence =
    row.in_lane === 1 ? (sql.deadOfKey.all(row.subscription, row.key) as unknown as DeadRow[]) : [row];
  subscription.revive(sequence.map((one) => (one.number === row.number ? edited : one)));
  return true;
}

export function discardDead(
  db: DatabaseSync,
  query: { readonly filter: DeadLetterFilter; readonly limit: number },
  find: FindSubscription,
  sql: Statements,
): MovedCount {
  const rows = select(db, query.filter, 0, query.limit);
  for (const row of rows) {
    const subscription = find(row);
    if (subscription) subscription.forget(row);
    else sql.deleteDead.run(row.number);
  }
  return { moved: rows.length, remaining: count(db, query.filter) };
}

function conditions(filter: DeadLetterFilter): { readonly where: string; readonly values: SQLInputValue[] } {
  const parts: string[] = ['1 = 1'];
  const values: SQLInputValue[] = [];
  const add = (part: string, value: SQLInputValue | undefined): void => {
    if (value === undefined) return;
    parts.push(part);
    values.push(value);
  };
  add('channel = ?', filter.channel);
  add('subscription_name = ?', filter.subscription);
  add('failure_group = ?', filter.group);
  add('key = ?', filter.key);
  add('parked_at < ?', filter.before);
  add(
    'message_id IN (SELECT value FROM json_each(?))',
    filter.messageIds && JSON.stringify(filter.messageIds),
  );
  return { where: parts.join(' AND '), values };
}

function select(db: DatabaseSync, filter: DeadLetterFilter, after: number, limit: number): DeadRow[] {
  const { where, values } = conditions(filter);
  return db
    .prepare(`SELECT * FROM dead_letters WHERE ${where} AND number > ? ORDER BY number LIMIT ?`)
    .all(...values, after, limit) as unknown as DeadRow[];
}

function count(db: DatabaseSync, filter: DeadLetterFilter): number {
  const { where, values } = conditions(filter);
  return (
    db.prepare(`SELECT count(*) AS count FROM dead_letters WHERE ${where}`).get(...values) as {
      count: number;
    }
  ).count;
}

function recordOf(row: DeadRow): DeadLetterRecord {
  return {
    id: row.id,
    channel: row.channel,
    subscription: row.subscription_name,
    messageId: row.message_id,
    key: row.key ?? undefined,
    reason: row.reason,
    group: row.failure_group,
    parkedAt: row.parked_at,
    history: JSON.parse(row.history) as FailureRecord[],
    raw: row.body,
  };
}
