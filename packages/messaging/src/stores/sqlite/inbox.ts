/**
 * The inbox on SQLite for handlers that wait for something inside their transaction. A connection has one transaction at a time, so they take turns; a handler
 * that is synchronous needs none of this and calls `alreadyHandled` between BEGIN IMMEDIATE and COMMIT.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { InboxStore } from '../../handle-once.ts';
import { alreadyHandled } from '../../inbox.ts';
import { type InboxPurge, purgeSqlInbox } from '../inbox-purge.ts';
import { inTransaction } from '../sql.ts';
import { inTurn, sqliteSqlPool } from './session.ts';

/** `tx` is the database itself. Relay, sources and purges on the same connection take turns with it; your own statements while a transaction waits belong on another connection. */
export function sqliteInbox(db: DatabaseSync): InboxStore<DatabaseSync> {
  return {
    transaction: (work) =>
      inTurn(db, () =>
        inTransaction(
          async (sql) => db.exec(sql),
          'BEGIN IMMEDIATE',
          () => work(db),
        ),
      ),
    alreadyHandled: async (tx, entry) => alreadyHandled(tx, entry),
  };
}

/** Forgets by age; returns how many. Needs `sqliteOutboxHistorySchema`. */
export function purgeSqliteInbox(db: DatabaseSync, purge: InboxPurge): Promise<number> {
  return purgeSqlInbox(sqliteSqlPool(db), purge);
}
