/**
 * The definition of a campaign as a shop writes it: in the API (JSON), in the CLI (YAML) and in the ledger (JSON). One schema, strict:
 * unknown fields are refused. What a schema cannot say (conditions of a survey, order of times) is checked by `content-faults.ts`.
 */
import type { CampaignTerms, Eligibility, SurveyDefinition } from '@doorbuster/core';
import Type, { type Static, type TSchema, type TUnion, type TUnsafe } from 'typebox';

const strict = { additionalProperties: false } as const;
const slug = '^[a-z0-9][a-z0-9-]{0,63}$';
const instant = Type.String({
  format: 'date-time',
  description: 'RFC 3339 with its offset, for example 2026-12-01T10:00:00+09:00',
});

/**
 * A union whose branch is named by one field: the validator then reports the faults of that branch alone, and the API's document can say so
 * (`discriminator`).
 */
function tagged<const T extends readonly TSchema[]>(
  tag: string,
  branches: [...T],
): TUnsafe<Static<TUnion<[...T]>>> {
  return Type.Unsafe({
    type: 'object',
    required: [tag],
    discriminator: { propertyName: tag },
    oneOf: branches,
  });
}

const localizedText = Type.Object(
  {
    ko: Type.Optional(Type.String({ minLength: 1, maxLength: 4000 })),
    en: Type.Optional(Type.String({ minLength: 1, maxLength: 4000 })),
  },
  {
    ...strict,
    minProperties: 1,
    description: 'Text per language; shown in the other language where one is missing',
  },
);
const option = Type.Object({ id: Type.String({ pattern: slug }), label: localizedText }, strict);
const condition = Type.Object(
  {
    question: Type.String({ pattern: slug }),
    anyOf: Type.Optional(Type.Array(Type.String({ pattern: slug }), { minItems: 1, maxItems: 100 })),
    min: Type.Optional(Type.Number()),
    max: Type.Optional(Type.Number()),
  },
  strict,
);
const base = {
  id: Type.String({ pattern: slug }),
  label: localizedText,
  required: Type.Optional(Type.Boolean()),
  showIf: Type.Optional(condition),
};
const options = Type.Array(option, { minItems: 2, maxItems: 100 });
const qualifyingOptions = Type.Optional(
  Type.Array(Type.String({ pattern: slug }), { minItems: 1, maxItems: 100 }),
);

const question = tagged('type', [
  Type.Object({ ...base, type: Type.Literal('single'), options, qualifying: qualifyingOptions }, strict),
  Type.Object(
    {
      ...base,
      type: Type.Literal('multiple'),
      options,
      minChoices: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })),
      maxChoices: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
      qualifying: qualifyingOptions,
    },
    strict,
  ),
  Type.Object(
    {
      ...base,
      type: Type.Literal('text'),
      maxLength: Type.Optional(Type.Integer({ minimum: 1, maximum: 2000 })),
    },
    strict,
  ),
  Type.Object(
    {
      ...base,
      type: Type.Literal('number'),
      min: Type.Optional(Type.Number()),
      max: Type.Optional(Type.Number()),
      integer: Type.Optional(Type.Boolean()),
      qualifying: Type.Optional(
        Type.Object({ min: Type.Optional(Type.Number()), max: Type.Optional(Type.Number()) }, strict),
      ),
    },
    strict,
  ),
  Type.Object(
    {
      ...base,
      type: Type.Literal('scale'),
      min: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })),
      max: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
      minLabel: Type.Optional(localizedText),
      maxLabel: Type.Optional(localizedText),
    },
    strict,
  ),
]);

const surveySchema = Type.Object(
  {
    questions: Type.Array(question, { minItems: 1, maxItems: 50 }),
    screeningReason: Type.Optional(localizedText),
  },
  strict,
);

