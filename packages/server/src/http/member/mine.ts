/**
 * `GET /v1/campaigns/{campaignId}/entries/mine`: the member's own result, as JSON or as events until it is final. The voucher itself comes only when
 * asked for by name, because showing it is durable: once shown, its unit can never be given to another.
 */
import type { MemberKey } from '@doorbuster/core';
import { chooseLocale } from '@doorbuster/web';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import type { MemberEntry, Voucher } from '../../ledger.ts';
import type { KnownCampaign } from '../../live/campaign-book.ts';
import type { FinalRecords } from '../../live/final-records.ts';
import { requireMember } from '../auth/authenticate.ts';
import type { HttpDeps } from '../deps.ts';
import { HttpProblem } from '../problem.ts';
import {
  type CampaignParams,
  campaignParams,
  commonRefusals,
  instant,
  iso,
  problemAnswer,
  strict,
} from '../schemas.ts';
import { type EventStream, type EventStreams, wantsEvents } from '../server-sent-events.ts';
import { opening } from './entries.ts';
import { publishedCampaign } from './enter.ts';
import { isFinal, type OwnEntry, ownEntry } from './own-entry.ts';
import { sendRefusal } from './verdict-answer.ts';

const query = Type.Object(
  {
    voucher: Type.Optional(
      Type.Literal('1', { description: 'Show the voucher too. Durable: it counts as shown from then on.' }),
    ),
  },
  strict,
);

const delivery = Type.Object(
  {
    state: Type.Union([
      Type.Literal('due'),
      Type.Literal('sending'),
      Type.Literal('unknown'),
      Type.Literal('delivered'),
      Type.Literal('parked'),
      Type.Literal('cancelled'),
    ]),
    voucherReady: Type.Boolean({ description: 'The voucher can be asked for with `?voucher=1`.' }),
  },
  strict,
);
const voucher = Type.Object(
  {
    code: Type.String(),
    pin: Type.Optional(Type.String()),
    url: Type.Optional(Type.String()),
    validUntil: Type.Optional(Type.String()),
  },
  { ...strict, description: 'Only with `?voucher=1`, only to its owner, once it is ready.' },
);
const mine = Type.Object(
  {
    verdict: Type.Union([Type.Literal('won'), Type.Literal('waitlisted'), Type.Literal('pending')]),
    seq: Type.Optional(Type.Integer()),
    unit: Type.Optional(Type.Integer()),
    at: Type.Optional(instant('When it was stored.')),
    repeated: Type.Optional(Type.Literal(true)),
    status: Type.Optional(
      Type.Union([Type.Literal('live'), Type.Literal('promoted'), Type.Literal('revoked')], {
        description: 'What became of the verdict.',
      }),
    ),
    final: Type.Boolean({ description: 'Nothing changes any more, short of a person acting.' }),
    contact: Type.Optional(Type.String({ description: 'Where the voucher goes, masked.' })),
    delivery: Type.Optional(delivery),
    voucher: Type.Optional(voucher),
    opening: Type.Optional(opening),
    receipt: Type.Optional(Type.Unsafe<unknown>({ $ref: 'Receipt#' })),
  },
  { ...strict, $id: 'OwnEntry' },
);

/** Deliveries are settled by workers of any process, so their state is asked for while somebody watches it. */
const askAgainMs = 2_000;

export function mineRoutes(
  app: FastifyInstance,
  deps: HttpDeps,
  finals: FinalRecords,
  streams: EventStreams,
): void {
  app.addSchema(mine);
  app.get<{ Params: CampaignParams; Querystring: { voucher?: '1' } }>(
    '/v1/campaigns/:campaignId/entries/mine',
    {
      // A HEAD of a stream would never end.
      exposeHeadRoute: false,
      config: { countsAddress: true },
      schema: {
        operationId: 'getOwnEntry',
        tags: ['member'],
        summary: 'The own result.',
        description:
          'With `Accept: text/event-stream` an event `entry` now and at every change, until it is final.',
        security: [{ memberSession: [] }, { memberCookie: [] }],
        params: campaignParams,
        querystring: query,
        response: {
          200: {
            description: 'The entry, or that it is pending.',
            content: {
              'application/json': { schema: { $ref: 'OwnEntry#' } },
              'text/event-stream': { schema: { type: 'string' } },
            },
          },
          401: problemAnswer('A session or token is needed.'),
          403: problemAnswer('Queued intake: the entry was refused as `ineligible`.'),
          410: problemAnswer('Queued intake: the entry came after the last unit, or after the end.'),
          ...commonRefusals,
        },
      },
    },
    async (request, reply) => {
      const { campaignId } = request.params;
      const memberKey = await requireMember(deps, request, campaignId);
      const campaign = await publishedCampaign(deps, campaignId);
      void reply.header('cache-control', 'no-store').header('vary', 'Authorization, Cookie, Accept');
      if (wantsEvents(request)) {
        watch(
          deps,
          finals,
          campaign,
          memberKey,
          streams.open(request, reply),
          request.headers['last-event-id'] as string | undefined,
        );
        return reply;
      }
      const revealed =
        request.query.voucher === '1' ? await reveal(deps, request, campaignId, memberKey) : null;
      const own = await ownEntry(deps, finals, campaign, memberKey);
      return sendOwn(reply, request, campaign, memberKey, own, revealed);
    },
  );
}

