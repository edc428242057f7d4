/** API keys and the idempotency of operators' requests. Secrets are never here: only the SHA-256 of an API key's secret part. */
import type { AccessLedger, Actor, ApiKey } from '../../ledger.ts';
import { note } from './audit-log.ts';
import type { CampaignRows } from './campaign-rows.ts';
import type { Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

interface StoredKey {
  key_id: string;
  name: string;
  scopes: string;
  secret_hash: string;
  old_hash: string | null;
  old_valid_until: number | null;
  created_at: number;
  last_used_at: number | null;
  expires_at: number | null;
  revoked_at: number | null;
}
interface StoredRequest {
  request_hash: string;
  run: string;
  status: number | null;
  body: string | null;
  location: string | null;
}
type FoundKey = NonNullable<Awaited<ReturnType<AccessLedger['findApiKey']>>>;
type Reservation = Awaited<ReturnType<AccessLedger['reserveRequest']>>;
type NewKey = Parameters<AccessLedger['createApiKey']>[0];

/** How long a stored answer is repeated. */
const keepRequestsMs = 24 * 3_600_000;

export class AccessStore {
  readonly #sql: Sql;
  readonly #campaigns: CampaignRows;
  readonly #run: string;

  /** `run`: unique per process run. */
  constructor(parts: { readonly sql: Sql; readonly campaigns: CampaignRows; readonly run: string }) {
    this.#sql = parts.sql;
    this.#campaigns = parts.campaigns;
    this.#run = parts.run;
  }

  createApiKey(tx: Transaction, key: NewKey, actor: Actor): ApiKey {
    this.#sql.run(
      'INSERT INTO api_keys (key_id, name, scopes, secret_hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)',
      key.keyId,
      key.name,
      JSON.stringify(key.scopes),
      key.secretHash,
      tx.now,
      key.expiresAt,
    );
    note(
      this.#sql,
      tx,
      actor,
      'api-key.created',
      { name: key.keyId, campaign: null },
      { name: key.name, scopes: key.scopes },
    );
    return this.#view(key.keyId) as ApiKey;
  }

  #find(keyId: string): StoredKey | undefined {
    return this.#sql.get<StoredKey>('SELECT * FROM api_keys WHERE key_id = ?', keyId);
  }

  #view(keyId: string): ApiKey | null {
    const row = this.#find(keyId);
    return row === undefined ? null : keyView(row);
  }

  listApiKeys(): readonly ApiKey[] {
    return this.#sql.all<StoredKey>('SELECT * FROM api_keys ORDER BY created_at, key_id').map(keyView);
  }

  rotateApiKey(
    tx: Transaction,
    keyId: string,
    secretHash: string,
    graceUntil: number,
    actor: Actor,
  ): ApiKey | null {
    const changed = this.#sql.run(
      'UPDATE api_keys SET old_hash = secret_hash, old_valid_until = ?, secret_hash = ? WHERE key_id = ? AND revoked_at IS NULL',
      graceUntil,
      secretHash,
      keyId,
    );
    if (changed === 1)
      note(this.#sql, tx, actor, 'api-key.rotated', { name: keyId, campaign: null }, { graceUntil });
    return changed === 1 ? this.#view(keyId) : null;
  }

  revokeApiKey(tx: Transaction, keyId: string, actor: Actor): ApiKey | null {
    const changed = this.#sql.run(
      'UPDATE api_keys SET revoked_at = ? WHERE key_id = ? AND revoked_at IS NULL',
      tx.now,
      keyId,
    );
    if (changed === 1) note(this.#sql, tx, actor, 'api-key.revoked', { name: keyId, campaign: null });
    return this.#view(keyId);
  }

  usedApiKey(tx: Transaction, keyId: string): void {
    this.#sql.run('UPDATE api_keys SET last_used_at = ? WHERE key_id = ?', tx.now, keyId);
  }

  findApiKey(keyId: string, now: number): FoundKey | null {
    const row = this.#find(keyId);
    if (row === undefined || row.revoked_at !== null || (row.expires_at !== null && row.expires_at <= now))
      return null;
    const secretHashes: { hash: string; validUntil: number | null }[] = [
      { hash: row.secret_hash, validUntil: null },
    ];
    if (row.old_hash !== null && row.old_valid_until !== null && row.old_valid_until > now)
      secretHashes.push({ hash: row.old_hash, validUntil: row.old_valid_until });
    return { ...keyView(row), secretHashes };
  }

  /** A reservation of a run that ended is taken over: its request was never answered, and every change is one transaction. */
  reserveRequest(tx: Transaction, scope: string, key: string, requestHash: string): Reservation {
    this.#sql.run('DELETE FROM requests WHERE at < ?', tx.now - keepRequestsMs);
    const row = this.#sql.get<StoredRequest>(
      'SELECT request_hash, run, status, body, location FROM requests WHERE scope = ? AND key = ?',
      scope,
      key,
    );
    if (row !== undefined && row.request_hash !== requestHash) return { state: 'mismatch' };
    if (row !== undefined && row.status !== null)
      return { state: 'stored', status: row.status, body: row.body ?? '', location: row.location };
    if (row?.run === this.#run) return { state: 'in-progress' };
    this.#sql.run(
      'INSERT INTO requests (scope, key, request_hash, run, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET run = excluded.run, at = excluded.at',
      scope,
      key,
      requestHash,
      this.#run,
      tx.now,
    );
    return { state: 'fresh' };
  }

  storeResponse(
    _tx: Transaction,
    scope: string,
    key: string,
    status: number,
    body: string,
    location: string | null,
  ): void {
    this.#sql.run(
      'UPDATE requests SET status = ?, body = ?, location = ? WHERE scope = ? AND key = ?',
      status,
      body,
      location,
      scope,
      key,
    );
  }

  releaseRequest(_tx: Transaction, scope: string, key: string): void {
    this.#sql.run('DELETE FROM requests WHERE scope = ? AND key = ? AND status IS NULL', scope, key);
  }

  note(
    tx: Transaction,
    actor: Actor,
    action: string,
    target: string,
    detail: Readonly<Record<string, unknown>>,
  ): void {
    note(
      this.#sql,
      tx,
      actor,
      action,
      { name: target, campaign: this.#campaigns.find(target)?.campaign ?? null },
      detail,
    );
  }
}

function keyView(row: StoredKey): ApiKey {
  return {
    keyId: row.key_id,
    name: row.name,
    scopes: JSON.parse(row.scopes) as string[],
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  };
}
