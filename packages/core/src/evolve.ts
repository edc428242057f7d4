/**
 * `evolve`: one record onto one lane. The only code that changes a lane: `admit` and `decideLane` apply the records they write
 * with it, `verify` folds the stored ones with it, so both cannot disagree. It refuses a record that cannot follow.
 *
 * What it cannot see is who holds which unit; that is `createLaneFold` in `fold.ts`.
 */
import type { LaneDraft, LaneState } from './lane.ts';
import { draftOf, isFull, nextFreeUnit, owedRecord, replacementUnit } from './lane.ts';
import type {
  ClosedRecord,
  EntryRecord,
  LaneRecord,
  PromotedRecord,
  PublishedRecord,
  ReplacedRecord,
  RevokedRecord,
  StockChangedRecord,
} from './record.ts';

/** A record that cannot follow the state before it: the chain and the rules have parted. Never expected in production. */
export class LaneDivergenceError extends Error {
  override readonly name = 'LaneDivergenceError';
  readonly recordNo: number;

  constructor(recordNo: number, what: string) {
    super(`record ${recordNo}: ${what}`);
    this.recordNo = recordNo;
  }
}

/** The lane after one more record; the given one is not changed. `null` before the first, which must be PUBLISHED. */
export function evolve(lane: LaneState | null, record: LaneRecord): LaneState {
  if (lane === null) return initialLane(record);
  const draft = draftOf(lane);
  applyRecord(draft, record);
  return draft;
}

/** The lane that a PUBLISHED record makes: scheduled, all units but the safety stock free. */
export function initialLane(record: LaneRecord): LaneState {
  must(record.type === 'PUBLISHED', record, 'the first record must be PUBLISHED');
  const published = record as PublishedRecord;
  must(record.recordNo === 1, record, 'the first record must have number 1');
  must(published.safetyStock <= published.capacity, record, 'more safety stock than units');
  return {
    campaign: published.campaign,
    lane: published.lane,
    epoch: 1,
    phase: 'scheduled',
    closeReason: null,
    startsAt: published.startsAt,
    endsAt: published.endsAt,
    closeWhenSoldOut: published.closeWhenSoldOut,
    waitlistLimit: published.waitlistLimit,
    seq: 0,
    recordNo: 1,
    capacity: published.capacity,
    free: published.capacity - published.safetyStock,
    reserved: published.safetyStock,
    held: 0,
    issued: 0,
    void: 0,
    nextUnit: 1,
    returnedUnits: [],
    waiting: 0,
    soldOutRecordNo: null,
    closedRecordNo: null,
  };
}

/** Applies one record to a draft, in place. Throws a `LaneDivergenceError` and leaves the draft unusable when it cannot follow. */
export function applyRecord(lane: LaneDraft, record: LaneRecord): void {
  if (record.recordNo !== lane.recordNo + 1) diverge(record, `expected record ${lane.recordNo + 1}`);
  const owed = owedRecord(lane);
  if (owed !== null && owed !== record.type) diverge(record, `${owed} is owed before ${record.type}`);
  lane.recordNo = record.recordNo;
  switch (record.type) {
    case 'ENTRY':
      return applyEntry(lane, record);
    case 'REVOKED':
      return applyRevoked(lane, record);
    case 'PROMOTED':
      return applyPromoted(lane, record);
    case 'REPLACED':
      return applyReplaced(lane, record);
    case 'STOCK_CHANGED':
      return applyStockChanged(lane, record);
    case 'CLOSED':
      return applyClosed(lane, record);
    default:
      return applyCondition(lane, record);
  }
}

type ConditionRecord = Exclude<
  LaneRecord,
  EntryRecord | RevokedRecord | PromotedRecord | ReplacedRecord | StockChangedRecord | ClosedRecord
>;

function applyCondition(lane: LaneDraft, record: ConditionRecord): void {
  const live = lane.phase === 'open' || lane.phase === 'paused';
  switch (record.type) {
    case 'PUBLISHED':
      throw new LaneDivergenceError(record.recordNo, 'a lane is published once');
    case 'OPENED':
      must(lane.phase === 'scheduled', record, `cannot open a lane that is ${lane.phase}`);
      must(record.at >= lane.startsAt, record, 'opened before startsAt');
      lane.phase = 'open';
      return;
    case 'PAUSED':
      must(lane.phase === 'open', record, `cannot pause a lane that is ${lane.phase}`);
      lane.phase = 'paused';
      return;
    case 'RESUMED':
      must(lane.phase === 'paused', record, `cannot resume a lane that is ${lane.phase}`);
      lane.phase = 'open';
      return;
    case 'SOLD_OUT':
      must(live && lane.soldOutRecordNo === null && isFull(lane), record, 'the lane is not newly sold out');
      lane.soldOutRecordNo = record.recordNo;
      return;
    case 'REOPENED':
      must(
        live && lane.soldOutRecordNo !== null && !isFull(lane),
        record,
        'the lane has nothing to reopen for',
      );
      must(record.free === lane.free, record, `${record.free} units said to be free, ${lane.free} are`);
      lane.soldOutRecordNo = null;
      return;
    case 'RESTORED':
      must(record.epoch > lane.epoch, record, `the epoch must rise above ${lane.epoch}`);
      lane.epoch = record.epoch;
      return;
  }
}

