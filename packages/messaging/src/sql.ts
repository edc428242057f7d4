/**
 * A database as the toolkit needs it, the one way to SQL of everything that stores (outbox, inbox, sagas, streams, locks): run a statement, run a transaction,
 * keep a connection. The three databases are in `sql/`, thin over the clients that people already have (`node:sqlite`, `pg`, `mysql2`), none of which is imported.
 *
 * Statements are written with `?`; each database turns them into its client's form. It is no query builder (every statement is a text that can be read), and
 * it pools nothing itself.
 */
import { MessagingError } from './errors.ts';

export type SqlDialect = 'sqlite' | 'postgres' | 'mariadb';
export type SqlValue = string | number | bigint | null;
export type SqlRow = Readonly<Record<string, unknown>>;

export interface SqlResult {
  readonly rows: readonly SqlRow[];
  /** Rows inserted, deleted or matched by an update. */
  readonly changes: number;
}

export interface SqlStatement {
  readonly text: string;
  readonly params: readonly SqlValue[];
}

export interface SqlRunner {
  /**
   * Rejects with DB_MSG_STORE_BUSY when the database gave way to another transaction, with DB_MSG_ENGINE_UNREACHABLE when it is out of reach, and else
   * with the client's own error.
   */
  run(text: string, params?: readonly SqlValue[]): Promise<SqlResult>;
}

/** One open transaction. `native` is the client's own connection, for whatever else belongs into it, for instance the append to an outbox. */
export interface SqlTransaction<Native = unknown> extends SqlRunner {
  readonly native: Native;
}

/** One connection, held until it is released; what belongs to its session (a lock) ends with it. */
export interface SqlConnection extends SqlRunner {
  /** True once it broke; every call rejects from then on. */
  readonly lost: boolean;
  /** All or none, in this order; on SQLite also without a gap in which other code of this thread could find the transaction open. */
  batch(statements: readonly SqlStatement[]): Promise<void>;
  release(): Promise<void>;
}

export interface SqlDatabase<Native = unknown> extends SqlRunner {
  readonly dialect: SqlDialect;
  /**
   * Commits when `work` resolves and rolls back when it rejects, with the same error; a deadlock or lock time-out of the client becomes DB_MSG_STORE_BUSY, also
   * where the work ran the statement with `native`. `work` awaits nothing but this transaction: it may hold locks of the
   * database. READ COMMITTED on servers, whatever the session's default: the statements of the toolkit lock what they decide on. Rejects with
   * DB_MSG_ROLLED_BACK when the database had ended the transaction before its commit because `work` passed over a failed statement.
   */
  transaction<T>(work: (tx: SqlTransaction<Native>) => Promise<T>): Promise<T>;
  connect(): Promise<SqlConnection>;
}

/** `?, ?, ?` for an `IN` list; an empty list is written as `NULL`, which nothing equals. */
export function placeholders(count: number): string {
  return count === 0 ? 'NULL' : Array.from({ length: count }, () => '?').join(', ');
}

/** A number that a client gives as a number, a text or a bigint; undefined for NULL. */
export function numberOf(value: unknown): number | undefined {
  return value === null || value === undefined ? undefined : Number(value);
}

/** Does it again while the database gives way; nothing of an attempt before was stored. */
export async function again<T>(work: () => Promise<T>, times = 10): Promise<T> {
  for (let left = times; ; left -= 1) {
    try {
      return await work();
    } catch (error) {
      if (left <= 1 || !(error instanceof MessagingError) || error.code !== 'DB_MSG_STORE_BUSY') throw error;
    }
  }
}

/** `CREATE ... IF NOT EXISTS` of two processes at once fails on PostgreSQL, so they take turns there. */
export async function createTables(sql: SqlDatabase, statements: readonly string[]): Promise<void> {
  if (sql.dialect === 'mariadb') {
    for (const text of statements) await sql.run(text);
    return;
  }
  await sql.transaction(async (tx) => {
    if (sql.dialect === 'postgres') await tx.run('SELECT pg_advisory_xact_lock(724100177)');
    for (const text of statements) await tx.run(text);
  });
}
