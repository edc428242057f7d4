/** Several statements on a connection of this thread, all or none: in the transaction that is open, or in one of their own. */
import type { DatabaseSync } from 'node:sqlite';

export function atOnce<T>(db: DatabaseSync, work: () => T): T {
  if (db.isTransaction) return work();
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
