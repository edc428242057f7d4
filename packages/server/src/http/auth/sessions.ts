/**
 * Members' sessions: `<kid>.<expiry>.<memberKey>.<mac>`, bound to one campaign by the HMAC and to nothing stored, so restarts and other
 * processes honour them. HMAC and not a JWT, because a check with a prepared KeyObject costs 2 us where jose's costs 50.
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { isHex, type MemberKey } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import type { SessionKey } from '../../secrets.ts';

export interface Session {
  readonly memberKey: MemberKey;
  /** ms since the epoch */
  readonly expiresAt: number;
}

export interface Sessions {
  issue(campaignId: string, memberKey: MemberKey): { readonly session: string; readonly expiresAt: number };
  /** Null when it is not ours, altered, of another campaign, or has ended. */
  read(campaignId: string, session: string): Session | null;
}

const longestSession = 200;
/** Of a SHA-256 in base64url. The decoder skips what is no digit, so the length of the text is compared and not that of the bytes alone. */
const macLength = 43;

/** `keys`: newest first; the newest signs, all of them are honoured. */
export function createSessions(
  keys: readonly Pick<SessionKey, 'kid' | 'key'>[],
  minutes: number,
  clock: Clock,
): Sessions {
  const newest = keys[0];
  if (!newest) throw new Error('there is no session key');
  const byKid = new Map<string, KeyObject>(keys.map(({ kid, key }) => [kid, createSecretKey(key)]));
  const signing = byKid.get(newest.kid)!;
  return {
    issue(campaignId, memberKey) {
      // Whole seconds, so that cookie and session end together.
      const expiresAt = Math.floor(clock.now() / 1000 + minutes * 60) * 1000;
      const claims = `${newest.kid}.${expiresAt.toString(36)}.${memberKey}`;
      return { session: `${claims}.${macOf(signing, campaignId, claims).toString('base64url')}`, expiresAt };
    },
    read(campaignId, session) {
      if (session.length > longestSession) return null;
      const [kid, expiry, memberKey, mac, ...more] = session.split('.');
      const key = byKid.get(kid ?? '');
      if (!key || !expiry || !memberKey || mac?.length !== macLength || more.length > 0) return null;
      const given = Buffer.from(mac, 'base64url');
      const own = macOf(key, campaignId, `${kid}.${expiry}.${memberKey}`);
      if (given.length !== own.length || !timingSafeEqual(given, own)) return null;
      const expiresAt = Number.parseInt(expiry, 36);
      if (!(expiresAt > clock.now()) || !isHex(memberKey, 16)) return null;
      return { memberKey, expiresAt };
    },
  };
}

function macOf(key: KeyObject, campaignId: string, claims: string): Buffer {
  return createHmac('sha256', key).update(`session\0${campaignId}\0${claims}`).digest();
}
