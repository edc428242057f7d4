/**
 * Says who a member is, to Doorbuster: a JWT (HS256) under the secret that both sides share, made when the member goes to the event. Written out with
 * node:crypto; a JWT library does the same.
 */
import { createHmac, randomUUID } from 'node:crypto';

export interface Member {
  /** The shop's own id, the same one that was imported. */
  readonly id: string;
  readonly email?: string;
  readonly phone?: string;
  readonly locale?: 'ko' | 'en';
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** `sharedSecret`: 32 bytes or more. Its text is the key, byte for byte: it is not decoded. `nowMs`: ms since the epoch. */
export function memberToken(sharedSecret: string, member: Member, nowMs: number): string {
  const iat = Math.floor(nowMs / 1000);
  const { id, ...contact } = member;
  const claims = { sub: id, aud: 'doorbuster', iat, exp: iat + 600, jti: randomUUID(), ...contact };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', sharedSecret).update(signed).digest('base64url')}`;
}
