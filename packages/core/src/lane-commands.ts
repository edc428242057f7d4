/**
 * What an operator (or the clock) does to a lane: commands in, records or a rejection out. Pure, as `admit` is.
 *
 * Every command but `restore` first brings the lane up to `now`, so that a pause that arrives with the opening finds the lane open.
 * A rejection stores nothing, not even that. After a command the lane owes no record (`owedRecord`): it sold out, reopened and
 * promoted as far as it must, in the same batch.
 */
import { evolve } from './evolve.ts';
import type { CampaignTerms, LanePhase, LaneState } from './lane.ts';
import { replacementUnit } from './lane.ts';
import type { LaneWriter } from './lane-writer.ts';
import { promoteNext, write, writeOwed, writerFor, writeTimeOfDay } from './lane-writer.ts';
import type { Digest, EpochMs, LaneRecord, PublishedRecord } from './record.ts';
import { isCampaignId, maxUnits } from './record-codec.ts';
import type { SurveyFault } from './survey.ts';

/**
 * `waitingSeqs`: waiting entries in the order in which they are to be promoted (ascending), at least as many as units may
 * become free, or all. A revoked entry is not among them.
 */
export type LaneCommand =
  | { readonly command: 'tick' }
  | { readonly command: 'pause' }
  | { readonly command: 'resume' }
  | { readonly command: 'close' }
  | {
      readonly command: 'change-stock';
      /** The new values, not the differences. */
      readonly capacity: number;
      readonly safetyStock: number;
      readonly waitingSeqs: readonly number[];
    }
  | {
      readonly command: 'revoke';
      readonly seq: number;
      /** The entry's current unit; null when it waits. */
      readonly unit: number | null;
      /** True when the voucher of the unit was ever shown or sent: then the unit is void. */
      readonly unitShown: boolean;
      /** True when the entry waits. */
      readonly waiting: boolean;
      readonly waitingSeqs: readonly number[];
    }
  /** Gives a free unit to a waiting entry: on a closed lane, where nothing is promoted by itself. */
  | { readonly command: 'promote'; readonly seq: number }
  /** Voids the winner's unit and grants another: from the safety stock first, else a free one. */
  | { readonly command: 'replace'; readonly seq: number; readonly unit: number }
  | { readonly command: 'restore'; readonly epoch: number };

/** Why a command was refused. Closed: one row each in `lane-commands.unit.test.ts`. */
export type LaneRejection =
  | { readonly code: 'wrong-phase'; readonly phase: LanePhase; readonly allowed: readonly LanePhase[] }
  | {
      readonly code: 'capacity-below-granted' /** lowest capacity with the asked safety stock */;
      readonly lowest: number;
    }
  | { readonly code: 'stock-out-of-range'; readonly highest: number }
  | { readonly code: 'stock-unchanged' }
  | { readonly code: 'entry-unknown' /** the last seq */; readonly last: number }
  | { readonly code: 'unit-not-given' }
  | { readonly code: 'nothing-to-revoke' }
  | { readonly code: 'nobody-waits' }
  | { readonly code: 'no-free-unit' }
  | {
      readonly code: 'waiting-entries-wrong' /** how many must be named, ascending and distinct */;
      readonly needed: number;
    }
  | { readonly code: 'epoch-not-raised'; readonly epoch: number };

export type LaneOutcome =
  | { readonly ok: true; readonly lane: LaneState; readonly records: readonly LaneRecord[] }
  | { readonly ok: false; readonly rejection: LaneRejection };

/** Faults in the terms of a campaign, all together; empty when it can be published. Pointers are into the terms. */
export function checkTerms(terms: CampaignTerms): SurveyFault[] {
  const faults: SurveyFault[] = [];
  const fault = (field: keyof CampaignTerms, message: string) =>
    faults.push({ pointer: `/${field}`, message });
  if (!isWithin(terms.capacity, 1, maxUnits))
    fault('capacity', `must be a whole number from 1 to ${maxUnits}`);
  if (!isWithin(terms.safetyStock, 0, maxUnits))
    fault('safetyStock', `must be a whole number from 0 to ${maxUnits}`);
  else if (terms.safetyStock > terms.capacity) fault('safetyStock', 'must not be more than the capacity');
  if (!isWithin(terms.waitlistLimit, 0, maxUnits))
    fault('waitlistLimit', `must be a whole number from 0 to ${maxUnits}`);
  if (!Number.isSafeInteger(terms.startsAt) || terms.startsAt < 0) fault('startsAt', 'must be a time');
  if (terms.endsAt !== null) {
    if (!Number.isSafeInteger(terms.endsAt)) fault('endsAt', 'must be a time');
    else if (terms.endsAt <= terms.startsAt) fault('endsAt', 'must be after startsAt');
  }
  return faults;
}

