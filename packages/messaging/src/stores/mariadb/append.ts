/**
 * Appends to the outbox on MariaDB or MySQL, inside the transaction of the caller.
 *
 * There is no way to ask InnoDB which transactions have not ended, so numbers are given under a lock: the counter's row stays locked from the append
 * to the commit, and number order is commit order. The price is that transactions that append commit one after another. Append last, right before the
 * commit: the lock is then held for one commit, and nothing that the transaction locks later can close a circle with it.
 */
import { encodeCloudEvent } from '../../cloud-event.ts';
import type { OutgoingMessage } from '../../engine.ts';
import type { SqlValue } from '../../sql.ts';
import { refuseOtherCharset } from '../../sql/charset.ts';
import { type MariadbClient, refuseOutsideMariadbTransaction, runMariadb } from '../../sql/mariadb.ts';

const ROWS_PER_STATEMENT = 500;

/** They become visible, or vanish, together with the changes of the open transaction; outside of one, or where the connection does not speak utf8mb4, it rejects with DB_MSG_INVALID_OPTIONS and writes nothing. */
export async function appendToMariadbOutbox(
  transaction: MariadbClient,
  messages: readonly OutgoingMessage[],
): Promise<void> {
  await refuseOutsideMariadbTransaction(transaction, 'appendToMariadbOutbox');
  if (messages.length === 0) return;
  // Asked with it, since a borrowed connection cannot be known again; and asked again where nothing was counted, to say why.
  const { changes } = await runMariadb(
    transaction,
    "UPDATE outbox_counter SET last = last + ? WHERE one = 1 AND @@character_set_client = 'utf8mb4'",
    [messages.length],
  );
  if (changes === 0) await refuseOtherCharset({}, (text) => runMariadb(transaction, text));
  for (let from = 0; from < messages.length; from += ROWS_PER_STATEMENT)
    await insertRows(transaction, messages, from, Math.min(from + ROWS_PER_STATEMENT, messages.length));
}

async function insertRows(
  transaction: MariadbClient,
  messages: readonly OutgoingMessage[],
  from: number,
  to: number,
): Promise<void> {
  const values: SqlValue[] = [];
  const rows = messages.slice(from, to).map(({ channel, message, dueAt, priority }, index) => {
    const body = encodeCloudEvent(message);
    const time = Date.parse(message.time) || 0;
    values.push(
      messages.length - 1 - from - index,
      message.id,
      channel,
      dueAt ?? null,
      priority ?? null,
      time,
      body,
    );
    return '((SELECT last FROM outbox_counter WHERE one = 1) - ?, ?, ?, ?, ?, ?, ?)';
  });
  await runMariadb(
    transaction,
    `INSERT INTO outbox (number, message_id, channel, due_at, priority, recorded_at, body) VALUES ${rows.join(', ')}`,
    values,
  );
}
