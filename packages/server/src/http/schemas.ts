/** Schemas that members' and public routes share. What validates is what the OpenAPI document shows. */
import Type, { type Static, type TSchema } from 'typebox';

export const strict = { additionalProperties: false } as const;

export const campaignIdPattern = /^[a-z0-9][a-z0-9-]{0,63}$/;
export const campaignParams = Type.Object(
  {
    campaignId: Type.String({
      pattern: campaignIdPattern.source,
      description: 'Id of the campaign.',
      examples: ['spring-gift'],
    }),
  },
  strict,
);
export type CampaignParams = Static<typeof campaignParams>;

export const instant = (description: string) =>
  Type.String({ format: 'date-time', description, examples: ['2026-12-01T01:00:00.000Z'] });
export const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

export const iso = (ms: number): string => new Date(ms).toISOString();

/** RFC 9457. One schema for every refusal of the API. */
export const problemSchema = Type.Object(
  {
    type: Type.String({ description: 'Address of the explanation.', examples: ['/docs/errors#sold-out'] }),
    title: Type.String({ description: 'The same for every problem of this type.' }),
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    code: Type.String({ description: 'For programs; stable.', examples: ['sold-out'] }),
    detail: Type.Optional(Type.String({ description: 'What was wrong this time.' })),
    requestId: Type.Optional(
      Type.String({ description: 'To find the request in the logs; also in `X-Request-Id`.' }),
    ),
    faults: Type.Optional(
      Type.Array(Type.Object({ pointer: Type.String(), message: Type.String() }, strict), {
        description: 'All that is wrong with the request, with JSON pointers.',
      }),
    ),
    verdict: Type.Optional(Type.String({ description: 'On entries: the verdict behind this refusal.' })),
    opensAt: Type.Optional(Type.String({ format: 'date-time', description: 'With `not-open`.' })),
    receipt: Type.Optional(
      Type.Unsafe<unknown>({
        type: 'object',
        description: 'With `sold-out` and `closed`: the receipt of that record.',
      }),
    ),
  },
  { $id: 'Problem', description: 'RFC 9457 problem details. Problems may carry further members.' },
);

export const receiptSchema = Type.Object(
  {
    v: Type.Literal(1),
    campaign: Type.String(),
    lane: Type.Integer(),
    epoch: Type.Integer(),
    record: Type.String({ description: 'The text that was hashed.' }),
    path: Type.Array(Type.String(), { description: 'Sibling digests from the leaf to the root, hex.' }),
    prevHead: Type.String(),
    firstRecordNo: Type.Integer(),
    count: Type.Integer(),
    time: Type.Integer({ description: 'ms since the epoch, as it was hashed.' }),
    kid: Type.String(),
    signature: Type.String({ description: 'Ed25519, base64url.' }),
  },
  {
    $id: 'Receipt',
    description: 'The signed statement of one record; checked offline with the public keys.',
  },
);

export const problemAnswer = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
});
export const jsonAnswer = (description: string, schema: TSchema | { $ref: string }) => ({
  description,
  content: { 'application/json': { schema } },
});

/** Refusals that every route can give. */
export const commonRefusals = {
  400: problemAnswer('The request is not valid.'),
  404: problemAnswer('There is no such campaign.'),
  429: problemAnswer('Too many requests; see Retry-After.'),
  503: problemAnswer('Not now; nothing was decided. See Retry-After.'),
};
