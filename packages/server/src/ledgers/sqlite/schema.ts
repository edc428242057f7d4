/** Migrations: numbered, applied in order inside one transaction, counted in `user_version`. A file of a newer version is refused, never touched. */
import type { DatabaseSync } from 'node:sqlite';
import { inboxSchema, outboxSchema } from '@doorbuster/messaging';
import { OperationalError } from '../../errors.ts';
import { ledgerTables } from './migrations/0001-ledger.ts';

const migrations: readonly string[] = [`${ledgerTables}${outboxSchema}${inboxSchema}`];

export const schemaVersion = migrations.length;

export function versionOf(db: DatabaseSync): number {
  return (db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version;
}

/** Throws LEDGER_NEWER. */
export function migrate(db: DatabaseSync): void {
  const version = versionOf(db);
  if (version > schemaVersion)
    throw new OperationalError('LEDGER_NEWER', {
      detail: `The file has version ${version}, this program knows ${schemaVersion}.`,
    });
  if (version === schemaVersion) return;
  db.exec('BEGIN IMMEDIATE');
  try {
    for (const migration of migrations.slice(version)) db.exec(migration);
    db.exec(`PRAGMA user_version = ${schemaVersion}`);
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}
