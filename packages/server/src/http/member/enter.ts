/** One entry, from answers to verdict: the same for the API and for the page's form. */
import type { MemberKey, SurveyFault } from '@doorbuster/core';
import type { SubmissionAnswer } from '../../admission/admission.ts';
import { firstAnswer } from '../../admission/create-admission.ts';
import { OperationalError } from '../../errors.ts';
import type { KnownCampaign } from '../../live/campaign-book.ts';
import type { HttpDeps } from '../deps.ts';

export type Entered =
  | { readonly kind: 'answered'; readonly answer: SubmissionAnswer }
  /** The answers do not fit the survey; nothing was submitted. */
  | { readonly kind: 'faulty'; readonly faults: readonly SurveyFault[] };

/** Published campaigns only: a draft is nobody's business but the operator's. Throws CAMPAIGN_UNKNOWN. */
export async function publishedCampaign(
  { campaigns }: Pick<HttpDeps, 'campaigns'>,
  campaignId: string,
): Promise<KnownCampaign> {
  const campaign = campaigns.peek(campaignId) ?? (await campaigns.find(campaignId));
  if (!campaign?.lane) throw new OperationalError('CAMPAIGN_UNKNOWN');
  return campaign;
}

export async function enter(
  { admission, ledger }: Pick<HttpDeps, 'admission' | 'ledger'>,
  campaign: KnownCampaign,
  memberKey: MemberKey,
  given: unknown,
): Promise<Entered> {
  const checked = answersOf(campaign, given);
  if (checked.ok) {
    const { answers, screenedOut } = checked;
    return {
      kind: 'answered',
      answer: await admission.submit(campaign.id, { memberKey, answers, screenedOut }),
    };
  }
  // Who is in has an answer for ever, whatever they send now.
  const entry = await ledger.admission.entryOf(campaign.id, memberKey);
  if (entry) return { kind: 'answered', answer: { kind: 'decided', answer: firstAnswer(entry) } };
  return { kind: 'faulty', faults: checked.faults };
}

/** What is given, checked against the campaign's survey. */
export function answersOf(campaign: KnownCampaign, given: unknown) {
  if (campaign.survey) return campaign.survey.check(given ?? {});
  const unasked = Object.keys((given as object | null | undefined) ?? {});
  if (unasked.length === 0) return { ok: true, answers: null, screenedOut: false } as const;
  return {
    ok: false,
    faults: unasked.slice(0, 50).map((id) => ({ pointer: `/${id}`, message: 'this campaign asks nothing' })),
  } as const;
}
