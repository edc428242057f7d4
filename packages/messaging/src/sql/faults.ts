/** What clients of databases say when something fails, as the two errors of the catalogue that a caller can act on; every other error stays the client's own. */
import { MessagingError } from '../errors.ts';

/** A failed serialisation, a deadlock, a lock that was not waited for. Other software numbers its errors too: each sign of these counts only with what its client says besides. */
const BUSY_STATES: ReadonlySet<unknown> = new Set(['40001', '40P01', '55P03']);
const BUSY_NAMES: ReadonlySet<unknown> = new Set([
  'ER_LOCK_DEADLOCK',
  'ER_LOCK_WAIT_TIMEOUT',
  'ER_CHECKREAD',
]);
const GONE =
  /^(08|57P0|53300|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|PROTOCOL_CONNECTION_LOST|ER_SERVER_SHUTDOWN|ER_CON_COUNT)/;
/** What clients and their pools say without a code: of a connection that ended, and, word for word, of none that was free or came about and of an answer that did not come in time. */
const GONE_WORDS =
  /Connection terminated|not queryable|closed state|connection.*timeout|^timeout exceeded when trying to connect$|^timeout expired$|^Query read timeout$|^Queue limit reached\.$|^No connections available\.$/i;
const SQLITE_BUSY = 5;

/** The names by number, for clients that keep none: a lock that was waited for too long, a deadlock, a row that changed. */
const BUSY_NUMBERS: ReadonlySet<unknown> = new Set([1205, 1213, 1020]);

interface ClientError {
  readonly code?: unknown;
  readonly errno?: unknown;
  readonly errcode?: unknown;
  readonly message?: string;
  /** Of `pg` and what speaks as it does. */
  readonly severity?: unknown;
  readonly routine?: unknown;
  /** Of `mysql2` and `mariadb`. */
  readonly sqlState?: unknown;
  readonly sqlMessage?: unknown;
  /** The statement, in the wrapper of a query builder. */
  readonly query?: unknown;
  readonly sql?: unknown;
  readonly cause?: unknown;
  /** Of Sequelize, before its errors had a cause: the client's, twice. */
  readonly original?: unknown;
  readonly parent?: unknown;
  /** Of Prisma, which keeps no error of a client's, only its numbers. */
  readonly clientVersion?: unknown;
  readonly meta?: unknown;
}

export async function named<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw namedFault(error);
  }
}

/** The same for what is synchronous, as SQLite is. */
export function namedAtOnce<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw namedFault(error);
  }
}

/** What a statement failed with, in the words of the catalogue where it has one. */
export function namedFault(error: unknown): unknown {
  const busy = busyFault(error);
  if (busy !== error || error instanceof MessagingError || !(error instanceof Error)) return busy;
  const { code, message } = error as ClientError;
  const isGone = GONE.test(String(code)) || GONE_WORDS.test(message ?? '');
  if (!isGone) return error;
  return new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `the database is out of reach: ${message}`, {
    cause: error,
  });
}

/**
 * What somebody's work inside a transaction failed with: it runs its statements with the client itself, so what gave way is the client's own error, or that of a query
 * builder around it. Nothing else is renamed: a connection that is refused may be one to anything, and an error of the application with such a cause is what the
 * application made of it, to be told by its own class.
 */
export function busyFault(error: unknown): unknown {
  if (error instanceof MessagingError || !(error instanceof Error) || !gaveWay(error)) return error;
  return new MessagingError('DB_MSG_STORE_BUSY', `the database gave way: ${error.message}`, { cause: error });
}

const DEEPEST_CAUSE = 5;

function gaveWay(error: unknown, depth = 0): boolean {
  if (!(error instanceof Error) || error instanceof MessagingError || depth > DEEPEST_CAUSE) return false;
  if (isPostgresBusy(error) || isMariadbBusy(error) || isSqliteBusy(error) || isPrismaBusy(error))
    return true;
  return gaveWay(wrappedBy(error), depth + 1);
}

function isPostgresBusy({ code, severity, routine }: ClientError): boolean {
  return BUSY_STATES.has(code) && (typeof severity === 'string' || typeof routine === 'string');
}

function isMariadbBusy({ code, errno, sqlState, sqlMessage }: ClientError): boolean {
  if (BUSY_NAMES.has(code)) return true;
  if (typeof sqlState !== 'string' && typeof sqlMessage !== 'string') return false;
  return BUSY_NUMBERS.has(errno) || BUSY_STATES.has(sqlState);
}

/** "Transaction failed due to a write conflict or a deadlock." */
const PRISMA_BUSY = 'P2034';

/**
 * A statement of one's own fails there with another code (`P2010`), and what the server said stands in `meta`: at its top, or since Prisma runs clients of others in the error of
 * their adapter.
 */
function isPrismaBusy({ code, clientVersion, meta }: ClientError): boolean {
  if (typeof clientVersion !== 'string' || typeof code !== 'string') return false;
  if (code === PRISMA_BUSY) return true;
  const { code: said, driverAdapterError } = (meta ?? {}) as {
    readonly code?: unknown;
    readonly driverAdapterError?: { readonly cause?: { readonly originalCode?: unknown } };
  };
  const signs = [said, driverAdapterError?.cause?.originalCode];
  return signs.some((sign) => BUSY_STATES.has(sign) || BUSY_NUMBERS.has(Number(sign)));
}

/** The client's error in that of a query builder, which keeps the statement beside it, or in one of Sequelize's, which keeps it twice; undefined when it is no such wrapper. */
export function wrappedBy(error: unknown): unknown {
  const { query, sql, cause, original, parent } = (error ?? {}) as ClientError;
  if (original !== undefined && original === parent) return original;
  const isOfQueryBuilder = typeof query === 'string' || typeof sql === 'string';
  return isOfQueryBuilder ? (cause ?? original ?? parent) : undefined;
}

/** SQLITE_BUSY, or one of its extended codes. */
export function isSqliteBusy(error: unknown): boolean {
  const { code, errcode } = (error ?? {}) as ClientError;
  return code === 'ERR_SQLITE_ERROR' && typeof errcode === 'number' && (errcode & 0xff) === SQLITE_BUSY;
}
