/** The row of a lane: core's `LaneState`, and where its chain stands. */
import type { Digest, LaneState } from '@doorbuster/core';
import { blobOf, hexOfBlob, type Sql } from './sql.ts';

export interface LaneRow {
  readonly state: LaneState;
  /** Number and head of the last batch. */
  readonly batchNo: number;
  readonly head: Digest;
}

interface StoredLane {
  lane: number;
  epoch: number;
  phase: LaneState['phase'];
  close_reason: LaneState['closeReason'];
  starts_at: number;
  ends_at: number | null;
  close_when_sold_out: number;
  waitlist_limit: number;
  seq: number;
  record_no: number;
  capacity: number;
  free: number;
  reserved: number;
  held: number;
  issued: number;
  void: number;
  next_unit: number;
  returned_units: string;
  waiting: number;
  sold_out_record_no: number | null;
  closed_record_no: number | null;
  batch_no: number;
  head: Uint8Array;
}

export function readLane(sql: Sql, campaign: number, id: string, lane = 0): LaneRow | null {
  const row = sql.get<StoredLane>('SELECT * FROM lanes WHERE campaign = ? AND lane = ?', campaign, lane);
  return row === undefined ? null : laneOf(id, row);
}

function laneOf(id: string, row: StoredLane): LaneRow {
  const state: LaneState = {
    campaign: id,
    lane: row.lane,
    epoch: row.epoch,
    phase: row.phase,
    closeReason: row.close_reason,
    startsAt: row.starts_at,
    endsAt: row.ends_at,
    closeWhenSoldOut: row.close_when_sold_out === 1,
    waitlistLimit: row.waitlist_limit,
    seq: row.seq,
    recordNo: row.record_no,
    capacity: row.capacity,
    free: row.free,
    reserved: row.reserved,
    held: row.held,
    issued: row.issued,
    void: row.void,
    nextUnit: row.next_unit,
    returnedUnits: row.returned_units === '[]' ? [] : (JSON.parse(row.returned_units) as number[]),
    waiting: row.waiting,
    soldOutRecordNo: row.sold_out_record_no,
    closedRecordNo: row.closed_record_no,
  };
  return { state, batchNo: row.batch_no, head: hexOfBlob(row.head) };
}

export function insertLane(sql: Sql, campaign: number, { state, batchNo, head }: LaneRow): void {
  sql.run(
    `INSERT INTO lanes (campaign, lane, epoch, phase, close_reason, starts_at, ends_at, close_when_sold_out, waitlist_limit, seq, record_no, capacity,
       free, reserved, held, issued, void, next_unit, returned_units, waiting, sold_out_record_no, closed_record_no, batch_no, head)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    campaign,
    state.lane,
    state.epoch,
    state.phase,
    state.closeReason,
    state.startsAt,
    state.endsAt,
    state.closeWhenSoldOut ? 1 : 0,
    state.waitlistLimit,
    state.seq,
    state.recordNo,
    state.capacity,
    state.free,
    state.reserved,
    state.held,
    state.issued,
    state.void,
    state.nextUnit,
    JSON.stringify(state.returnedUnits),
    state.waiting,
    state.soldOutRecordNo,
    state.closedRecordNo,
    batchNo,
    blobOf(head),
  );
}

export function updateLane(sql: Sql, campaign: number, { state, batchNo, head }: LaneRow): void {
  const changed = sql.run(
    `UPDATE lanes SET epoch = ?, phase = ?, close_reason = ?, seq = ?, record_no = ?, capacity = ?, free = ?, reserved = ?, held = ?, issued = ?,
       void = ?, next_unit = ?, returned_units = ?, waiting = ?, sold_out_record_no = ?, closed_record_no = ?, batch_no = ?, head = ?
     WHERE campaign = ? AND lane = ?`,
    state.epoch,
    state.phase,
    state.closeReason,
    state.seq,
    state.recordNo,
    state.capacity,
    state.free,
    state.reserved,
    state.held,
    state.issued,
    state.void,
    state.nextUnit,
    JSON.stringify(state.returnedUnits),
    state.waiting,
    state.soldOutRecordNo,
    state.closedRecordNo,
    batchNo,
    blobOf(head),
    campaign,
    state.lane,
  );
  if (changed !== 1) throw new Error(`no lane ${state.lane} of ${state.campaign}`);
}
