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
    store.runs.prepare();
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** Before the first entry: who is in, of every lane that may still admit. Some 1.5 s at a million entries. */
export function loadKeys(store: Store): void {
  const lanes = store.sql.all<{ campaign: number }>(
    "SELECT campaign FROM lanes WHERE lane = 0 AND phase <> 'closed'",
  );
  for (const { campaign } of lanes) store.keys.load(campaign);
}