function isWithin(value: number, lowest: number, highest: number): boolean {
  return Number.isInteger(value) && value >= lowest && value <= highest;
}

/**
 * The first record of a lane and the lane it makes. Throws a `RangeError` on terms that `checkTerms` faults or an id that a
 * record cannot hold: both are checked before anything is published.
 */
export function publishLane(
  campaign: string,
  lane: number,
  terms: CampaignTerms,
  definitionDigest: Digest,
  now: EpochMs,
): { readonly lane: LaneState; readonly records: readonly [PublishedRecord] } {
  const [fault] = checkTerms(terms);
  if (fault !== undefined) throw new RangeError(`${fault.pointer} ${fault.message}`);
  if (!isCampaignId(campaign)) throw new RangeError('not a campaign id');
  const { capacity, safetyStock, waitlistLimit, closeWhenSoldOut, startsAt, endsAt } = terms;
  const stock = { capacity, safetyStock, waitlistLimit, closeWhenSoldOut };
  const record: PublishedRecord = {
    recordNo: 1,
    type: 'PUBLISHED',
    at: now,
    campaign,
    lane,
    definition: definitionDigest,
    ...stock,
    startsAt,
    endsAt,
  };
  return { lane: evolve(null, record), records: [record] };
}

/** Decides one command. The lane of an outcome with no records is equal to the one given. */
export function decideLane(lane: LaneState, command: LaneCommand, now: EpochMs): LaneOutcome {
  const waitingSeqs =
    'waitingSeqs' in command ? command.waitingSeqs : command.command === 'promote' ? [command.seq] : [];
  const writer = writerFor(lane, now, waitingSeqs);
  if (command.command !== 'restore') writeTimeOfDay(writer);
  const rejection = perform(writer, command);
  if (rejection !== null) return { ok: false, rejection };
  return { ok: true, lane: writer.lane, records: writer.records };
}

function perform(writer: LaneWriter, command: LaneCommand): LaneRejection | null {
  switch (command.command) {
    case 'tick':
      return null;
    case 'pause':
      return turn(writer, 'PAUSED', ['open']);
    case 'resume':
      return turn(writer, 'RESUMED', ['paused']);
    case 'close':
      return close(writer);
    case 'change-stock':
      return changeStock(writer, command);
    case 'revoke':
      return revoke(writer, command);
    case 'promote':
      return promote(writer, command.seq);
    case 'replace':
      return replace(writer, command.seq, command.unit);
    case 'restore':
      return restore(writer, command.epoch);
  }
}

function turn(
  writer: LaneWriter,
  type: 'PAUSED' | 'RESUMED',
  allowed: readonly LanePhase[],
): LaneRejection | null {
  const { lane, now } = writer;
  const refused = requirePhase(lane, allowed);
  if (refused !== null) return refused;
  write(writer, { recordNo: lane.recordNo + 1, type, at: now });
  return null;
}

const beforeClosing: readonly LanePhase[] = ['scheduled', 'open', 'paused'];
const afterOpening: readonly LanePhase[] = ['open', 'paused', 'closed'];

function requirePhase(lane: LaneState, allowed: readonly LanePhase[]): LaneRejection | null {
  return allowed.includes(lane.phase) ? null : { code: 'wrong-phase', phase: lane.phase, allowed };
}

function close(writer: LaneWriter): LaneRejection | null {
  const { lane, now } = writer;
  const refused = requirePhase(lane, beforeClosing);
  if (refused !== null) return refused;
  write(writer, { recordNo: lane.recordNo + 1, type: 'CLOSED', at: now, reason: 'operator' });
  return null;
}

/**
 * The lowest capacity is the highest unit number ever given plus the safety stock: unit numbers are promised, so a number once
 * given stays within the capacity, even when it came back.
 */
