/** A store by its address, for tools that are configured with text: the client package of the database has to be installed. */
import { existsSync } from 'node:fs';
import type mysql from 'mysql2/promise';
import type pg from 'pg';
import { MessagingError } from '../errors.ts';
import { isMissingPackage } from '../missing-package.ts';
import { refuseWithoutSqlite } from '../sqlite-present.ts';
import { readSqliteUrl } from '../sqlite-url.ts';
import { mariadbStore } from './mariadb/store.ts';
import { postgresStore } from './postgres/store.ts';
import type { SqlStore } from './sql-store.ts';

export type { SqlStore } from './sql-store.ts';
export type { SettledSourceOptions } from './sql-records.ts';

export interface OpenSqlStoreOptions {
  /** Refuse a SQLite file that is not there, instead of making an empty one: for whoever only reads. Servers never make a database. */
  readonly mustExist?: boolean;
}

/** Connections of one store; a relay keeps one, each open transaction another. */
const CONNECTIONS = 5;

/**
 * `postgres://user@host/database`, `mysql://user@host/database` (also `mariadb://`) or `sqlite:path/to/file.db` (the file that the engine of this URL has, so %20 is a space). No table is created: see `prepare`.
 * Rejects with DB_MSG_INVALID_OPTIONS for another address, or a file that must exist and does not, and with DB_MSG_PEER_MISSING, naming what to install, when the client is not there.
 */
export function openSqlStore(address: string, options: OpenSqlStoreOptions = {}): Promise<SqlStore> {
  const clients = { pg: () => import('pg'), mysql2: () => import('mysql2/promise') };
  return sqlStoreLoadedBy(clients, address, options);
}

/** How the clients are loaded. Without their types, which are not there for whoever uses another database. */
export interface StoreClients {
  readonly pg: () => Promise<unknown>;
  readonly mysql2: () => Promise<unknown>;
}

/** The same with the caller's way of loading a client: for tests. */
export async function sqlStoreLoadedBy(
  load: StoreClients,
  address: string,
  { mustExist = false }: OpenSqlStoreOptions = {},
): Promise<SqlStore> {
  const scheme = /^([a-z]+):/.exec(address)?.[1];
  if (scheme !== undefined && scheme !== 'sqlite') refuseUnreadable(address);
  if (scheme === 'postgres' || scheme === 'postgresql') return openPostgres(load, address);
  if (scheme === 'mysql' || scheme === 'mariadb')
    return openMariadb(load, address.replace(/^mariadb:/, 'mysql:'));
  if (scheme === 'sqlite') return openSqlite(address, mustExist);
  throw new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    'the address of a store begins with postgres:, mysql:, mariadb: or sqlite:',
  );
}

/** The address is neither repeated nor kept as the cause, as the clients' own errors do: it holds a password. */
function refuseUnreadable(address: string): void {
  try {
    const { username, password, pathname } = new URL(address);
    [username, password, pathname].forEach(decodeURIComponent);
  } catch {
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      'the address of a store is of the form postgres://user:password@host:port/database; in user and password each of / # ? @ : and % is written as %2F, %23, %3F, %40, %3A and %25',
    );
  }
}

async function loaded(client: Promise<unknown>, name: string): Promise<unknown> {
  return client.catch((cause: unknown) => {
    if (!isMissingPackage(cause, name)) throw cause;
    throw new MessagingError(
      'DB_MSG_PEER_MISSING',
      `this store needs the package "${name}": npm install ${name}`,
      { cause },
    );
  });
}

async function openPostgres(load: StoreClients, connectionString: string): Promise<SqlStore> {
  const { Pool } = ((await loaded(load.pg(), 'pg')) as { readonly default: typeof pg }).default;
  const pool = new Pool({ connectionString, max: CONNECTIONS });
  // An idle connection that breaks is replaced; without a listener it would end the process.
  pool.on('error', () => {});
  return postgresStore(pool, { onClose: () => pool.end() });
}

async function openMariadb(load: StoreClients, uri: string): Promise<SqlStore> {
  const { createPool } = (await loaded(load.mysql2(), 'mysql2')) as typeof mysql;
  const pool = createPool({ uri, connectionLimit: CONNECTIONS, charset: 'utf8mb4' });
  return mariadbStore(pool, { onClose: () => pool.end() });
}

async function openSqlite(address: string, mustExist: boolean): Promise<SqlStore> {
  const { path, query } = readSqliteUrl(address);
  if (query !== '')
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `a store in SQLite takes no options, not "${query}"; a ? in the name of the file is written as %3F`,
    );
  if (path === '') throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'name the file: sqlite:./shop.db');
  if (mustExist && !existsSync(path))
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `sqlite:${path}: there is no such file`);
  refuseWithoutSqlite('a store in SQLite');
  // Loaded here, so that the other stores need no Node that has it.
  const [{ DatabaseSync }, { sqliteStore }] = await Promise.all([
    import('node:sqlite'),
    import('./sqlite/store.ts'),
  ]);
  const db = new DatabaseSync(path, { timeout: 5_000 });
  return sqliteStore(db, { onClose: async () => db.close() });
}
