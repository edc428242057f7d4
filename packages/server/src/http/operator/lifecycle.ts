/**
 * What happens to a campaign once its definition stands: published, paused, resumed, closed, its stock changed. Each is a record of the lane,
 * written by the authority; the answer is the campaign after it.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { OperationalError } from '../../errors.ts';
import type { Campaign, CampaignLedger, OperatorLaneCommand } from '../../ledger.ts';
import { actorOf } from '../access/guard.ts';
import { type CampaignView, checkVersion, sendCampaign, sendForeseen } from './campaign-view.ts';
import { describe, type Operation } from './operation.ts';
import { campaignOf, type OperatorDeps } from './operator-deps.ts';
import { refusal } from './refusals.ts';
import * as schemas from './schemas.ts';

const strict = { additionalProperties: false } as const;

/** A POST whose path says it all may come without a body, or with an empty object. */
const emptyBody = Type.Optional(
  Type.Union([Type.Object({}, strict), Type.Null()], { description: 'Nothing to say.' }),
);

const stockChange = Type.Object(
  {
    capacity: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 10_000_000, description: 'The new number of units in all.' }),
    ),
    capacityBy: Type.Optional(
      Type.Integer({
        minimum: -10_000_000,
        maximum: 10_000_000,
        description: 'Units more, or fewer; not together with `capacity`.',
      }),
    ),
    safetyStock: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 10_000_000, description: 'The new number of reserved units.' }),
    ),
  },
  {
    ...strict,
    minProperties: 1,
    not: { required: ['capacity', 'capacityBy'] },
    examples: [{ capacity: 600 }, { capacityBy: 100 }],
  },
);

const finding = Type.Object(
  {
    code: Type.String(),
    level: schemas.oneOf(['error', 'warning']),
    pointer: Type.Optional(Type.String()),
    message: Type.String(),
    remedy: Type.String(),
  },
  strict,
);
const published = Type.Object(
  {
    campaign: schemas.campaign,
    findings: Type.Array(finding, { description: 'Warnings of the pre-flight.' }),
  },
  strict,
);

type Params = { Params: schemas.CampaignParams };
type IfMatch = { 'if-match'?: string };

export function lifecycleRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  publicationRoute(app, deps);
  preflightRoute(app, deps);
  laneRoute(
    app,
    deps,
    'POST',
    'pauses',
    { type: 'pause' },
    {
      id: 'pauseCampaign',
      summary: 'Pause an open campaign: entries are answered `paused` until it is resumed',
    },
  );
  laneRoute(
    app,
    deps,
    'DELETE',
    'pauses/current',
    { type: 'resume' },
    {
      id: 'resumeCampaign',
      summary: 'Resume a paused campaign',
    },
  );
  laneRoute(
    app,
    deps,
    'POST',
    'closures',
    { type: 'close' },
    {
      id: 'closeCampaign',
      summary: 'Close a campaign for good',
      description:
        'Final: no entry is taken afterwards. Deliveries go on; waitlisted entries may still be promoted.',
    },
  );
  laneRoute(
    app,
    deps,
    'POST',
    'promotions',
    { type: 'promote' },
    {
      id: 'promoteNext',
      summary: 'Give a free unit of a closed campaign to the next waitlisted entry',
      description: 'While a campaign is open this happens by itself.',
    },
  );
  stockRoute(app, deps);
}

/** Runs a command of the lane, or only looks what it would do, and answers what the ledger says of it. Used by deliveries too (revoke, replace). */
export async function answerCommand(
  deps: OperatorDeps,
  request: FastifyRequest<Params & schemas.DryRun>,
  reply: FastifyReply,
  command: OperatorLaneCommand,
): Promise<CampaignView> {
  const { campaignId } = request.params;
  const { campaigns } = deps.ledger;
  if (request.query.dryRun) return sendForeseen(reply, changed(await campaigns.foresee(campaignId, command)));
  return sendCampaign(reply, changed(await campaigns.command(campaignId, command, actorOf(request))));
}

function changed(done: Awaited<ReturnType<CampaignLedger['command']>>): Campaign {
  if (done.ok) return done.value;
  if ('rejection' in done)
    throw refusal('lane-rejected', { detail: done.rejection.code, members: { rejection: done.rejection } });
  if (done.code === 'unknown') throw new OperationalError('CAMPAIGN_UNKNOWN');
  throw refusal(done.code === 'not-published' ? 'not-published' : 'seq-unknown');
}

const bodyless = (method: string) => (method === 'POST' ? { body: emptyBody, idempotent: true } : {});

