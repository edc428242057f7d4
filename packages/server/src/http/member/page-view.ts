/**
 * Which page a member sees: the state of the campaign and of their own entry, as the value that `@doorbuster/web` renders. The own entry comes
 * first: who is in sees their result whatever became of the campaign.
 */
import type { LaneState, LocalizedText, MemberKey } from '@doorbuster/core';
import type {
  CampaignView,
  MemberPageView,
  PageDelivery,
  PageEntry,
  PageForm,
  PageVoucher,
} from '@doorbuster/web';
import { finalRecord } from '../../admission/gate.ts';
import { ineligibleText } from '../../campaign/ineligible-text.ts';
import { surveyOf } from '../../campaign/definition.ts';
import { OperationalError } from '../../errors.ts';
import { type AdmissionAnswer, isHalted, type MemberEntry, type Voucher } from '../../ledger.ts';
import type { KnownCampaign } from '../../live/campaign-book.ts';
import type { FinalRecords } from '../../live/final-records.ts';
import type { HttpDeps } from '../deps.ts';
import { type OwnEntry, ownEntry } from './own-entry.ts';

export interface Visit {
  /** Null without a session. */
  readonly memberKey: MemberKey | null;
  readonly returnUrl: string | null;
  /** What was typed, when a form comes back. */
  readonly form?: PageForm;
  /** The entry was refused, with a reason to show. */
  readonly ineligible?: string;
  /** The form could not be taken now. */
  readonly retryAfterSeconds?: number;
}

type CommonPart = Omit<
  CampaignView,
  | 'state'
  | 'entry'
  | 'repeated'
  | 'retryAfterSeconds'
  | 'soldOutAtMs'
  | 'receiptJson'
  | 'opened'
  | 'reason'
  | 'closedAtMs'
  | 'signedIn'
  | 'sentAtMs'
>;

export async function pageView(
  deps: HttpDeps,
  finals: FinalRecords,
  campaign: KnownCampaign | null,
  visit: Visit,
): Promise<MemberPageView> {
  if (!campaign?.lane) return { state: 'not-found' };
  const { lane } = campaign;
  const halted = isHalted(deps.ledger, campaign.id);
  const { memberKey } = visit;
  const common = commonPart(deps, campaign, lane, visit);
  // Before the opening nobody has an entry, and that is when everybody reloads.
  const own: OwnEntry =
    memberKey === null || lane.phase === 'scheduled'
      ? { kind: 'none' }
      : await ownEntry(deps, finals, campaign, memberKey).catch(noneWhere(halted));
  if (own.kind === 'entry' && memberKey !== null)
    return resultView(deps, common, campaign, memberKey, own.entry);
  if (halted) return { ...common, state: 'halted' };
  if (own.kind === 'pending') return { ...common, state: 'pending' };
  const refused = visit.ineligible ?? ineligibleOf(own);
  if (refused !== null)
    return { ...common, state: 'not-eligible', reason: ineligibleText(campaign.definition, refused) };
  if (visit.retryAfterSeconds !== undefined)
    return { ...common, state: 'busy', retryAfterSeconds: visit.retryAfterSeconds };
  return laneView(deps, finals, common, campaign, lane, memberKey !== null);
}

/** A halted lane that shows no entry of a member proves nothing, so the ledger throws; the page says that it is being looked into. */
function noneWhere(halted: boolean): (error: unknown) => OwnEntry {
  return (error) => {
    if (halted && error instanceof OperationalError && error.code === 'LEDGER_HALTED')
      return { kind: 'none' };
    throw error;
  };
}