const rule = tagged('rule', [
  Type.Object(
    { rule: Type.Literal('purchased-since'), since: instant, reason: Type.Optional(localizedText) },
    strict,
  ),
  Type.Object(
    {
      rule: Type.Literal('min-orders'),
      orders: Type.Integer({ minimum: 1 }),
      reason: Type.Optional(localizedText),
    },
    strict,
  ),
  Type.Object(
    {
      rule: Type.Literal('tier'),
      anyOf: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: 50 }),
      reason: Type.Optional(localizedText),
    },
    strict,
  ),
  Type.Object(
    {
      rule: Type.Literal('tag'),
      anyOf: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: 50 }),
      reason: Type.Optional(localizedText),
    },
    strict,
  ),
]);

export const campaignDefinitionSchema = Type.Object(
  {
    kind: Type.Optional(Type.Literal('giveaway', { default: 'giveaway' })),
    title: localizedText,
    prize: localizedText,
    description: Type.Optional(localizedText),
    rules: Type.Optional(localizedText),
    startsAt: instant,
    endsAt: Type.Optional(Type.Union([instant, Type.Null()])),
    timeZone: Type.Optional(
      Type.String({ default: 'Asia/Seoul', description: 'IANA name; only how times are shown' }),
    ),
    stock: Type.Object(
      {
        capacity: Type.Integer({ minimum: 1, maximum: 10_000_000, description: 'Units in all' }),
        safetyStock: Type.Optional(
          Type.Integer({ minimum: 0, default: 0, description: 'Units reserved, not offered to the public' }),
        ),
        waitlistLimit: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000_000, default: 0 })),
        closeWhenSoldOut: Type.Optional(Type.Boolean({ default: true })),
      },
      strict,
    ),
    intake: Type.Optional(
      Type.Union([Type.Literal('direct'), Type.Literal('queued')], { default: 'direct' }),
    ),
    eligibility: Type.Optional(
      Type.Object(
        {
          audience: Type.Union([Type.Literal('anyone'), Type.Literal('listed')]),
          rules: Type.Optional(Type.Array(rule, { maxItems: 20 })),
        },
        strict,
      ),
    ),
    survey: Type.Optional(surveySchema),
    reward: Type.Object(
      {
        voucherSource: Type.Optional(
          Type.String({
            pattern: slug,
            default: 'pool',
            description: '`pool`, or the name of a configured remote source',
          }),
        ),
        messengers: Type.Array(Type.String({ pattern: slug }), {
          minItems: 1,
          maxItems: 5,
          description: 'Names of configured messengers, tried in order',
        }),
        message: Type.Optional(Type.Object({ subject: localizedText, body: localizedText }, strict)),
      },
      strict,
    ),
    page: Type.Optional(
      Type.Object(
        {
          returnUrl: Type.Optional(Type.String({ format: 'uri' })),
          loginUrl: Type.Optional(Type.String({ format: 'uri' })),
          notice: Type.Optional(localizedText),
        },
        strict,
      ),
    ),
  },
  { ...strict, $id: 'CampaignDefinition' },
);

export type CampaignDefinition = Static<typeof campaignDefinitionSchema>;

/** The terms that the lane lives by. Times in ms. */
export function termsOf(definition: CampaignDefinition): CampaignTerms {
  const { stock } = definition;
  return {
    capacity: stock.capacity,
    safetyStock: stock.safetyStock ?? 0,
    waitlistLimit: stock.waitlistLimit ?? 0,
    closeWhenSoldOut: stock.closeWhenSoldOut ?? true,
    startsAt: Date.parse(definition.startsAt),
    endsAt: definition.endsAt ? Date.parse(definition.endsAt) : null,
  };
}

/** The eligibility in core's words: times in ms, the default is anyone with a valid token. */
export function eligibilityOf(definition: CampaignDefinition): Eligibility {
  const rules = (definition.eligibility?.rules ?? []).map((r) =>
    r.rule === 'purchased-since' ? { ...r, since: Date.parse(r.since) } : r,
  );
  return { audience: definition.eligibility?.audience ?? 'anyone', rules: rules as Eligibility['rules'] };
}

export function surveyOf(definition: CampaignDefinition): SurveyDefinition | null {
  return (definition.survey as SurveyDefinition | undefined) ?? null;
}
