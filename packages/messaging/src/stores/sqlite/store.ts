/** Outbox, inbox and reconciliation on SQLite, beside the synchronous functions of the main entry (`appendToOutbox`, `alreadyHandled`). */
import type { DatabaseSync } from 'node:sqlite';
import { inboxSchema } from '../../inbox.ts';
import { appendToOutbox, outboxSchema } from '../../outbox.ts';
import type { RecordedSource, SettledSource } from '../../reconciliation-sources.ts';
import { sqliteSql } from '../../sql/sqlite.ts';
import { type SettledSourceOptions, sqlRecordedSource, sqlSettledSource } from '../sql-records.ts';
import type { SqlStore } from '../sql-store.ts';
import { purgeSqliteInbox, sqliteInbox } from './inbox.ts';
import { sqliteDialect, sqliteKeyedOutbox } from './outbox.ts';
import { sqliteOutboxHistorySchema } from './schema.ts';

export { purgeSqliteInbox, sqliteInbox } from './inbox.ts';
export { sqliteKeyedOutbox } from './outbox.ts';
export { sqliteOutboxHistorySchema } from './schema.ts';
export type { SqlStore } from '../sql-store.ts';
export type { SettledSourceOptions } from '../sql-records.ts';

/** What an outbox recorded; needs `sqliteOutboxHistorySchema`. */
export function sqliteRecorded(db: DatabaseSync, name: string): RecordedSource {
  return sqlRecordedSource(sqliteSql(db), sqliteDialect(undefined), name);
}

/** What a subscription has settled; needs `sqliteOutboxHistorySchema`. */
export function sqliteSettled(db: DatabaseSync, options: SettledSourceOptions): SettledSource {
  return sqlSettledSource(sqliteSql(db), options);
}

/** All of it on one database, which stays yours. */
export function sqliteStore(
  db: DatabaseSync,
  options: { readonly lockPath?: string; readonly onClose?: () => Promise<void> } = {},
): SqlStore<DatabaseSync> {
  const sql = sqliteSql(db);
  return {
    kind: 'sqlite',
    sql,
    prepare: () =>
      sql.transaction(async () => db.exec(`${outboxSchema}${inboxSchema}${sqliteOutboxHistorySchema}`)),
    outbox: sqliteKeyedOutbox(db, options),
    append: async (tx, messages) => appendToOutbox(tx, messages),
    inbox: sqliteInbox(db),
    purgeInbox: (purge) => purgeSqliteInbox(db, purge),
    recorded: (name) => sqliteRecorded(db, name),
    settled: (settled) => sqliteSettled(db, settled),
    close: options.onClose ?? (async () => {}),
  };
}
