/**
 * Who a request of a member comes from: a session (bearer or cookie) or the shop's token as bearer. Cookies are sent by the browser by
 * itself, so a request that changes something and comes with a cookie must also come from our own page.
 */
import type { MemberKey } from '@doorbuster/core';
import type { FastifyRequest } from 'fastify';
import type { HttpDeps } from '../deps.ts';
import { HttpProblem } from '../problem.ts';
import type { TokenMember } from './tokens.ts';

export const sessionCookie = 'doorbuster_session';

export type Door = Pick<HttpDeps, 'sessions' | 'tokens' | 'ledger' | 'config'>;

/** The member's key in this campaign; null without any credentials. Throws `session-needed` or TOKEN_INVALID when they are wrong. */
export async function memberOf(
  door: Door,
  request: FastifyRequest,
  campaignId: string,
): Promise<MemberKey | null> {
  const bearer = bearerOf(request);
  if (bearer !== null) return memberOfBearer(door, campaignId, bearer);
  return memberOfCookie(door, request, campaignId);
}

/** The same, for routes that need a member. Refuses a cookie from a foreign page. */
export async function requireMember(
  door: Door,
  request: FastifyRequest,
  campaignId: string,
): Promise<MemberKey> {
  const memberKey = await memberOf(door, request, campaignId);
  if (memberKey === null) throw sessionNeeded();
  const changes = request.method !== 'GET' && request.method !== 'HEAD';
  if (changes && request.headers.authorization === undefined) requireOwnOrigin(door, request);
  return memberKey;
}

/** The member of the session cookie; null when there is none or it has ended. */
export function memberOfCookie(door: Door, request: FastifyRequest, campaignId: string): MemberKey | null {
  const cookie = request.cookies[sessionCookie];
  return cookie ? (door.sessions.read(campaignId, cookie)?.memberKey ?? null) : null;
}

/** Tells the ledger once per token where the member is reached and what the rules may look at. */
export async function registerMember(
  { ledger }: Pick<Door, 'ledger'>,
  campaignId: string,
  member: TokenMember,
): Promise<void> {
  if (member.registered) return;
  if (member.contact || member.attributes)
    await ledger.admission.register(campaignId, member.memberKey, member.contact, member.attributes);
  member.registered = true;
}

/** Refuses what a foreign page sends with the member's cookie. `Sec-Fetch-Site` where the browser sends it, else `Origin`. */
export function requireOwnOrigin({ config }: Pick<Door, 'config'>, request: FastifyRequest): void {
  const site = request.headers['sec-fetch-site'];
  if (site !== undefined) {
    if (site === 'same-origin') return;
    throw new HttpProblem('origin-refused');
  }
  const { origin } = request.headers;
  if (origin === undefined || !ownOrigins(config, request).includes(origin))
    throw new HttpProblem('origin-refused');
}

/** The origins that are ours: the public address, and the one that this request was sent to. */
export function ownOrigins(config: Door['config'], request: FastifyRequest): readonly string[] {
  const asked = `${request.protocol}://${request.host}`;
  return config.publicUrl ? [new URL(config.publicUrl).origin, asked] : [asked];
}

function bearerOf(request: FastifyRequest): string | null {
  const header = request.headers.authorization;
  if (header === undefined) return null;
  const bearer = /^Bearer +(\S+)$/i.exec(header)?.[1];
  if (!bearer) throw sessionNeeded();
  return bearer;
}

/** A session has three dots, a JWT two. */
async function memberOfBearer(door: Door, campaignId: string, bearer: string): Promise<MemberKey> {
  if (bearer.split('.', 4).length === 4) {
    const session = door.sessions.read(campaignId, bearer);
    if (!session) throw sessionNeeded();
    return session.memberKey;
  }
  const member = await door.tokens.check(campaignId, bearer);
  await registerMember(door, campaignId, member);
  return member.memberKey;
}

function sessionNeeded(): HttpProblem {
  return new HttpProblem('session-needed', { headers: { 'www-authenticate': 'Bearer' } });
}
