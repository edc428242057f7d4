/**
 * Whether what a database refused may be taken another time: for who stores something else in its place where it will never be. Beside what is named of every statement
 * (`faults.ts`) these are failures of the moment: no room, a statement that was ended, a server that is only read for now. They are few and known; everything else, an error of
 * the application too, is for good, because to try for ever what is refused is worse than to give up what would have been taken.
 */
import { describeError, MessagingError } from '../errors.ts';
import { namedFault, wrappedBy } from './faults.ts';

/** Of disk, memory, connections. PostgreSQL's class 53 beside 53300, which is named already; MariaDB by number: a full disk, a full table, no memory (3), too many connections of one user (2). */
const NO_ROOM_STATE = /^53/;
const NO_ROOM_NUMBERS: ReadonlySet<unknown> = new Set([1021, 1114, 1037, 1038, 1041, 1203, 1226]);
/** SQLITE_NOMEM, SQLITE_FULL. */
const NO_ROOM_SQLITE: ReadonlySet<unknown> = new Set([7, 13]);

/** PostgreSQL: ended by somebody or its time-out, an error of the system (a file), only read for now, a session's time-out. */
const ENDED_STATE = /^(57|58|25006|25P03|25P04)/;
/** MariaDB and MySQL: a query or connection that was ended (2), a time-out of a statement (2), errors of files, of the engine and of the network (3), a table that was changed meanwhile, only read for now (3). */
const ENDED_NUMBERS: ReadonlySet<unknown> = new Set([
  1317, 1927, 1969, 3024, 1026, 1030, 1160, 1412, 1290, 1792, 1836,
]);
/** SQLITE_LOCKED, READONLY, INTERRUPT, IOERR, CANTOPEN, PROTOCOL. */
const ENDED_SQLITE: ReadonlySet<unknown> = new Set([6, 8, 9, 10, 14, 15]);

const DEEPEST_CAUSE = 5;

interface ClientError {
  readonly code?: unknown;
  readonly errno?: unknown;
  readonly errcode?: unknown;
  readonly severity?: unknown;
  readonly sqlState?: unknown;
  readonly message: string;
}

/** A retryable error of the catalogue where another try may do; else the error as it is. */
export function passingFault(error: unknown): unknown {
  let inner: unknown = error;
  for (let depth = 0; depth <= DEEPEST_CAUSE && inner instanceof Error; depth += 1) {
    const fault = faultOf(inner);
    if (fault) return fault;
    inner = wrappedBy(inner);
  }
  return error;
}

/**
 * What a transaction failed with before any of its work ran, always retryable: no connection was free, the server let nobody in, it did not begin. Nothing was refused, so whatever
 * a client says of it (and a password that is changed just now it calls an error like any other), it says nothing about the work.
 */
export function faultBeforeWork(error: unknown): MessagingError {
  const fault = passingFault(error);
  if (fault instanceof MessagingError && fault.retryable) return fault;
  return new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `no transaction began: ${describeError(error)}`, {
    cause: error,
  });
}

function faultOf(error: Error): MessagingError | undefined {
  const named = namedFault(error);
  if (named instanceof MessagingError) return named;
  if (isOf(error, NO_ROOM_STATE, NO_ROOM_NUMBERS, NO_ROOM_SQLITE))
    return new MessagingError('DB_MSG_ENGINE_FULL', `the database has no room: ${error.message}`, {
      cause: error,
    });
  if (isOf(error, ENDED_STATE, ENDED_NUMBERS, ENDED_SQLITE))
    return new MessagingError(
      'DB_MSG_ENGINE_UNREACHABLE',
      `the database does not do it for now: ${error.message}`,
      { cause: error },
    );
  return undefined;
}

/** Other software numbers its errors too: each sign counts only with what its client says besides. */
function isOf(
  error: ClientError,
  states: RegExp,
  numbers: ReadonlySet<unknown>,
  sqlite: ReadonlySet<unknown>,
): boolean {
  const { code, errno, errcode, severity, sqlState } = error;
  if (code === 'ERR_SQLITE_ERROR') return typeof errcode === 'number' && sqlite.has(errcode & 0xff);
  if (typeof severity === 'string') return typeof code === 'string' && states.test(code);
  return typeof sqlState === 'string' && numbers.has(errno);
}
