/**
 * Deliveries: where each voucher is on its way, and what a person may do about it. Retrying goes by filter, as one durable batch that survives
 * a restart; the page of the console that is visible is never the unit of work.
 */
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import type {
  DeliveryAttempt,
  DeliveryBatch,
  DeliveryFilter,
  DeliveryState,
  DeliveryView,
} from '../../ledger.ts';
import { actorOf } from '../access/guard.ts';
import { answerCommand } from './lifecycle.ts';
import { describe } from './operation.ts';
import { campaignOf, type OperatorDeps, pageRequestOf, sendPage } from './operator-deps.ts';
import { refusal } from './refusals.ts';
import * as schemas from './schemas.ts';
import { timeOf, timeOrNull } from './schemas.ts';

const strict = { additionalProperties: false } as const;
const states = ['due', 'sending', 'unknown', 'delivered', 'parked', 'cancelled'] as const;
const deliveryState = schemas.oneOf(states);
const nullableText = schemas.nullable(Type.String());
const nullableInstant = (description: string) => schemas.nullable(schemas.instant(description));

const deliveryFields = {
  deliveryId: Type.String({ examples: ['spring-drop.17.12'] }),
  seq: schemas.seq,
  unit: Type.Integer(),
  state: deliveryState,
  voucherState: schemas.oneOf(['none', 'requested', 'unknown', 'issued', 'cancelled']),
  messageState: schemas.oneOf(['none', 'sending', 'unknown', 'sent']),
  attempts: Type.Integer(),
  dueAt: nullableInstant('Next attempt.'),
  errorCode: nullableText,
  error: nullableText,
  messenger: nullableText,
  deliveredAt: nullableInstant('Delivered.'),
  takenBack: Type.Boolean({
    description:
      'The unit was taken back from this entry: revoked, or replaced by another. What had been delivered stays `delivered`, and its voucher is void.',
  }),
  createdAt: schemas.instant('Created.'),
};
const delivery = Type.Object(deliveryFields, strict);
const attempt = Type.Object(
  {
    attempt: Type.Integer(),
    fence: Type.Integer(),
    startedAt: schemas.instant('Claimed.'),
    endedAt: nullableInstant('Recorded.'),
    outcome: nullableText,
    errorCode: nullableText,
    error: nullableText,
  },
  strict,
);
const deliveryWithAttempts = Type.Object({ ...deliveryFields, history: Type.Array(attempt) }, strict);
const summary = Type.Object(
  {
    byState: Type.Object(Object.fromEntries(states.map((state) => [state, Type.Integer()])), strict),
    byError: Type.Array(Type.Object({ errorCode: Type.String(), count: Type.Integer() }, strict)),
  },
  strict,
);

const filterFields = {
  state: Type.Optional(deliveryState),
  errorCode: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
  seq: Type.Optional(schemas.seq),
};
const deliveriesQuery = Type.Object({ ...schemas.pageQuery, ...filterFields }, strict);
const deliveryParams = Type.Object(
  {
    campaignId: schemas.campaignId,
    deliveryId: Type.String({ pattern: '^[a-z0-9-]{1,64}\\.\\d{1,15}\\.\\d{1,15}$' }),
  },
  strict,
);
const batchParams = Type.Object(
  { campaignId: schemas.campaignId, batchId: Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' }) },
  strict,
);
const batchBody = Type.Object(
  {
    filter: Type.Optional(
      Type.Object(filterFields, { ...strict, description: 'Default: all that are parked or unknown.' }),
    ),
    resend: Type.Optional(
      Type.Boolean({ default: false, description: 'Delivered ones too: the same voucher is sent again.' }),
    ),
    dryRun: Type.Optional(Type.Boolean({ default: false, description: 'Only count.' })),
  },
  { ...strict, examples: [{ filter: { errorCode: 'smtp-550' } }] },
);
const batchView = Type.Object(
  {
    batchId: Type.String(),
    campaignId: schemas.campaignId,
    filter: Type.Object(filterFields, strict),
    resend: Type.Boolean(),
    state: schemas.oneOf(['running', 'done', 'aborted']),
    total: Type.Integer(),
    moved: Type.Integer({ description: 'Deliveries made due so far.' }),
    createdAt: schemas.instant('Created.'),
  },
  { ...strict, $id: 'DeliveryBatch' },
);
const batchRef = Type.Unsafe<Static<typeof batchView>>({ $ref: 'DeliveryBatch#' });
const preview = Type.Object(
  { dryRun: Type.Literal(true), total: Type.Integer({ description: 'Deliveries that would be retried.' }) },
  strict,
);
const seqBody = Type.Object({ seq: schemas.seq }, strict);

type Params = { Params: schemas.CampaignParams };
type DeliveryParams = { Params: Static<typeof deliveryParams> };
type BatchParams = { Params: Static<typeof batchParams> };

export function deliveryRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  if (!app.getSchema('DeliveryBatch')) app.addSchema(batchView);
  listRoute(app, deps);
  summaryRoute(app, deps);
  readRoute(app, deps);
  startBatchRoute(app, deps);
  batchRoutes(app, deps);
  entryCommandRoute(app, deps, 'replacements', 'replace', {
    id: 'replaceVoucher',
    summary: 'Give a winner another unit and voucher; the old unit is void',
    description: 'Takes safety stock first, else a free unit; without either it is refused.',
  });
  entryCommandRoute(app, deps, 'revocations', 'revoke', {
    id: 'revokeEntry',
    summary: 'Take a grant, or a place on the waitlist, back',
    description:
      'A signed record. A unit whose voucher was ever shown is void, else it is free again and goes to the waitlist.',
  });
}

function listRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'listDeliveries',
    tag: 'deliveries',
    scope: 'campaigns:read',
    summary: 'List deliveries',
    params: schemas.campaignParams,
    query: deliveriesQuery,
    answers: { 200: schemas.pageOf(delivery) },
  });
  app.get<Params & { Querystring: Static<typeof deliveriesQuery> }>(
    '/v1/campaigns/:campaignId/deliveries',
    operation,
    async (request, reply) => {
      const { id } = await campaignOf(deps, request.params.campaignId);
      const page = await deps.ledger.deliveries.list(
        id,
        filterOf(request.query),
        pageRequestOf(request.query),
      );
      return sendPage(request, reply, { items: page.items.map(viewOf), next: page.next });
    },
  );
}

function filterOf(query: { state?: DeliveryState; errorCode?: string; seq?: number }): DeliveryFilter {
  const { state, errorCode, seq } = query;
  return {
    ...(state !== undefined && { state }),
    ...(errorCode !== undefined && { errorCode }),
    ...(seq !== undefined && { seq }),
  };
}

function viewOf(view: DeliveryView): Static<typeof delivery> {
  const { deliveryId, seq, unit, state, voucherState, messageState, attempts } = view;
  const { errorCode, error, messenger, takenBack, dueAt, deliveredAt, createdAt } = view;
  const states = { state, voucherState, messageState, attempts };
  const times = {
    dueAt: timeOrNull(dueAt),
    deliveredAt: timeOrNull(deliveredAt),
    createdAt: timeOf(createdAt),
  };
  return { deliveryId, seq, unit, ...states, errorCode, error, messenger, takenBack, ...times };
}

function attemptOf(made: DeliveryAttempt): Static<typeof attempt> {
  const { startedAt, endedAt, fence, outcome, errorCode, error } = made;
  const times = { startedAt: timeOf(startedAt), endedAt: timeOrNull(endedAt) };
  return { attempt: made.attempt, fence, ...times, outcome, errorCode, error };
}

function summaryRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'getDeliverySummary',
    tag: 'deliveries',
    scope: 'campaigns:read',
    summary: 'Count deliveries by state and by error',
    params: schemas.campaignParams,
    answers: { 200: summary },
  });
  app.get<Params>('/v1/campaigns/:campaignId/delivery-summary', operation, async (request) => {
    const { id } = await campaignOf(deps, request.params.campaignId);
    return deps.ledger.deliveries.summary(id);
  });
}

function readRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'getDelivery',
    tag: 'deliveries',
    scope: 'campaigns:read',
    summary: 'Read a delivery with its attempts',
    params: deliveryParams,
    answers: { 200: deliveryWithAttempts },
  });
  app.get<DeliveryParams>('/v1/campaigns/:campaignId/deliveries/:deliveryId', operation, async (request) => {
    const { campaignId, deliveryId } = request.params;
    const { id } = await campaignOf(deps, campaignId);
    // Looked up inside its campaign, so the id of another's delivery finds nothing here.
    const seq = Number(deliveryId.split('.')[1]);
    const page = await deps.ledger.deliveries.list(id, { seq }, { limit: 200 });
    const found = page.items.find((item) => item.deliveryId === deliveryId);
    const history = found && (await deps.ledger.deliveries.attempts(deliveryId));
    if (!found || !history) throw refusal('unknown-id');
    return { ...viewOf(found), history: history.map(attemptOf) };
  });
}

function startBatchRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'retryDeliveries',
    tag: 'deliveries',
    scope: 'deliveries:write',
    summary: 'Retry deliveries by filter',
    description:
      'Makes what the filter finds due again, as one durable batch that goes on after a restart. Nobody gets a second voucher: a retry carries the one that is given.',
    params: schemas.campaignParams,
    body: batchBody,
    idempotent: true,
    answers: { 200: preview, 202: batchRef },
  });
  app.post<Params & { Body: Static<typeof batchBody> }>(
    '/v1/campaigns/:campaignId/delivery-batches',
    operation,
    async (request, reply) => {
      const { id } = await campaignOf(deps, request.params.campaignId);
      const { filter = {}, resend = false, dryRun = false } = request.body;
      if (dryRun) return { dryRun, total: await countOf(deps, id, filterOf(filter), resend) };
      const batch = await deps.ledger.deliveries.startBatch(id, filterOf(filter), resend, actorOf(request));
      deps.wakeFulfilment?.();
      reply.code(202).header('location', `/v1/campaigns/${id}/delivery-batches/${batch.batchId}`);
      return batchOf(batch);
    },
  );
}

/** What a batch would move: parked and unknown ones, with `resend` delivered ones too. */
async function countOf(
  deps: OperatorDeps,
  campaignId: string,
  filter: DeliveryFilter,
  resend: boolean,
): Promise<number> {
  const movable: readonly DeliveryState[] = resend
    ? ['parked', 'unknown', 'delivered']
    : ['parked', 'unknown'];
  const asked = movable.filter((state) => filter.state === undefined || filter.state === state);
  if (filter.errorCode === undefined && filter.seq === undefined) {
    const { byState } = await deps.ledger.deliveries.summary(campaignId);
    return asked.reduce((sum, state) => sum + byState[state], 0);
  }
  let count = 0;
  for (const state of asked) count += await countIn(deps, campaignId, { ...filter, state });
  return count;
}

async function countIn(deps: OperatorDeps, campaignId: string, filter: DeliveryFilter): Promise<number> {
  let count = 0;
  let after: string | null = null;
  do {
    const page = await deps.ledger.deliveries.list(
      campaignId,
      filter,
      after === null ? { limit: 200 } : { limit: 200, after },
    );
    count += page.items.length;
    after = page.next;
  } while (after !== null);
  return count;
}

function batchRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  const shape = { tag: 'deliveries', params: batchParams, answers: { 200: batchRef } } as const;
  const url = '/v1/campaigns/:campaignId/delivery-batches/:batchId';
  const reading = describe({
    ...shape,
    id: 'getDeliveryBatch',
    scope: 'campaigns:read',
    summary: 'Read how far a batch is',
  });
  app.get<BatchParams>(url, reading, async (request) => batchOf(await findBatch(deps, request.params)));

  const aborting = describe({
    ...shape,
    id: 'abortDeliveryBatch',
    scope: 'deliveries:write',
    summary: 'Abort a batch',
    description:
      'What it has moved stays moved; the rest is left as it was. A batch that is done stays done.',
  });
  app.delete<BatchParams>(url, aborting, async (request) => {
    const { batchId } = await findBatch(deps, request.params);
    const aborted = await deps.ledger.deliveries.abortBatch(batchId, actorOf(request));
    if (!aborted) throw refusal('unknown-id');
    return batchOf(aborted);
  });
}

/** A batch is found in its own campaign only. */
async function findBatch(
  deps: OperatorDeps,
  { campaignId, batchId }: Static<typeof batchParams>,
): Promise<DeliveryBatch> {
  const batch = await deps.ledger.deliveries.batch(batchId);
  if (!batch || batch.campaignId !== campaignId) throw refusal('unknown-id');
  return batch;
}

function batchOf(batch: DeliveryBatch): Static<typeof batchView> {
  const { batchId, campaignId, filter, resend, state, total, moved, createdAt } = batch;
  return { batchId, campaignId, filter, resend, state, total, moved, createdAt: timeOf(createdAt) };
}

function entryCommandRoute(
  app: FastifyInstance,
  deps: OperatorDeps,
  path: string,
  type: 'revoke' | 'replace',
  words: { id: string; summary: string; description: string },
): void {
  const operation = describe({
    ...words,
    tag: 'deliveries',
    scope: 'deliveries:write',
    params: schemas.campaignParams,
    query: schemas.dryRunQuery,
    body: seqBody,
    idempotent: true,
    answers: { 200: schemas.campaign },
    refusals: [409],
  });
  app.post<Params & schemas.DryRun & { Body: Static<typeof seqBody> }>(
    `/v1/campaigns/:campaignId/${path}`,
    operation,
    (request, reply) => answerCommand(deps, request, reply, { type, seq: request.body.seq }),
  );
}
