/**
 * What the invariants look at: plain copies of a ledger's tables, and what somebody outside saw. No ledger, simulator or
 * verifier needs more than to fill these in. `campaign` joins the lists; times are in ms.
 */
import type { MemberKey } from '../admit.ts';
import type { ExportedBatch } from '../chain.ts';
import type { EntryStatus } from '../fold.ts';
import type { Sha256 } from '../hash.ts';
import type { LaneState } from '../lane.ts';
import type { Receipt, VerifySignature } from '../receipt.ts';
import type { EpochMs } from '../record.ts';
import type { EntryVerdict, Verdict } from '../verdict.ts';

export type InvariantName = 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6' | 'I7' | 'I8' | 'I9';

export interface Violation {
  readonly invariant: InvariantName;
  /** For a person: what, where, expected and found. */
  readonly detail: string;
}

export interface EntrySnapshot {
  readonly campaign: string;
  readonly lane: number;
  readonly seq: number;
  readonly recordNo: number;
  readonly memberKey: MemberKey;
  /** The first verdict and its unit. */
  readonly verdict: EntryVerdict;
  readonly firstUnit: number | null;
  readonly status: EntryStatus;
  /** The unit held now; null when waiting or revoked. */
  readonly unit: number | null;
}

/** A unit that was ever given; units never given may be left out (or be `free` with `seq` null). */
export interface UnitSnapshot {
  readonly campaign: string;
  readonly lane: number;
  readonly unit: number;
  readonly state: 'free' | 'held' | 'issued' | 'void';
  /** The entry that holds it, or held it last; null when nobody ever did. */
  readonly seq: number | null;
}

export interface DeliverySnapshot {
  readonly campaign: string;
  readonly lane: number;
  readonly seq: number;
  readonly unit: number;
  readonly state: 'due' | 'sending' | 'unknown' | 'delivered' | 'parked' | 'cancelled';
}

/** A voucher bound to a unit. `voucher` is whatever names it without telling it: a blind index, a digest. */
export interface VoucherSnapshot {
  readonly campaign: string;
  readonly unit: number;
  readonly voucher: string;
}

export interface LedgerSnapshot {
  readonly lanes: readonly LaneState[];
  readonly entries: readonly EntrySnapshot[];
  readonly units: readonly UnitSnapshot[];
  readonly deliveries: readonly DeliverySnapshot[];
  readonly vouchers: readonly VoucherSnapshot[];
  /** The whole chain of every lane, in order within a lane. Empty: the chain is not looked at (I2 and I4 check tables only). */
  readonly batches: readonly ExportedBatch[];
}

/** An answer as the member's side saw it, on the observer's clock. */
export interface ObservedAnswer {
  readonly campaign: string;
  readonly lane: number;
  readonly memberKey: MemberKey;
  readonly verdict: Verdict;
  /** Of won and waitlisted; null otherwise. */
  readonly seq: number | null;
  readonly unit: number | null;
  /** Of the entry, or of the SOLD_OUT or CLOSED record; null when the answer named none. */
  readonly recordNo: number | null;
  /** Request sent, and first byte of the answer seen. */
  readonly startedAt: EpochMs;
  readonly endedAt: EpochMs;
}

/** A message with a voucher as the messenger's far end received it. */
export interface DeliveredMessage {
  readonly campaign: string;
  readonly memberKey: MemberKey;
  /** Same naming as `VoucherSnapshot.voucher`. */
  readonly voucher: string;
  readonly shownAt: EpochMs;
}

/** When a batch of records became durable, on the observer's clock. In the order of the lane. */
export interface ObservedCommit {
  readonly campaign: string;
  readonly lane: number;
  readonly firstRecordNo: number;
  readonly count: number;
  readonly committedAt: EpochMs;
}

/** A payment of a sale, as the payment provider tells it. */
export interface PaymentSnapshot {
  readonly campaign: string;
  readonly order: string;
  readonly captured: boolean;
  /** The unit that the order has confirmed; null when none. */
  readonly unit: number | null;
  readonly refund: 'none' | 'due' | 'finished';
}

/** What was seen from outside. Every list may be left out; what is there is checked. */
export interface Evidence {
  readonly answers?: readonly ObservedAnswer[];
  readonly receipts?: readonly Receipt[];
  readonly messages?: readonly DeliveredMessage[];
  readonly commits?: readonly ObservedCommit[];
  readonly payments?: readonly PaymentSnapshot[];
  /** How long after the change several processes may still say sold out (I5); default 0: one process knows exactly. */
  readonly soldOutToleranceMs?: number;
  /** Faults stopped then, and the snapshot was taken at `observedAt`; from 60 s on everything must be settled (I8). */
  readonly calm?: { readonly since: EpochMs; readonly observedAt: EpochMs; readonly limitMs?: number };
}

/** Brought by the caller; null leaves hashes and signatures out, for tables without a chain. */
export interface InvariantCrypto {
  readonly sha256: Sha256;
  /** Null leaves signatures out. */
  readonly verifySignature: VerifySignature | null;
}

/** One lane's key in a map. */
export function laneKey(of: { readonly campaign: string; readonly lane: number }): string {
  return `${of.campaign}/${of.lane}`;
}
