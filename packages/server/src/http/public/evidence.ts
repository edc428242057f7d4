/** What a stranger checks the promises with: the public keys and the latest signed head. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import type { HttpDeps } from '../deps.ts';
import { publishedCampaign } from '../member/enter.ts';
import { HttpProblem } from '../problem.ts';
import { type CampaignParams, campaignParams, commonRefusals, jsonAnswer, strict } from '../schemas.ts';

const checkpoint = Type.Object(
  {
    v: Type.Literal(1),
    campaign: Type.String(),
    lane: Type.Integer(),
    epoch: Type.Integer(),
    recordNo: Type.Integer({ description: 'The last record under this head.' }),
    head: Type.String({ description: 'SHA-256, hex.' }),
    time: Type.Integer({ description: 'ms since the epoch, as it was signed.' }),
    kid: Type.String(),
    signature: Type.String({ description: 'Ed25519, base64url.' }),
  },
  { ...strict, $id: 'Checkpoint' },
);

const keySet = Type.Object(
  {
    keys: Type.Array(
      Type.Object(
        { kty: Type.Literal('OKP'), crv: Type.Literal('Ed25519'), x: Type.String(), kid: Type.String() },
        { description: 'A JWK (RFC 8037) with its validity.' },
      ),
    ),
  },
  { $id: 'KeySet' },
);

export function evidenceRoutes(app: FastifyInstance, deps: HttpDeps): void {
  app.addSchema(checkpoint);
  app.addSchema(keySet);
  app.get<{ Params: CampaignParams }>(
    '/v1/campaigns/:campaignId/checkpoint',
    {
      config: { countsAddress: true },
      schema: {
        operationId: 'getCheckpoint',
        tags: ['public'],
        summary: 'The latest signed head of the chain.',
        description: 'Two people who compare theirs find out whether they are shown the same chain.',
        params: campaignParams,
        response: { 200: jsonAnswer('The checkpoint.', { $ref: 'Checkpoint#' }), ...commonRefusals },
      },
    },
    async (request, reply) => {
      await publishedCampaign(deps, request.params.campaignId);
      const latest = await deps.evidence.checkpoint(request.params.campaignId);
      if (!latest) throw new HttpProblem('not-found', { detail: 'There is no record yet.' });
      return reply
        .header('cache-control', 'public, max-age=1')
        .header('etag', `"${latest.epoch}-${latest.recordNo}-${latest.time}"`)
        .send(latest);
    },
  );

  app.get(
    '/.well-known/doorbuster-keys.json',
    {
      config: { countsAddress: true },
      schema: {
        operationId: 'getPublicKeys',
        tags: ['public'],
        summary: 'The public keys of receipts and checkpoints, old ones included.',
        response: { 200: jsonAnswer('A JWK set.', { $ref: 'KeySet#' }), 429: commonRefusals[429] },
      },
    },
    (_request, reply) => reply.header('cache-control', 'public, max-age=300').send(deps.evidence.keys()),
  );
}
