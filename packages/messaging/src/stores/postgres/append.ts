/** Appends to the outbox on PostgreSQL, inside the transaction of the caller, and rings the doorbell of the relay with its commit. */
import { encodeCloudEvent } from '../../cloud-event.ts';
import type { OutgoingMessage } from '../../engine.ts';
import type { SqlValue } from '../../sql.ts';
import { type PostgresClient, refuseOutsidePostgresTransaction, runPostgres } from '../../sql/postgres.ts';

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
  const rows = messages.map(() => '(?, ?, ?, ?, ?, ?)').join(', ');
  const insert = `INSERT INTO outbox (message_id, channel, due_at, priority, recorded_at, body) VALUES ${rows}`;
  const sql = rings ? `WITH appended AS (${insert}) SELECT pg_notify('${DOORBELL}', '')` : insert;
  await runPostgres(transaction, sql, values);
}
