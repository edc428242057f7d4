/**
 * What the member page is told: one value per state, everything the page shows and nothing else. The server decides the state, looks
 * up the texts and the member's own entry, and passes them here; the renderer reads no clock, no cookie and no campaign of its own.
 *
 *   not-found   fallback
 *   before ──> open ──> won | waitlisted | pending | sold-out | not-eligible | busy
 *                │ └──> paused ──> open
 *                └────> closed
 *   halted replaces every state but the member's own result, until a person has looked.
 *   sign-in-needed replaces before and open for somebody without a session. "Already entered" is no state of its own: it is the
 *   member's own result with `repeated: true`. "Sending" exists in the browser only.
 *
 * All texts are plain text from the campaign's definition: the renderer escapes them, only line breaks survive. All times are
 * milliseconds since the epoch on the server's clock; all URLs are same-origin paths unless said otherwise.
 */
import type { EpochMs, LocalizedText, SurveyDefinition } from '@doorbuster/core';

export type Locale = 'ko' | 'en';

/** What became of the member's voucher, in the words that the page uses. */
export type PageDelivery =
  /** Due, sending, or its outcome not yet known: nothing for the member to do. */
  | { readonly state: 'preparing' }
  | { readonly state: 'sent'; readonly atMs?: EpochMs }
  /** Parked for a person, or late: the shop knows. */
  | { readonly state: 'delayed' }
  /** No message reached the member, or none is sent: the voucher is shown on this page. */
  | { readonly state: 'ready' }
  /** The grant was taken back by the operator. */
  | { readonly state: 'cancelled' };

/** The voucher itself. Passed only to its owner, and only when the campaign shows vouchers on the page. */
export interface PageVoucher {
  readonly code: string;
  readonly pin?: string;
  /** http(s) only; anything else is not linked. */
  readonly url?: string;
  readonly expiresAtMs?: EpochMs;
}

/** The member's own entry. */
export interface PageEntry {
  readonly verdict: 'won' | 'waitlisted';
  /** The place in the order. */
  readonly seq: number;
  readonly unit?: number;
  readonly enteredAtMs: EpochMs;
  /** The receipt's JSON text, byte for byte: what is copied and downloaded. */
  readonly receiptJson: string;
  /** A waitlisted member who was given a unit later: shown as won, with a note. */
  readonly promoted?: boolean;
  readonly delivery?: PageDelivery;
  /** When the voucher is promised to have arrived; without it the page says "usually within minutes". */
  readonly deliverByMs?: EpochMs;
  readonly voucher?: PageVoucher;
}

export interface PageMember {
  /** Where the voucher goes, already masked: `j***@example.com`, `010-****-1234`. */
  readonly maskedContact?: string;
}

/** What the member had typed and what was wrong with it, when the form comes back. */
export interface PageForm {
  /** By question id, as typed. */
  readonly values?: Readonly<Record<string, string | readonly string[]>>;
  /** By question id, in the page's language: see `localizedFaults`. */
  readonly faults?: Readonly<Record<string, string>>;
}

interface CampaignPart {
  readonly campaignId: string;
  readonly title: LocalizedText;
  readonly prize?: LocalizedText;
  readonly description?: LocalizedText;
  readonly rules?: LocalizedText;
  /** The operator's message on the page. */
  readonly notice?: LocalizedText;
  /** Units offered to the public. */
  readonly quantity: number;
  /** Free units, when the campaign shows them. */
  readonly remaining?: number;
  readonly startsAtMs: EpochMs;
  readonly endsAtMs: EpochMs | null;
  /** IANA name, `Asia/Seoul`. An unknown one is shown as UTC. */
  readonly timeZone: string;
  readonly serverNowMs: EpochMs;
  readonly member?: PageMember;
  readonly survey?: SurveyDefinition;
  readonly form?: PageForm;
  /** Absolute http(s) address of the shop to go back to; the server has checked it against the campaign's origins. */
  readonly returnUrl?: string;
  /** Absolute http(s) address where the shop signs the member in and hands over. */
  readonly loginUrl?: string;
  /** Default `/c/{campaignId}`: the page itself. The form posts to `{pageUrl}/entries`. */
  readonly pageUrl?: string;
  /** Defaults `/v1/campaigns/{campaignId}/status`, `.../entries`, `.../entries/mine`. */
  readonly statusUrl?: string;
  readonly entriesUrl?: string;
  readonly mineUrl?: string;
  /** Default `/.well-known/doorbuster-keys.json`. */
  readonly keysUrl?: string;
}

/** A state that shows the campaign. */
export type CampaignView = CampaignPart &
  (
    | { readonly state: 'before' }
    | { readonly state: 'open' }
    /** Shed, or the store out of reach, on a form sent without script: nothing was decided, the form comes back. */
    | { readonly state: 'busy'; readonly retryAfterSeconds: number }
    | { readonly state: 'won'; readonly entry: PageEntry; readonly repeated?: boolean }
    | { readonly state: 'waitlisted'; readonly entry: PageEntry; readonly repeated?: boolean }
    /** Queued intake: the entry is durably stored in the queue, the verdict follows. */
    | { readonly state: 'pending'; readonly sentAtMs?: EpochMs }
    /** `receiptJson` is that of the SOLD_OUT record. `final`: closed by it, so that it does not open again. */
    | {
        readonly state: 'sold-out';
        readonly soldOutAtMs: EpochMs;
        readonly receiptJson?: string;
        readonly final?: boolean;
      }
    | { readonly state: 'sign-in-needed'; readonly opened: boolean }
    /** The reason that the campaign chose to show. */
    | { readonly state: 'not-eligible'; readonly reason?: LocalizedText }
    | { readonly state: 'paused' }
    /** The lane stands still for a person; no entry that was acknowledged is given up. */
    | { readonly state: 'halted' }
    /** `receiptJson` is that of the CLOSED record. `signedIn` tells "you have no entry" from "sign in to look yours up". */
    | {
        readonly state: 'closed';
        readonly closedAtMs: EpochMs;
        readonly signedIn: boolean;
        readonly receiptJson?: string;
      }
  );

export type MemberPageView =
  | CampaignView
  | { readonly state: 'not-found' }
  /** The static file that a gateway serves while no server answers: no campaign is known. */
  | { readonly state: 'fallback'; readonly retryAfterSeconds: number };

export type MemberPageState = MemberPageView['state'];
