/** One connection with its prepared statements: each text is prepared once. Nothing here knows a table. */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';

export class Sql {
  readonly db: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.db = db;
  }

  #statement(text: string): StatementSync {
    let statement = this.#prepared.get(text);
    if (statement === undefined) {
      statement = this.db.prepare(text);
      this.#prepared.set(text, statement);
    }
    return statement;
  }

  get<Row>(text: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(text).get(...values) as Row | undefined;
  }

  all<Row>(text: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(text).all(...values) as Row[];
  }

  /** A fresh statement, so that two iterations of one text do not disturb each other. */
  iterate<Row>(text: string, ...values: SQLInputValue[]): IterableIterator<Row> {
    return this.db.prepare(text).iterate(...values) as IterableIterator<Row>;
  }

  /** Number of rows changed. */
  run(text: string, ...values: SQLInputValue[]): number {
    return Number(this.#statement(text).run(...values).changes);
  }
}

/** Bytes of lower-case hex, for BLOB columns. */
export function blobOf(hex: string): Uint8Array {
  return Buffer.from(hex, 'hex');
}

export function hexOfBlob(blob: Uint8Array): string {
  return Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength).toString('hex');
}

/** SQLite's primary result code of an error thrown by node:sqlite; 0 when it is another error. */
export function sqliteCodeOf(error: unknown): number {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === 'number' ? code & 0xff : 0;
}

export const SQLITE_BUSY = 5;
export const SQLITE_FULL = 13;
export const SQLITE_CONSTRAINT = 19;
export const SQLITE_NOTADB = 26;
/** Codes after which the state of the file is unknown: IOERR, CORRUPT, CANTOPEN, NOTADB. */
export const fatalSqliteCodes: ReadonlySet<number> = new Set([10, 11, 14, 26]);
