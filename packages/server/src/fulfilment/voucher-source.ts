/**
 * The port of voucher sources: *what* is given. Its class says what an unknown outcome means, and the saga acts by it:
 *   pool        codes imported: nothing remote decides, every call gives the same answer
 *   idempotent  the same transaction id may be sent again and gives the same voucher
 *   queryable   wait out the longest flight, query, cancel before sending again
 *   neither     parked for a person; never re-sent by itself
 * Adapters lie in `voucher-sources/`, never import each other, and never retry by themselves.
 */
import type { Voucher } from '../ledger.ts';

export type VoucherSourceClass = 'pool' | 'idempotent' | 'queryable' | 'neither';

export interface VoucherRequest {
  /** HMAC(key, campaign | unit | generation) in hex: from the unit, never from the attempt. */
  readonly transactionId: string;
  readonly campaignId: string;
  readonly unit: number;
  /** The imported code of the unit, when the claim has brought it. */
  readonly poolCode: Voucher | null;
  readonly signal: AbortSignal;
}

export type IssueResult =
  | { readonly result: 'issued'; readonly voucher: Voucher }
  /** A definite no: nothing was issued for this id. `permanent` means that asking again cannot help. */
  | {
      readonly result: 'refused';
      readonly errorCode: string;
      readonly detail: string;
      readonly permanent: boolean;
      readonly retryAfterMs?: number;
    }
  /** The provider may or may not have issued it. */
  | { readonly result: 'unknown'; readonly errorCode: string; readonly detail: string };

export type QueryResult =
  | { readonly result: 'issued'; readonly voucher: Voucher }
  | { readonly result: 'not-found' }
  | { readonly result: 'cancelled' }
  | { readonly result: 'unknown'; readonly detail: string };
export type CancelResult =
  | { readonly result: 'cancelled' }
  | { readonly result: 'issued'; readonly voucher: Voucher }
  | { readonly result: 'unknown'; readonly detail: string };

export interface VoucherSource {
  readonly name: string;
  readonly sourceClass: VoucherSourceClass;
  /** After this long an unanswered request can no longer reach the provider. ms */
  readonly longestFlightMs: number;
  issue(request: VoucherRequest): Promise<IssueResult>;
  /** `queryable` only. */
  query?(request: VoucherRequest): Promise<QueryResult>;
  /** `queryable` only: after `cancelled` the id is dead and a late request with it cannot land. */
  cancel?(request: VoucherRequest): Promise<CancelResult>;
  /** Pre-flight: reachable, authorised, and (pool) enough codes for these units. */
  check(campaignId: string, units: number): Promise<readonly string[]>;
}
