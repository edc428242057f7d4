/**
 * Whether the secrets are those this ledger was made with. Served with another installation's secrets file every member would get a new key: winners could
 * enter again, and nothing sealed could be opened. So the first start writes a fingerprint of the master key into the ledger, and every later one compares.
 */
import { OperationalError } from '../../errors.ts';
import type { Vault } from '../../vault.ts';
import type { Sql } from './sql.ts';

const key = 'secrets-fingerprint';

/** Throws SECRETS_MISSING. A ledger that has no fingerprint yet belongs to whoever opens it first. */
export function requireOwnSecrets(sql: Sql, vault: Vault): void {
  const made = fingerprintOf(sql);
  if (made !== null && made !== vault.fingerprint())
    throw new OperationalError('SECRETS_MISSING', { detail: 'The ledger was made with another master key.' });
}

/** Inside a transaction. Throws SECRETS_MISSING. */
export function keepFingerprint(sql: Sql, vault: Vault): void {
  requireOwnSecrets(sql, vault);
  if (fingerprintOf(sql) === null)
    sql.run('INSERT INTO meta (key, value) VALUES (?, ?)', key, vault.fingerprint());
}

function fingerprintOf(sql: Sql): string | null {
  return sql.get<{ value: string }>('SELECT value FROM meta WHERE key = ?', key)?.value ?? null;
}
