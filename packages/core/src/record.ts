/**
 * Records: the lines of a lane's chain. The tables are the authority and the records are their evidence, so every change of a
 * lane is one record, and folding all records of a lane gives its state again (`evolve` in `lane.ts`).
 *
 * A record holds commitments and numbers, never personal data, so that erasing a member leaves the chain verifiable.
 */

/** Lower-case hex of a SHA-256 digest (64 characters). */
export type Digest = string;
/** Milliseconds since the Unix epoch, on the authority's clock. */
export type EpochMs = number;

export type CloseReason = 'ends-at' | 'operator' | 'sold-out';

interface RecordBase {
  /** 1..n without gap in its lane. */
  readonly recordNo: number;
  readonly at: EpochMs;
}

/** The first record of a lane: binds the chain to the definition that was published. */
export interface PublishedRecord extends RecordBase {
  readonly type: 'PUBLISHED';
  readonly campaign: string;
  readonly lane: number;
  /** SHA-256 of the canonical JSON of the definition. */
  readonly definition: Digest;
  readonly capacity: number;
  readonly safetyStock: number;
  readonly waitlistLimit: number;
  readonly closeWhenSoldOut: boolean;
  readonly startsAt: EpochMs;
  readonly endsAt: EpochMs | null;
}
export interface OpenedRecord extends RecordBase {
  readonly type: 'OPENED';
}
export interface PausedRecord extends RecordBase {
  readonly type: 'PAUSED';
}
export interface ResumedRecord extends RecordBase {
  readonly type: 'RESUMED';
}
export interface EntryRecord extends RecordBase {
  readonly type: 'ENTRY';
  readonly seq: number;
  readonly verdict: 'won' | 'waitlisted';
  /** The unit of a winner; null on the waitlist. */
  readonly unit: number | null;
  /** SHA-256(salt || member key): only its holder can open it. */
  readonly member: Digest;
  /** SHA-256(salt || canonical JSON of the answers); null without a survey. */
  readonly answers: Digest | null;
}
export interface SoldOutRecord extends RecordBase {
  readonly type: 'SOLD_OUT';
}
export interface ReopenedRecord extends RecordBase {
  readonly type: 'REOPENED';
  readonly free: number;
}
export interface StockChangedRecord extends RecordBase {
  readonly type: 'STOCK_CHANGED';
  /** The new values, not the differences. */
  readonly capacity: number;
  readonly safetyStock: number;
}
/** A grant (or a place on the waitlist, then `unit` is null) taken back by a person. */
export interface RevokedRecord extends RecordBase {
  readonly type: 'REVOKED';
  readonly seq: number;
  readonly unit: number | null;
  /** `void` when the unit's voucher was ever shown, else `free`; null when there was no unit. */
  readonly unitBecomes: 'free' | 'void' | null;
}
/** A waitlisted entry given a unit. */
export interface PromotedRecord extends RecordBase {
  readonly type: 'PROMOTED';
  readonly seq: number;
  readonly unit: number;
}
/** A winner's unit voided and replaced by a fresh one (the operator's `replace`). */
export interface ReplacedRecord extends RecordBase {
  readonly type: 'REPLACED';
  readonly seq: number;
  readonly unit: number;
  readonly newUnit: number;
}
export interface ClosedRecord extends RecordBase {
  readonly type: 'CLOSED';
  readonly reason: CloseReason;
}
/** Written once after a restore from a backup: what was acknowledged above this point in an older epoch may be missing. */
export interface RestoredRecord extends RecordBase {
  readonly type: 'RESTORED';
  readonly epoch: number;
}

export type LaneRecord =
  | PublishedRecord
  | OpenedRecord
  | PausedRecord
  | ResumedRecord
  | EntryRecord
  | SoldOutRecord
  | ReopenedRecord
  | StockChangedRecord
  | RevokedRecord
  | PromotedRecord
  | ReplacedRecord
  | ClosedRecord
  | RestoredRecord;

export type RecordType = LaneRecord['type'];
