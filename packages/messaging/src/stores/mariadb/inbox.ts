/** The inbox on MariaDB and MySQL. */
import type { InboxEntry, InboxStore } from '../../handle-once.ts';
import { refuseBadNames } from '../../sound-text.ts';
import { refuseOtherCharset } from '../../sql/charset.ts';
import { wrappedBy } from '../../sql/faults.ts';
import {
  type MariadbClient,
  type MariadbPool,
  mariadbSql,
  mariadbTransaction,
  refuseOutsideMariadbTransaction,
  runMariadb,
} from '../../sql/mariadb.ts';
import { type InboxPurge, purgeSqlInbox } from '../inbox-purge.ts';

const DUPLICATE_KEY = 1062;

/**
 * True when this subscription has handled the message before: then change nothing and `ack()`. False the first time; the id is now noted in the open
 * transaction. An insert and its duplicate key: IGNORE would swallow other faults too, and counts of changed rows depend on a flag of the connection. Rejects with
 * DB_MSG_INVALID_OPTIONS where the connection does not speak utf8mb4.
 */
export async function alreadyHandledInMariadb(
  transaction: MariadbClient,
  { subscription, messageId, now }: InboxEntry,
): Promise<boolean> {
  refuseBadNames('alreadyHandledInMariadb', { subscription, messageId });
  await refuseOutsideMariadbTransaction(transaction, 'alreadyHandledInMariadb');
  try {
    // Asked with it, since a borrowed connection cannot be known again; and asked again where nothing was counted, to say why: a query builder may not count.
    const { changes } = await runMariadb(
      transaction,
      "INSERT INTO inbox (subscription, message_id, handled_at) SELECT ?, ?, ? FROM DUAL WHERE @@character_set_client = 'utf8mb4'",
      [subscription, messageId, now],
    );
    if (changes === 0) await refuseOtherCharset({}, (text) => runMariadb(transaction, text));
    return false;
  } catch (error) {
    if (isDuplicate(error)) return true;
    throw error;
  }
}

/** Query builders wrap the client's error. */
function isDuplicate(error: unknown): boolean {
  const { errno, cause = wrappedBy(error) } = (error ?? {}) as {
    readonly errno?: unknown;
    readonly cause?: unknown;
  };
  return errno === DUPLICATE_KEY || (cause !== undefined && cause !== error && isDuplicate(cause));
}

/** One transaction per message on a connection of the pool, at the level of the session; `tx` is that connection. */
export function mariadbInbox<C extends MariadbClient>(pool: MariadbPool<C>): InboxStore<C> {
  return {
    transaction: (work) => mariadbTransaction(pool, [], work),
    alreadyHandled: alreadyHandledInMariadb,
  };
}

/** Forgets by age; returns how many. */
export function purgeMariadbInbox(pool: MariadbPool, purge: InboxPurge): Promise<number> {
  return purgeSqlInbox(mariadbSql(pool), purge, 'CONVERT(message_id USING utf8mb4)');
}
