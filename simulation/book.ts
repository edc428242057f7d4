/** What was seen from outside during a run: answers, receipts, vouchers shown, and what was asked. Filled while the run goes on, read by the auditor. */
import type { DeliveredMessage, EpochMs, ObservedAnswer, Receipt, SurveyAnswers } from '@doorbuster/core';
import type { Member } from './shop.ts';

export interface Submitted {
  readonly answers: SurveyAnswers | null;
  readonly at: EpochMs;
}
export interface Told extends ObservedAnswer {
  /** Of `ineligible`. */
  readonly reason: string | null;
}

export class Book {
  answers: Told[] = [];
  receipts = new Map<string, Receipt>();
  revealed: DeliveredMessage[] = [];
  pendings = new Map<string, EpochMs>();
  readonly submitted = new Map<string, Submitted[]>();
  readonly everBanned = new Set<string>();
  readonly everUnbanned = new Set<string>();
  /** When a ban was confirmed first. */
  readonly bannedAt = new Map<string, EpochMs>();
  readonly mayBeErased = new Set<string>();
  readonly erasedAt = new Map<string, EpochMs>();
  readonly resends = new Map<string, number>();
  readonly bugs: string[] = [];

  answer(answer: ObservedAnswer, reason: string | null): void {
    this.answers.push({ ...answer, reason });
  }
  receipt(receipt: Receipt): void {
    this.receipts.set(`${receipt.campaign} ${receipt.record} ${receipt.signature}`, receipt);
  }
  shown(message: DeliveredMessage): void {
    this.revealed.push(message);
  }
  submission({ campaignId, memberKey }: Member, answers: SurveyAnswers | null, at: EpochMs): void {
    const key = placeOf(campaignId, memberKey);
    const list = this.submitted.get(key);
    if (list === undefined) this.submitted.set(key, [{ answers, at }]);
    else list.push({ answers, at });
  }
  /** Queued intake took the entry. */
  pending({ campaignId, memberKey }: Member, at: EpochMs): void {
    this.pendings.set(placeOf(campaignId, memberKey), at);
  }
  ban(campaignId: string, memberKey: string, banned: boolean): void {
    (banned ? this.everBanned : this.everUnbanned).add(placeOf(campaignId, memberKey));
  }
  banConfirmed(campaignId: string, memberKey: string, at: EpochMs): void {
    const key = placeOf(campaignId, memberKey);
    if (!this.bannedAt.has(key)) this.bannedAt.set(key, at);
  }
  eraseAsked(campaignId: string, memberKey: string): void {
    this.mayBeErased.add(placeOf(campaignId, memberKey));
  }
  erased(campaignId: string, memberKey: string, at: EpochMs): void {
    this.erasedAt.set(placeOf(campaignId, memberKey), at);
  }
  resend(campaignId: string): void {
    this.resends.set(campaignId, (this.resends.get(campaignId) ?? 0) + 1);
  }
  /** Something other than an answer or a catalogued error came out. */
  bug(error: unknown): void {
    this.bugs.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}

export function placeOf(campaignId: string, memberKey: string): string {
  return `${campaignId} ${memberKey}`;
}
