/** What fulfilment tells whoever counts (metrics, tests): one callback, plain values, never a code or a contact. Must not throw. */
import type { DeliveryResult } from '../ledger.ts';

export type FulfilmentEvent =
  | {
      readonly event: 'settled';
      readonly campaignId: string;
      readonly result: DeliveryResult['result'];
      readonly errorCode: string | null;
      readonly ms: number;
    }
  /** The claim was no longer ours: another worker, or a revocation, came in between. */
  | { readonly event: 'lost'; readonly campaignId: string }
  | {
      readonly event: 'called';
      readonly provider: string;
      readonly call: 'issue' | 'query' | 'cancel' | 'send';
      readonly outcome: string;
      readonly ms: number;
    }
  | { readonly event: 'breaker'; readonly provider: string; readonly state: 'closed' | 'open' | 'half-open' }
  | { readonly event: 'reconciled'; readonly repaired: number; readonly reported: number };

export type FulfilmentObserver = (event: FulfilmentEvent) => void;

/** The part of a pino logger that is used here. */
export interface FulfilmentLog {
  info(detail: object, message: string): void;
  warn(detail: object, message: string): void;
  error(detail: object, message: string): void;
}
