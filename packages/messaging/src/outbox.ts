/**
 * Transactional outbox: messages are written in the transaction that changes the state they tell of, and a relay publishes them. Either
 * both are there or neither; the relay may publish twice, never not at all.
 *
 * Rows are append-only and numbered by SQLite under the writer's transaction, so number order is commit order and a
 * reader can never skip a row that commits late. Publishing moves a mark; marked rows are purged in runs.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Channel, ChannelInput, OutboxArguments } from './channel.ts';
import { decodeCloudEvent, encodeCloudEvent } from './cloud-event.ts';
import type { OutgoingMessage } from './engine.ts';
import { MessagingError } from './errors.ts';
import { isTime, type LooseOptions, type MessageParts, makeMessage } from './outgoing.ts';
import { namedAtOnce } from './sql/faults.ts';
import { atOnce } from './sqlite-transaction.ts';
import { RECORDED_AT } from './stores/sqlite/schema.ts';

/** Run it once in the database that holds the state; it may be run again. */
export const outboxSchema = `
CREATE TABLE IF NOT EXISTS outbox (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  due_at INTEGER,
  priority INTEGER,
  body TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS outbox_mark (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  published INTEGER NOT NULL,
  purged INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO outbox_mark (one, published, purged) VALUES (1, 0, 0);
`;

/** One row on its way: its number orders it, its message is complete. */
export interface OutboxRow extends OutgoingMessage {
  readonly number: number;
}

/** What the relay needs of whoever owns the database, for instance a writer thread. */
export interface OutboxSource {
  /** The oldest rows that are not marked, in the order of their numbers, at most `limit`. */
  readUnpublished(limit: number): Promise<readonly OutboxRow[]>;
  /** Marks every row up to and with this number as published, durably or not: a lost mark costs a duplicate. */
  markPublished(upTo: number): Promise<void>;
}

/** Makes messages for an outbox with the same checks as `bus.publish`. Synchronous, so it needs a contract that checks synchronously. */
export function createOutboxWriter(parts: MessageParts) {
  return <C extends Channel>(
    channel: C,
    data: ChannelInput<C>,
    ...[options]: OutboxArguments<C>
  ): OutgoingMessage => {
    const { dueAt, ...given }: LooseOptions & { readonly dueAt?: number } = options ?? {};
    if (dueAt !== undefined && !channel.requires.delay)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `channel "${channel.name}": dueAt needs requires.delay`,
      );
    if (dueAt !== undefined && !isTime(dueAt))
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `channel "${channel.name}": dueAt is ms since the epoch`,
      );
    const { priority } = given;
    const message = makeMessage(parts, channel, data, given);
    if (message instanceof Promise)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `channel "${channel.name}" checks asynchronously, which a transaction cannot wait for`,
      );
    return {
      channel: channel.name,
      message,
      ...(dueAt === undefined ? {} : { dueAt }),
      ...(priority === undefined ? {} : { priority }),
    };
  };
}

const INSERT = 'INSERT INTO outbox (channel, due_at, priority, body) VALUES (?, ?, ?, ?)';
/** A statement costs more to prepare than to run, and a database has one outbox. */
const prepared = new WeakMap<DatabaseSync, StatementSync>();

/** Appends inside the caller's open transaction: they become visible, or vanish, together with its changes. Refuses to run outside of one. */
export function appendToOutbox(db: DatabaseSync, messages: readonly OutgoingMessage[]): void {
  if (!db.isTransaction)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      'appendToOutbox belongs inside the transaction of the change it tells of',
    );
  let insert = prepared.get(db);
  if (!insert) {
    insert = db.prepare(INSERT);
    prepared.set(db, insert);
  }
  const inserting = insert;
  namedAtOnce(() => {
    for (const { channel, message, dueAt, priority } of messages)
      inserting.run(channel, dueAt ?? null, priority ?? null, encodeCloudEvent(message));
  });
}

/** Rows that are marked are deleted in runs of this many: a range delete is cheaper than one per message. */
const PURGE_FROM = 1_000;

/** The outbox of a database this thread owns. Its calls are synchronous inside; `markPublished` opens a transaction of its own. */
export function sqliteOutbox(db: DatabaseSync): {
  readUnpublished(limit: number): readonly OutboxRow[];
  markPublished(upTo: number): void;
} {
  const read = db.prepare(
    'SELECT number, channel, due_at, priority, body FROM outbox WHERE number > (SELECT published FROM outbox_mark) ORDER BY number LIMIT ?',
  );
  const mark = db.prepare('UPDATE outbox_mark SET published = max(published, ?) RETURNING published, purged');
  const purge = db.prepare('DELETE FROM outbox WHERE number <= ?');
  const purged = db.prepare('UPDATE outbox_mark SET purged = ?');
  return {
    readUnpublished: (limit) => namedAtOnce(() => read.all(limit) as unknown as SqliteRow[]).map(rowOf),
    markPublished: (upTo) =>
      atOnce(db, () => {
        const state = mark.get(upTo) as { published: number; purged: number };
        if (state.published - state.purged < PURGE_FROM) return;
        noteKept(db, state.published);
        purge.run(state.published);
        purged.run(state.published);
      }),
  };
}

/** Where a reconciliation reads this outbox too, it has to know how far back the rows still reach. */
function noteKept(db: DatabaseSync, upTo: number): void {
  if (!db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'outbox_kept'").get()) return;
  db.prepare(
    `UPDATE outbox_kept SET kept_since = max(kept_since, coalesce((SELECT max(${RECORDED_AT('')}) + 1 FROM outbox WHERE number <= ?), 0))`,
  ).run(upTo);
}

/** The same as the port of the relay, for a database used in this thread. */
export function sqliteOutboxSource(db: DatabaseSync): OutboxSource {
  const outbox = sqliteOutbox(db);
  return {
    readUnpublished: async (limit) => outbox.readUnpublished(limit),
    markPublished: async (upTo) => outbox.markPublished(upTo),
  };
}

/** As SQLite gives it; `StoredRow` of the port is the same for every database. */
interface SqliteRow {
  readonly number: number;
  readonly channel: string;
  readonly due_at: number | null;
  readonly priority: number | null;
  readonly body: string;
}

function rowOf(row: SqliteRow): OutboxRow {
  return {
    number: row.number,
    channel: row.channel,
    message: decodeCloudEvent(row.body),
    ...(row.due_at === null ? {} : { dueAt: row.due_at }),
    ...(row.priority === null ? {} : { priority: row.priority }),
  };
}
