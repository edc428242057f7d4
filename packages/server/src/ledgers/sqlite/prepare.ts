import { keepFingerprint } from './own-secrets.ts';
import type { Store } from './store.ts';

/** What every start does before the first call: knows its secrets again (throws SECRETS_MISSING), forgets half-staged imports, signs what a crash left unsigned. */
export function prepareStore(store: Store): void {
  const { db } = store.sql;
  db.exec('BEGIN IMMEDIATE');
  try {
    keepFingerprint(store.sql, store.vault);
    store.imports.dropStaging();
    store.log.signMissing();
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}
