/** The public keys of receipts and checkpoints as a JWK set (RFC 7517, RFC 8037), and checking with them. Old keys are never taken out of it. */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import type { VerifySignature } from '@doorbuster/core';
import type { SigningKey } from '../secrets.ts';

export interface PublicJwk {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
  readonly kid: string;
  readonly alg: 'EdDSA';
  readonly use: 'sig';
  /** Milliseconds since the epoch. */
  readonly validFrom: number;
  /** Null while it signs. */
  readonly validUntil: number | null;
}
export interface PublicJwkSet {
  readonly keys: readonly PublicJwk[];
}

export function publicKeySet(keys: readonly SigningKey[]): PublicJwkSet {
  return { keys: keys.map(jwkOf) };
}

function jwkOf({ publicKey, kid, validFrom, validUntil }: SigningKey): PublicJwk {
  const { x } = publicKey.export({ format: 'jwk' });
  return { kty: 'OKP', crv: 'Ed25519', x: x as string, kid, alg: 'EdDSA', use: 'sig', validFrom, validUntil };
}

/** Checks signatures with the keys of a set; an unknown kid is a wrong signature. Throws a TypeError when the value is not a JWK set. */
export function verifierOf(set: unknown): VerifySignature {
  const keys = new Map<string, KeyObject>();
  const list = (set as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(list)) throw new TypeError('not a JWK set: it has no list of keys');
  for (const jwk of list as Partial<PublicJwk>[]) {
    if (
      jwk?.kty !== 'OKP' ||
      jwk.crv !== 'Ed25519' ||
      typeof jwk.kid !== 'string' ||
      typeof jwk.x !== 'string'
    )
      continue;
    keys.set(jwk.kid, createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: jwk.x }, format: 'jwk' }));
  }
  return (kid, message, signature) => {
    const key = keys.get(kid);
    return key !== undefined && verify(null, message, key, Buffer.from(signature, 'base64url'));
  };
}
