/**
 * `admit`: the one decision of Doorbuster. Pure: state and commands in, verdicts and records out. Both the lane and
 * the known entries are read in the transaction that stores the result, so nothing is decided on a state that may still roll back.
 */
import type { LaneState } from './lane.ts';
import { nextFreeUnit } from './lane.ts';
import type { LaneWriter } from './lane-writer.ts';
import { write, writeOwed, writerFor, writeTimeOfDay } from './lane-writer.ts';
import type { Digest, EntryRecord, EpochMs, LaneRecord } from './record.ts';
import type { EntryVerdict, RefusalVerdict } from './verdict.ts';

/** 32 lower-case hex characters: the first 16 bytes of HMAC-SHA-256(campaign pepper, member id). */
export type MemberKey = string;

/** What eligibility rules and the screening answers said about the member, with the reason that the campaign shows. */
export type Qualification =
  | { readonly eligible: true }
  | { readonly eligible: false; readonly reason: string };

export interface EntryCommand {
  readonly memberKey: MemberKey;
  /** SHA-256(salt || member key). */
  readonly member: Digest;
  readonly answers: Digest | null;
  readonly qualification: Qualification;
}

/** An entry that the ledger already holds for a member of the batch. */
export interface KnownEntry {
  readonly seq: number;
  readonly recordNo: number;
  /** The first verdict, for ever. */
  readonly verdict: EntryVerdict;
  /** The unit of the first verdict. */
  readonly unit: number | null;
}

export type Decision =
  | {
      readonly verdict: EntryVerdict;
      readonly seq: number;
      readonly recordNo: number;
      readonly unit: number | null;
      /** True when the member was known before this command: stored earlier, or earlier in this batch. */
      readonly repeated: boolean;
    }
  | {
      readonly verdict: 'sold-out' | 'closed';
      /** The record that everyone so refused is handed. */
      readonly recordNo: number;
    }
  | { readonly verdict: 'ineligible'; readonly reason: string }
  | { readonly verdict: 'not-open'; readonly opensAt: EpochMs }
  | { readonly verdict: 'paused' };

export type Refusal = Extract<Decision, { verdict: RefusalVerdict }>;

export interface AdmitResult {
  readonly lane: LaneState;
  /** One per command, in order. */
  readonly decisions: readonly Decision[];
  /** New records in order: ENTRY..., then SOLD_OUT and CLOSED where this batch caused them. */
  readonly records: readonly LaneRecord[];
}

/**
 * `admit(lane, known, commands, now)`: `known` maps the member keys of the batch that the ledger already holds.
 * A command of a member who is known, or who was admitted earlier in the batch, gets the first verdict and stores nothing.
 */
export type Admit = (
  lane: LaneState,
  known: ReadonlyMap<MemberKey, KnownEntry>,
  commands: readonly EntryCommand[],
  now: EpochMs,
) => AdmitResult;

/** See `Admit`. First brings the lane up to `now` (OPENED, CLOSED), then answers each command in order. */
export const admit: Admit = (lane, known, commands, now) => {
  const writer = writerFor(lane, now);
  writeTimeOfDay(writer);
  const admitted = new Map<MemberKey, Decision>();
  const decisions: Decision[] = [];
  for (const command of commands) {
    const earlier = known.get(command.memberKey);
    const decision = earlier === undefined ? admitUnknown(writer, admitted, command) : firstVerdict(earlier);
    decisions.push(decision);
  }
  return { lane: writer.lane, decisions, records: writer.records };
};

function firstVerdict(entry: KnownEntry): Decision {
  const { verdict, seq, recordNo, unit } = entry;
  return { verdict, seq, recordNo, unit, repeated: true };
}

/** A member the ledger does not hold: perhaps admitted earlier in this batch, else refused, else a new entry. */
function admitUnknown(
  writer: LaneWriter,
  admitted: Map<MemberKey, Decision>,
  command: EntryCommand,
): Decision {
  const earlier = admitted.get(command.memberKey);
  if (earlier !== undefined) return earlier;
  const refusal = refusalOf(writer.lane, command.qualification);
  if (refusal !== null) return refusal;
  const { seq, recordNo, verdict, unit } = enter(writer, command);
  admitted.set(command.memberKey, { verdict, seq, recordNo, unit, repeated: true });
  return { verdict, seq, recordNo, unit, repeated: false };
}

/** The checks in the precedence of `verdicts`; null lets the member in. */
export function refusalOf(lane: LaneState, qualification: Qualification): Refusal | null {
  if (lane.phase === 'scheduled') return { verdict: 'not-open', opensAt: lane.startsAt };
  if (lane.closedRecordNo !== null && lane.closeReason !== 'sold-out')
    return { verdict: 'closed', recordNo: lane.closedRecordNo };
  if (lane.soldOutRecordNo !== null) return { verdict: 'sold-out', recordNo: lane.soldOutRecordNo };
  if (lane.phase === 'paused') return { verdict: 'paused' };
  if (!qualification.eligible) return { verdict: 'ineligible', reason: qualification.reason };
  return null;
}

/** Writes the entry, and SOLD_OUT and CLOSED right behind it when it took the last place. */
function enter(writer: LaneWriter, command: EntryCommand): EntryRecord {
  const { lane, now } = writer;
  const wins = lane.free > 0;
  const record: EntryRecord = {
    recordNo: lane.recordNo + 1,
    type: 'ENTRY',
    at: now,
    seq: lane.seq + 1,
    verdict: wins ? 'won' : 'waitlisted',
    unit: wins ? nextFreeUnit(lane) : null,
    member: command.member,
    answers: command.answers,
  };
  write(writer, record);
  writeOwed(writer);
  return record;
}
