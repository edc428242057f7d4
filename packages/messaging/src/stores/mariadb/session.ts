/** MariaDB and MySQL through the application's own connection: `mysql2/promise` fits as it is, a query builder through one function. */
import { MessagingError } from '../../errors.ts';
import { inTransaction, type SqlConnection, type SqlPool, type SqlRow, type SqlValue } from '../sql.ts';

/** A connection of `mysql2/promise`, or a transaction of a query builder: `{ query: async (sql, values) => [rows] }`. */
export interface MariadbClient {
  query(sql: string, values?: SqlValue[]): Promise<readonly [unknown, ...unknown[]]>;
}

interface PooledClient extends MariadbClient {
  destroy(): void;
  on(name: 'error' | 'end', listener: () => void): unknown;
  removeListener(name: 'error' | 'end', listener: () => void): unknown;
}

/** `createPool(...)` of `mysql2/promise` fits. */
export interface MariadbPool<C extends MariadbClient = MariadbClient> extends MariadbClient {
  getConnection(): Promise<C & PooledClient & { release(): void }>;
}

export async function queryMariadb(
  client: MariadbClient,
  sql: string,
  values: readonly SqlValue[] = [],
): Promise<readonly SqlRow[]> {
  const [rows] = await client.query(sql, [...values]);
  return Array.isArray(rows) ? (rows as readonly SqlRow[]) : [];
}

export function mariadbSqlPool(pool: MariadbPool): SqlPool {
  return {
    query: (sql, values) => queryMariadb(pool, sql, values),
    connect: async () => heldConnection(await pool.getConnection()),
  };
}

function heldConnection(client: PooledClient): SqlConnection {
  let lost = false;
  const lose = (): void => {
    lost = true;
  };
  client.on('error', lose);
  client.on('end', lose);
  const query = async (sql: string, values: readonly SqlValue[] = []): Promise<readonly SqlRow[]> => {
    try {
      return await queryMariadb(client, sql, values);
    } catch (error) {
      // The client tells a broken connection by this, often before its event.
      if ((error as { fatal?: unknown }).fatal === true) lost = true;
      throw error;
    }
  };
  return {
    get lost() {
      return lost;
    },
    query,
    batch: (statements) =>
      inTransaction(query, 'START TRANSACTION', async () => {
        for (const { sql, values } of statements) await query(sql, values);
      }),
    async release() {
      // Destroyed, not given back: a lock of the session must not live on in a pool.
      client.destroy();
    },
  };
}

/** Outside of a transaction a savepoint is gone with the statement that made it, and releasing it is an error. */
export async function refuseOutsideTransaction(client: MariadbClient, what: string): Promise<void> {
  try {
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
