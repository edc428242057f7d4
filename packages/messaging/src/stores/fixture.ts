/** The three stores as tests use them: a database of its own with the tables of outbox and inbox, dropped at the end. */
import type { OutboxStore } from '../outbox-store.ts';
import type { SqlDatabase, SqlRow } from '../sql.ts';
import { type MariadbClient, runMariadb } from '../sql/mariadb.ts';
import { type PostgresClient, runPostgres } from '../sql/postgres.ts';
import { createSqlFixture, serverOf, sqlServers } from '../testing/sql-fixture.ts';
import { mariadbDialect } from './mariadb/outbox.ts';
import { openSqlStore, type SqlStore } from './open.ts';
import { postgresDialect } from './postgres/outbox.ts';
import { sqlOutbox } from './sql-outbox.ts';
import { sqliteDialect } from './sqlite/outbox.ts';

export type StoreKind = SqlStore['kind'];

export interface StoreFixture {
  readonly kind: StoreKind;
  /** What `openSqlStore` takes: another process opens the same database with it. */
  readonly address: string;
  readonly store: SqlStore;
  /** One more store on the same database, with connections of its own. */
  open(): Promise<SqlStore>;
  /** A statement beside any transaction, which MariaDB ends at a CREATE TABLE. */
  query(text: string): Promise<readonly SqlRow[]>;
  destroy(): Promise<void>;
}

export interface StoreChoice {
  readonly kind: StoreKind;
  /** Names the variable that is missing. */
  readonly missing: string | undefined;
  create(): Promise<StoreFixture>;
}

export const storeChoices: readonly StoreChoice[] = sqlServers.map(([kind, variable]) => {
  const server = serverOf(variable);
  return {
    kind,
    missing: server === undefined || server === '' ? variable : undefined,
    create: () => createStore(kind, server ?? ''),
  };
});

async function createStore(kind: StoreKind, server: string): Promise<StoreFixture> {
  const fixture = await createSqlFixture(kind, server);
  const { address, sql } = fixture;
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
    query: async (text) => (await sql.run(text)).rows,
    async destroy() {
      for (const one of opened) await one.close();
      await fixture.destroy();
    },
  };
}

/** A statement inside a transaction of any of the stores. */
export async function run(kind: StoreKind, tx: unknown, text: string): Promise<readonly SqlRow[]> {
  if (kind === 'postgres') return (await runPostgres(tx as PostgresClient, text)).rows;
  if (kind === 'mariadb') return (await runMariadb(tx as MariadbClient, text)).rows;
  const db = tx as { prepare(text: string): { all(): unknown[] } };
  return db.prepare(text).all() as SqlRow[];
}

/** The outbox of the fixture, with a note of every statement that runs on the connection of its owner: costs are told by their number and not by time. */
export function notedOutbox({ kind, store }: StoreFixture, texts: string[]): OutboxStore {
  return sqlOutbox(noting(store.sql, texts), dialectOf(kind));
}

function dialectOf(kind: StoreKind) {
  if (kind === 'sqlite') return sqliteDialect(undefined);
  return kind === 'postgres' ? postgresDialect : mariadbDialect;
}

function noting(sql: SqlDatabase, texts: string[]): SqlDatabase {
  return {
    dialect: sql.dialect,
    run: (...args) => sql.run(...args),
    transaction: (work) => sql.transaction(work),
    async connect() {
      const connection = await sql.connect();
      return {
        get lost() {
          return connection.lost;
        },
        run(text, params) {
          texts.push(text);
          return connection.run(text, params);
        },
        batch(statements) {
          // One by one: as arguments of one call they would have to fit the stack.
          for (const { text } of statements) texts.push(text);
          return connection.batch(statements);
        },
        release: () => connection.release(),
      };
    },
  };
}
