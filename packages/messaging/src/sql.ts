/**
 * A database as the patterns need it (sagas, streams, locks): run a statement, run a transaction. Three thin adapters over the clients
 * that people already have: `node:sqlite`, `pg`, `mysql2`. Their types are structural, so none of them is imported.
 *
 * Statements are written with `?`; the adapter of PostgreSQL numbers them. It is no query builder and pools nothing itself.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { MessagingError } from './errors.ts';

export type SqlDialect = 'sqlite' | 'postgres' | 'mariadb';
export type SqlValue = string | number | bigint | null;
export type SqlRow = Readonly<Record<string, unknown>>;

export interface SqlResult {
  readonly rows: readonly SqlRow[];
  /** Rows inserted, deleted or matched by an update. */
  readonly changes: number;
}

export interface SqlRunner {
  /**
   * Rejects with DB_MSG_STORE_BUSY when the database gave way to another transaction, with DB_MSG_ENGINE_UNREACHABLE when it is out of reach, and else
   * with the client's own error.
   */
  run(text: string, params?: readonly SqlValue[]): Promise<SqlResult>;
}

/** One open transaction. `native` is the client's own connection, for whatever else belongs into it, for instance `appendToOutbox`. */
export interface SqlTransaction<Native = unknown> extends SqlRunner {
  readonly native: Native;
}

export interface SqlStore<Native = unknown> extends SqlRunner {
  readonly dialect: SqlDialect;
  /** Commits when `work` resolves and rolls back when it rejects. `work` awaits nothing but this transaction: it may hold locks of the database. */
  transaction<T>(work: (tx: SqlTransaction<Native>) => Promise<T>): Promise<T>;
}

/** One after another: SQLite has one transaction per connection, and a statement from outside must not slip into it. */
const lines = new Map<DatabaseSync | string, Promise<unknown>>();

function inLineOf<T>(line: DatabaseSync | string, work: () => Promise<T>): Promise<T> {
  const done = (lines.get(line) ?? Promise.resolve()).then(work);
  const over = done
    .catch(() => {})
    .then(() => {
      if (lines.get(line) === over) lines.delete(line);
    });
  lines.set(line, over);
  return done;
}

/** The database whose transaction the code runs in: what it would wait for there waits for itself. */
const inside = new AsyncLocalStorage<DatabaseSync>();

/**
 * A database of this thread. Everything through adapters of one `DatabaseSync` runs one after another, and so do the transactions of all connections of this thread
 * to one file: SQLite would block the whole thread until the other's commit, which then cannot come.
 */
export function sqliteSql(db: DatabaseSync): SqlStore<DatabaseSync> {
  const inLine = async <T>(work: () => Promise<T>): Promise<T> => {
    if (inside.getStore() === db)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        'inside a transaction of SQLite everything goes through the transaction',
      );
    return inLineOf(db, work);
  };
  const run = async (text: string, params: readonly SqlValue[] = []): Promise<SqlResult> =>
    named(async () => {
      const statement = db.prepare(text);
      const values = params as readonly SQLInputValue[];
      if (statement.columns().length > 0) {
        const rows = statement.all(...values) as SqlRow[];
        return { rows, changes: rows.length };
      }
      return { rows: [], changes: Number(statement.run(...values).changes) };
    });
  return {
    dialect: 'sqlite',
    run: (text, params) => inLine(() => run(text, params)),
    async transaction(work) {
      const whole = async () => {
        await named(async () => db.exec('BEGIN IMMEDIATE'));
        try {
          const result = await inside.run(db, () => work({ run, native: db }));
          await named(async () => db.exec('COMMIT'));
          return result;
        } catch (error) {
          if (db.isTransaction) db.exec('ROLLBACK');
          throw error;
        }
      };
      const file = db.location();
      return inLine(() => (file === null ? whole() : inLineOf(file, whole)));
    },
  };
}

/** The part of `pg.PoolClient` that is used. */
export interface PgClient {
  query(
    text: string,
    values?: unknown[],
  ): Promise<{ readonly rows: unknown[]; readonly rowCount: number | null }>;
  release(destroy?: boolean): void;
}
/** The part of `pg.Pool` that is used. */
export interface PgPool<Client extends PgClient = PgClient> {
  connect(): Promise<Client>;
}

/** READ COMMITTED, whatever the session's default: the statements of the patterns lock what they decide on. */
export function postgresSql<Client extends PgClient>(pool: PgPool<Client>): SqlStore<Client> {
  const runOn = (client: Client, text: string, params: readonly SqlValue[] = []): Promise<SqlResult> =>
    named(async () => {
      let n = 0;
      const numbered = text.replaceAll('?', () => `$${(n += 1)}`);
      const { rows, rowCount } = await client.query(numbered, [...params]);
      return { rows: rows as SqlRow[], changes: rowCount ?? 0 };
    });
  return {
    dialect: 'postgres',
    run: (text, params) =>
      lent(
        () => pool.connect(),
        (client) => runOn(client, text, params),
      ),
    transaction: (work) =>
      lent(
        () => pool.connect(),
        (client) =>
          within(
            (text) => runOn(client, text),
            'BEGIN ISOLATION LEVEL READ COMMITTED',
            () => work({ run: (text, params) => runOn(client, text, params), native: client }),
          ),
      ),
  };
}

