/** Evidence: the records of the chain as they were hashed, who did what, and the double check on demand. */
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import type { AuditRecord, RecordBatch } from '../../ledger.ts';
import { actorOf } from '../access/guard.ts';
import { describe } from './operation.ts';
import { campaignOf, type OperatorDeps, pageRequestOf, sendPage } from './operator-deps.ts';
import * as schemas from './schemas.ts';

const strict = { additionalProperties: false } as const;
const recordsQuery = Type.Object(
  {
    from: Type.Optional(
      Type.Integer({
        minimum: 1,
        default: 1,
        description: 'recordNo to begin with; its whole batch is sent.',
      }),
    ),
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: 'Ends after the batch that reaches so many records. Default: all.',
      }),
    ),
  },
  strict,
);
const pageQuery = Type.Object(schemas.pageQuery, strict);
const auditRecord = Type.Object(
  {
    auditNo: Type.Integer(),
    at: schemas.instant('Done.'),
    actor: Type.Object(
      {
        kind: schemas.oneOf(['api-key', 'cli', 'system', 'member']),
        id: Type.String(),
        requestId: Type.Optional(Type.String()),
      },
      strict,
    ),
    action: Type.String({ examples: ['campaign.published'] }),
    target: Type.String(),
    detail: Type.Record(Type.String(), Type.Unknown()),
  },
  strict,
);
const auditPage = schemas.pageOf(auditRecord);

type Params = { Params: schemas.CampaignParams };
type PageQuery = { Querystring: Static<typeof pageQuery> };

export function evidenceRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  recordsRoute(app, deps);
  auditRoutes(app, deps);
  if (deps.reconcile) reconciliationRoute(app, deps.reconcile, deps);
}

function recordsRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'exportRecords',
    tag: 'evidence',
    scope: 'campaigns:read',
    summary: 'Export the records of the chain',
    description:
      'NDJSON, one durable batch a line: its head, its signature, and `records`, the very texts that were hashed. `doorbuster verify` checks the file offline. There is no personal data in it.',
    params: schemas.campaignParams,
    query: recordsQuery,
    answers: { 200: { 'application/x-ndjson': Type.String() } },
  });
  app.get<Params & { Querystring: Static<typeof recordsQuery> }>(
    '/v1/campaigns/:campaignId/records',
    operation,
    async (request, reply) => {
      const { id } = await campaignOf(deps, request.params.campaignId);
      const { from = 1, limit = Number.MAX_SAFE_INTEGER } = request.query;
      reply.type('application/x-ndjson; charset=utf-8').header('cache-control', 'no-store');
      return reply.send(Readable.from(recordLines(id, deps.ledger.evidence.records(id, from), limit)));
    },
  );
}

async function* recordLines(
  campaign: string,
  batches: AsyncIterable<RecordBatch>,
  limit: number,
): AsyncGenerator<string> {
  let sent = 0;
  for await (const batch of batches) {
    yield `${JSON.stringify(exportedBatch(campaign, batch))}\n`;
    sent += batch.count;
    if (sent >= limit) return;
  }
}

/** As core's chain verifier reads it. */
function exportedBatch(campaign: string, batch: RecordBatch) {
  const { epoch, prevHead, root, firstRecordNo, count, time, head, kid, signature, records } = batch;
  return {
    head: { campaign, lane: 0, epoch, prevHead, root, firstRecordNo, count, time, head },
    records,
    kid,
    signature,
  };
}

function auditRoutes(app: FastifyInstance, deps: OperatorDeps): void {
  const shape = {
    tag: 'evidence',
    scope: 'audit:read',
    query: pageQuery,
    answers: { 200: auditPage },
  } as const;
  const all = describe({ ...shape, id: 'listAuditRecords', summary: 'List who did what, newest first' });
  app.get<PageQuery>('/v1/audit-records', all, async (request, reply) => {
    const page = await deps.ledger.evidence.auditRecords({}, pageRequestOf(request.query));
    return sendPage(request, reply, { items: page.items.map(auditOf), next: page.next });
  });

  const ofCampaign = describe({
    ...shape,
    id: 'listCampaignAuditRecords',
    summary: 'List who did what to a campaign',
    params: schemas.campaignParams,
  });
  app.get<Params & PageQuery>(
    '/v1/campaigns/:campaignId/audit-records',
    ofCampaign,
    async (request, reply) => {
      const { id } = await campaignOf(deps, request.params.campaignId);
      const page = await deps.ledger.evidence.auditRecords({ campaignId: id }, pageRequestOf(request.query));
      return sendPage(request, reply, { items: page.items.map(auditOf), next: page.next });
    },
  );
}

function auditOf({ auditNo, at, actor, action, target, detail }: AuditRecord) {
  return { auditNo, at: schemas.timeOf(at), actor, action, target, detail };
}

function reconciliationRoute(
  app: FastifyInstance,
  reconcile: () => Promise<unknown>,
  { ledger }: OperatorDeps,
): void {
  const operation = describe({
    id: 'reconcile',
    tag: 'evidence',
    scope: 'deliveries:write',
    summary: 'Run the double check now',
    description:
      'Compares ledger, outbox, voucher pool and deliveries, repairs what has one safe repair, and reports the rest. It also runs by itself.',
    idempotent: true,
    answers: { 200: Type.Unknown({ description: 'The report.' }) },
  });
  app.post('/v1/reconciliations', operation, async (request) => {
    await ledger.access.note(actorOf(request), 'reconciliation.requested', 'ledger', {});
    return reconcile();
  });
}
