/**
 * The fold of a lane with its entries and units: what the tables must say if the records are true. `evolve` sees counters only;
 * this also sees who holds what, so it refuses a second revocation of one entry or a promotion out of turn.
 */
import { applyRecord, initialLane, LaneDivergenceError } from './evolve.ts';
import type { LaneDraft, LaneState } from './lane.ts';
import { draftOf } from './lane.ts';
import type { Digest, EpochMs, LaneRecord } from './record.ts';
import type { EntryVerdict } from './verdict.ts';

export type EntryStatus = 'granted' | 'waiting' | 'revoked';

export interface FoldedEntry {
  readonly seq: number;
  readonly recordNo: number;
  readonly at: EpochMs;
  /** The first verdict and its unit: what a repeat is told. */
  readonly verdict: EntryVerdict;
  readonly firstUnit: number | null;
  readonly member: Digest;
  readonly answers: Digest | null;
  status: EntryStatus;
  /** The unit held now; null when waiting or revoked. */
  unit: number | null;
}

export interface FoldedUnit {
  readonly unit: number;
  state: 'issued' | 'void' | 'free';
  /** The entry that holds or last held it. */
  seq: number;
}

export interface LaneFold {
  /** Takes the next record. Throws a `LaneDivergenceError` when it cannot follow; the fold is unusable then. */
  add(record: LaneRecord): void;
  /** Null before the first record. A copy. */
  lane(): LaneState | null;
  /** By seq. */
  readonly entries: ReadonlyMap<number, FoldedEntry>;
  /** By number; units never given are absent. */
  readonly units: ReadonlyMap<number, FoldedUnit>;
}

export function createLaneFold(): LaneFold {
  const entries = new Map<number, FoldedEntry>();
  const units = new Map<number, FoldedUnit>();
  const holders = new Set<Digest>();
  let lane: LaneDraft | null = null;
  return {
    add(record) {
      if (lane === null) lane = draftOf(initialLane(record));
      else applyRecord(lane, record);
      foldHolders(entries, units, holders, record);
    },
    lane: () => (lane === null ? null : draftOf(lane)),
    entries,
    units,
  };
}

type Entries = Map<number, FoldedEntry>;
type Units = Map<number, FoldedUnit>;

function foldHolders(entries: Entries, units: Units, members: Set<Digest>, record: LaneRecord): void {
  switch (record.type) {
    case 'ENTRY': {
      must(!members.has(record.member), record, 'a commitment appears twice');
      members.add(record.member);
      const { seq, recordNo, at, verdict, unit, member, answers } = record;
      const status = verdict === 'won' ? 'granted' : 'waiting';
      entries.set(seq, { seq, recordNo, at, verdict, firstUnit: unit, member, answers, status, unit });
      if (unit !== null) units.set(unit, { unit, state: 'issued', seq });
      return;
    }
    case 'PROMOTED': {
      const entry = entryOf(entries, record, record.seq, 'waiting', null);
      entry.status = 'granted';
      entry.unit = record.unit;
      units.set(record.unit, { unit: record.unit, state: 'issued', seq: record.seq });
      return;
    }
    case 'REPLACED': {
      entryOf(entries, record, record.seq, 'granted', record.unit).unit = record.newUnit;
      unitOf(units, record, record.unit).state = 'void';
      units.set(record.newUnit, { unit: record.newUnit, state: 'issued', seq: record.seq });
      return;
    }
    case 'REVOKED': {
      const held = record.unit === null ? 'waiting' : 'granted';
      const entry = entryOf(entries, record, record.seq, held, record.unit);
      entry.status = 'revoked';
      entry.unit = null;
      if (record.unit !== null && record.unitBecomes !== null)
        unitOf(units, record, record.unit).state = record.unitBecomes;
      return;
    }
    default:
      return;
  }
}

function entryOf(
  entries: Entries,
  record: LaneRecord,
  seq: number,
  status: EntryStatus,
  unit: number | null,
): FoldedEntry {
  const entry = entries.get(seq);
  if (entry === undefined) throw new LaneDivergenceError(record.recordNo, `no entry ${seq}`);
  must(entry.status === status, record, `entry ${seq} is ${entry.status}, not ${status}`);
  must(entry.unit === unit, record, `entry ${seq} holds unit ${entry.unit}, not ${unit}`);
  return entry;
}

function unitOf(units: Units, record: LaneRecord, unit: number): FoldedUnit {
  const found = units.get(unit);
  if (found === undefined) throw new LaneDivergenceError(record.recordNo, `unit ${unit} was never given`);
  return found;
}

function must(condition: boolean, record: LaneRecord, what: string): void {
  if (!condition) throw new LaneDivergenceError(record.recordNo, what);
}
