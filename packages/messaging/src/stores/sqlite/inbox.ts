/**
 * The inbox on SQLite for handlers that wait for something inside their transaction. A connection has one transaction at a time, so they take turns; a handler
 * that is synchronous needs none of this and calls `alreadyHandled` between BEGIN IMMEDIATE and COMMIT.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { InboxStore } from '../../handle-once.ts';
import { alreadyHandled } from '../../inbox.ts';
import { sqliteSql } from '../../sql/sqlite.ts';
import { type InboxPurge, purgeSqlInbox } from '../inbox-purge.ts';

/** `tx` is the database itself. Relay, sources and purges on the same connection take turns with it; your own statements while a transaction waits belong on another connection. */
export function sqliteInbox(db: DatabaseSync): InboxStore<DatabaseSync> {
  const sql = sqliteSql(db);
  return {
    transaction: (work) => sql.transaction(({ native }) => work(native)),
    alreadyHandled: async (tx, entry) => alreadyHandled(tx, entry),
  };
}

/** Forgets by age; returns how many. Needs `sqliteOutboxHistorySchema`. */
export function purgeSqliteInbox(db: DatabaseSync, purge: InboxPurge): Promise<number> {
  return purgeSqlInbox(sqliteSql(db), purge);
}
