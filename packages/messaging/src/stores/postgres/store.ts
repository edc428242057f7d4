/** Outbox, inbox and reconciliation on PostgreSQL, for `pg` or any client that can run a statement. */
import type { RecordedSource, SettledSource } from '../../reconciliation-sources.ts';
import { createTables } from '../../sql.ts';
import { type PostgresClient, type PostgresPool, postgresSql } from '../../sql/postgres.ts';
import { type SettledSourceOptions, sqlRecordedSource, sqlSettledSource } from '../sql-records.ts';
import type { SqlStore } from '../sql-store.ts';
import { appendToPostgresOutbox } from './append.ts';
import { postgresInbox, purgePostgresInbox } from './inbox.ts';
import { postgresDialect, postgresOutbox } from './outbox.ts';
import { postgresInboxSchema, postgresOutboxSchema } from './schema.ts';

export { appendToPostgresOutbox } from './append.ts';
export { alreadyHandledInPostgres, postgresInbox, purgePostgresInbox } from './inbox.ts';
export { listenForPostgresOutbox, postgresOutbox, postgresOutboxAfterRestore } from './outbox.ts';
export { postgresInboxSchema, postgresOutboxSchema } from './schema.ts';
export type { PostgresClient, PostgresPool } from '../../sql/postgres.ts';
export type { SqlStore } from '../sql-store.ts';
export type { SettledSourceOptions } from '../sql-records.ts';

export function postgresRecorded(pool: PostgresPool, name: string): RecordedSource {
  return sqlRecordedSource(postgresSql(pool), postgresDialect, name);
}

export function postgresSettled(pool: PostgresPool, options: SettledSourceOptions): SettledSource {
  return sqlSettledSource(postgresSql(pool), options);
}

/** All of it on one pool, which stays yours. */
export function postgresStore<C extends PostgresClient>(
  pool: PostgresPool<C>,
  options: { readonly onClose?: () => Promise<void> } = {},
): SqlStore<C> {
  const sql = postgresSql(pool);
  return {
    kind: 'postgres',
    sql,
    prepare: () => createTables(sql, [postgresOutboxSchema, postgresInboxSchema]),
    outbox: postgresOutbox(pool),
    append: appendToPostgresOutbox,
    inbox: postgresInbox(pool),
    purgeInbox: (purge) => purgePostgresInbox(pool, purge),
    recorded: (name) => postgresRecorded(pool, name),
    settled: (settled) => postgresSettled(pool, settled),
    close: options.onClose ?? (async () => {}),
  };
}
