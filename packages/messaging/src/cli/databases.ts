/**
 * What the clients of databases say of a table, a database or a user that is not there: a database that is another one than was meant is no bug of ours, and is told in words. What
 * they say of a server out of reach has its words already (`sql/faults.ts`).
 */
import { CliFailure, exitCodes } from './failure.ts';

/** Which database it is, and where its address is mended. */
export interface DatabasePlace {
  readonly name: string;
  readonly remedy: string;
}

const LACKS_TABLE = new Set(['42P01', 'ER_NO_SUCH_TABLE']);
const WRONG_PLACE = new Set(['3D000', '28000', '28P01', 'ER_BAD_DB_ERROR', 'ER_ACCESS_DENIED_ERROR']);
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

export async function inWords<T>({ name, remedy }: DatabasePlace, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, errcode, message } = error as { code?: unknown; errcode?: number; message?: unknown };
    const [why = ''] = String(message).split('\n', 1);
    const refuse = (what: string, toDo: string): never => {
      throw new CliFailure(exitCodes.configuration, `${name} ${what}: ${why}`, toDo);
    };
    if (LACKS_TABLE.has(String(code)) || why.startsWith('no such table: '))
      refuse(
        'lacks a table of the outbox or the inbox',
        'Look whether its address is the right one. If it is, call "await store.prepare()" once: it makes what is missing and leaves the rest.',
      );
    if (WRONG_PLACE.has(String(code)) || [SQLITE_CANTOPEN, SQLITE_NOTADB].includes((errcode ?? 0) & 0xff))
      refuse('cannot be opened', remedy);
    throw error;
  }
}
