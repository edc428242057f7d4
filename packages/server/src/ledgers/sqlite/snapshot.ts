/** The tables of a campaign as core's invariants look at them: for `verify`, the simulator and every other harness. */
import { createHash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type {
  DeliverySnapshot,
  EntrySnapshot,
  LedgerSnapshot,
  UnitSnapshot,
  VoucherSnapshot,
} from '@doorbuster/core';
import type { Vault } from '../../vault.ts';
import { headOfStored, type StoredBatch } from './batch-log.ts';
import { readLane } from './lane-rows.ts';
import { hexOfBlob, Sql } from './sql.ts';

export interface SnapshotOptions {
  /** With it vouchers are told apart (by a digest of their code); without it there are none in the snapshot. */
  readonly vault?: Vault;
  /** Leaves the chain out: it is long, and `verify` walks it by itself. */
  readonly withoutBatches?: boolean;
}

/** On a connection that sees one state. An unknown campaign and a draft give an empty snapshot. */
export function snapshotOf(
  db: DatabaseSync,
  campaignId: string,
  options: SnapshotOptions = {},
): LedgerSnapshot {
  const sql = new Sql(db);
  const campaign =
    sql.get<{ campaign: number }>('SELECT campaign FROM campaigns WHERE id = ?', campaignId)?.campaign ?? 0;
  const lane = readLane(sql, campaign, campaignId);
  return {
    lanes: lane === null ? [] : [lane.state],
    entries: entriesOf(sql, campaign, campaignId),
    units: unitsOf(sql, campaign, campaignId),
    deliveries: deliveriesOf(sql, campaign, campaignId),
    vouchers: options.vault === undefined ? [] : vouchersOf(sql, campaign, campaignId, options.vault),
    batches: options.withoutBatches === true ? [] : batchesOf(sql, campaign, campaignId),
  };
}

interface EntryRow {
  lane: number;
  seq: number;
  record_no: number;
  member_key: Uint8Array;
  verdict: 'won' | 'waitlisted';
  unit: number | null;
  status: 'live' | 'promoted' | 'revoked';
  current_unit: number | null;
}

function entriesOf(sql: Sql, campaign: number, id: string): EntrySnapshot[] {
  const rows = sql.all<EntryRow>(
    'SELECT lane, seq, record_no, member_key, verdict, unit, status, current_unit FROM entries WHERE campaign = ? ORDER BY lane, seq',
    campaign,
  );
  return rows.map((row) => ({
    campaign: id,
    lane: row.lane,
    seq: row.seq,
    recordNo: row.record_no,
    memberKey: hexOfBlob(row.member_key),
    verdict: row.verdict,
    firstUnit: row.unit,
    status: row.status === 'revoked' ? 'revoked' : row.current_unit === null ? 'waiting' : 'granted',
    unit: row.current_unit,
  }));
}

function unitsOf(sql: Sql, campaign: number, id: string): UnitSnapshot[] {
  const rows = sql.all<{ lane: number; unit: number; state: 'issued' | 'void' | 'free'; seq: number }>(
    'SELECT lane, unit, state, seq FROM units WHERE campaign = ? ORDER BY unit',
    campaign,
  );
  return rows.map((row) => ({ campaign: id, ...row }));
}

function deliveriesOf(sql: Sql, campaign: number, id: string): DeliverySnapshot[] {
  const text = 'SELECT lane, seq, unit, state FROM deliveries WHERE campaign = ? ORDER BY lane, seq, unit';
  return sql.all<Omit<DeliverySnapshot, 'campaign'>>(text, campaign).map((row) => ({ campaign: id, ...row }));
}

function vouchersOf(sql: Sql, campaign: number, id: string, vault: Vault): VoucherSnapshot[] {
  const rows = sql.all<{ unit: number; voucher_salt: Uint8Array; voucher: Uint8Array }>(
    'SELECT unit, voucher_salt, voucher FROM units WHERE campaign = ? AND voucher IS NOT NULL ORDER BY unit',
    campaign,
  );
  return rows.map((row) => {
    const { code } = JSON.parse(vault.open(hexOfBlob(row.voucher_salt), 'voucher', row.voucher)) as {
      code: string;
    };
    return { campaign: id, unit: row.unit, voucher: createHash('sha256').update(code).digest('hex') };
  });
}

function batchesOf(sql: Sql, campaign: number, id: string): LedgerSnapshot['batches'] {
  const rows = sql.all<StoredBatch>(
    `SELECT b.batch_no, b.lane, b.epoch, b.first_record_no, b.count, b.prev_head, b.root, b.head, b.time, b.kid, b.records, s.signature
     FROM batches b LEFT JOIN batch_signatures s USING (campaign, lane, batch_no) WHERE b.campaign = ? ORDER BY b.lane, b.batch_no`,
    campaign,
  );
  return rows.map((row) => ({
    head: headOfStored(id, row),
    records: row.records.split('\n'),
    kid: row.kid,
    signature: row.signature === null ? '' : Buffer.from(row.signature).toString('base64url'),
  }));
}
