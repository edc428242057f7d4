/**
 * Opening the ledger's file: settings read back, the file looked over, what a crash left in the WAL brought home and synced before anything is served.
 * A setting that did not take is a refusal (LEDGER_UNSAFE), not a warning: everything rests on the commit being on the disk.
 */
import { closeSync, fsyncSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { OperationalError } from '../../errors.ts';
import { migrate, schemaVersion, versionOf } from './schema.ts';
import { SQLITE_BUSY, SQLITE_NOTADB, sqliteCodeOf } from './sql.ts';

/** Pages of 4 KB between automatic checkpoints: 1,000 gave p99 10 ms, 8,000 gave 19 ms at equal throughput. */
const checkpointPages = 1000;

/** For the writer. Throws LEDGER_UNSAFE, LEDGER_DAMAGED, LEDGER_NEWER. */
export function openLedgerFile(path: string): DatabaseSync {
  try {
    const db = new DatabaseSync(path, { timeout: 5000 });
    if (versionOf(db) > schemaVersion) migrate(db);
    requireSetting(db, 'journal_mode', 'wal', 'wal');
    requireSetting(db, 'synchronous', 'FULL', 2);
    db.exec(
      `PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = ${checkpointPages}; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY`,
    );
    bringHome(db);
    if (!isTooLargeToLookOver(path)) lookOver(db);
    migrate(db);
    bringHome(db);
    syncDirectory(path);
    return db;
  } catch (error) {
    throw explain(error);
  }
}

/** For readers: a connection that cannot change anything. */
export function openForReading(path: string): DatabaseSync {
  try {
    const db = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
    if (versionOf(db) > schemaVersion) migrate(db);
    if (versionOf(db) < schemaVersion)
      throw new OperationalError('LEDGER_DAMAGED', { detail: `${path} is not a ledger of this version.` });
    return db;
  } catch (error) {
    throw explain(error);
  }
}

function requireSetting(db: DatabaseSync, name: string, ask: string, expect: string | number): void {
  db.exec(`PRAGMA ${name} = ${ask}`);
  const got = (db.prepare(`PRAGMA ${name}`).get() as Record<string, unknown>)[name];
  if (got !== expect)
    throw new OperationalError('LEDGER_UNSAFE', {
      detail: `PRAGMA ${name} reads ${String(got)}, not ${expect}.`,
    });
}

/** Writes the WAL into the file and syncs both, so that what is shown from now on is on the disk. */
function bringHome(db: DatabaseSync): void {
  const row = db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get() as { busy: number };
  if (row.busy !== 0) throw new OperationalError('LEDGER_LOCKED', { detail: 'A reader holds the file.' });
}

/**
 * SQLite's own check reads the whole file: some 4 ms per 1,000 entries. Above this size it runs beside the serving ledger instead (`isTooLargeToLookOver`),
 * because a restart after a crash must not take minutes.
 */
const lookOverBytes = 256 * 1024 * 1024;

export function isTooLargeToLookOver(path: string): boolean {
  return statSync(path).size > lookOverBytes;
}

/** Throws LEDGER_DAMAGED. */
export function lookOver(db: DatabaseSync): void {
  const rows = db.prepare('PRAGMA quick_check(5)').all() as { quick_check: string }[];
  const faults = rows.map((row) => row.quick_check);
  if (faults.length !== 1 || faults[0] !== 'ok')
    throw new OperationalError('LEDGER_DAMAGED', { detail: faults.join('; ') });
}

export function syncDirectory(path: string): void {
  const fd = openSync(dirname(path), 'r');
  fsyncSync(fd);
  closeSync(fd);
}

const SQLITE_PERM = 3;
const SQLITE_READONLY = 8;
const SQLITE_CORRUPT = 11;
const SQLITE_CANTOPEN = 14;

/** What an error of SQLite means for the file; any other is given back as it is. */
export function explain(error: unknown): unknown {
  const code = sqliteCodeOf(error);
  const detail = error instanceof Error ? error.message : String(error);
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB)
    return new OperationalError('LEDGER_DAMAGED', { detail, cause: error });
  if (code === SQLITE_PERM || code === SQLITE_READONLY || code === SQLITE_CANTOPEN)
    return new OperationalError('LEDGER_UNSAFE', { detail, cause: error });
  if (code === SQLITE_BUSY) return new OperationalError('LEDGER_LOCKED', { detail, cause: error });
  return error;
}
