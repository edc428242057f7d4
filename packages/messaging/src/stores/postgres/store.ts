/** Outbox, inbox and reconciliation on PostgreSQL, for `pg` or any client that can run a statement. */
import type { RecordedSource, SettledSource } from '../../reconciliation-sources.ts';
import { type SettledSourceOptions, sqlRecordedSource, sqlSettledSource } from '../sql-records.ts';
import type { SqlStore } from '../sql-store.ts';
import { appendToPostgresOutbox } from './append.ts';
import { postgresInbox, purgePostgresInbox } from './inbox.ts';
import { postgresDialect, postgresOutbox } from './outbox.ts';
import { postgresInboxSchema, postgresOutboxSchema } from './schema.ts';
import { type PostgresClient, type PostgresPool, postgresSqlPool } from './session.ts';

export { appendToPostgresOutbox } from './append.ts';
export { alreadyHandledInPostgres, postgresInbox, purgePostgresInbox } from './inbox.ts';
export { listenForPostgresOutbox, postgresOutbox, postgresOutboxAfterRestore } from './outbox.ts';
export { postgresInboxSchema, postgresOutboxSchema } from './schema.ts';
export type { PostgresClient, PostgresPool } from './session.ts';
export type { SqlStore } from '../sql-store.ts';
export type { SettledSourceOptions } from '../sql-records.ts';

export function postgresRecorded(pool: PostgresPool, name: string): RecordedSource {
  return sqlRecordedSource(postgresSqlPool(pool), postgresDialect, name);
}

export function postgresSettled(pool: PostgresPool, options: SettledSourceOptions): SettledSource {
  return sqlSettledSource(postgresSqlPool(pool), options);
}

/** All of it on one pool, which stays yours. */
export function postgresStore<C extends PostgresClient>(
  pool: PostgresPool<C>,
  options: { readonly onClose?: () => Promise<void> } = {},
): SqlStore<C> {
  return {
    kind: 'postgres',
    migrate: async () => void (await pool.query(`${postgresOutboxSchema}${postgresInboxSchema}`)),
    outbox: postgresOutbox(pool),
    append: appendToPostgresOutbox,
    inbox: postgresInbox(pool),
    purgeInbox: (purge) => purgePostgresInbox(pool, purge),
    recorded: (name) => postgresRecorded(pool, name),
    settled: (settled) => postgresSettled(pool, settled),
    close: options.onClose ?? (async () => {}),
  };
}
