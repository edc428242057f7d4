/** What clients of databases say when something fails, as the two errors of the catalogue that a caller can act on; every other error stays the client's own. */
import { MessagingError } from '../errors.ts';

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

interface ClientError {
  readonly code?: unknown;
  readonly errcode?: number;
  readonly message?: string;
}

export async function named<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw namedFault(error);
  }
}

function namedFault(error: unknown): unknown {
  if (error instanceof MessagingError || !(error instanceof Error)) return error;
  const { code, message } = error as ClientError;
  if (BUSY.has(code) || isSqliteBusy(error))
    return new MessagingError('DB_MSG_STORE_BUSY', `the database gave way: ${message}`, { cause: error });
  // pg says it without a code.
  const isGone =
    GONE.test(String(code)) ||
    /Connection terminated|not queryable|closed state|connection.*timeout/i.test(message ?? '');
  if (!isGone) return error;
  return new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `the database is out of reach: ${message}`, {
    cause: error,
  });
}

/** SQLITE_BUSY, or one of its extended codes. */
export function isSqliteBusy(error: unknown): boolean {
  const { errcode } = (error ?? {}) as ClientError;
  return errcode !== undefined && (errcode & 0xff) === SQLITE_BUSY;
}
