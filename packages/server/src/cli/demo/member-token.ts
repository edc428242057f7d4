/** Makes a member token (JWT, HS256) as a shop does: for the demo's crowd, rehearsals and `doorbuster token`. */
import { createHmac, createSecretKey, type KeyObject, randomUUID } from 'node:crypto';

export interface MemberClaims {
  /** The shop's own id of the member. */
  readonly sub: string;
  readonly email?: string;
  readonly phone?: string;
  readonly locale?: 'ko' | 'en';
  readonly [claim: string]: unknown;
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const header = part({ alg: 'HS256', typ: 'JWT' });

/** `secret`: the secret shared with the server. `nowMs` and `minutes` fix `iat` and `exp`. */
export function memberTokenSigner(
  secret: string,
  audience: string,
  issuer?: string,
): (claims: MemberClaims, nowMs: number, minutes: number) => string {
  const key: KeyObject = createSecretKey(Buffer.from(secret, 'utf8'));
  return (claims, nowMs, minutes) => {
    const iat = Math.floor(nowMs / 1000);
    const payload = part({
      jti: randomUUID(),
      ...(issuer ? { iss: issuer } : {}),
      aud: audience,
      iat,
      exp: iat + minutes * 60,
      ...claims,
    });
    const signed = `${header}.${payload}`;
    return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
  };
}
