/** The inbox on PostgreSQL. */
import { refuseBadNames } from '../../sound-text.ts';
import type { InboxEntry, InboxStore } from '../../handle-once.ts';
import {
  type PostgresClient,
  type PostgresPool,
  postgresSql,
  postgresTransaction,
  refuseOutsidePostgresTransaction,
  runPostgres,
} from '../../sql/postgres.ts';
import { type InboxPurge, purgeSqlInbox } from '../inbox-purge.ts';

/**
 * True when this subscription has handled the message before: then change nothing and `ack()`. False the first time; the id is now noted in the open
 * transaction. Under REPEATABLE READ or SERIALIZABLE a concurrent first time rejects with DB_MSG_STORE_BUSY instead of waiting; the retry then finds it.
 */
export async function alreadyHandledInPostgres(
  transaction: PostgresClient,
  { subscription, messageId, now }: InboxEntry,
): Promise<boolean> {
  refuseBadNames('alreadyHandledInPostgres', { subscription, messageId });
  await refuseOutsidePostgresTransaction(transaction, 'alreadyHandledInPostgres');
  const { changes } = await runPostgres(
    transaction,
    `INSERT INTO inbox (subscription, message_id, handled_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1 AS noted`,
    [subscription, messageId, now],
  );
  return changes === 0;
}

/** One transaction per message on a connection of the pool, at the level of the session; `tx` is that client. */
export function postgresInbox<C extends PostgresClient>(pool: PostgresPool<C>): InboxStore<C> {
  return {
    transaction: (work) => postgresTransaction(pool, 'BEGIN', work),
    alreadyHandled: alreadyHandledInPostgres,
  };
}

/** Forgets by age; returns how many. */
export function purgePostgresInbox(pool: PostgresPool, purge: InboxPurge): Promise<number> {
  return purgeSqlInbox(postgresSql(pool), purge);
}
