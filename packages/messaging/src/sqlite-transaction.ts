/** Several statements on a connection of this thread, all or none: in the transaction that is open, or in one of their own. Throws DB_MSG_STORE_BUSY when SQLite gave way. */
import type { DatabaseSync } from 'node:sqlite';
import { namedAtOnce } from './sql/faults.ts';

export function atOnce<T>(db: DatabaseSync, work: () => T): T {
  return namedAtOnce(() => (db.isTransaction ? work() : inTransaction(db, work)));
}

function inTransaction<T>(db: DatabaseSync, work: () => T): T {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    db.exec('COMMIT');
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}
