/**
 * Locks on PostgreSQL: a row per name with a lease on the database's own clock, and a sequence for the fence, drawn while the row is locked.
 *
 * Not advisory locks alone: one of a session ends with its connection, without a word to the holder; it lasts as long as the connection, so a
 * process that stopped (SIGSTOP, a frozen machine) keeps it for ever; behind a transaction pooler it belongs to whoever has the connection next; and it
 * gives no fence. A row has a lease, a fence, and shows who holds what.
 *
 * The clock of the server is the only one that is compared. A failover to an asynchronous replica may lose the last grants, numbers of the sequence included: then
 * two may hold the name with fences that do not tell them apart. Replicate synchronously where that matters.
 */
import type { LockEngine } from '../lock.ts';
import { createTables } from '../sql.ts';
import { type PostgresPool, postgresSql } from '../sql/postgres.ts';

export interface PostgresLockOptions {
  /** A `pg.Pool`; it stays the caller's. Each call takes a connection for one statement. */
  readonly pool: PostgresPool;
}

/** Run by `prepare`, or by your own migrations. */
export const postgresLockSchema: readonly string[] = [
  'CREATE SEQUENCE IF NOT EXISTS lock_fence AS bigint',
  `CREATE TABLE IF NOT EXISTS locks (
  name text PRIMARY KEY,
  owner text NOT NULL,
  fence bigint NOT NULL,
  expires_at timestamptz NOT NULL
)`,
];

/**
 * Params: name, owner, ttl in seconds, ttl in seconds. Returns the fence, or no row while another's lease lasts.
 * The update draws its number after it has locked the row: a number drawn before could be lower than that of a grant in between.
 */
const ACQUIRE = `INSERT INTO locks AS held (name, owner, fence, expires_at)
VALUES (?, ?, nextval('lock_fence'), clock_timestamp() + ? * interval '1 second')
ON CONFLICT (name) DO UPDATE
SET owner = excluded.owner, fence = nextval('lock_fence'), expires_at = clock_timestamp() + ? * interval '1 second'
WHERE held.expires_at <= clock_timestamp()
RETURNING fence`;

/** Params: ttl in seconds, name, owner, fence. Changes one row while the lease lasts; an expired one is not revived. */
const RENEW = `UPDATE locks SET expires_at = clock_timestamp() + ? * interval '1 second'
WHERE name = ? AND owner = ? AND fence = ? AND expires_at > clock_timestamp()`;

/** Params: name, owner, fence. The row stays, free: it was never deleted, so a grant always goes through its lock. */
const RELEASE = `UPDATE locks SET expires_at = '-infinity', owner = ''
WHERE name = ? AND owner = ? AND fence = ? AND expires_at > clock_timestamp()`;

export interface PostgresLockEngine extends LockEngine {
  /** Creates the table and the sequence where they are missing. */
  prepare(): Promise<void>;
}

export function createPostgresLockEngine({ pool }: PostgresLockOptions): PostgresLockEngine {
  const sql = postgresSql(pool);
  return {
    name: 'postgres',
    prepare: () => createTables(sql, postgresLockSchema),
    async tryAcquire(name, owner, ttlMs) {
      const { rows } = await sql.run(ACQUIRE, [name, owner, ttlMs / 1_000, ttlMs / 1_000]);
      const [row] = rows;
      return row && { fence: BigInt(String(row['fence'])), ttlMs };
    },
    async renew({ name, owner, fence }, ttlMs) {
      return (await sql.run(RENEW, [ttlMs / 1_000, name, owner, fence])).changes === 1;
    },
    async release({ name, owner, fence }) {
      return (await sql.run(RELEASE, [name, owner, fence])).changes === 1;
    },
    async close() {},
  };
}
