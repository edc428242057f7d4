/**
 * One process per data directory. The lock is a transaction of SQLite on a file of its own that is never committed: the kernel lets go of it when
 * the process ends, however it ends, so there is no stale lock to clean up. The pid beside it is for people only.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { OperationalError } from '../../errors.ts';
import { SQLITE_BUSY, SQLITE_NOTADB, sqliteCodeOf } from './sql.ts';

export interface DirectoryLock {
  release(): void;
}

/** Throws LEDGER_LOCKED at once when another process, or another ledger of this one, holds the directory. */
export function lockDirectory(dataDir: string): DirectoryLock {
  const pidFile = join(dataDir, 'lock.pid');
  const db = new DatabaseSync(join(dataDir, 'lock.sqlite'), { timeout: 0 });
  try {
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    if (sqliteCodeOf(error) === SQLITE_NOTADB)
      throw new OperationalError('LEDGER_UNSAFE', {
        detail: `${join(dataDir, 'lock.sqlite')} is damaged; it holds nothing, so remove it.`,
        cause: error,
      });
    if (sqliteCodeOf(error) !== SQLITE_BUSY) throw error;
    throw new OperationalError('LEDGER_LOCKED', {
      detail: `${dataDir} is held by process ${readPid(pidFile)}.`,
    });
  }
  writeFileSync(pidFile, `${process.pid}\n`);
  return {
    release() {
      if (!db.isOpen) return;
      rmSync(pidFile, { force: true });
      db.close();
    },
  };
}

function readPid(pidFile: string): string {
  try {
    return readFileSync(pidFile, 'utf8').trim() || 'unknown';
  } catch {
    return 'unknown';
  }
}
