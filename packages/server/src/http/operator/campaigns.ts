/** Campaigns: create, list, read, change, copy. What happens to a published one (pause, close, stock) is in `lifecycle.ts`. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import type { CampaignDefinition } from '../../campaign/definition.ts';
import {
  definitionFormFaults,
  frozenChanges,
  isOpenPointer,
  mergePatch,
} from '../../campaign/definition-patch.ts';
import { OperationalError } from '../../errors.ts';
import type { Campaign } from '../../ledger.ts';
import type { Randomness } from '../../randomness.ts';
import { actorOf } from '../access/guard.ts';
import { checkVersion, expectedVersion, sendCampaign, viewOf } from './campaign-view.ts';
import { describe } from './operation.ts';
import { campaignOf, type OperatorDeps, pageRequestOf, sendPage } from './operator-deps.ts';
import { refusal } from './refusals.ts';
import * as schemas from './schemas.ts';

const strict = { additionalProperties: false } as const;

const campaignBody = Type.Object(
  { id: Type.Optional(schemas.campaignId), definition: schemas.definition },
  { ...strict, description: 'Without an id the campaign is given one.' },
);
const definitionPatch = Type.Unsafe<Readonly<Record<string, unknown>>>({
  type: 'object',
  minProperties: 1,
  description:
    'JSON merge patch (RFC 7396) of the definition: `null` removes a field, an object is merged, anything else replaces.',
  examples: [{ title: { en: 'Spring drop' } }],
});
const campaignPatch = Type.Object({ definition: definitionPatch }, strict);
const copyBody = Type.Object(
  { id: Type.Optional(schemas.campaignId), definition: Type.Optional(definitionPatch) },
  {
    ...strict,
    description: 'Changes are merged into the copied definition. Members and voucher codes are not copied.',
  },
);
const copyForeseen = Type.Object({ dryRun: Type.Literal(true), definition: schemas.definition }, strict);
const states = ['draft', 'scheduled', 'open', 'paused', 'closed'] as const;
const listQuery = Type.Object({ ...schemas.pageQuery, state: Type.Optional(schemas.oneOf(states)) }, strict);

type IfMatch = { 'if-match'?: string };

export function campaignRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  createRoute(app, deps);
  listRoute(app, deps);
  readRoute(app, deps);
  patchRoute(app, deps);
  copyRoute(app, deps);
}

function createRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'createCampaign',
    tag: 'campaigns',
    scope: 'campaigns:write',
    summary: 'Create a campaign as a draft',
    body: campaignBody,
    idempotent: true,
    answers: { 201: schemas.campaign },
    refusals: [409, 422],
  });
  app.post<{ Body: Static<typeof campaignBody> }>('/v1/campaigns', operation, async (request, reply) => {
    const campaign = await create(deps, request, request.body.id, request.body.definition);
    reply.header('location', `/v1/campaigns/${campaign.id}`);
    return sendCampaign(reply, campaign, 201);
  });
}

function listRoute(app: FastifyInstance, { ledger }: OperatorDeps): void {
  const operation = describe({
    id: 'listCampaigns',
    tag: 'campaigns',
    scope: 'campaigns:read',
    summary: 'List campaigns',
    query: listQuery,
    answers: { 200: schemas.pageOf(schemas.campaign) },
  });
  app.get<{ Querystring: Static<typeof listQuery> }>('/v1/campaigns', operation, async (request, reply) => {
    const { state } = request.query;
    const page = await ledger.campaigns.list({ ...pageRequestOf(request.query), ...(state && { state }) });
    return sendPage(request, reply, { items: page.items.map(viewOf), next: page.next });
  });
}

function readRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'getCampaign',
    tag: 'campaigns',
    scope: 'campaigns:read',
    summary: 'Read a campaign, with its stock and its ETag',
    params: schemas.campaignParams,
    answers: { 200: schemas.campaign },
  });
  app.get<{ Params: schemas.CampaignParams }>(
    '/v1/campaigns/:campaignId',
    operation,
    async (request, reply) => sendCampaign(reply, await campaignOf(deps, request.params.campaignId)),
  );
}

function patchRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'changeCampaign',
    tag: 'campaigns',
    scope: 'campaigns:write',
    summary: 'Change the definition of a campaign',
    description:
      'JSON merge patch. Once published only `title`, `description`, `rules`, `timeZone`, `page` and `reward` (`messengers`, `message`) may change; other fields are refused and listed in `frozen`. Stock changes by `stock-changes`.',
    params: schemas.campaignParams,
    body: campaignPatch,
    ifMatch: 'required',
    answers: { 200: schemas.campaign },
    refusals: [409, 412, 422, 428],
  });
  app.patch<{ Params: schemas.CampaignParams; Body: Static<typeof campaignPatch>; Headers: IfMatch }>(
    '/v1/campaigns/:campaignId',
    operation,
    async (request, reply) => {
      const ifMatch = request.headers['if-match'];
      if (expectedVersion(ifMatch) === undefined) throw refusal('version-missing');
      const campaign = await campaignOf(deps, request.params.campaignId);
      checkVersion(campaign, ifMatch);
      return sendCampaign(reply, await change(deps, request, campaign, request.body.definition));
    },
  );
}

function copyRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'copyCampaign',
    tag: 'campaigns',
    scope: 'campaigns:write',
    summary: 'Copy a campaign into a new draft',
    params: schemas.campaignParams,
    query: schemas.dryRunQuery,
    body: copyBody,
    idempotent: true,
    answers: { 200: copyForeseen, 201: schemas.campaign },
    refusals: [409, 422],
  });
  app.post<{ Params: schemas.CampaignParams; Body: Static<typeof copyBody> } & schemas.DryRun>(
    '/v1/campaigns/:campaignId/copies',
    operation,
    async (request, reply) => {
      const original = await campaignOf(deps, request.params.campaignId);
      const { id } = request.body;
      const definition = mergePatch(original.definition, request.body.definition ?? {}) as CampaignDefinition;
      if (request.query.dryRun) return foreseeCopy(deps, reply, id, definition);
      const copy = await create(deps, request, id, definition);
      reply.header('location', `/v1/campaigns/${copy.id}`);
      return sendCampaign(reply, copy, 201);
    },
  );
}

/** The draft that a copy would be; it has an id and times only once it is made. */
async function foreseeCopy(
  deps: OperatorDeps,
  reply: FastifyReply,
  id: string | undefined,
  definition: CampaignDefinition,
): Promise<Static<typeof copyForeseen>> {
  refuseFaults(definition);
  if (id !== undefined && (await deps.ledger.campaigns.get(id)) !== null) throw idTaken(id);
  reply.code(200).header('cache-control', 'no-store');
  return { dryRun: true, definition };
}

