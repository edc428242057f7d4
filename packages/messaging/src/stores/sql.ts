/**
 * What the stores need of a database: statements, a batch that is one transaction, and a connection of one's own that can be lost. Statements
 * are written with `?`; each store turns them into its client's form. There is no query builder: every statement is a text that can be read.
 */
export type SqlValue = string | number | null;
export type SqlRow = Readonly<Record<string, unknown>>;

export interface SqlStatement {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

export interface SqlSession {
  /** The rows of one statement; none for one that returns none. */
  query(sql: string, values?: readonly SqlValue[]): Promise<readonly SqlRow[]>;
}

/** One connection, held until it is released. */
export interface SqlConnection extends SqlSession {
  /** True once it broke; every call rejects from then on. */
  readonly lost: boolean;
  /** All or none, in this order. */
  batch(statements: readonly SqlStatement[]): Promise<void>;
  release(): Promise<void>;
}

export interface SqlPool extends SqlSession {
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

/** Begins, runs and commits on any connection, and rolls back when the work fails; the work's own error is what is thrown. */
export async function inTransaction<T>(
  run: (sql: string) => Promise<unknown>,
  begin: string,
  work: () => Promise<T>,
): Promise<T> {
  await run(begin);
  let result: T;
  try {
    result = await work();
  } catch (error) {
    // A connection that broke cannot roll back and need not: the server does.
    await run('ROLLBACK').catch(() => {});
    throw error;
  }
  await run('COMMIT');
  return result;
}
