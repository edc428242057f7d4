/**
 * Writing records: what `admit` and `decideLane` share. A record is written by applying it (`applyRecord`), so the state that
 * comes back is by construction the fold of the records that come back.
 */
import { applyRecord } from './evolve.ts';
import type { LaneDraft, LaneState } from './lane.ts';
import { draftOf, nextFreeUnit, owedRecord } from './lane.ts';
import type { EpochMs, LaneRecord } from './record.ts';

export interface LaneWriter {
  readonly lane: LaneDraft;
  readonly records: LaneRecord[];
  readonly now: EpochMs;
  /** Waiting entries in the order in which they are promoted; `promoted` of them are done. */
  readonly waitingSeqs: readonly number[];
  promoted: number;
}

export function writerFor(lane: LaneState, now: EpochMs, waitingSeqs: readonly number[] = []): LaneWriter {
  return { lane: draftOf(lane), records: [], now, waitingSeqs, promoted: 0 };
}

/** Applies the record, then keeps it. */
export function write(writer: LaneWriter, record: LaneRecord): void {
  applyRecord(writer.lane, record);
  writer.records.push(record);
}

/** Opens and closes on the dot: what `now` alone brings about. */
export function writeTimeOfDay(writer: LaneWriter): void {
  const { lane, now } = writer;
  if (lane.phase === 'closed') return;
  if (lane.endsAt !== null && now >= lane.endsAt) {
    write(writer, { recordNo: lane.recordNo + 1, type: 'CLOSED', at: now, reason: 'ends-at' });
  } else if (lane.phase === 'scheduled' && now >= lane.startsAt) {
    write(writer, { recordNo: lane.recordNo + 1, type: 'OPENED', at: now });
    writeOwed(writer);
  }
}

/** Writes what the lane owes until it owes nothing. Promotions need enough `waitingSeqs`: checked by the command before. */
export function writeOwed(writer: LaneWriter): void {
  const { lane, now } = writer;
  for (let owed = owedRecord(lane); owed !== null; owed = owedRecord(lane)) {
    const recordNo = lane.recordNo + 1;
    if (owed === 'SOLD_OUT') write(writer, { recordNo, type: owed, at: now });
    else if (owed === 'REOPENED') write(writer, { recordNo, type: owed, at: now, free: lane.free });
    else if (owed === 'CLOSED') write(writer, { recordNo, type: owed, at: now, reason: 'sold-out' });
    else promoteNext(writer);
  }
}

/** Promotes the next waiting entry onto the next free unit. */
export function promoteNext(writer: LaneWriter): void {
  const { lane, now } = writer;
  const seq = writer.waitingSeqs[writer.promoted++];
  if (seq === undefined) throw new RangeError('a promotion without a waiting entry to promote');
  write(writer, { recordNo: lane.recordNo + 1, type: 'PROMOTED', at: now, seq, unit: nextFreeUnit(lane) });
}