const idTaken = (id: string) => refusal('id-taken', { detail: `\`${id}\`` });

async function create(
  deps: OperatorDeps,
  request: FastifyRequest,
  asked: string | undefined,
  definition: CampaignDefinition,
): Promise<Campaign> {
  refuseFaults(definition);
  const id = asked ?? freshCampaignId(deps.randomness);
  const created = await deps.ledger.campaigns.create(id, definition, actorOf(request));
  if (!created.ok) throw idTaken(id);
  return created.value;
}

async function change(
  deps: OperatorDeps,
  request: FastifyRequest,
  campaign: Campaign,
  patch: unknown,
): Promise<Campaign> {
  if (campaign.state === 'closed') throw refusal('campaign-closed');
  const definition = mergePatch(campaign.definition, patch) as CampaignDefinition;
  refuseFaults(definition);
  const frozen = campaign.state === 'draft' ? [] : frozenChanges(campaign.definition, definition);
  if (frozen.length > 0) throw refusal('fields-frozen', { members: { frozen } });
  if (campaign.state !== 'draft') await refuseUnready(deps, { ...campaign, definition });
  const updated = await deps.ledger.campaigns.update(
    campaign.id,
    definition,
    campaign.version,
    actorOf(request),
  );
  deps.campaigns.forget(campaign.id);
  if (updated.ok) return updated.value;
  if (updated.code === 'unknown') throw new OperationalError('CAMPAIGN_UNKNOWN');
  throw refusal(updated.code === 'closed' ? 'campaign-closed' : 'version-changed');
}

/** A published campaign stays ready: what its pre-flight would say of the fields that may still change holds for the change too. */
async function refuseUnready(deps: OperatorDeps, changed: Campaign): Promise<void> {
  const findings = (await deps.preflight(changed)).filter(
    ({ level, pointer }) => level === 'error' && pointer !== undefined && isOpenPointer(pointer),
  );
  if (findings.length > 0) throw refusal('preflight-failed', { members: { findings } });
}

function refuseFaults(definition: unknown): void {
  const faults = definitionFormFaults(definition).map((fault) => ({
    ...fault,
    pointer: `/definition${fault.pointer}`,
  }));
  if (faults.length > 0) throw new OperationalError('DEFINITION_INVALID', { faults });
}

/** Short enough to say on the telephone: 10 characters without look-alikes, 50 bits. */
function freshCampaignId(randomness: Randomness): string {
  const alphabet = '23456789abcdefghjkmnpqrstuvwxyz0';
  return `c-${Array.from(randomness.bytes(10), (byte) => alphabet[byte & 31]).join('')}`;
}
