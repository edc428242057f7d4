/** A store by its address, for tools that are configured with text: the client package of the database has to be installed. */
import { DatabaseSync } from 'node:sqlite';
import { MessagingError } from '../errors.ts';
import { mariadbStore } from './mariadb/store.ts';
import { postgresStore } from './postgres/store.ts';
import type { SqlStore } from './sql-store.ts';
import { sqliteStore } from './sqlite/store.ts';

export type { SqlStore } from './sql-store.ts';
export type { SettledSourceOptions } from './sql-records.ts';

/** Connections of one store; a relay keeps one, each open transaction another. */
const CONNECTIONS = 5;

/**
 * `postgres://user@host/database`, `mysql://user@host/database` (also `mariadb://`) or `sqlite:path/to/file.db`. Nothing is created: see `prepare`.
 * Rejects with DB_MSG_INVALID_OPTIONS for another address and with the client's error when it is not installed.
 */
export async function openSqlStore(address: string): Promise<SqlStore> {
  const scheme = /^([a-z]+):/.exec(address)?.[1];
  if (scheme === 'postgres' || scheme === 'postgresql') return openPostgres(address);
  if (scheme === 'mysql' || scheme === 'mariadb') return openMariadb(address.replace(/^mariadb:/, 'mysql:'));
  if (scheme === 'sqlite') return openSqlite(address.replace(/^sqlite:(\/\/)?/, ''));
  throw new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    'the address of a store begins with postgres:, mysql:, mariadb: or sqlite:',
  );
}

async function openPostgres(connectionString: string): Promise<SqlStore> {
  const { Pool } = (await import('pg')).default;
  const pool = new Pool({ connectionString, max: CONNECTIONS });
  // An idle connection that breaks is replaced; without a listener it would end the process.
  pool.on('error', () => {});
  return postgresStore(pool, { onClose: () => pool.end() });
}

async function openMariadb(uri: string): Promise<SqlStore> {
  const { createPool } = await import('mysql2/promise');
  const pool = createPool({ uri, connectionLimit: CONNECTIONS, charset: 'utf8mb4' });
  return mariadbStore(pool, { onClose: () => pool.end() });
}

async function openSqlite(path: string): Promise<SqlStore> {
  const db = new DatabaseSync(path, { timeout: 5_000 });
  return sqliteStore(db, { onClose: async () => db.close() });
}
