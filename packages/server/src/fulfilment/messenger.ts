/**
 * The port of messengers: what carries the voucher to the member. A stable message id per delivery lets the carrier drop a repeat; after an
 * unknown result at most one more sending of the same voucher follows. Adapters lie in `messengers/` and never import each other.
 */
import type { Contact, Voucher } from '../ledger.ts';

export interface OutgoingMessage {
  /** Stable per delivery: `<deliveryId>@doorbuster`. */
  readonly messageId: string;
  readonly deliveryId: string;
  readonly campaignId: string;
  readonly contact: Contact;
  readonly subject: string;
  readonly text: string;
  readonly voucher: Voucher;
  readonly locale: 'ko' | 'en';
  readonly signal: AbortSignal;
}

export type SendResult =
  | { readonly result: 'sent'; readonly providerRef?: string }
  | {
      readonly result: 'refused';
      readonly errorCode: string;
      readonly detail: string;
      /** This contact or content will never work here: fall to the next messenger. */
      readonly permanent: boolean;
      readonly retryAfterMs?: number;
    }
  | { readonly result: 'unknown'; readonly errorCode: string; readonly detail: string };

export interface Messenger {
  readonly name: string;
  /** Whether the contact has what this messenger needs. */
  canReach(contact: Contact): boolean;
  send(message: OutgoingMessage): Promise<SendResult>;
  /** Pre-flight and `doctor`: can it be used now? Sends nothing unless `testAddress` is given. */
  check(testAddress?: string): Promise<readonly string[]>;
  close(): Promise<void>;
}
