/** PostgreSQL through whatever client the application has: `pg` fits as it is, a query builder through one function. */
import { MessagingError } from '../../errors.ts';
import { inTransaction, type SqlConnection, type SqlPool, type SqlRow, type SqlValue } from '../sql.ts';

/** A client, a client of a pool, or a transaction of a query builder: `{ query: async (sql, values) => ({ rows }) }`. */
export interface PostgresClient {
  query(sql: string, values?: SqlValue[]): Promise<{ readonly rows: readonly unknown[] }>;
}

/** A `pg` client has it: `I` idle, `T` in a transaction, `E` in a failed one. */
interface TellsTransaction {
  getTransactionStatus?(): string | null;
}

interface PooledClient extends PostgresClient {
  release(destroy?: boolean): void;
  on(name: 'error' | 'end', listener: () => void): unknown;
  removeListener(name: 'error' | 'end', listener: () => void): unknown;
}

/** `new Pool(...)` of `pg` fits. */
export interface PostgresPool<C extends PostgresClient = PostgresClient> extends PostgresClient {
  connect(): Promise<C & PooledClient>;
}

/** `?` as PostgreSQL numbers them; no statement of ours has a `?` of another meaning. */
export function numbered(sql: string): string {
  let count = 0;
  return sql.replaceAll('?', () => `$${++count}`);
}

export async function queryPostgres(
  client: PostgresClient,
  sql: string,
  values: readonly SqlValue[] = [],
): Promise<readonly SqlRow[]> {
  const { rows } = await client.query(numbered(sql), [...values]);
  return rows as readonly SqlRow[];
}

export function postgresSqlPool(pool: PostgresPool): SqlPool {
  return {
    query: (sql, values) => queryPostgres(pool, sql, values),
    connect: async () => heldConnection(await pool.connect()),
  };
}

function heldConnection(client: PostgresClient & PooledClient): SqlConnection {
  let lost = false;
  const lose = (): void => {
    lost = true;
  };
  client.on('error', lose);
  client.on('end', lose);
  return {
    get lost() {
      return lost;
    },
    query: (sql, values) => queryPostgres(client, sql, values),
    batch: (statements) =>
      inPostgresTransaction(client, async () => {
        for (const { sql, values } of statements) await queryPostgres(client, sql, values);
      }),
    async release() {
      // Destroyed, not given back: a session lock must not live on in a pool.
      client.release(true);
    },
  };
}

/** PostgreSQL answers the COMMIT of a failed transaction with a rollback and no error: whoever swallowed a failed statement would believe it stored. */
export function inPostgresTransaction<T>(client: PostgresClient, work: () => Promise<T>): Promise<T> {
  return inTransaction(
    async (sql) => {
      const { command } = (await client.query(sql)) as { readonly command?: unknown };
      if (sql === 'COMMIT' && command === 'ROLLBACK')
        throw new MessagingError(
          'DB_MSG_ROLLED_BACK',
          'a statement of this transaction had failed, so PostgreSQL rolled it back',
        );
    },
    'BEGIN',
    work,
  );
}

/** Refuses a connection that is not in a transaction. A `pg` client knows; another one is asked for a savepoint, which PostgreSQL grants only inside one. */
export async function refuseOutsideTransaction(client: PostgresClient, what: string): Promise<void> {
  const status = (client as TellsTransaction).getTransactionStatus?.();
  if (status === 'T' || status === 'E') return;
  try {
    if (status === 'I') throw new Error('the connection is idle');
    await client.query('SAVEPOINT doorbuster_inside');
    await client.query('RELEASE SAVEPOINT doorbuster_inside');
  } catch (cause) {
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `${what} belongs inside the transaction of the change it tells of`,
      {
        cause,
      },
    );
  }
}
