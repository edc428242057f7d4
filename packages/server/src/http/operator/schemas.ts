/** Schemas that several resources of the operator's API share: ids, pages, times, a campaign as it is shown. */
import type { EpochMs } from '@doorbuster/core';
import Type, { type Static, type TSchema } from 'typebox';
import type { CampaignDefinition } from '../../campaign/definition.ts';

const strict = { additionalProperties: false } as const;

export const campaignId = Type.String({
  pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
  description: 'Id of the campaign.',
  examples: ['spring-drop'],
});
export const memberId = Type.String({
  minLength: 1,
  maxLength: 256,
  description: "The shop's own id of the member. Never stored as it is.",
  examples: ['member-1042'],
});
export const seq = Type.Integer({
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'Number of the entry.',
  examples: [17],
});
/** Times are RFC 3339 in UTC in every answer, as on the member's side; in records they stay the milliseconds that were hashed. */
export const instant = (description: string) =>
  Type.String({ format: 'date-time', description, examples: ['2026-12-01T01:00:00.000Z'] });

/** A time as it is answered. */
export function timeOf(at: EpochMs): string {
  return new Date(at).toISOString();
}
export function timeOrNull(at: EpochMs | null): string | null {
  return at === null ? null : timeOf(at);
}

/** A closed set of words. */
export const oneOf = <const T extends readonly string[]>(
  words: T,
  options: { readonly description?: string; readonly default?: T[number] } = {},
) => Type.Unsafe<T[number]>({ type: 'string', enum: [...words], ...options });
export const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

export const campaignParams = Type.Object({ campaignId }, strict);
export type CampaignParams = Static<typeof campaignParams>;

/** What a POST would do, checked against the state of now. */
export const dryRun = {
  dryRun: Type.Optional(
    Type.Boolean({
      default: false,
      description:
        'Check only: nothing is changed, a refusal is the one that would come, and a campaign is answered as it would be.',
    }),
  ),
};
export const dryRunQuery = Type.Object(dryRun, strict);
export type DryRun = { Querystring: Static<typeof dryRunQuery> };

export const pageQuery = {
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 200, default: 50, description: 'Items of a page.' }),
  ),
  after: Type.Optional(
    Type.String({ minLength: 1, maxLength: 512, description: 'Cursor of the page before (`next`).' }),
  ),
};

export function pageOf<T extends TSchema>(item: T) {
  return Type.Object(
    {
      items: Type.Array(item),
      next: nullable(
        Type.String({ description: 'Cursor of the next page, also in the `Link` header; null on the last.' }),
      ),
    },
    strict,
  );
}

export const definition = Type.Unsafe<CampaignDefinition>({ $ref: 'CampaignDefinition#' });

export const laneView = Type.Object(
  {
    capacity: Type.Integer({ description: 'Units in all = free + reserved + held + issued + void.' }),
    free: Type.Integer({ description: 'Units that the next entries can win.' }),
    reserved: Type.Integer({ description: 'Safety stock.' }),
    held: Type.Integer({ description: 'Units held for a payment.' }),
    issued: Type.Integer({ description: 'Units that members have.' }),
    void: Type.Integer({ description: 'Units taken back after their voucher was shown.' }),
    waiting: Type.Integer({ description: 'Entries on the waitlist.' }),
    waitlistLimit: Type.Integer(),
    entries: Type.Integer({ description: 'Entries so far: the last seq.' }),
    records: Type.Integer({ description: 'Records so far: the last recordNo.' }),
    soldOut: Type.Boolean({ description: 'Neither a unit nor a place on the waitlist is left.' }),
    startsAt: instant('When it opens.'),
    endsAt: nullable(instant('When it closes by itself.')),
    closeReason: nullable(oneOf(['ends-at', 'operator', 'sold-out'])),
  },
  { ...strict, description: 'Null while draft.' },
);

export const campaignView = Type.Object(
  {
    id: campaignId,
    state: oneOf(['draft', 'scheduled', 'open', 'paused', 'closed']),
    version: Type.Integer({ description: 'Rises with every change of definition or state; the ETag.' }),
    definition,
    createdAt: instant('Created.'),
    updatedAt: instant('Last changed.'),
    publishedAt: nullable(instant('Published; null while draft.')),
    memberCount: Type.Integer({ description: 'Members imported.' }),
    voucherCodeCount: Type.Integer({ description: 'Voucher codes imported.' }),
    lane: nullable(laneView),
  },
  { ...strict, $id: 'Campaign' },
);
export const campaign = Type.Unsafe<Static<typeof campaignView>>({ $ref: 'Campaign#' });

export const problem = Type.Object(
  {
    type: Type.String({
      description: 'Address of the meaning, relative to this server.',
      examples: ['/docs/errors#state-conflict'],
    }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable name of the problem type.' }),
    requestId: Type.String({ description: 'Also in the log and in the audit record.' }),
    detail: Type.Optional(Type.String()),
    reason: Type.Optional(Type.String({ description: 'Stable, finer than `code`.' })),
    remedy: Type.Optional(Type.String()),
    faults: Type.Optional(
      Type.Array(
        Type.Object({
          pointer: Type.String({ description: 'JSON pointer to what is wrong.' }),
          message: Type.String(),
        }),
      ),
    ),
  },
  {
    $id: 'Problem',
    additionalProperties: true,
    description: 'RFC 9457. Further members depend on the type.',
  },
);
