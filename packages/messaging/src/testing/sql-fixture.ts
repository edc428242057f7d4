/** A database of its own for one test file, on each of the three: a file, a schema, a database. `openSql` opens the same one again, also in a child process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import mysql from 'mysql2/promise';
import { Pool } from 'pg';
import { systemClock } from '../clock.ts';
import { createIds } from '../ids.ts';
import type { SqlDatabase, SqlDialect } from '../sql.ts';
import { mariadbSql } from '../sql/mariadb.ts';
import { postgresSql } from '../sql/postgres.ts';
import { sqliteSql } from '../sql/sqlite.ts';

export interface OpenSql {
  readonly sql: SqlDatabase;
  readonly close: () => Promise<void>;
}

export interface SqlFixture extends OpenSql {
  /** For `openSql`, in this process (connections of its own) or another. */
  readonly argument: string;
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

interface Place {
  readonly dialect: SqlDialect;
  readonly url: string;
  readonly space: string;
}

export async function openSql(argument: string): Promise<OpenSql> {
  const { dialect, url, space } = JSON.parse(argument) as Place;
  if (dialect === 'sqlite') {
    const db = new DatabaseSync(space, { timeout: 10_000 });
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
    return { sql: sqliteSql(db), close: async () => db.close() };
  }
  if (dialect === 'postgres') {
    const pool = new Pool({ connectionString: url, max: 10, options: `-c search_path=${space}` });
    pool.on('error', () => {});
    return { sql: postgresSql(pool), close: () => pool.end() };
  }
  const pool = mysql.createPool({ uri: `${url}${space}`, connectionLimit: 10 });
  return { sql: mariadbSql(pool), close: () => pool.end() };
}

export async function createSqlFixture(dialect: SqlDialect, url: string): Promise<SqlFixture> {
  const name = `pattern_${createIds(systemClock).next().replaceAll('-', '')}`;
  const folder = dialect === 'sqlite' ? mkdtempSync(join(tmpdir(), 'pattern-')) : '';
  const space = dialect === 'sqlite' ? join(folder, 'state.db') : name;
  const asOwner = async (create: string, end: string): Promise<void> => {
    if (dialect === 'sqlite') return;
    const owner = await openSql(JSON.stringify({ dialect, url, space: '' }));
    const word = dialect === 'postgres' ? 'SCHEMA' : 'DATABASE';
    await owner.sql.run(`${create} ${word} ${name}${dialect === 'postgres' ? end : ''}`);
    await owner.close();
  };
  await asOwner('CREATE', '');
  const argument = JSON.stringify({ dialect, url, space });
  const open = await openSql(argument);
  return {
    ...open,
    argument,
    async destroy() {
      await open.close();
      await asOwner('DROP', ' CASCADE');
      if (folder !== '') rmSync(folder, { recursive: true, force: true });
    },
  };
}
