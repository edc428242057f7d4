/** A campaign as the API shows it, written out field by field: what the ledger gains later is not shown by accident. */
import type { FastifyReply } from 'fastify';
import type { Static } from 'typebox';
import type { Campaign } from '../../ledger.ts';
import { refusal } from './refusals.ts';
import { type campaignView, type laneView, timeOf, timeOrNull } from './schemas.ts';

export type CampaignView = Static<typeof campaignView>;

export function viewOf(campaign: Campaign): CampaignView {
  const { id, state, version, definition, createdAt, updatedAt, publishedAt, memberCount, voucherCodeCount } =
    campaign;
  return {
    id,
    state,
    version,
    definition,
    createdAt: timeOf(createdAt),
    updatedAt: timeOf(updatedAt),
    publishedAt: timeOrNull(publishedAt),
    memberCount,
    voucherCodeCount,
    lane: laneOf(campaign),
  };
}

function laneOf({ lane }: Campaign): Static<typeof laneView> | null {
  if (lane === null) return null;
  const { capacity, free, reserved, held, issued, waiting, waitlistLimit, startsAt, endsAt, closeReason } =
    lane;
  const numbers = { capacity, free, reserved, held, issued, void: lane.void, waiting, waitlistLimit };
  return {
    ...numbers,
    entries: lane.seq,
    records: lane.recordNo,
    soldOut: lane.soldOutRecordNo !== null,
    startsAt: timeOf(startsAt),
    endsAt: timeOrNull(endsAt),
    closeReason,
  };
}

/** Answers with the campaign and its ETag. The ETag guards edits, not caches: stock moves without it, so nothing is cached. */
export function sendCampaign(reply: FastifyReply, campaign: Campaign, status = 200): CampaignView {
  reply.code(status).header('etag', `"${campaign.version}"`).header('cache-control', 'no-store');
  return viewOf(campaign);
}

/** Answers with a campaign as it would be: without an ETag, because there is no such version. */
export function sendForeseen(reply: FastifyReply, campaign: Campaign, status = 200): CampaignView {
  reply.code(status).header('cache-control', 'no-store');
  return viewOf(campaign);
}

/** The version that If-Match asks for; null for `*`, undefined without the header. */
export function expectedVersion(ifMatch: string | undefined): number | null | undefined {
  if (ifMatch === undefined) return undefined;
  if (ifMatch.trim() === '*') return null;
  const version = /^"(\d{1,15})"$/.exec(ifMatch.trim())?.[1];
  // A list, a weak tag or another's tag cannot be the version we gave.
  if (version === undefined) throw refusal('version-changed');
  return Number(version);
}

/** Throws `version-changed` when If-Match names another version. */
export function checkVersion(campaign: Campaign, ifMatch: string | undefined): void {
  const expected = expectedVersion(ifMatch);
  if (typeof expected === 'number' && expected !== campaign.version) {
    throw refusal('version-changed', { headers: { etag: `"${campaign.version}"` } });
  }
}