function applyEntry(lane: LaneDraft, record: EntryRecord): void {
  if (lane.phase !== 'open') diverge(record, `an entry in a lane that is ${lane.phase}`);
  must(lane.soldOutRecordNo === null, record, 'an entry after SOLD_OUT');
  must(lane.endsAt === null || record.at < lane.endsAt, record, 'an entry at or after endsAt');
  if (record.seq !== lane.seq + 1) diverge(record, `expected seq ${lane.seq + 1}`);
  lane.seq = record.seq;
  if (record.verdict === 'won') {
    takeFree(lane, record, record.unit);
    lane.issued++;
    return;
  }
  must(record.unit === null, record, 'a waiting entry has no unit');
  must(lane.free === 0, record, 'waitlisted while a unit is free');
  must(lane.waiting < lane.waitlistLimit, record, 'the waitlist is full');
  lane.waiting++;
}

function applyRevoked(lane: LaneDraft, record: RevokedRecord): void {
  must(record.seq <= lane.seq, record, `no entry ${record.seq}`);
  if (record.unit === null) {
    must(record.unitBecomes === null, record, 'there is no unit to become anything');
    must(lane.waiting > 0, record, 'nobody waits');
    lane.waiting--;
    return;
  }
  requireGiven(lane, record, record.unit);
  lane.issued--;
  if (record.unitBecomes === 'void') {
    lane.void++;
    return;
  }
  must(record.unitBecomes === 'free', record, 'the revoked unit must become free or void');
  lane.free++;
  const index = lane.returnedUnits.findIndex((other) => other > (record.unit as number));
  lane.returnedUnits.splice(index < 0 ? lane.returnedUnits.length : index, 0, record.unit);
}

function applyPromoted(lane: LaneDraft, record: PromotedRecord): void {
  must(record.seq <= lane.seq, record, `no entry ${record.seq}`);
  must(lane.waiting > 0, record, 'nobody waits');
  takeFree(lane, record, record.unit);
  lane.waiting--;
  lane.issued++;
}

function applyReplaced(lane: LaneDraft, record: ReplacedRecord): void {
  must(record.seq <= lane.seq, record, `no entry ${record.seq}`);
  requireGiven(lane, record, record.unit);
  must(
    record.newUnit === replacementUnit(lane),
    record,
    `unit ${record.newUnit} is not the next replacement`,
  );
  if (lane.reserved > 0) {
    lane.reserved--;
    lane.nextUnit++;
  } else {
    takeFree(lane, record, record.newUnit);
  }
  lane.void++;
}

function applyStockChanged(lane: LaneDraft, record: StockChangedRecord): void {
  must(lane.phase !== 'closed', record, 'the stock of a closed lane is final');
  const free = record.capacity - record.safetyStock - lane.held - lane.issued - lane.void;
  must(free >= lane.returnedUnits.length, record, 'less than what is given');
  lane.capacity = record.capacity;
  lane.reserved = record.safetyStock;
  lane.free = free;
}

function applyClosed(lane: LaneDraft, record: ClosedRecord): void {
  must(lane.phase !== 'closed', record, 'closed already');
  must(
    owedRecord(lane) === null || record.reason === 'sold-out',
    record,
    'a lane that closes when sold out closes so',
  );
  if (record.reason === 'ends-at') {
    must(lane.endsAt !== null && record.at >= lane.endsAt, record, 'closed before endsAt');
  }
  if (record.reason === 'sold-out') {
    must(lane.closeWhenSoldOut && lane.soldOutRecordNo !== null, record, 'closed by a sold-out that is not');
  }
  lane.phase = 'closed';
  lane.closeReason = record.reason;
  lane.closedRecordNo = record.recordNo;
}

function takeFree(lane: LaneDraft, record: LaneRecord, unit: number | null): void {
  must(lane.free > 0, record, 'no unit is free');
  if (unit !== nextFreeUnit(lane)) diverge(record, `unit ${unit} granted, ${nextFreeUnit(lane)} was next`);
  lane.free--;
  if (lane.returnedUnits.length > 0) lane.returnedUnits.shift();
  else lane.nextUnit++;
}

function requireGiven(lane: LaneState, record: LaneRecord, unit: number): void {
  must(
    lane.issued > 0 && unit < lane.nextUnit && !lane.returnedUnits.includes(unit),
    record,
    `unit ${unit} is not given`,
  );
}

function must(condition: boolean, record: LaneRecord, what: string): void {
  if (!condition) diverge(record, what);
}

/** Called behind an `if` where the message costs more than the check: `applyRecord` runs once per entry. */
function diverge(record: LaneRecord, what: string): never {
  throw new LaneDivergenceError(record.recordNo, what);
}
