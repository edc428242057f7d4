/**
 * SQLite, for databases of this thread. A connection has one transaction at a time and no statement outside of it: a read during somebody's open transaction
 * would see what is not committed. So everything through one `DatabaseSync` runs one after another, whoever made the adapter, and so do the transactions of all
 * connections of this thread to one file: SQLite would block the whole thread until the other's commit, which then cannot come.
 *
 * Not everything can wait its turn. Code inside a transaction that waits for its own database waits for itself: it is refused with DB_MSG_INVALID_OPTIONS. A
 * transaction that was opened by hand and is kept over a wait takes no turn: what meets it rejects with DB_MSG_STORE_BUSY. Give such code a connection of its own.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { MessagingError } from '../errors.ts';
import type { SqlDatabase, SqlResult, SqlRow, SqlStatement, SqlTransaction, SqlValue } from '../sql.ts';
import { busyFault, named } from './faults.ts';

/** The database of this connection, which stays yours. */
export function sqliteSql(db: DatabaseSync): SqlDatabase<DatabaseSync> {
  return new SqliteDatabase(db);
}

/** Statements are prepared once; those with lists come in many lengths, so the oldest go. */
const PREPARED = 100;

interface Prepared {
  readonly statement: StatementSync;
  readonly hasRows: boolean;
}

class SqliteDatabase implements SqlDatabase<DatabaseSync> {
  readonly dialect = 'sqlite';
  readonly #db: DatabaseSync;
  readonly #prepared = new Map<string, Prepared>();

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  run(text: string, params: readonly SqlValue[] = []): Promise<SqlResult> {
    return named(() =>
      inTurn(this.#db, async () => {
        refuseForeign(this.#db);
        return this.#run(text, params);
      }),
    );
  }

  transaction<T>(work: (tx: SqlTransaction<DatabaseSync>) => Promise<T>): Promise<T> {
    const db = this.#db;
    const run = (text: string, params: readonly SqlValue[] = []): Promise<SqlResult> =>
      named(async () => this.#run(text, params));
    return inWritingTurn(db, async (open) => {
      await named(async () => begin(db));
      try {
        const result = await open(() => work({ run, native: db }));
        refuseEnded(db);
        await named(async () => db.exec('COMMIT'));
        return result;
      } catch (error) {
        if (db.isTransaction) db.exec('ROLLBACK');
        throw busyFault(error);
      }
    });
  }

  async connect() {
    const db = this.#db;
    return {
      get lost() {
        return !db.isOpen;
      },
      run: (text: string, params?: readonly SqlValue[]) => this.run(text, params),
      batch: (statements: readonly SqlStatement[]) =>
        named(() => inWritingTurn(db, async () => this.#batch(statements))),
      release: async () => {},
    };
  }

  #batch(statements: readonly SqlStatement[]): void {
    begin(this.#db);
    try {
      for (const { text, params } of statements) this.#run(text, params);
      this.#db.exec('COMMIT');
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      throw error;
    }
  }

  #run(text: string, params: readonly SqlValue[]): SqlResult {
    const { statement, hasRows } = this.#prepare(text);
    const values = params as readonly SQLInputValue[];
    if (!hasRows) return { rows: [], changes: Number(statement.run(...values).changes) };
    const rows = statement.all(...values) as SqlRow[];
    return { rows, changes: rows.length };
  }

  #prepare(text: string): Prepared {
    const known = this.#prepared.get(text);
    if (known) return known;
    if (this.#prepared.size >= PREPARED) this.#prepared.delete(this.#prepared.keys().next().value as string);
    const statement = this.#db.prepare(text);
    const prepared = { statement, hasRows: statement.columns().length > 0 };
    this.#prepared.set(text, prepared);
    return prepared;
  }
}

function begin(db: DatabaseSync): void {
  refuseForeign(db);
  db.exec('BEGIN IMMEDIATE');
}

function refuseForeign(db: DatabaseSync): void {
  if (db.isTransaction)
    throw new MessagingError(
      'DB_MSG_STORE_BUSY',
      'a transaction of somebody else is open on this connection',
    );
}

/** Some failures (a full disk, an interrupt) end the whole transaction, and what the work did after it was committed statement by statement. */
function refuseEnded(db: DatabaseSync): void {
  if (!db.isTransaction)
    throw new MessagingError('DB_MSG_ROLLED_BACK', 'the transaction ended before its work did');
}

interface OpenTransaction {
  readonly db: DatabaseSync;
  readonly file: string | null;
  isOpen: boolean;
}

/** The transactions that the code runs in: what it would wait for there waits for itself. */
const inside = new AsyncLocalStorage<readonly OpenTransaction[]>();

/** The end of what is under way on a connection or a file, or waits last. */
const lines = new Map<DatabaseSync | string, Promise<unknown>>();

function inLine<T>(line: DatabaseSync | string, task: () => Promise<T>): Promise<T> {
  const done = (lines.get(line) ?? Promise.resolve()).then(task);
  const over = done
    .catch(() => {})
    .then(() => {
      if (lines.get(line) === over) lines.delete(line);
    });
  lines.set(line, over);
  return done;
}

async function inTurn<T>(db: DatabaseSync, task: () => Promise<T>): Promise<T> {
  refuseWithin((one) => one.db === db);
  return inLine(db, task);
}

/** `open` runs the work that counts as inside. */
async function inWritingTurn<T>(
  db: DatabaseSync,
  task: (open: <R>(work: () => Promise<R>) => Promise<R>) => Promise<T>,
): Promise<T> {
  const file = db.location();
  refuseWithin((one) => one.db === db || (file !== null && one.file === file));
  const transaction: OpenTransaction = { db, file, isOpen: true };
  const around = inside.getStore() ?? [];
  const whole = async (): Promise<T> => {
    try {
      return await task((work) => inside.run([...around, transaction], work));
    } finally {
      // What the work left running in the background may wait from now on.
      transaction.isOpen = false;
    }
  };
  return inLine(db, () => (file === null ? whole() : inLine(file, whole)));
}

function refuseWithin(isOfIt: (one: OpenTransaction) => boolean): void {
  if (inside.getStore()?.some((one) => one.isOpen && isOfIt(one)) === true)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      'inside a transaction of SQLite everything goes through the transaction',
    );
}
