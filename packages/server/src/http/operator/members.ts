/** One member, named by the shop's own id. The id is personal, so it travels in bodies only: URLs end up in logs. */
import type { MemberKey } from '@doorbuster/core';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { actorOf } from '../access/guard.ts';
import { HttpProblem } from '../problem.ts';
import { isText } from '../text.ts';
import { describe } from './operation.ts';
import { campaignOf, type OperatorDeps } from './operator-deps.ts';
import { refusal } from './refusals.ts';
import * as schemas from './schemas.ts';

const strict = { additionalProperties: false } as const;
const memberBody = Type.Object({ memberId: schemas.memberId }, strict);
const memberKey = Type.String({
  pattern: '^[0-9a-f]{32}$',
  description: 'HMAC of the member id under the campaign: means nothing elsewhere.',
});
const banView = Type.Object({ memberKey, banned: Type.Literal(true) }, strict);
const banParams = Type.Object({ campaignId: schemas.campaignId, memberKey }, strict);
const memberView = Type.Object(
  {
    seq: schemas.seq,
    recordNo: Type.Integer(),
    verdict: schemas.oneOf(['won', 'waitlisted']),
    status: schemas.oneOf(['live', 'promoted', 'revoked']),
    unit: schemas.nullable(Type.Integer()),
    at: schemas.instant('Recorded.'),
    maskedContact: schemas.nullable(Type.String()),
    deliveryId: schemas.nullable(Type.String()),
    deliveryState: schemas.nullable(Type.String()),
  },
  strict,
);

interface MemberRoute {
  Params: schemas.CampaignParams;
  Body: Static<typeof memberBody>;
}

export function memberRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  lookUpRoute(app, deps);
  banRoute(app, deps);
  unbanRoute(app, deps);
  eraseRoute(app, deps);
}

/** The same ids that an import and a token may carry. */
function memberKeyOf({ vault }: OperatorDeps, campaignId: string, memberId: string): MemberKey {
  if (!isText(memberId))
    throw new HttpProblem('request-invalid', {
      faults: [{ pointer: '/body/memberId', message: 'has characters that are not text' }],
    });
  return vault.memberKey(campaignId, memberId);
}

function lookUpRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'lookUpMember',
    tag: 'members',
    scope: 'entries:read',
    summary: "Find a member's entry and delivery",
    params: schemas.campaignParams,
    body: memberBody,
    answers: { 200: memberView },
  });
  app.post<MemberRoute>('/v1/campaigns/:campaignId/member-look-ups', operation, async (request, reply) => {
    const { id } = await campaignOf(deps, request.params.campaignId);
    const entry = await deps.ledger.admission.entryOf(id, memberKeyOf(deps, id, request.body.memberId));
    if (!entry) throw refusal('member-unknown');
    reply.header('cache-control', 'no-store');
    const { seq, recordNo, verdict, status, unit, at, maskedContact, delivery } = entry;
    const ofDelivery = { deliveryId: delivery?.deliveryId ?? null, deliveryState: delivery?.state ?? null };
    return { seq, recordNo, verdict, status, unit, at: schemas.timeOf(at), maskedContact, ...ofDelivery };
  });
}

function banRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'banMember',
    tag: 'members',
    scope: 'members:write',
    summary: 'Keep a member out of a campaign',
    description:
      'Looked up at admission: later entries are `ineligible`. An entry that is in stays; revoke it if it must go. Banning again answers the same.',
    params: schemas.campaignParams,
    body: memberBody,
    idempotent: true,
    answers: { 201: banView },
  });
  app.post<MemberRoute>('/v1/campaigns/:campaignId/bans', operation, async (request, reply) => {
    const { id } = await campaignOf(deps, request.params.campaignId);
    const memberKey = memberKeyOf(deps, id, request.body.memberId);
    await deps.ledger.admission.setBan(id, memberKey, true, actorOf(request));
    reply.code(201).header('location', `/v1/campaigns/${id}/bans/${memberKey}`);
    return { memberKey, banned: true as const };
  });
}

function unbanRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'unbanMember',
    tag: 'members',
    scope: 'members:write',
    summary: 'Let a banned member in again',
    params: banParams,
    answers: { 204: null },
  });
  app.delete<{ Params: Static<typeof banParams> }>(
    '/v1/campaigns/:campaignId/bans/:memberKey',
    operation,
    async (request, reply) => {
      const { id } = await campaignOf(deps, request.params.campaignId);
      await deps.ledger.admission.setBan(id, request.params.memberKey, false, actorOf(request));
      return reply.code(204).send();
    },
  );
}

function eraseRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'eraseMember',
    tag: 'members',
    scope: 'members:write',
    summary: 'Erase the personal data of a member in a campaign',
    description:
      'Contact, attributes, answers and voucher go, and cannot come back. The entry and its record stay, without a person behind them, and the chain still verifies.',
    params: schemas.campaignParams,
    query: schemas.dryRunQuery,
    body: memberBody,
    idempotent: true,
    answers: {
      200: Type.Object(
        { erased: Type.Boolean({ description: 'False with `dryRun`: there is something to erase.' }) },
        strict,
      ),
    },
  });
  app.post<MemberRoute & schemas.DryRun>('/v1/campaigns/:campaignId/erasures', operation, async (request) => {
    const { id } = await campaignOf(deps, request.params.campaignId);
    const { evidence } = deps.ledger;
    const memberKey = memberKeyOf(deps, id, request.body.memberId);
    const { dryRun = false } = request.query;
    const found = dryRun
      ? await evidence.holds(id, memberKey)
      : await evidence.erase(id, memberKey, actorOf(request));
    if (!found) throw refusal('member-unknown');
    return { erased: !dryRun };
  });
}
