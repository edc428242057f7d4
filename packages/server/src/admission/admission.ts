/**
 * Admission as the HTTP layer sees it: one call per entry. Behind it: who is in (memory), the turnstile that sheds, the micro-batch
 * per campaign, and for queued intake the bus. Nothing is answered before the ledger's commit (or, queued, the publish confirm) has come back.
 */
import type { MemberKey, SurveyAnswers } from '@doorbuster/core';
import type { AdmissionAnswer } from '../ledger.ts';
import type { KnownCampaign } from '../live/campaign-book.ts';
import type { Waiter } from './micro-batch.ts';

export interface Submission {
  readonly memberKey: MemberKey;
  readonly answers: SurveyAnswers | null;
  readonly screenedOut: boolean;
}

/**
 * A refusal that many share (sold-out, closed, not-open) is one and the same object for all of them, so that a caller may keep what it made
 * of it by identity.
 */
export type SubmissionAnswer =
  | { readonly kind: 'decided'; readonly answer: AdmissionAnswer }
  | { readonly kind: 'pending' };

export interface Admission {
  /**
   * What is certain of this member without asking the ledger: the refusal of a lane that takes nobody new, for somebody who is not in and has
   * nothing under way. Null: `submit`, or `enter`. Counts as one entry answered, so ask once for each. Throws LEDGER_CLOSED while draining.
   */
  refusal(campaign: KnownCampaign, memberKey: MemberKey): AdmissionAnswer | null;
  /**
   * As `submit`, for direct intake, after `refusal` gave null: without a promise, the waiter hears the answer in the turn in which its batch came
   * back. Throws at once, and tells the waiter nothing, what `submit` rejects with before anything is sent: RATE_LIMITED, ADMISSION_FULL, LEDGER_CLOSED.
   */
  enter(campaign: KnownCampaign, submission: Submission, waiter: Waiter): void;
  /** Throws OperationalError ADMISSION_FULL, RATE_LIMITED, LEDGER_* (retryable: nothing was decided) and CAMPAIGN_UNKNOWN. */
  submit(campaignId: string, submission: Submission): Promise<SubmissionAnswer>;
  /** Queued intake: true while an entry of this member may still be on its way to the authority. */
  isPending(campaignId: string, memberKey: MemberKey): boolean;
  /** Queued intake: the refusal that this member's last entry met, while it is remembered. It binds nobody: a retry may end otherwise. */
  lastRefusal(campaignId: string, memberKey: MemberKey): AdmissionAnswer | null;
  /** Calls once the ledger has answered an entry of this member, each time. Returns the unsubscribe function. */
  onDecided(
    campaignId: string,
    memberKey: MemberKey,
    listener: (answer: AdmissionAnswer) => void,
  ): () => void;
  /** Entries waiting in memory now, by campaign. */
  waiting(): Iterable<readonly [campaignId: string, count: number]>;
  /** Stops taking entries and waits for those under way. */
  drain(): Promise<void>;
}