function laneRoute(
  app: FastifyInstance,
  deps: OperatorDeps,
  method: 'POST' | 'DELETE',
  path: string,
  command: OperatorLaneCommand,
  words: Pick<Operation, 'id' | 'summary' | 'description'>,
): void {
  const operation = describe({
    ...words,
    ...bodyless(method),
    tag: 'campaigns',
    scope: 'campaigns:write',
    params: schemas.campaignParams,
    query: schemas.dryRunQuery,
    answers: { 200: schemas.campaign },
    refusals: [409],
  });
  app.route<Params & schemas.DryRun>({
    method,
    url: `/v1/campaigns/:campaignId/${path}`,
    ...operation,
    handler: (request, reply) => answerCommand(deps, request, reply, command),
  });
}

function publicationRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'publishCampaign',
    tag: 'campaigns',
    scope: 'campaigns:write',
    summary: 'Publish a draft: it opens by itself at `startsAt`',
    description:
      'Runs the pre-flight first. Findings of level `error` refuse it (422, `findings`); warnings are in the answer.',
    params: schemas.campaignParams,
    body: emptyBody,
    ifMatch: 'optional',
    idempotent: true,
    answers: { 200: published },
    refusals: [409, 412, 422],
  });
  app.post<Params & { Headers: IfMatch }>(
    '/v1/campaigns/:campaignId/publications',
    operation,
    async (request, reply) => {
      const campaign = await campaignOf(deps, request.params.campaignId);
      checkVersion(campaign, request.headers['if-match']);
      if (campaign.state !== 'draft') throw refusal('already-published');
      const findings = await deps.preflight(campaign);
      if (findings.some(({ level }) => level === 'error'))
        throw refusal('preflight-failed', { members: { findings } });
      // The pre-flight takes a while (it asks mail servers): what it looked at must be what is published.
      const done = await deps.ledger.campaigns.publish(campaign.id, actorOf(request), campaign);
      deps.campaigns.forget(campaign.id);
      if (!done.ok)
        throw done.code === 'unknown' ? new OperationalError('CAMPAIGN_UNKNOWN') : refusal(done.code);
      return { campaign: sendCampaign(reply, done.value), findings };
    },
  );
}

function preflightRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'checkCampaign',
    tag: 'campaigns',
    scope: 'campaigns:read',
    summary: 'Run the pre-flight without publishing',
    params: schemas.campaignParams,
    answers: { 200: Type.Object({ ready: Type.Boolean(), findings: Type.Array(finding) }, strict) },
  });
  app.get<Params>('/v1/campaigns/:campaignId/preflight', operation, async (request) => {
    const findings = await deps.preflight(await campaignOf(deps, request.params.campaignId));
    return { ready: findings.every(({ level }) => level !== 'error'), findings };
  });
}

function stockRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const turns = new Map<string, Promise<unknown>>();
  const operation = describe({
    id: 'changeStock',
    tag: 'campaigns',
    scope: 'campaigns:write',
    summary: 'Raise or lower the stock of a published campaign',
    description:
      'While it is open too. It cannot go below what is given: then `rejection.lowest` says how far. A draft changes its definition instead.',
    params: schemas.campaignParams,
    query: schemas.dryRunQuery,
    body: stockChange,
    ifMatch: 'optional',
    idempotent: true,
    answers: { 200: schemas.campaign },
    refusals: [409, 412],
  });
  app.post<Params & schemas.DryRun & { Body: Static<typeof stockChange>; Headers: IfMatch }>(
    '/v1/campaigns/:campaignId/stock-changes',
    operation,
    async (request, reply) => {
      const { campaignId } = request.params;
      return inTurn(turns, campaignId, async () => {
        const campaign = await campaignOf(deps, campaignId);
        checkVersion(campaign, request.headers['if-match']);
        const change = newStock(campaign, request.body);
        refuseUncovered(campaign, change.capacity);
        return answerCommand(deps, request, reply, { type: 'change-stock', ...change });
      });
    },
  );
}

function newStock(
  { lane }: Campaign,
  change: Static<typeof stockChange>,
): { capacity: number; safetyStock: number } {
  if (!lane) throw refusal('not-published');
  const capacity = change.capacity ?? lane.capacity + (change.capacityBy ?? 0);
  return { capacity, safetyStock: change.safetyStock ?? lane.reserved };
}

/** A unit without a code would be won and then wait for a person. */
function refuseUncovered({ definition, voucherCodeCount, lane }: Campaign, capacity: number): void {
  const pooled = (definition.reward.voucherSource ?? 'pool') === 'pool';
  if (pooled && lane && capacity > lane.capacity && capacity > voucherCodeCount) {
    throw refusal('codes-missing', { members: { units: capacity, codes: voucherCodeCount } });
  }
}

/** "100 more" is a read and a write: two of them on one campaign come one after the other, or one would be lost. */
async function inTurn<T>(
  turns: Map<string, Promise<unknown>>,
  campaignId: string,
  work: () => Promise<T>,
): Promise<T> {
  const before = turns.get(campaignId) ?? Promise.resolve();
  const turn = before.then(work, work);
  turns.set(campaignId, turn);
  try {
    return await turn;
  } finally {
    if (turns.get(campaignId) === turn) turns.delete(campaignId);
  }
}
