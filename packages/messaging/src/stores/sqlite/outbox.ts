/**
 * The outbox on SQLite for a relay with keys, on the rows of `appendToOutbox`.
 *
 * The relay's lock is an exclusive transaction that stays open on a small file beside the database: the system gives it up when the process
 * ends, however it ends, and there is no clock in it. A database in memory has one process anyway and needs none.
 */
import { DatabaseSync } from 'node:sqlite';
import type { OutboxStore } from '../../outbox-store.ts';
import { isSqliteBusy } from '../../sql/faults.ts';
import { sqliteSql } from '../../sql/sqlite.ts';
import { openNumberedReader } from '../numbered-reader.ts';
import type { OutboxDialect } from '../outbox-dialect.ts';
import { sqlOutbox } from '../sql-outbox.ts';
import { MESSAGE_ID, RECORDED_AT } from './schema.ts';

export function sqliteDialect(lockPath: string | undefined): OutboxDialect {
  let held: DatabaseSync | undefined;
  return {
    messageId: MESSAGE_ID('o.'),
    recordedAt: RECORDED_AT('o.'),
    messageIdIn: (list) => `${MESSAGE_ID('o.')} IN (${list})`,
    isPassed: 'o.number <= m.published',
    isInRun: 'o.number <= r.up_to',
    async lock() {
      if (lockPath === undefined) return true;
      if (held) return false;
      held = takeLock(lockPath);
      return held !== undefined;
    },
    async unlock() {
      held?.close();
      held = undefined;
    },
    openReader: openNumberedReader,
  };
}

function takeLock(path: string): DatabaseSync | undefined {
  const file = new DatabaseSync(path, { timeout: 0 });
  try {
    file.exec('BEGIN EXCLUSIVE');
    return file;
  } catch (error) {
    file.close();
    if (isSqliteBusy(error)) return undefined;
    throw error;
  }
}

/** The outbox of a database this thread owns. `lockPath` defaults to the database's own path with `-relay` behind it. */
export function sqliteKeyedOutbox(
  db: DatabaseSync,
  options: { readonly lockPath?: string } = {},
): OutboxStore {
  const path = options.lockPath ?? (db.location() === null ? undefined : `${db.location()}-relay`);
  return sqlOutbox(sqliteSql(db), sqliteDialect(path));
}