function commonPart(
  { clock }: HttpDeps,
  { id, definition }: KnownCampaign,
  lane: LaneState,
  visit: Visit,
): CommonPart {
  const { page } = definition;
  const survey = surveyOf(definition);
  const text = (value: unknown) => value as LocalizedText;
  const returnUrl = visit.returnUrl ?? page?.returnUrl;
  return {
    campaignId: id,
    title: text(definition.title),
    prize: text(definition.prize),
    ...(definition.description ? { description: text(definition.description) } : {}),
    ...(definition.rules ? { rules: text(definition.rules) } : {}),
    ...(page?.notice ? { notice: text(page.notice) } : {}),
    quantity: lane.capacity - lane.reserved,
    remaining: lane.free,
    startsAtMs: lane.startsAt,
    endsAtMs: lane.endsAt,
    timeZone: definition.timeZone ?? 'Asia/Seoul',
    serverNowMs: clock.now(),
    ...(survey ? { survey } : {}),
    ...(visit.form ? { form: visit.form } : {}),
    ...(returnUrl ? { returnUrl } : {}),
    ...(page?.loginUrl ? { loginUrl: page.loginUrl } : {}),
  };
}

function ineligibleOf(own: OwnEntry): string | null {
  if (own.kind !== 'refused') return null;
  const { decision }: AdmissionAnswer = own.answer;
  return decision.verdict === 'ineligible' ? decision.reason : null;
}

/** The states of the lane, for who has no entry. */
async function laneView(
  deps: HttpDeps,
  finals: FinalRecords,
  common: CommonPart,
  { id }: KnownCampaign,
  lane: LaneState,
  signedIn: boolean,
): Promise<MemberPageView> {
  const now = deps.clock.now();
  const recordNo = finalRecord(lane);
  if (recordNo !== null) {
    const record = await finals.of(id, recordNo);
    const receipt = record ? { receiptJson: record.receipt } : {};
    if (recordNo === lane.soldOutRecordNo)
      return {
        ...common,
        state: 'sold-out',
        soldOutAtMs: record?.at ?? now,
        final: lane.phase === 'closed',
        ...receipt,
      };
    return { ...common, state: 'closed', closedAtMs: record?.at ?? now, signedIn, ...receipt };
  }
  if (lane.endsAt !== null && now >= lane.endsAt)
    return { ...common, state: 'closed', closedAtMs: lane.endsAt, signedIn };
  if (lane.phase === 'paused') return { ...common, state: 'paused' };
  // Due by the server's clock: the ledger opens it at the first question.
  const opened = lane.phase === 'open' || now >= lane.startsAt;
  if (!signedIn) return { ...common, state: 'sign-in-needed', opened };
  return { ...common, state: opened ? 'open' : 'before' };
}

async function resultView(
  deps: HttpDeps,
  common: CommonPart,
  campaign: KnownCampaign,
  memberKey: MemberKey,
  entry: MemberEntry,
): Promise<MemberPageView> {
  const revoked = entry.status === 'revoked';
  const shown =
    !revoked && entry.delivery?.voucherReady
      ? await deps.ledger.deliveries.reveal(campaign.id, memberKey)
      : null;
  const view: PageEntry = {
    verdict: entry.verdict,
    seq: entry.seq,
    ...(entry.unit === null ? {} : { unit: entry.unit }),
    enteredAtMs: entry.at,
    receiptJson: entry.receipt,
    ...(entry.status === 'promoted' ? { promoted: true } : {}),
    ...(revoked || entry.delivery ? { delivery: deliveryOf(entry, shown !== null) } : {}),
    ...(shown ? { voucher: voucherOf(shown) } : {}),
  };
  const member = entry.maskedContact === null ? {} : { member: { maskedContact: entry.maskedContact } };
  const won = entry.verdict === 'won' || entry.status === 'promoted';
  return { ...common, ...member, state: won ? 'won' : 'waitlisted', entry: view };
}

function deliveryOf({ status, delivery }: MemberEntry, shown: boolean): PageDelivery {
  if (status === 'revoked' || delivery?.state === 'cancelled') return { state: 'cancelled' };
  if (delivery?.state === 'delivered') return { state: 'sent' };
  if (shown) return { state: 'ready' };
  return { state: delivery?.state === 'parked' ? 'delayed' : 'preparing' };
}

function voucherOf({ code, pin, url, validUntil }: Voucher): PageVoucher {
  const expiresAtMs = validUntil === undefined ? Number.NaN : Date.parse(validUntil);
  return {
    code,
    ...(pin === undefined ? {} : { pin }),
    ...(url === undefined ? {} : { url }),
    ...(Number.isFinite(expiresAtMs) ? { expiresAtMs } : {}),
  };
}
