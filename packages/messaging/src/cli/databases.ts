/**
 * What the clients of databases say of a table, a database or a user that is not there: a database that is another one than was meant is no bug of ours, and is told in words. What
 * they say of a server out of reach has its words already (`sql/faults.ts`).
 */
import { MessagingError } from '../errors.ts';
import { CliFailure, exitCodes } from './failure.ts';

/** Which database it is, where its address is mended, and what makes the tables that it may lack. */
export interface DatabasePlace {
  readonly name: string;
  readonly remedy: string;
  readonly tables: { readonly what: string; readonly madeBy: string };
}

export const OUTBOX_AND_INBOX: DatabasePlace['tables'] = {
  what: 'a table of the outbox or the inbox',
  madeBy: 'call "await store.prepare()" once: it makes what is missing and leaves the rest',
};

const LACKS_TABLE = new Set(['42P01', 'ER_NO_SUCH_TABLE']);
const WRONG_PLACE = new Set(['3D000', '28000', '28P01', 'ER_BAD_DB_ERROR', 'ER_ACCESS_DENIED_ERROR']);
const NOT_ALLOWED = new Set(['42501', 'ER_TABLEACCESS_DENIED_ERROR', 'ER_DBACCESS_DENIED_ERROR']);
const SQLITE_READONLY = 8;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

export async function inWords<T>(place: DatabasePlace, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw worded(place, error) ?? error;
  }
}

/** The same for what opens it: an address that is refused is mended where it stands, and not as "the option that is named". */
export function openedInWords<T>(place: DatabasePlace, open: () => Promise<T>): Promise<T> {
  return inWords(place, async () => {
    try {
      return await open();
    } catch (error) {
      if (!(error instanceof MessagingError) || error.code !== 'DB_MSG_INVALID_OPTIONS') throw error;
      throw new CliFailure(exitCodes.usage, error.message, place.remedy, error.code);
    }
  });
}

/** Undefined for what has its words already, and for a bug. */
export function worded({ name, remedy, tables }: DatabasePlace, error: unknown): CliFailure | undefined {
  const {
    code,
    errcode = 0,
    message,
  } = (error ?? {}) as {
    code?: unknown;
    errcode?: number;
    message?: unknown;
  };
  const [why = ''] = String(message).split('\n', 1);
  const failure = (what: string, toDo: string): CliFailure =>
    new CliFailure(exitCodes.configuration, `${name} ${what}: ${why}`, toDo);
  const sqlite = errcode & 0xff;
  if (LACKS_TABLE.has(String(code)) || why.startsWith('no such table: '))
    return failure(
      `lacks ${tables.what}`,
      `Look whether its address is the right one. If it is, ${tables.madeBy}.`,
    );
  if (WRONG_PLACE.has(String(code)) || sqlite === SQLITE_CANTOPEN || sqlite === SQLITE_NOTADB)
    return failure('cannot be opened', remedy);
  if (NOT_ALLOWED.has(String(code)) || sqlite === SQLITE_READONLY)
    return failure('does not allow this', 'Give the user of its address the right to read and to write it.');
  return undefined;
}
