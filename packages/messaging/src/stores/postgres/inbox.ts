/** The inbox on PostgreSQL. */
import type { InboxEntry, InboxStore } from '../../handle-once.ts';
import { type InboxPurge, purgeSqlInbox } from '../inbox-purge.ts';
import {
  inPostgresTransaction,
  type PostgresClient,
  type PostgresPool,
  postgresSqlPool,
  queryPostgres,
  refuseOutsideTransaction,
} from './session.ts';

/**
 * True when this subscription has handled the message before: then change nothing and `ack()`. False the first time; the id is now noted in the open
 * transaction. Under REPEATABLE READ or SERIALIZABLE a concurrent first time rejects with 40001 instead of waiting; the retry then finds it.
 */
export async function alreadyHandledInPostgres(
  transaction: PostgresClient,
  { subscription, messageId, now }: InboxEntry,
): Promise<boolean> {
  await refuseOutsideTransaction(transaction, 'alreadyHandledInPostgres');
  const noted = await queryPostgres(
    transaction,
    `INSERT INTO inbox (subscription, message_id, handled_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1`,
    [subscription, messageId, now],
  );
  return noted.length === 0;
}

/** One transaction per message on a connection of the pool; `tx` is that client. */
export function postgresInbox<C extends PostgresClient>(pool: PostgresPool<C>): InboxStore<C> {
  return {
    async transaction(work) {
      const client = await pool.connect();
      let broken = false;
      const lose = (): void => {
        broken = true;
      };
      // Without a listener a connection that breaks between two statements would end the process.
      client.on('error', lose);
      try {
        return await inPostgresTransaction(client, () => work(client));
      } finally {
        client.removeListener('error', lose);
        client.release(broken);
      }
    },
    alreadyHandled: alreadyHandledInPostgres,
  };
}

/** Forgets by age; returns how many. */
export function purgePostgresInbox(pool: PostgresPool, purge: InboxPurge): Promise<number> {
  return purgeSqlInbox(postgresSqlPool(pool), purge);
}
