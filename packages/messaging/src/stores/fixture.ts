/** The three stores as tests use them: a database of its own for each, dropped at the end. Servers by `DATABASE_URL` and `MARIADB_URL`; SQLite needs none. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { Client } from 'pg';
import { systemClock } from '../clock.ts';
import { createIds } from '../ids.ts';
import { openSqlStore, type SqlStore } from './open.ts';

const ids = createIds(systemClock);
const postgresUrl = process.env.DATABASE_URL;
const mariadbUrl = process.env.MARIADB_URL;

export type StoreKind = SqlStore['kind'];

export interface StoreFixture {
  readonly kind: StoreKind;
  /** What `openSqlStore` takes: another process opens the same database with it. */
  readonly address: string;
  readonly store: SqlStore;
  /** One more store on the same database, with connections of its own. */
  open(): Promise<SqlStore>;
  /** A statement on a connection of its own; on SQLite too. */
  query(sql: string): Promise<readonly Record<string, unknown>[]>;
  destroy(): Promise<void>;
}

export interface StoreChoice {
  readonly kind: StoreKind;
  /** Names the variable that is missing. */
  readonly missing: string | undefined;
  create(): Promise<StoreFixture>;
}

export const storeChoices: readonly StoreChoice[] = [
  { kind: 'sqlite', missing: undefined, create: createSqlite },
  { kind: 'postgres', missing: postgresUrl ? undefined : 'DATABASE_URL', create: createPostgres },
  { kind: 'mariadb', missing: mariadbUrl ? undefined : 'MARIADB_URL', create: createMariadb },
];

async function createSqlite(): Promise<StoreFixture> {
  const folder = mkdtempSync(join(tmpdir(), 'store-'));
  return fixtureOf('sqlite', `sqlite:${join(folder, 'state.db')}`, async () =>
    rmSync(folder, { recursive: true }),
  );
}

async function createPostgres(): Promise<StoreFixture> {
  const name = databaseName();
  await onPostgres(`CREATE DATABASE ${name}`);
  const url = new URL(postgresUrl ?? '');
  url.pathname = `/${name}`;
  return fixtureOf('postgres', String(url), () => onPostgres(`DROP DATABASE ${name} WITH (FORCE)`));
}

async function createMariadb(): Promise<StoreFixture> {
  const name = databaseName();
  await onMariadb(`CREATE DATABASE ${name}`);
  const url = new URL(mariadbUrl ?? '');
  url.pathname = `/${name}`;
  return fixtureOf('mariadb', String(url), () => onMariadb(`DROP DATABASE ${name}`));
}

/** Not a UUID's front, which is the same for two made at once. */
function databaseName(): string {
  return `store_${ids.next().replaceAll('-', '').slice(8)}`;
}

async function fixtureOf(kind: StoreKind, address: string, drop: () => Promise<void>): Promise<StoreFixture> {
  const opened: SqlStore[] = [];
  const open = async (): Promise<SqlStore> => {
    const store = await openSqlStore(address);
    opened.push(store);
    return store;
  };
  const store = await open();
  await store.prepare();
  return {
    kind,
    address,
    store,
    open,
    query: (sql) => queryAlone(kind, address, store, sql),
    async destroy() {
      for (const one of opened) await one.close();
      await drop();
    },
  };
}

/** A statement inside a transaction of any of the stores. */
export async function run(
  kind: StoreKind,
  tx: unknown,
  sql: string,
): Promise<readonly Record<string, unknown>[]> {
  if (kind === 'sqlite') {
    const db = tx as { prepare(sql: string): { all(): unknown[] } };
    return db.prepare(sql).all() as Record<string, unknown>[];
  }
  const client = tx as { query(sql: string): Promise<unknown> };
  const result = await client.query(sql);
  const rows = kind === 'postgres' ? (result as { rows: unknown }).rows : (result as unknown[])[0];
  return Array.isArray(rows) ? rows : [];
}

/** Beside any transaction: MariaDB ends one at a CREATE TABLE. */
async function queryAlone(
  kind: StoreKind,
  address: string,
  store: SqlStore,
  sql: string,
): Promise<readonly Record<string, unknown>[]> {
  if (kind === 'sqlite') return store.inbox.transaction((tx) => run(kind, tx, sql));
  const client =
    kind === 'postgres'
      ? new Client({ connectionString: address })
      : await createConnection({ uri: address });
  try {
    if (client instanceof Client) await client.connect();
    return await run(kind, client, sql);
  } finally {
    await client.end();
  }
}

async function onPostgres(sql: string): Promise<void> {
  const client = new Client({ connectionString: postgresUrl });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function onMariadb(sql: string): Promise<void> {
  const connection = await createConnection({ uri: mariadbUrl ?? '' });
  try {
    await connection.query(sql);
  } finally {
    await connection.end();
  }
}
