/** A database of its own for one test, on each of the three, by the address that `openSqlStore` takes, also in a child process. Servers by `DATABASE_URL` and `MARIADB_URL`; SQLite needs none. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '../clock.ts';
import { createIds } from '../ids.ts';
import type { SqlDatabase, SqlDialect } from '../sql.ts';
import { sqliteSql } from '../sql/sqlite.ts';
import { openSqlStore } from '../stores/open.ts';

export interface OpenSql {
  readonly sql: SqlDatabase;
  close(): Promise<void>;
}

export interface SqlFixture extends OpenSql {
  /** For `openSqlStore`, in this process (connections of its own) or another. */
  readonly address: string;
  /** Removes the database and everything in it. */
  readonly destroy: () => Promise<void>;
}

export const sqlServers: readonly (readonly [SqlDialect, string | undefined])[] = [
  ['sqlite', undefined],
  ['postgres', 'DATABASE_URL'],
  ['mariadb', 'MARIADB_URL'],
];

/** The address of the server, or undefined when its variable is not set. SQLite needs none. */
export const serverOf = (variable: string | undefined): string | undefined =>
  variable === undefined ? '' : process.env[variable];

const ids = createIds(systemClock);

export async function createSqlFixture(dialect: SqlDialect, url: string): Promise<SqlFixture> {
  const { address, drop } = await (dialect === 'sqlite' ? createFile() : createDatabase(url));
  const store = await openSqlStore(address);
  return {
    sql: store.sql,
    close: () => store.close(),
    address,
    async destroy() {
      await store.close();
      await drop();
    },
  };
}

/** SQLite without a file, where nothing is about one and its flushes would take most of the time. */
export function createMemoryFixture(): Pick<SqlFixture, 'sql' | 'destroy'> {
  const db = new DatabaseSync(':memory:');
  return { sql: sqliteSql(db), destroy: async () => db.close() };
}

interface Place {
  readonly address: string;
  readonly drop: () => Promise<void>;
}

async function createFile(): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), 'sql-'));
  const path = join(folder, 'state.db');
  const db = new DatabaseSync(path);
  // Stays with the file: readers of other processes do not wait for writers.
  db.exec('PRAGMA journal_mode = WAL');
  db.close();
  return { address: `sqlite:${path}`, drop: async () => rmSync(folder, { recursive: true, force: true }) };
}

async function createDatabase(server: string): Promise<Place> {
  // Not a UUID's front, which is the same for two made at once.
  const name = `test_${ids.next().replaceAll('-', '').slice(8)}`;
  await runOn(server, `CREATE DATABASE ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  const force = server.startsWith('postgres') ? ' WITH (FORCE)' : '';
  return { address: String(url), drop: () => runOn(server, `DROP DATABASE ${name}${force}`) };
}

async function runOn(server: string, text: string): Promise<void> {
  const store = await openSqlStore(server);
  try {
    await store.sql.run(text);
  } finally {
    await store.close();
  }
}
