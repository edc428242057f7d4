/** `POST /v1/campaigns/{campaignId}/entries`: the hot path. Authentication first, then the answers, then admission. */
import { chooseLocale } from '@doorbuster/web';
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import { requireMember } from '../auth/authenticate.ts';
import type { HttpDeps } from '../deps.ts';
import { HttpProblem } from '../problem.ts';
import {
  type CampaignParams,
  campaignParams,
  commonRefusals,
  instant,
  jsonAnswer,
  problemAnswer,
  strict,
} from '../schemas.ts';
import { enter, publishedCampaign } from './enter.ts';
import { sendVerdict } from './verdict-answer.ts';

const answer = Type.Union([
  Type.String({ maxLength: 2_000 }),
  Type.Number(),
  Type.Array(Type.String({ maxLength: 64 }), { maxItems: 100 }),
]);

export const entryBody = Type.Object(
  {
    answers: Type.Optional(
      Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,63}$' }), answer, {
        ...strict,
        maxProperties: 50,
        description:
          'By question id. single: an option id; multiple: option ids; text: text; number, scale: a number.',
      }),
    ),
  },
  { ...strict, examples: [{ answers: { flavour: 'green', again: 5 } }] },
);

export const opening = Type.Object(
  { salt: Type.String(), memberKey: Type.String() },
  { ...strict, description: 'Shows that the receipt is yours: SHA-256(salt || member key) is its `member`.' },
);

export const entry = Type.Object(
  {
    verdict: Type.Union([Type.Literal('won'), Type.Literal('waitlisted')]),
    seq: Type.Integer({ description: 'The place in the order.' }),
    unit: Type.Optional(Type.Integer({ description: 'The number of the unit won.' })),
    at: instant('When it was stored.'),
    repeated: Type.Boolean({
      description: 'True when the member was already in: this is the first verdict again.',
    }),
    opening: Type.Optional(opening),
    receipt: Type.Unsafe<unknown>({ $ref: 'Receipt#' }),
  },
  { ...strict, $id: 'Entry' },
);

export const pendingEntry = Type.Object(
  { verdict: Type.Literal('pending'), mine: Type.String({ description: 'Where the verdict will be.' }) },
  { ...strict, $id: 'PendingEntry' },
);

export function entryRoutes(app: FastifyInstance, deps: HttpDeps): void {
  app.addSchema(entry);
  app.addSchema(pendingEntry);
  app.post<{ Params: CampaignParams; Body: Static<typeof entryBody> }>(
    '/v1/campaigns/:campaignId/entries',
    {
      config: { countsAddress: true },
      // A campaign without a survey needs no body at all.
      preValidation: (request, _reply, done) => {
        request.body ??= {};
        done();
      },
      schema: {
        operationId: 'enterCampaign',
        tags: ['member'],
        summary: 'Enter.',
        description:
          'Safe to repeat: the member is the idempotency key, so a repeat gets the first verdict. An `Idempotency-Key` header is accepted and has no effect.',
        security: [{ memberSession: [] }, { memberCookie: [] }],
        params: campaignParams,
        body: entryBody,
        response: {
          200: jsonAnswer('The first verdict again.', { $ref: 'Entry#' }),
          201: jsonAnswer('You are in: `won` or `waitlisted`.', { $ref: 'Entry#' }),
          202: jsonAnswer('Queued intake: durably stored, the verdict follows.', { $ref: 'PendingEntry#' }),
          401: problemAnswer('A session or token is needed.'),
          403: problemAnswer('`ineligible`, or a cookie from a foreign page.'),
          409: problemAnswer('`not-open` with `opensAt`, or `paused`.'),
          410: problemAnswer('`sold-out` or `closed`, with the receipt of that record.'),
          413: problemAnswer('The body is larger than 64 KiB.'),
          422: problemAnswer('The answers do not fit the survey.'),
          ...commonRefusals,
        },
      },
    },
    async (request, reply) => {
      const { campaignId } = request.params;
      const memberKey = await requireMember(deps, request, campaignId);
      const campaign = await publishedCampaign(deps, campaignId);
      const entered = await enter(deps, campaign, memberKey, request.body.answers);
      if (entered.kind === 'faulty')
        throw new HttpProblem('answers-invalid', {
          faults: entered.faults.map(({ pointer, message }) => ({ pointer: `/answers${pointer}`, message })),
        });
      const language = chooseLocale(undefined, request.headers['accept-language']);
      return sendVerdict(
        reply,
        { campaignId, memberKey, definition: campaign.definition, language },
        entered.answer,
      );
    },
  );
}
