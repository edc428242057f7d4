/**
 * SQLite as the stores need it. A connection has one transaction at a time and no statement outside of it: a read during the open transaction of a handler
 * would see, and a relay publish, what is not committed. So everything on a connection takes turns with the handlers of its inbox. A transaction that
 * somebody opened by hand and keeps over a wait takes no turn; then the call rejects with DB_MSG_STORE_BUSY and is tried again. Give such code a connection of its own.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { MessagingError } from '../../errors.ts';
import type { SqlConnection, SqlPool, SqlRow, SqlStatement, SqlValue } from '../sql.ts';

/** Statements are prepared once; those with lists come in many lengths, so the oldest go. */
const PREPARED = 100;

export function sqliteSqlPool(db: DatabaseSync): SqlPool {
  const statements = new Map<string, StatementSync>();
  const prepare = (sql: string): StatementSync => {
    const known = statements.get(sql);
    if (known) return known;
    if (statements.size >= PREPARED) statements.delete(statements.keys().next().value as string);
    const statement = db.prepare(sql);
    statements.set(sql, statement);
    return statement;
  };
  const query = (sql: string, values: readonly SqlValue[] = []): Promise<readonly SqlRow[]> =>
    inTurn(db, async () => {
      refuseInside(db);
      return prepare(sql).all(...values) as readonly SqlRow[];
    });
  const connection: SqlConnection = {
    get lost() {
      return !db.isOpen;
    },
    query,
    batch: (batch) => inTurn(db, async () => runBatch(db, prepare, batch)),
    release: async () => {},
  };
  return { query, connect: async () => connection };
}

function runBatch(
  db: DatabaseSync,
  prepare: (sql: string) => StatementSync,
  batch: readonly SqlStatement[],
): void {
  refuseInside(db);
  db.exec('BEGIN IMMEDIATE');
  try {
    for (const { sql, values } of batch) prepare(sql).run(...values);
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

function refuseInside(db: DatabaseSync): void {
  if (db.isTransaction)
    throw new MessagingError(
      'DB_MSG_STORE_BUSY',
      'a transaction of somebody else is open on this connection',
    );
}

/** The end of what is under way on a connection, or waits last. */
const turns = new WeakMap<DatabaseSync, Promise<unknown>>();

export function inTurn<T>(db: DatabaseSync, task: () => Promise<T>): Promise<T> {
  const turn = (turns.get(db) ?? Promise.resolve()).then(task);
  // A turn that failed has told its caller; the next one is not concerned.
  turns.set(
    db,
    turn.catch(() => {}),
  );
  return turn;
}
