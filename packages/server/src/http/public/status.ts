/**
 * `GET .../status`, polled by every open page, and `GET .../live`, its counts as events. Answered from memory: neither reaches the ledger, and a cache
 * in front may keep the status for a second.
 */
import type { LaneState } from '@doorbuster/core';
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import type { KnownCampaign } from '../../live/campaign-book.ts';
import type { FinalRecords } from '../../live/final-records.ts';
import { eventOf, haltedEventOf } from '../../live/live.ts';
import { isHalted } from '../../ledger.ts';
import type { HttpDeps } from '../deps.ts';
import { publishedCampaign } from '../member/enter.ts';
import {
  type CampaignParams,
  campaignParams,
  commonRefusals,
  instant,
  iso,
  jsonAnswer,
  nullable,
  strict,
} from '../schemas.ts';
import type { EventStreams } from '../server-sent-events.ts';

const campaignStatus = Type.Object(
  {
    campaignId: Type.String(),
    state: Type.Union(
      [
        Type.Literal('scheduled'),
        Type.Literal('open'),
        Type.Literal('paused'),
        Type.Literal('closed'),
        Type.Literal('halted'),
      ],
      {
        description:
          '`halted`: the lane stands still for a person, who checks that no entry is missing. Until then nothing new is decided.',
      },
    ),
    startsAt: instant('When it opens.'),
    endsAt: nullable(instant('When it closes by itself.')),
    serverTime: instant("The server's clock. Ask with `Cache-Control: no-store` to measure your own by it."),
    soldOut: Type.Boolean({ description: 'Neither a unit nor a place on the waitlist is left.' }),
    soldOutAt: nullable(instant('When it sold out; null while it is not.')),
    remaining: Type.Integer({ description: 'Units free now.' }),
    capacity: Type.Integer({ description: 'Units offered to the public.' }),
  },
  { ...strict, $id: 'CampaignStatus' },
);

export function statusRoutes(
  app: FastifyInstance,
  deps: HttpDeps,
  finals: FinalRecords,
  streams: EventStreams,
): void {
  app.addSchema(campaignStatus);
  app.get<{ Params: CampaignParams }>(
    '/v1/campaigns/:campaignId/status',
    {
      config: { countsAddress: true },
      schema: {
        operationId: 'getCampaignStatus',
        tags: ['public'],
        summary: 'How the campaign stands.',
        description:
          'Cacheable for a second; `ETag` changes with the state of the campaign, not with the clock.',
        params: campaignParams,
        response: {
          200: jsonAnswer('The status.', { $ref: 'CampaignStatus#' }),
          304: { description: 'Not changed.', type: 'null' },
          ...commonRefusals,
        },
      },
    },
    async (request, reply) => {
      const campaign = await publishedCampaign(deps, request.params.campaignId);
      const lane = campaign.lane!;
      const state = isHalted(deps.ledger, campaign.id) ? 'halted' : stateOf(lane, deps.clock.now());
      const etag = `"${campaign.version}-${lane.epoch}-${lane.recordNo}-${state}"`;
      void reply.header('etag', etag).header('cache-control', 'public, max-age=1').header('vary', 'Origin');
      if (request.headers['if-none-match'] === etag) return reply.code(304).send();
      return statusOf(campaign, lane, state, await soldOutAt(finals, lane), deps.clock.now());
    },
  );

  app.get<{ Params: CampaignParams }>(
    '/v1/campaigns/:campaignId/live',
    {
      // A HEAD of a stream would never end.
      exposeHeadRoute: false,
      config: { countsAddress: true },
      schema: {
        operationId: 'watchCampaign',
        tags: ['public'],
        summary: 'Live counts, as server-sent events.',
        description:
          'An event `counts` now and at every change, at most four a second. Comes back with `Last-Event-ID` without being told again what it knows.',
        params: campaignParams,
        response: {
          200: { description: 'Events.', content: { 'text/event-stream': { schema: { type: 'string' } } } },
          ...commonRefusals,
        },
      },
    },
    async (request, reply) => {
      const { id: campaignId, lane } = await publishedCampaign(deps, request.params.campaignId);
      const stream = streams.open(request, reply);
      const now = isHalted(deps.ledger, campaignId) ? haltedEventOf(lane!) : eventOf(lane!);
      if (request.headers['last-event-id'] !== now.id) stream.send('counts', now.id, now.counts);
      stream.onEnd(
        deps.live.subscribe(request.params.campaignId, ({ id, counts }) => stream.send('counts', id, counts)),
      );
      return reply;
    },
  );
}

/** Due by the clock, even before the ledger has written it: a page may not show "open" early, and need not show it late. */
function stateOf(lane: LaneState, now: number): 'scheduled' | 'open' | 'paused' | 'closed' {
  if (lane.phase !== 'closed' && lane.endsAt !== null && now >= lane.endsAt) return 'closed';
  return lane.phase === 'scheduled' && now >= lane.startsAt ? 'open' : lane.phase;
}

async function soldOutAt(finals: FinalRecords, lane: LaneState): Promise<number | null> {
  if (lane.soldOutRecordNo === null) return null;
  const record = await finals.of(lane.campaign, lane.soldOutRecordNo);
  return record?.at ?? null;
}

function statusOf(
  { id }: KnownCampaign,
  lane: LaneState,
  state: string,
  soldOut: number | null,
  now: number,
) {
  return {
    campaignId: id,
    state,
    startsAt: iso(lane.startsAt),
    endsAt: lane.endsAt === null ? null : iso(lane.endsAt),
    serverTime: iso(now),
    soldOut: lane.soldOutRecordNo !== null,
    soldOutAt: soldOut === null ? null : iso(soldOut),
    remaining: lane.free,
    capacity: lane.capacity - lane.reserved,
  };
}
