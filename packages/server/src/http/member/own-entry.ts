/**
 * What a member's own entry stands at, from one place for JSON, events and the page: the entry with its fate, still pending, the refusal that a queued
 * entry met, or nothing.
 */
import type { MemberKey } from '@doorbuster/core';
import type { AdmissionAnswer, MemberEntry } from '../../ledger.ts';
import type { KnownCampaign } from '../../live/campaign-book.ts';
import { finalRecord } from '../../admission/gate.ts';
import type { FinalRecords } from '../../live/final-records.ts';
import type { HttpDeps } from '../deps.ts';

export type OwnEntry =
  | { readonly kind: 'entry'; readonly entry: MemberEntry }
  | { readonly kind: 'pending' }
  | { readonly kind: 'refused'; readonly answer: AdmissionAnswer }
  | { readonly kind: 'none' };

const none: OwnEntry = { kind: 'none' };

export async function ownEntry(
  { ledger, admission }: Pick<HttpDeps, 'ledger' | 'admission'>,
  finals: FinalRecords,
  campaign: KnownCampaign,
  memberKey: MemberKey,
): Promise<OwnEntry> {
  // Asked before the ledger: an entry that is decided in between is then found there.
  const pending = admission.isPending(campaign.id, memberKey);
  const entry = await ledger.admission.entryOf(campaign.id, memberKey);
  if (entry) return { kind: 'entry', entry };
  if (campaign.intake !== 'queued') return none;
  if (pending) return { kind: 'pending' };
  const refusal = admission.lastRefusal(campaign.id, memberKey);
  if (refusal) return { kind: 'refused', answer: refusal };
  const answer = await finalAnswer(finals, campaign);
  return answer ? { kind: 'refused', answer } : none;
}

/** The refusal of the lane's SOLD_OUT or CLOSED record: what a queued entry that is nowhere else must have met, or would meet. */
async function finalAnswer(
  finals: FinalRecords,
  { id, lane }: KnownCampaign,
): Promise<AdmissionAnswer | null> {
  const recordNo = lane && finalRecord(lane);
  if (!lane || recordNo === null) return null;
  const record = await finals.of(id, recordNo);
  if (!record) return null;
  const verdict = lane.closedRecordNo === recordNo ? 'closed' : 'sold-out';
  return { decision: { verdict, recordNo }, receipt: record.receipt, salt: null, at: record.at };
}

/** Nothing about it can change any more, short of a person acting. */
export function isFinal({ status, verdict, delivery }: MemberEntry): boolean {
  if (status === 'revoked') return true;
  if (verdict === 'waitlisted' && status === 'live') return false;
  return delivery === null || delivery.state === 'delivered' || delivery.state === 'cancelled';
}
