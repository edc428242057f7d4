/**
 * A transaction on a server's connection, the same for PostgreSQL and MariaDB; the steps are the database's.
 *
 *   borrow -> begin -> work -> commit -> give back        work rejects -> rollback -> give back        begin, commit or rollback fails -> throw away
 *
 * A commit that fails may have been done: the caller has to do it again in a way that does no harm twice.
 */
import { MessagingError } from '../errors.ts';
import { busyFault, namedFault } from './faults.ts';
import type { SqlConnection, SqlResult, SqlRunner } from '../sql.ts';

/** A client as a pool lends it. */
export interface LentClient {
  on(name: 'error' | 'end', listener: () => void): unknown;
  removeListener(name: 'error' | 'end', listener: () => void): unknown;
}

export interface TransactionSteps {
  readonly begin: () => Promise<unknown>;
  readonly commit: () => Promise<unknown>;
  readonly rollback: () => Promise<unknown>;
}

/** `giveBack(true)`: what the connection would do next is not known, so the pool must not keep it. */
export async function onLent<T>(
  client: LentClient,
  giveBack: (broken: boolean) => void,
  steps: TransactionSteps,
  work: () => Promise<T>,
): Promise<T> {
  let broken = false;
  const lose = (): void => {
    broken = true;
  };
  // Without a listener a connection that breaks between two statements would end the process.
  client.on('error', lose);
  try {
    return await inTransaction(steps, lose, work);
  } finally {
    client.removeListener('error', lose);
    giveBack(broken);
  }
}

async function inTransaction<T>(
  { begin, commit, rollback }: TransactionSteps,
  lose: () => void,
  work: () => Promise<T>,
): Promise<T> {
  await orLose(begin, lose);
  let result: T;
  try {
    result = await work();
  } catch (error) {
    // A connection that broke cannot roll back and need not: the server does. The work's own error is what is thrown, but for one that says that the database gave way.
    await orLose(rollback, lose).catch(() => {});
    throw busyFault(error);
  }
  await orLose(commit, lose);
  return result;
}

async function orLose(step: () => Promise<unknown>, lose: () => void): Promise<void> {
  try {
    await step();
  } catch (error) {
    lose();
    throw error;
  }
}

/** A connection that is kept for long. It is destroyed at its release, not given back: a lock of its session must not live on in a pool. */
export function heldConnection(
  client: LentClient,
  run: SqlRunner['run'],
  steps: TransactionSteps,
  destroy: () => void,
): SqlConnection {
  let lost = false;
  const lose = (): void => {
    lost = true;
  };
  client.on('error', lose);
  client.on('end', lose);
  const runOrLose = async (...statement: Parameters<SqlRunner['run']>): Promise<SqlResult> => {
    try {
      return await run(...statement);
    } catch (error) {
      // A client tells a broken connection by its answer, often before its event.
      if (error instanceof MessagingError && error.code === 'DB_MSG_ENGINE_UNREACHABLE') lose();
      throw error;
    }
  };
  return {
    get lost() {
      return lost;
    },
    run: runOrLose,
    batch: (statements) =>
      inTransaction(steps, lose, async () => {
        for (const { text, params } of statements) await runOrLose(text, params);
      }),
    release: async () => destroy(),
  };
}

export function outsideTransaction(what: string, cause?: unknown): MessagingError {
  // A connection that broke, or a database that gave way, says nothing about where the caller is.
  const fault = namedFault(cause);
  if (fault instanceof MessagingError) return fault;
  return new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    `${what} belongs inside the transaction of the change it tells of`,
    { cause },
  );
}
