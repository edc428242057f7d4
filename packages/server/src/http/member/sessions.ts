/** `POST /v1/campaigns/{campaignId}/sessions`: the shop's token for a session of ours, as bearer and as cookie. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { registerMember, sessionCookie } from '../auth/authenticate.ts';
import type { HttpDeps } from '../deps.ts';
import {
  type CampaignParams,
  campaignParams,
  commonRefusals,
  instant,
  iso,
  jsonAnswer,
  problemAnswer,
  strict,
} from '../schemas.ts';
import { publishedCampaign } from './enter.ts';

const body = Type.Object(
  {
    token: Type.String({
      minLength: 1,
      maxLength: 8_192,
      description: "The shop's signed member token (JWT).",
    }),
  },
  strict,
);

const session = Type.Object(
  {
    session: Type.String({ description: 'Send it as `Authorization: Bearer`; good for this campaign only.' }),
    expiresAt: instant('When the session ends.'),
  },
  { ...strict, $id: 'MemberSession' },
);

export function sessionRoutes(app: FastifyInstance, deps: HttpDeps): void {
  app.addSchema(session);
  app.post<{ Params: CampaignParams; Body: Static<typeof body> }>(
    '/v1/campaigns/:campaignId/sessions',
    {
      config: { countsAddress: true },
      schema: {
        operationId: 'createMemberSession',
        tags: ['member'],
        summary: "Exchange the shop's member token for a session.",
        description:
          'Before the opening, so that entries cost no signature check. The token travels in the body, never in an address. Also sets the cookie of the member page.',
        params: campaignParams,
        body,
        response: {
          201: jsonAnswer('The session.', { $ref: 'MemberSession#' }),
          401: problemAnswer('The token is not valid.'),
          ...commonRefusals,
        },
      },
    },
    async (request, reply) => {
      const { campaignId } = request.params;
      const issued = await openSession(deps, campaignId, request.body.token);
      setSessionCookie(deps, request, reply, campaignId, issued);
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ session: issued.session, expiresAt: iso(issued.expiresAt) });
    },
  );
}

export interface IssuedSession {
  readonly session: string;
  readonly expiresAt: number;
}

/** Checks the token, makes the member known to the ledger, and issues. Throws CAMPAIGN_UNKNOWN, TOKEN_INVALID, ADMISSION_FULL. */
export async function openSession(deps: HttpDeps, campaignId: string, token: string): Promise<IssuedSession> {
  await publishedCampaign(deps, campaignId);
  const member = await deps.tokens.check(campaignId, token);
  await registerMember(deps, campaignId, member);
  return deps.sessions.issue(campaignId, member.memberKey);
}

/** Two cookies of one name: the page and the API are at two paths, and other campaigns are to see neither. */
export function setSessionCookie(
  deps: HttpDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  campaignId: string,
  issued: IssuedSession,
): void {
  const options = {
    httpOnly: true,
    sameSite: 'lax',
    secure: request.protocol === 'https' || (deps.config.publicUrl?.startsWith('https:') ?? false),
    // Relative, because a member's clock may be a day off.
    maxAge: Math.floor((issued.expiresAt - deps.clock.now()) / 1000),
  } as const;
  void reply.setCookie(sessionCookie, issued.session, { ...options, path: `/v1/campaigns/${campaignId}` });
  void reply.setCookie(sessionCookie, issued.session, { ...options, path: `/c/${campaignId}` });
}
