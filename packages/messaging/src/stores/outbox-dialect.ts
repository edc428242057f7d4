/**
 * Where the three databases differ for an outbox: how a reader knows that nothing can still come before a row, and how one relay keeps the others
 * out. Everything else is the same SQL (`sql-outbox.ts`), on these tables:
 *
 *   outbox        number, channel, due_at, priority, body (and message_id, recorded_at; expressions on SQLite)
 *   outbox_held   number, lane, state (waiting, parked, published, discarded), reason, at
 *   outbox_runs   began_at, at, up_to: everything behind `up_to` was published, or stands in outbox_held, by `at`
 *   outbox_mark   one row: how far rows are published
 *   outbox_kept   one row: a row whose message was made before `kept_since` may have been purged
 */
import type { StoredRow } from '../outbox-store.ts';
import type { SqlConnection, SqlRow, SqlStatement } from '../sql.ts';

export interface OutboxDialect {
  /** SQL of a row's message id and of its time (ms since the epoch), of the table alias `o`. */
  readonly messageId: string;
  readonly recordedAt: string;
  /** SQL: the row's id is one of this list of placeholders, in a form its index serves. */
  messageIdIn(list: string): string;
  /** SQL: the mark `m` has passed the row `o`. */
  readonly isPassed: string;
  /** SQL: an open transaction keeps the row `o`, which the mark has not passed, from being read; why, in a person's words. Undefined where none does. */
  readonly heldBack?: { readonly sql: string; readonly why: string };
  /** SQL: the row `o` lies behind the end of the run `r`. */
  readonly isInRun: string;
  /** Takes the lock that one relay holds; false while another has it. The lock ends with the connection. */
  lock(connection: SqlConnection): Promise<boolean>;
  unlock(connection: SqlConnection): Promise<void>;
  openReader(connection: SqlConnection): Promise<FreshReader>;
}

export interface FreshReader {
  /** In order; what a transaction that has not ended could still come before is left out. */
  read(limit: number): Promise<readonly StoredRow[]>;
  /** Moves the mark to this row. */
  advance(upTo: number): readonly SqlStatement[];
  /** What a run may say when everything up to `upTo` is published (undefined: nothing new was read): SQL and value for `outbox_runs.up_to`. */
  runEnd(upTo: number | undefined): { readonly sql: string; readonly value: string | number } | undefined;
  /** The transaction with these statements is committed. */
  committed(upTo: number | undefined): void;
}

export const ROW_COLUMNS = 'o.number, o.channel, o.due_at, o.priority, o.body';

export function storedRowOf(row: SqlRow): StoredRow {
  return {
    number: Number(row.number),
    channel: String(row.channel),
    dueAt: row.due_at === null ? undefined : Number(row.due_at),
    priority: row.priority === null ? undefined : Number(row.priority),
    body: String(row.body),
  };
}
