/**
 * MariaDB and MySQL through the application's own connection: `mysql2/promise` fits as it is, a query builder through one function.
 *
 * Values go with `query`, which the client escapes, and not as prepared statements: lists come in many lengths, and the server keeps a bounded number of
 * statements for all its clients (`max_prepared_stmt_count`). The escaping is that of the default `sql_mode`; NO_BACKSLASH_ESCAPES is not supported.
 */
import { MessagingError } from '../errors.ts';
import type { SqlDatabase, SqlResult, SqlRow, SqlValue } from '../sql.ts';
import { refuseOtherCharset } from './charset.ts';
import { named } from './faults.ts';
import {
  heldConnection,
  type LentClient,
  onLent,
  outsideTransaction,
  type TransactionSteps,
} from './transaction.ts';

/** A connection of `mysql2/promise`, or a transaction of a query builder: `{ query: async (sql, values) => [rows] }`. */
export interface MariadbClient {
  query(sql: string, values?: SqlValue[]): Promise<readonly [unknown, ...unknown[]]>;
}

interface PooledClient extends MariadbClient, LentClient {
  release(): void;
  destroy(): void;
}

/** `createPool(...)` of `mysql2/promise` fits. */
export interface MariadbPool<C extends MariadbClient = MariadbClient> extends MariadbClient {
  getConnection(): Promise<C & PooledClient>;
}

/** Under MariaDB's default a transaction would decide on what it saw when it began. */
const READ_COMMITTED = ['SET TRANSACTION ISOLATION LEVEL READ COMMITTED'];

/** The database of a pool, which stays yours. Everything rejects with DB_MSG_INVALID_OPTIONS where its connections do not speak utf8mb4. */
export function mariadbSql<C extends MariadbClient>(pool: MariadbPool<C>): SqlDatabase<C> {
  return {
    dialect: 'mariadb',
    async run(text, params) {
      await refuseUnsound(pool);
      return runMariadb(pool, text, params);
    },
    transaction: (work) =>
      mariadbTransaction(pool, READ_COMMITTED, (native) =>
        work({ native, run: (text, params) => runMariadb(native, text, params) }),
      ),
    async connect() {
      await refuseUnsound(pool);
      const client = await named(() => pool.getConnection());
      return heldConnection(
        client,
        (text, params) => runMariadb(client, text, params),
        stepsOf(client, []),
        () => client.destroy(),
      );
    },
  };
}

export function runMariadb(
  client: MariadbClient,
  text: string,
  params: readonly SqlValue[] = [],
): Promise<SqlResult> {
  return named(async () => {
    const [result] = await client.query(text, [...params]);
    if (Array.isArray(result)) return { rows: result as SqlRow[], changes: result.length };
    return { rows: [], changes: (result as { readonly affectedRows?: number }).affectedRows ?? 0 };
  });
}

const refuseUnsound = (pool: MariadbClient): Promise<void> =>
  refuseOtherCharset(pool, (text) => runMariadb(pool, text));

/** `before` sets up the transaction that begins next. */
export async function mariadbTransaction<C extends MariadbClient, T>(
  pool: MariadbPool<C>,
  before: readonly string[],
  work: (client: C) => Promise<T>,
): Promise<T> {
  await refuseUnsound(pool);
  const client = await named(() => pool.getConnection());
  const giveBack = (broken: boolean): void => (broken ? client.destroy() : client.release());
  return onLent(client, giveBack, stepsOf(client, before), () => work(client));
}

function stepsOf(client: MariadbClient, before: readonly string[]): TransactionSteps {
  return {
    async begin() {
      for (const text of before) await runMariadb(client, text);
      await runMariadb(client, 'START TRANSACTION');
      await runMariadb(client, 'SAVEPOINT doorbuster_begun');
    },
    async commit() {
      await refuseEnded(client);
      await runMariadb(client, 'COMMIT');
    },
    rollback: () => runMariadb(client, 'ROLLBACK'),
  };
}

const NO_SUCH_SAVEPOINT = 1305;

/**
 * A deadlock rolls the whole transaction back and leaves the connection outside of one, where the next statement commits by itself. Work that swallows
 * that error would be committed in part; a savepoint that is gone at the end tells.
 */
async function refuseEnded(client: MariadbClient): Promise<void> {
  try {
    await runMariadb(client, 'RELEASE SAVEPOINT doorbuster_begun');
  } catch (cause) {
    if ((cause as { readonly errno?: unknown }).errno !== NO_SUCH_SAVEPOINT) throw cause;
    throw new MessagingError(
      'DB_MSG_ROLLED_BACK',
      'the transaction ended before its work did, as a deadlock ends it',
      { cause },
    );
  }
}

/** Outside of a transaction a savepoint is gone with the statement that made it, and releasing it is an error. */
export async function refuseOutsideMariadbTransaction(client: MariadbClient, what: string): Promise<void> {
  try {
    await client.query('SAVEPOINT doorbuster_inside');
    await client.query('RELEASE SAVEPOINT doorbuster_inside');
  } catch (cause) {
    throw outsideTransaction(what, cause);
  }
}
