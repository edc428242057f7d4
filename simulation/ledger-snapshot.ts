/** The ledger's tables as the common invariants want them, read with SQL of the auditor's own. */
import type { DatabaseSync } from 'node:sqlite';
import type {
  DeliverySnapshot,
  EntrySnapshot,
  ExportedBatch,
  LaneState,
  LedgerSnapshot,
  UnitSnapshot,
  VoucherSnapshot,
} from '@doorbuster/core';
import type { Vault } from '../packages/server/src/vault.ts';

type Named<T> = T & { readonly campaign: string };

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export function readSnapshot(
  db: DatabaseSync,
  vault: Pick<Vault, 'open'>,
  lanes: readonly LaneState[],
): LedgerSnapshot {
  const all = <T>(sql: string): readonly Named<T>[] =>
    db.prepare(sql).all() as unknown as readonly Named<T>[];
  return { lanes, ...tables(all, vault), batches: batchesOf(all) };
}

type All = <T>(sql: string) => readonly Named<T>[];

function tables(
  all: All,
  vault: Pick<Vault, 'open'>,
): Pick<LedgerSnapshot, 'entries' | 'units' | 'deliveries' | 'vouchers'> {
  const entries = all<EntryRow>(
    'SELECT c.id AS campaign, e.lane, e.seq, e.record_no, e.member_key, e.verdict, e.unit, e.status, e.current_unit FROM entries e JOIN campaigns c USING (campaign)',
  );
  const units = all<UnitRow>(
    'SELECT c.id AS campaign, u.lane, u.unit, u.state, u.seq, u.voucher_salt, u.voucher FROM units u JOIN campaigns c USING (campaign)',
  );
  const deliveries = all<DeliverySnapshot>(
    'SELECT c.id AS campaign, d.lane, d.seq, d.unit, d.state FROM deliveries d JOIN campaigns c USING (campaign)',
  );
  return {
    entries: entries.map(entryOf),
    units: units.map(({ campaign, lane, unit, state, seq }) => ({ campaign, lane, unit, state, seq })),
    deliveries,
    vouchers: units.flatMap((row) => voucherOf(row, vault)),
  };
}

interface EntryRow {
  readonly lane: number;
  readonly seq: number;
  readonly record_no: number;
  readonly member_key: Uint8Array;
  readonly verdict: EntrySnapshot['verdict'];
  readonly unit: number | null;
  readonly status: 'live' | 'promoted' | 'revoked';
  readonly current_unit: number | null;
}
type UnitRow = Omit<UnitSnapshot, 'campaign'> & {
  readonly voucher_salt: Uint8Array | null;
  readonly voucher: Uint8Array | null;
};

function entryOf(row: Named<EntryRow>): EntrySnapshot {
  const { campaign, lane, seq, verdict, current_unit: unit } = row;
  const live = unit === null ? 'waiting' : 'granted';
  return {
    campaign,
    lane,
    seq,
    recordNo: row.record_no,
    memberKey: hex(row.member_key),
    verdict,
    firstUnit: row.unit,
    status: row.status === 'revoked' ? 'revoked' : live,
    unit,
  };
}

function voucherOf(row: Named<UnitRow>, vault: Pick<Vault, 'open'>): VoucherSnapshot[] {
  const { campaign, unit, voucher_salt: salt, voucher: sealed } = row;
  if (salt === null || sealed === null) return [];
  const { code } = JSON.parse(vault.open(hex(salt), 'voucher', sealed)) as { code: string };
  return [{ campaign, unit, voucher: code }];
}

function batchesOf(all: All): ExportedBatch[] {
  const rows = all<StoredBatch>(
    `SELECT c.id AS campaign, b.lane, b.epoch, b.first_record_no, b.count, b.prev_head, b.root, b.head, b.time, b.kid, b.records, s.signature
     FROM batches b JOIN campaigns c USING (campaign) LEFT JOIN batch_signatures s USING (campaign, lane, batch_no)
     ORDER BY b.campaign, b.lane, b.batch_no`,
  );
  return rows.map((row) => ({
    head: {
      campaign: row.campaign,
      lane: row.lane,
      epoch: row.epoch,
      prevHead: hex(row.prev_head),
      root: hex(row.root),
      firstRecordNo: row.first_record_no,
      count: row.count,
      time: row.time,
      head: hex(row.head),
    },
    records: row.records.split('\n'),
    kid: row.kid,
    signature: row.signature === null ? '' : Buffer.from(row.signature).toString('base64url'),
  }));
}

interface StoredBatch {
  readonly lane: number;
  readonly epoch: number;
  readonly first_record_no: number;
  readonly count: number;
  readonly prev_head: Uint8Array;
  readonly root: Uint8Array;
  readonly head: Uint8Array;
  readonly time: number;
  readonly kid: string;
  readonly records: string;
  readonly signature: Uint8Array | null;
}
