/**
 * API keys: `dbk_<keyId>_<secret>`. The key id is public (it is in logs and audit records); of the secret only its SHA-256 is stored. A
 * plain hash is right here and would be wrong for a password: the secret is 256 random bits, so there is nothing to guess slowly.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { EpochMs } from '@doorbuster/core';
import type { AccessLedger, Actor, ApiKey } from '../../ledger.ts';
import type { Randomness } from '../../randomness.ts';

/** The prefix lets secret scanners find a key that leaked. */
const tokenShape = /^dbk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/;

export interface TokenParts {
  readonly keyId: string;
  readonly secretHash: string;
}

/** An API key as it is handed over, once. */
export interface IssuedApiKey {
  readonly apiKey: ApiKey;
  /** What goes behind `Authorization: Bearer`. Never stored, never logged. */
  readonly token: string;
}

/** Null when the text has not the shape of a key: then no look-up is worth its while. */
export function parseToken(token: string): TokenParts | null {
  const parts = tokenShape.exec(token);
  return parts ? { keyId: parts[1]!, secretHash: hashSecret(parts[2]!) } : null;
}

/** Compares two SHA-256 hex texts in constant time. */
export function sameHash(left: string, right: string): boolean {
  const a = Buffer.from(left, 'hex');
  const b = Buffer.from(right, 'hex');
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Creates a key; the caller shows `token` once. Used by the API, the CLI and the first run. */
export async function createApiKey(
  access: Pick<AccessLedger, 'createApiKey'>,
  randomness: Randomness,
  key: { readonly name: string; readonly scopes: readonly string[]; readonly expiresAt?: EpochMs | null },
  actor: Actor,
): Promise<IssuedApiKey> {
  const keyId = Buffer.from(randomness.bytes(8)).toString('hex');
  const secret = freshSecret(randomness);
  const { name, scopes, expiresAt = null } = key;
  const apiKey = await access.createApiKey(
    { keyId, name, scopes, secretHash: hashSecret(secret), expiresAt },
    actor,
  );
  return { apiKey, token: tokenOf(keyId, secret) };
}

/** Gives the key a new secret; the old one works until `graceUntil`. Null when there is no live key of this id. */
export async function rotateApiKey(
  access: Pick<AccessLedger, 'rotateApiKey'>,
  randomness: Randomness,
  keyId: string,
  graceUntil: EpochMs,
  actor: Actor,
): Promise<IssuedApiKey | null> {
  const secret = freshSecret(randomness);
  const apiKey = await access.rotateApiKey(keyId, hashSecret(secret), graceUntil, actor);
  return apiKey && { apiKey, token: tokenOf(keyId, secret) };
}

function freshSecret(randomness: Randomness): string {
  return Buffer.from(randomness.bytes(32)).toString('base64url');
}

function tokenOf(keyId: string, secret: string): string {
  return `dbk_${keyId}_${secret}`;
}

function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
