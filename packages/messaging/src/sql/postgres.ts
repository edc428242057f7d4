/** PostgreSQL through whatever client the application has: `pg` fits as it is, a query builder through one function. */
import { MessagingError } from '../errors.ts';
import type { SqlDatabase, SqlResult, SqlRow, SqlValue } from '../sql.ts';
import { named } from './faults.ts';
import {
  heldConnection,
  type LentClient,
  onLent,
  outsideTransaction,
  type TransactionSteps,
} from './transaction.ts';

/** A client, a client of a pool, or a transaction of a query builder: `{ query: async (sql, values) => ({ rows }) }`. */
export interface PostgresClient {
  query(
    sql: string,
    values?: SqlValue[],
  ): Promise<{ readonly rows: readonly unknown[]; readonly rowCount?: number | null }>;
}

/** A `pg` client has it: `I` idle, `T` in a transaction, `E` in a failed one. */
interface TellsTransaction {
  getTransactionStatus?(): string | null;
}

interface PooledClient extends PostgresClient, LentClient {
  release(destroy?: boolean): void;
}

/** `new Pool(...)` of `pg` fits. */
export interface PostgresPool<C extends PostgresClient = PostgresClient> extends PostgresClient {
  connect(): Promise<C & PooledClient>;
}

/** The database of a pool, which stays yours. */
export function postgresSql<C extends PostgresClient>(pool: PostgresPool<C>): SqlDatabase<C> {
  return {
    dialect: 'postgres',
    run: (text, params) => runPostgres(pool, text, params),
    transaction: (work) =>
      postgresTransaction(pool, 'BEGIN ISOLATION LEVEL READ COMMITTED', (native) =>
        work({ native, run: (text, params) => runPostgres(native, text, params) }),
      ),
    async connect() {
      const client = await named(() => pool.connect());
      return heldConnection(
        client,
        (text, params) => runPostgres(client, text, params),
        stepsOf(client, 'BEGIN'),
        () => client.release(true),
      );
    },
  };
}

export function runPostgres(
  client: PostgresClient,
  text: string,
  params: readonly SqlValue[] = [],
): Promise<SqlResult> {
  return named(async () => {
    const result = await client.query(numbered(text), [...params]);
    // A text of several statements, as a schema is, has a list of results.
    if (Array.isArray(result)) return { rows: [], changes: 0 };
    const { rows, rowCount } = result;
    return { rows: rows as readonly SqlRow[], changes: rowCount ?? rows.length };
  });
}

/** `?` as PostgreSQL numbers them; no statement of ours has a `?` of another meaning. */
function numbered(text: string): string {
  let count = 0;
  return text.replaceAll('?', () => `$${++count}`);
}

/** `begin` says the isolation level; a plain BEGIN leaves it to the session. */
export async function postgresTransaction<C extends PostgresClient, T>(
  pool: PostgresPool<C>,
  begin: string,
  work: (client: C) => Promise<T>,
): Promise<T> {
  const client = await named(() => pool.connect());
  const giveBack = (broken: boolean): void => client.release(broken);
  return onLent(client, giveBack, stepsOf(client, begin), () => work(client));
}

function stepsOf(client: PostgresClient, begin: string): TransactionSteps {
  return {
    begin: () => runPostgres(client, begin),
    commit: () => commit(client),
    rollback: () => runPostgres(client, 'ROLLBACK'),
  };
}

/** PostgreSQL answers the COMMIT of a failed transaction with a rollback and no error: whoever swallowed a failed statement would believe it stored. */
async function commit(client: PostgresClient): Promise<void> {
  const { command } = (await named(() => client.query('COMMIT'))) as { readonly command?: unknown };
  if (command === 'ROLLBACK')
    throw new MessagingError(
      'DB_MSG_ROLLED_BACK',
      'a statement of this transaction had failed, so PostgreSQL rolled it back',
    );
}

/** Refuses a connection that is not in a transaction. A `pg` client knows; another one is asked for a savepoint, which PostgreSQL grants only inside one. */
export async function refuseOutsidePostgresTransaction(client: PostgresClient, what: string): Promise<void> {
  const status = (client as TellsTransaction).getTransactionStatus?.();
  if (status === 'T' || status === 'E') return;
  if (status === 'I') throw outsideTransaction(what);
  try {
    await client.query('SAVEPOINT doorbuster_inside');
    await client.query('RELEASE SAVEPOINT doorbuster_inside');
  } catch (cause) {
    throw outsideTransaction(what, cause);
  }
}
