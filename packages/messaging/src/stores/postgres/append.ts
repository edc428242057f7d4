/** Appends to the outbox on PostgreSQL, inside the transaction of the caller, and rings the doorbell of the relay with its commit. */
import { encodeCloudEvent } from '../../cloud-event.ts';
import type { OutgoingMessage } from '../../engine.ts';
import type { SqlValue } from '../../sql.ts';
import { type PostgresClient, refuseOutsidePostgresTransaction, runPostgres } from '../../sql/postgres.ts';

/**
 * What the relay reads a row by: its own transaction, or the last one that had ended when it was appended, if that is later. By the own one alone a key can be turned round: a
 * transaction that had its number early and then waited for the lock of the key would be read before the one it waited for, when another one that began between the two is open. It
 * is never below the own number, so what is below every open transaction is complete all the same; and never above all that have ended, so nothing waits for one yet to come.
 */
const READ_BY = `GREATEST(pg_current_xact_id(), (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)::text::xid8)`;

/** PostgreSQL takes 65,535 parameters; six are a row. */
const ROWS_PER_STATEMENT = 1_000;
export const DOORBELL = 'doorbuster_outbox';

/**
 * They become visible, or vanish, together with the changes of the open transaction; outside of one it rejects with DB_MSG_INVALID_OPTIONS and writes nothing.
 * `doorbell: false` sends no NOTIFY, which takes a lock of the whole server at commit: for many thousand commits a second, where the sweep is soon enough.
 */
export async function appendToPostgresOutbox(
  transaction: PostgresClient,
  messages: readonly OutgoingMessage[],
  options: { readonly doorbell?: boolean } = {},
): Promise<void> {
  await refuseOutsidePostgresTransaction(transaction, 'appendToPostgresOutbox');
  for (let from = 0; from < messages.length; from += ROWS_PER_STATEMENT) {
    const isLast = from + ROWS_PER_STATEMENT >= messages.length;
    const rings = isLast && options.doorbell !== false;
    await insertRows(transaction, messages.slice(from, from + ROWS_PER_STATEMENT), rings);
  }
}

/** The doorbell goes with the last rows, in the same round trip. */
async function insertRows(
  transaction: PostgresClient,
  messages: readonly OutgoingMessage[],
  rings: boolean,
): Promise<void> {
  const values: SqlValue[] = messages.flatMap(({ channel, message, dueAt, priority }) => [
    message.id,
    channel,
    dueAt ?? null,
    priority ?? null,
    Date.parse(message.time) || 0,
    encodeCloudEvent(message),
  ]);
  const rows = messages.map(() => `(${READ_BY}, ?, ?, ?, ?, ?, ?)`).join(', ');
  const insert = `INSERT INTO outbox (xid, message_id, channel, due_at, priority, recorded_at, body) VALUES ${rows}`;
  const sql = rings ? `WITH appended AS (${insert}) SELECT pg_notify('${DOORBELL}', '')` : insert;
  await runPostgres(transaction, sql, values);
}
