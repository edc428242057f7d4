/** The inbox on MariaDB and MySQL. */
import { MessagingError } from '../../errors.ts';
import type { InboxEntry, InboxStore } from '../../handle-once.ts';
import { type InboxPurge, purgeSqlInbox } from '../inbox-purge.ts';
import { inTransaction } from '../sql.ts';
import {
  type MariadbClient,
  type MariadbPool,
  mariadbSqlPool,
  queryMariadb,
  refuseOutsideTransaction,
} from './session.ts';

const DUPLICATE_KEY = 1062;

/**
 * True when this subscription has handled the message before: then change nothing and `ack()`. False the first time; the id is now noted in the open
 * transaction. A plain insert and its duplicate key: IGNORE would swallow other faults too, and counts of changed rows depend on a flag of the connection.
 */
export async function alreadyHandledInMariadb(
  transaction: MariadbClient,
  { subscription, messageId, now }: InboxEntry,
): Promise<boolean> {
  await refuseOutsideTransaction(transaction, 'alreadyHandledInMariadb');
  try {
    await queryMariadb(
      transaction,
      'INSERT INTO inbox (subscription, message_id, handled_at) VALUES (?, ?, ?)',
      [subscription, messageId, now],
    );
    return false;
  } catch (error) {
    if (isDuplicate(error)) return true;
    throw error;
  }
}

/** Query builders wrap the client's error. */
function isDuplicate(error: unknown): boolean {
  const { errno, cause } = (error ?? {}) as { readonly errno?: unknown; readonly cause?: unknown };
  return errno === DUPLICATE_KEY || (cause !== undefined && cause !== error && isDuplicate(cause));
}

/** One transaction per message on a connection of the pool; `tx` is that connection. */
export function mariadbInbox<C extends MariadbClient>(pool: MariadbPool<C>): InboxStore<C> {
  return {
    async transaction(work) {
      const client = await pool.getConnection();
      let broken = false;
      const lose = (): void => {
        broken = true;
      };
      client.on('error', lose);
      try {
        return await inTransaction(
          (sql) =>
            client.query(sql).catch((error: unknown) => {
              lose();
              throw error;
            }),
          'START TRANSACTION',
          () => stillTheSame(client, () => work(client)),
        );
      } finally {
        client.removeListener('error', lose);
        if (broken) client.destroy();
        else client.release();
      }
    },
    alreadyHandled: alreadyHandledInMariadb,
  };
}

/**
 * A deadlock rolls the whole transaction back and leaves the connection outside of one, where the next statement commits by itself. Work that swallows
 * that error would be committed in part; a savepoint that is gone at the end tells.
 */
async function stillTheSame<T>(client: MariadbClient, work: () => Promise<T>): Promise<T> {
  await client.query('SAVEPOINT doorbuster_begun');
  const result = await work();
  try {
    await client.query('RELEASE SAVEPOINT doorbuster_begun');
  } catch (cause) {
    throw new MessagingError(
      'DB_MSG_ROLLED_BACK',
      'the transaction ended before its work did, as a deadlock ends it',
      { cause },
    );
  }
  return result;
}

/** Forgets by age; returns how many. */
export function purgeMariadbInbox(pool: MariadbPool, purge: InboxPurge): Promise<number> {
  return purgeSqlInbox(mariadbSqlPool(pool), purge, 'CONVERT(message_id USING utf8mb4)');
}
