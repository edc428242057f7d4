/** The ledger's tables as the auditor wants them, read with SQL of its own. The lane alone is read by the store: nothing else knows its columns. */
import type { DatabaseSync } from 'node:sqlite';
import type {
  DeliverySnapshot,
  EntrySnapshot,
  ExportedBatch,
  LedgerSnapshot,
  UnitSnapshot,
  VoucherSnapshot,
} from '@doorbuster/core';
import { readLane } from '../packages/server/src/ledgers/sqlite/lane-rows.ts';
import { Sql } from '../packages/server/src/ledgers/sqlite/sql.ts';
import type { Vault } from '../packages/server/src/vault.ts';

type Named<T> = T & { readonly campaign: string };

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** A ledger as evidence. `erased` counts by entry: 0 no, 1 personal data gone, 2 the member key too. */
export interface LedgerEvidence extends LedgerSnapshot {
  readonly erased: ReadonlyMap<string, number>;
  /** Deliveries that some message of the outbox tells of. */
  readonly outbox: readonly { readonly id: string; readonly body: string }[];
}

export function readEvidence(db: DatabaseSync, vault: Pick<Vault, 'open'>): LedgerEvidence {
  const all = <T>(sql: string): readonly Named<T>[] =>
    db.prepare(sql).all() as unknown as readonly Named<T>[];
  const sql = new Sql(db);
  const lanes = all<{ number: number }>('SELECT campaign AS number, id AS campaign FROM campaigns').flatMap(
    ({ number, campaign }) => readLane(sql, number, campaign)?.state ?? [],
  );
  const bodies = all<{ body: string }>('SELECT body FROM outbox ORDER BY number');
  return {
    lanes,
    ...tables(all, vault),
    batches: batchesOf(all),
    erased: new Map(
      all<{ seq: number; erased: number }>(
        'SELECT c.id AS campaign, e.seq, e.erased FROM entries e JOIN campaigns c USING (campaign) WHERE e.erased > 0',
      ).map(({ campaign, seq, erased }) => [`${campaign} ${seq}`, erased]),
    ),
    outbox: bodies.map(({ body }) => ({ id: (JSON.parse(body) as { id: string }).id, body })),
  };
}

/** Rows that still name a member of a campaign, by table; for those who asked to be forgotten. */
export function personalRows(db: DatabaseSync, campaignId: string, memberKey: string): readonly string[] {
  const key = Buffer.from(memberKey, 'hex');
  const found: string[] = [];
  const look = (what: string, text: string): void => {
    const row = db.prepare(text).get(campaignId, key) as { n: number };
    if (row.n > 0) found.push(what);
  };
  const here = '(SELECT campaign FROM campaigns WHERE id = ?1)';
  look(
    'registrations',
    `SELECT count(*) AS n FROM registrations WHERE campaign = ${here} AND member_key = ?2`,
  );
  for (const table of ['members', 'staged_members'])
    look(
      table,
      `SELECT count(*) AS n FROM ${table} WHERE member_key = ?2 AND import IN (SELECT import FROM imports WHERE campaign = ${here})`,
    );
  look(
    'entries',
    `SELECT count(*) AS n FROM entries WHERE campaign = ${here} AND member_key = ?2 AND (salt IS NOT NULL OR answers IS NOT NULL OR erased = 0)`,
  );
  look(
    'entry_keys',
    `SELECT count(*) AS n FROM entry_keys k JOIN entries e USING (campaign, lane, seq) WHERE k.campaign = ${here} AND k.member_key = ?2 AND e.member_key <> ?2`,
  );
  return found;
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