/** The part of a connection of `mysql2/promise` that is used. */
export interface MysqlConnection {
  execute(text: string, values?: SqlValue[]): Promise<[unknown, unknown]>;
  query(text: string): Promise<[unknown, unknown]>;
  release(): void;
  destroy(): void;
}
/** The part of a pool of `mysql2/promise` that is used. */
export interface MysqlPool<Connection extends MysqlConnection = MysqlConnection> {
  getConnection(): Promise<Connection>;
}

/** READ COMMITTED: under MariaDB's default a transaction would decide on what it saw when it began. */
export function mariadbSql<Connection extends MysqlConnection>(
  pool: MysqlPool<Connection>,
): SqlStore<Connection> {
  const runOn = (
    connection: Connection,
    text: string,
    params: readonly SqlValue[] = [],
  ): Promise<SqlResult> =>
    named(async () => {
      const [result] = await (params.length === 0
        ? connection.query(text)
        : connection.execute(text, [...params]));
      if (Array.isArray(result)) return { rows: result as SqlRow[], changes: result.length };
      return { rows: [], changes: (result as { affectedRows: number }).affectedRows };
    });
  const borrow = async () => {
    const native = await pool.getConnection();
    return { native, release: (destroy?: boolean) => (destroy ? native.destroy() : native.release()) };
  };
  return {
    dialect: 'mariadb',
    run: (text, params) => lent(borrow, ({ native }) => runOn(native, text, params)),
    transaction: (work) =>
      lent(borrow, async ({ native }) => {
        await runOn(native, 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED');
        return within(
          (text) => runOn(native, text),
          'START TRANSACTION',
          () => work({ run: (text, params) => runOn(native, text, params), native }),
        );
      }),
  };
}

/** A connection whose transaction did not end cleanly is thrown away: what it would do next is not known. */
async function lent<Client extends { release(destroy?: boolean): void }, T>(
  borrow: () => Promise<Client>,
  use: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await named(borrow);
  let destroy = false;
  try {
    return await use(client);
  } catch (error) {
    destroy = error instanceof UncleanTransaction || codeOf(error) === 'DB_MSG_ENGINE_UNREACHABLE';
    throw error instanceof UncleanTransaction ? error.cause : error;
  } finally {
    client.release(destroy);
  }
}

class UncleanTransaction extends Error {}

async function within<T>(
  run: (text: string) => Promise<SqlResult>,
  begin: string,
  work: () => Promise<T>,
): Promise<T> {
  await run(begin);
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await run('ROLLBACK').catch(() => {
      throw new UncleanTransaction('the rollback failed', { cause: error });
    });
    throw error;
  }
  // A commit that fails may have been done: the caller has to do it again in a way that does no harm twice.
  await run('COMMIT');
  return result;
}

const BUSY: ReadonlySet<unknown> = new Set([
  '40001',
  '40P01',
  '55P03',
  'ER_LOCK_DEADLOCK',
  'ER_LOCK_WAIT_TIMEOUT',
  'ER_CHECKREAD',
]);
const GONE =
  /^(08|57P0|53300|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|PROTOCOL_CONNECTION_LOST|ER_SERVER_SHUTDOWN|ER_CON_COUNT)/;
const SQLITE_BUSY = 5;

async function named<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof MessagingError) throw error;
    const code = codeOf(error);
    const { errcode, message } = error as { errcode?: number; message?: string };
    if (BUSY.has(code) || (errcode !== undefined && (errcode & 0xff) === SQLITE_BUSY))
      throw new MessagingError('DB_MSG_STORE_BUSY', `the database gave way: ${message}`, { cause: error });
    // pg says it without a code.
    if (
      GONE.test(String(code)) ||
      /Connection terminated|closed state|connection.*timeout/i.test(message ?? '')
    )
      throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `the database is out of reach: ${message}`, {
        cause: error,
      });
    throw error;
  }
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | null)?.code;

/** Does it again while the database gives way; nothing of an attempt before was stored. */
export async function again<T>(work: () => Promise<T>, times = 10): Promise<T> {
  for (let left = times; ; left -= 1) {
    try {
      return await work();
    } catch (error) {
      if (left <= 1 || codeOf(error) !== 'DB_MSG_STORE_BUSY') throw error;
    }
  }
}

/** `CREATE ... IF NOT EXISTS` of two processes at once fails on PostgreSQL, so they take turns there. */
export async function createTables(sql: SqlStore, statements: readonly string[]): Promise<void> {
  if (sql.dialect === 'mariadb') {
    for (const text of statements) await sql.run(text);
    return;
  }
  await sql.transaction(async (tx) => {
    if (sql.dialect === 'postgres') await tx.run('SELECT pg_advisory_xact_lock(724100177)');
    for (const text of statements) await tx.run(text);
  });
}