function changeStock(
  writer: LaneWriter,
  asked: Extract<LaneCommand, { command: 'change-stock' }>,
): LaneRejection | null {
  const { lane, now } = writer;
  const { capacity, safetyStock } = asked;
  const refused = requirePhase(lane, beforeClosing);
  if (refused !== null) return refused;
  if (!isWithin(capacity, 1, maxUnits) || !isWithin(safetyStock, 0, maxUnits)) {
    return { code: 'stock-out-of-range', highest: maxUnits };
  }
  const lowest = Math.max(1, lane.nextUnit - 1 + safetyStock);
  if (capacity < lowest) return { code: 'capacity-below-granted', lowest };
  if (capacity === lane.capacity && safetyStock === lane.reserved) return { code: 'stock-unchanged' };
  write(writer, { recordNo: lane.recordNo + 1, type: 'STOCK_CHANGED', at: now, capacity, safetyStock });
  return settle(writer, null);
}

function revoke(
  writer: LaneWriter,
  asked: Extract<LaneCommand, { command: 'revoke' }>,
): LaneRejection | null {
  const { lane, now } = writer;
  const { seq, unit } = asked;
  const refused = requireEntry(lane, seq);
  if (refused !== null) return refused;
  if ((unit === null) !== asked.waiting) return { code: 'nothing-to-revoke' };
  if (unit === null && lane.waiting === 0) return { code: 'nobody-waits' };
  if (unit !== null && !isGiven(lane, unit)) return { code: 'unit-not-given' };
  const unitBecomes = unit === null ? null : asked.unitShown ? 'void' : 'free';
  write(writer, { recordNo: lane.recordNo + 1, type: 'REVOKED', at: now, seq, unit, unitBecomes });
  return settle(writer, seq);
}

function promote(writer: LaneWriter, seq: number): LaneRejection | null {
  const refused = requireEntry(writer.lane, seq);
  if (refused !== null) return refused;
  if (writer.lane.waiting === 0) return { code: 'nobody-waits' };
  if (writer.lane.free === 0) return { code: 'no-free-unit' };
  promoteNext(writer);
  writeOwed(writer);
  return null;
}

function replace(writer: LaneWriter, seq: number, unit: number): LaneRejection | null {
  const { lane, now } = writer;
  const refused = requireEntry(lane, seq);
  if (refused !== null) return refused;
  if (!isGiven(lane, unit)) return { code: 'unit-not-given' };
  const newUnit = replacementUnit(lane);
  if (newUnit === null) return { code: 'no-free-unit' };
  write(writer, { recordNo: lane.recordNo + 1, type: 'REPLACED', at: now, seq, unit, newUnit });
  writeOwed(writer);
  return null;
}

function restore(writer: LaneWriter, epoch: number): LaneRejection | null {
  const { lane, now } = writer;
  if (!Number.isSafeInteger(epoch) || epoch <= lane.epoch)
    return { code: 'epoch-not-raised', epoch: lane.epoch };
  write(writer, { recordNo: lane.recordNo + 1, type: 'RESTORED', at: now, epoch });
  return null;
}

function requireEntry(lane: LaneState, seq: number): LaneRejection | null {
  const refused = requirePhase(lane, afterOpening);
  if (refused !== null) return refused;
  return isWithin(seq, 1, lane.seq) ? null : { code: 'entry-unknown', last: lane.seq };
}

function isGiven(lane: LaneState, unit: number): boolean {
  return lane.issued > 0 && isWithin(unit, 1, lane.nextUnit - 1) && !lane.returnedUnits.includes(unit);
}

/**
 * Writes what the lane owes now. An open or paused lane must promote as long as it can, so enough waiting entries must have been
 * named; a closed one promotes as many as were named.
 */
function settle(writer: LaneWriter, revoked: number | null): LaneRejection | null {
  const { lane, waitingSeqs } = writer;
  const possible = Math.min(lane.free, lane.waiting);
  const needed = lane.phase === 'open' || lane.phase === 'paused' ? possible : 0;
  if (waitingSeqs.length < needed || !areEntries(lane, waitingSeqs, revoked))
    return { code: 'waiting-entries-wrong', needed };
  writeOwed(writer);
  if (lane.phase === 'closed') {
    for (let i = 0; i < Math.min(possible, waitingSeqs.length); i++) promoteNext(writer);
  }
  return null;
}

/** Ascending, distinct, within the lane, and without the entry that was just revoked. */
function areEntries(lane: LaneState, seqs: readonly number[], revoked: number | null): boolean {
  return seqs.every(
    (seq, i) => isWithin(seq, 1, lane.seq) && seq !== revoked && (i === 0 || seq > (seqs[i - 1] as number)),
  );
}
