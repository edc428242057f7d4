/** Outbox, inbox and reconciliation on MariaDB and MySQL, for `mysql2/promise` or any client that can run a statement. */
import type { RecordedSource, SettledSource } from '../../reconciliation-sources.ts';
import { createTables } from '../../sql.ts';
import { type MariadbClient, type MariadbPool, mariadbSql } from '../../sql/mariadb.ts';
import { type SettledSourceOptions, sqlRecordedSource, sqlSettledSource } from '../sql-records.ts';
import type { SqlStore } from '../sql-store.ts';
import { appendToMariadbOutbox } from './append.ts';
import { mariadbInbox, purgeMariadbInbox } from './inbox.ts';
import { mariadbDialect, mariadbOutbox } from './outbox.ts';
import { mariadbInboxSchema, mariadbOutboxSchema } from './schema.ts';

export { appendToMariadbOutbox } from './append.ts';
export { alreadyHandledInMariadb, mariadbInbox, purgeMariadbInbox } from './inbox.ts';
export { mariadbOutbox } from './outbox.ts';
export { mariadbInboxSchema, mariadbOutboxSchema } from './schema.ts';
export type { MariadbClient, MariadbPool } from '../../sql/mariadb.ts';
export type { SqlStore } from '../sql-store.ts';
export type { SettledSourceOptions } from '../sql-records.ts';

export function mariadbRecorded(pool: MariadbPool, name: string): RecordedSource {
  return sqlRecordedSource(mariadbSql(pool), mariadbDialect, name);
}

export function mariadbSettled(pool: MariadbPool, options: SettledSourceOptions): SettledSource {
  return sqlSettledSource(mariadbSql(pool), options, 'CONVERT(message_id USING utf8mb4)');
}

/** All of it on one pool, which stays yours. */
export function mariadbStore<C extends MariadbClient>(
  pool: MariadbPool<C>,
  options: { readonly onClose?: () => Promise<void> } = {},
): SqlStore<C> {
  const sql = mariadbSql(pool);
  return {
    kind: 'mariadb',
    sql,
    prepare: () => createTables(sql, [...mariadbOutboxSchema, ...mariadbInboxSchema]),
    outbox: mariadbOutbox(pool),
    append: appendToMariadbOutbox,
    inbox: mariadbInbox(pool),
    purgeInbox: (purge) => purgeMariadbInbox(pool, purge),
    recorded: (name) => mariadbRecorded(pool, name),
    settled: (settled) => mariadbSettled(pool, settled),
    close: options.onClose ?? (async () => {}),
  };
}
