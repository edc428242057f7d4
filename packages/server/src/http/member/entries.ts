/**
 * `POST /v1/campaigns/{campaignId}/entries`: the full way of the hot route. Authentication first, then what memory knows for certain, then the body, its
 * answers and admission. Who comes after sold-out is told so whatever the body holds: it is neither parsed nor judged. `fast-entries.ts` serves the plain
 * requests of a listening server in the same order; what it passes on, and every request of `inject`, is answered here.
 */
import { chooseLocale } from '@doorbuster/web';
import type { FastifyInstance, FastifyReply, FastifyRequest, RequestPayload } from 'fastify';
import Type, { type Static } from 'typebox';
import { requireMember } from '../auth/authenticate.ts';
import type { HttpDeps } from '../deps.ts';
import type { MemberKey } from '@doorbuster/core';
import { HttpProblem } from '../problem.ts';
import type { KnownCampaign } from '../../live/campaign-book.ts';
import { readAgain } from '../passed-on.ts';
import {
  type CampaignParams,
  campaignIdPattern,
  campaignParams,
  commonRefusals,
  instant,
  jsonAnswer,
  problemAnswer,
  strict,
} from '../schemas.ts';
import { enter, publishedCampaign } from './enter.ts';
import { type Addressee, sendVerdict } from './verdict-answer.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** On entries: who asks, and where. Set before the body is read. */
    entrant: { readonly memberKey: MemberKey; readonly campaign: KnownCampaign } | null;
  }
}

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
  app.decorateRequest('entrant', null);
  app.post<{ Params: CampaignParams; Body: Static<typeof entryBody> }>(
    '/v1/campaigns/:campaignId/entries',
    {
      config: { countsAddress: true },
      preParsing: (request, reply, payload) => beforeTheBody(deps, request, reply, payload),
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
          'Safe to repeat: the member is the idempotency key, so a repeat gets the first verdict. An `Idempotency-Key` header is accepted and has no effect. What is certain without the body (`sold-out`, `closed`, `not-open` for who is not in) is told before the body is judged.',
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
      const { memberKey, campaign } = request.entrant!;
      const entered = await enter(deps, campaign, memberKey, request.body.answers);
      if (entered.kind === 'faulty')
        throw new HttpProblem('answers-invalid', {
          faults: entered.faults.map(({ pointer, message }) => ({ pointer: `/answers${pointer}`, message })),
        });
      return sendVerdict(reply, addressee(request), entered.answer);
    },
  );
}

/** Answers without the body where it decides nothing, or gives the stream to read it from. */
async function beforeTheBody(
  deps: HttpDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  payload: RequestPayload,
): Promise<RequestPayload | undefined> {
  const { campaignId } = request.params as CampaignParams;
  // An id that cannot be one is the schema's to refuse; nothing is stored under it.
  if (!campaignIdPattern.test(campaignId)) return payload;
  const memberKey = await requireMember(deps, request, campaignId);
  const campaign = await publishedCampaign(deps, campaignId);
  request.entrant = { memberKey, campaign };
  const answer = deps.admission.refusal(campaign, memberKey);
  if (!answer) return readAgain(request.raw) ?? payload;
  sendVerdict(reply, addressee(request), { kind: 'decided', answer });
  return undefined;
}

function addressee({ entrant, headers }: FastifyRequest): Addressee {
  const { memberKey, campaign } = entrant!;
  const language = chooseLocale(undefined, headers['accept-language']);
  return { campaignId: campaign.id, memberKey, definition: campaign.definition, language };
}