/** A foreign page must not be able to spend a member's unit by a link. */
async function reveal(
  { ledger }: HttpDeps,
  request: FastifyRequest,
  campaignId: string,
  memberKey: MemberKey,
): Promise<Voucher | null> {
  if (request.headers['sec-fetch-site'] === 'cross-site') throw new HttpProblem('origin-refused');
  return ledger.deliveries.reveal(campaignId, memberKey);
}

function sendOwn(
  reply: FastifyReply,
  request: FastifyRequest,
  campaign: KnownCampaign,
  memberKey: MemberKey,
  own: OwnEntry,
  revealed: Voucher | null,
): FastifyReply {
  if (own.kind === 'none') throw new HttpProblem('no-entry');
  if (own.kind === 'refused') {
    const language = chooseLocale(undefined, request.headers['accept-language']);
    return sendRefusal(
      reply,
      { campaignId: campaign.id, memberKey, definition: campaign.definition, language },
      own.answer,
    );
  }
  void reply.header('content-type', 'application/json; charset=utf-8');
  if (own.kind === 'pending')
    return reply.header('retry-after', 1).send({ verdict: 'pending', final: false });
  return reply.send(ownBody(own.entry, memberKey, revealed));
}

/** As text, because the receipt is JSON already. */
export function ownBody(entry: MemberEntry, memberKey: MemberKey, revealed: Voucher | null): string {
  const { verdict, seq, unit, at, status, maskedContact, salt, delivery: sent } = entry;
  const head = JSON.stringify({
    verdict,
    seq,
    ...(unit === null ? {} : { unit }),
    at: iso(at),
    repeated: true,
    status,
    final: isFinal(entry),
    ...(maskedContact === null ? {} : { contact: maskedContact }),
    ...(sent ? { delivery: { state: sent.state, voucherReady: sent.voucherReady } } : {}),
    ...(revealed ? { voucher: revealed } : {}),
    ...(salt === null ? {} : { opening: { salt, memberKey } }),
  });
  return `${head.slice(0, -1)},"receipt":${entry.receipt}}`;
}

/**
 * Events of one member: at once, when the entry is decided, and while the delivery is under way. An event's id names the state it tells, so a
 * reader that comes back is not told again what it knows.
 */
function watch(
  deps: HttpDeps,
  finals: FinalRecords,
  campaign: KnownCampaign,
  memberKey: MemberKey,
  stream: EventStream,
  seen: string | undefined,
): void {
  let told = seen;
  let cancel = (): void => undefined;
  let ended = false;
  const look = async (): Promise<void> => {
    cancel();
    const current = deps.campaigns.peek(campaign.id) ?? campaign;
    const own = await ownEntry(deps, finals, current, memberKey).catch(() => null);
    if (ended) return;
    if (own) {
      const { id, data, final } = eventOf(own, memberKey);
      if (id !== told) stream.send('entry', id, data);
      told = id;
      if (final) return stream.end();
    }
    cancel();
    cancel = deps.clock.setTimer(askAgainMs, () => void look());
  };
  const unsubscribe = deps.admission.onDecided(campaign.id, memberKey, () => void look());
  stream.onEnd(() => {
    ended = true;
    cancel();
    unsubscribe();
  });
  void look();
}

function eventOf(own: OwnEntry, memberKey: MemberKey): { id: string; data: unknown; final: boolean } {
  if (own.kind === 'none') return { id: 'none', data: { verdict: null, final: false }, final: false };
  if (own.kind === 'pending')
    return { id: 'pending', data: { verdict: 'pending', final: false }, final: false };
  if (own.kind === 'refused') {
    const { decision, receipt } = own.answer;
    return {
      id: decision.verdict,
      data: {
        verdict: decision.verdict,
        final: true,
        ...(receipt ? { receipt: JSON.parse(receipt) as unknown } : {}),
      },
      final: true,
    };
  }
  const { verdict, status, delivery: sent } = own.entry;
  return {
    id: `${verdict}.${status}.${sent?.state ?? 'none'}.${sent?.voucherReady ?? false}`,
    data: JSON.parse(ownBody(own.entry, memberKey, null)) as unknown,
    final: isFinal(own.entry),
  };
}
