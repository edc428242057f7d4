/**
 * The state of a lane: what one row of the ledger holds, and what folding its records gives again.
 *
 *   scheduled --OPENED--> open <--PAUSED/RESUMED--> paused
 *   scheduled | open | paused --CLOSED--> closed            (final)
 *
 * `draft` is a state of a campaign only: a draft has no lane yet. PUBLISHED makes the lane, in `scheduled`.
 * SOLD_OUT and REOPENED are a condition inside open or paused, not a phase.
 */
import type { CloseReason, EpochMs } from './record.ts';

export type LanePhase = 'scheduled' | 'open' | 'paused' | 'closed';
export type CampaignState = 'draft' | LanePhase;

/** The numbers and times of a campaign that its lane lives by. */
export interface CampaignTerms {
  readonly capacity: number;
  /** Units reserved, not offered to the public. */
  readonly safetyStock: number;
  readonly waitlistLimit: number;
  readonly closeWhenSoldOut: boolean;
  readonly startsAt: EpochMs;
  readonly endsAt: EpochMs | null;
}

export interface LaneState {
  readonly campaign: string;
  readonly lane: number;
  /** Raised by every restore from a backup. */
  readonly epoch: number;
  readonly phase: LanePhase;
  readonly closeReason: CloseReason | null;
  readonly startsAt: EpochMs;
  readonly endsAt: EpochMs | null;
  readonly closeWhenSoldOut: boolean;
  readonly waitlistLimit: number;
  /** Number of the last entry; 0 before the first. */
  readonly seq: number;
  /** Number of the last record. */
  readonly recordNo: number;
  /** I6: free + reserved + held + issued + void = capacity. */
  readonly capacity: number;
  readonly free: number;
  readonly reserved: number;
  readonly held: number;
  readonly issued: number;
  readonly void: number;
  /** The lowest unit number never given to anyone. */
  readonly nextUnit: number;
  /** Units below nextUnit that came back unshown, ascending; they are given before fresh ones. Counted in `free`. */
  readonly returnedUnits: readonly number[];
  /** Live entries that wait. */
  readonly waiting: number;
  /** recordNo of the current SOLD_OUT record; null while not sold out. */
  readonly soldOutRecordNo: number | null;
  /** recordNo of the CLOSED record; null before. */
  readonly closedRecordNo: number | null;
}

/** A lane that is being changed. One copy is made per batch or command, never per record. */
export interface LaneDraft extends Mutable<Omit<LaneState, 'returnedUnits'>> {
  returnedUnits: number[];
}
type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function draftOf(lane: LaneState): LaneDraft {
  return { ...lane, returnedUnits: lane.returnedUnits.slice() };
}

/** The state of a campaign: a draft has no lane yet. */
export function campaignStateOf(lane: LaneState | null): CampaignState {
  return lane === null ? 'draft' : lane.phase;
}

/** True when neither a unit nor a place on the waitlist is left for a new entry. */
export function isFull(lane: LaneState): boolean {
  return lane.free === 0 && lane.waiting >= lane.waitlistLimit;
}

/**
 * The type of the record that a lane must write next, before anything else may happen, and null when it owes none. This is the one
 * statement of when a lane sells out, reopens, promotes and closes itself: whoever writes records writes what is owed in
 * the same batch, and whoever checks them refuses a chain that leaves it out.
 *
 * A scheduled or closed lane owes nothing: an operator may still promote on a closed lane, by a command.
 */
export function owedRecord(lane: LaneState): 'SOLD_OUT' | 'REOPENED' | 'PROMOTED' | 'CLOSED' | null {
  if (lane.phase === 'scheduled' || lane.phase === 'closed') return null;
  const full = isFull(lane);
  if (lane.soldOutRecordNo !== null) {
    if (!full) return 'REOPENED';
    return lane.closeWhenSoldOut ? 'CLOSED' : null;
  }
  if (lane.free > 0 && lane.waiting > 0) return 'PROMOTED';
  return full ? 'SOLD_OUT' : null;
}

/** The unit that the next grant takes: the lowest that came back unshown, else the lowest never given. Needs `free` > 0. */
export function nextFreeUnit(lane: LaneState): number {
  return lane.returnedUnits[0] ?? lane.nextUnit;
}

/** The unit that a replacement takes: safety stock first, for that is what it is kept for; null when nothing is left. */
export function replacementUnit(lane: LaneState): number | null {
  if (lane.reserved > 0) return lane.nextUnit;
  return lane.free > 0 ? nextFreeUnit(lane) : null;
}
