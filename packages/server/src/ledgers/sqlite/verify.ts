/**
 * The offline check: the tables are the authority and the records are their evidence, so folding the records again must give every table. Run on
 * a connection that sees one state (a snapshot, a backup, a stopped ledger). Finds, never repairs.
 */
import type { DatabaseSync } from 'node:sqlite';
import {
  answersCommitment,
  type ChainVerifier,
  checkInvariants,
  createChainVerifier,
  type ExportedBatch,
  type FoldedEntry,
  type LaneFold,
  type LaneState,
  memberCommitment,
  type SurveyAnswers,
  type VerifySignature,
} from '@doorbuster/core';
import { sha256 } from '../../audit/signer.ts';
import type { VerifyReport } from '../../ledger.ts';
import type { Vault } from '../../vault.ts';
import { headOfStored, type StoredBatch } from './batch-log.ts';
import { type LaneRow, readLane } from './lane-rows.ts';
import { snapshotOf } from './snapshot.ts';
import { hexOfBlob, Sql } from './sql.ts';
import { compareDelivered, compareKeys, comparePublication, findStrayRows } from './verify-rows.ts';

export interface VerifyOptions {
  /** Null leaves the signatures out. */
  readonly verifySignature: VerifySignature | null;
  /** With it the answers' commitments are opened too. */
  readonly vault?: Vault;
}

type Violation = VerifyReport['violations'][number];
/** More of one kind say nothing new. */
const maxViolations = 1000;

/** What the checks of one campaign are given. */
export interface Check {
  readonly sql: Sql;
  readonly options: VerifyOptions;
  readonly campaign: number;
  readonly id: string;
  readonly report: (invariant: string, detail: string) => void;
}
interface Counts {
  records: number;
  entries: number;
  batches: number;
}

export function verifyLedger(db: DatabaseSync, options: VerifyOptions): VerifyReport {
  const sql = new Sql(db);
  const violations: Violation[] = [];
  const counts: Counts = { records: 0, entries: 0, batches: 0 };
  const add = (invariant: string, campaignId: string | null, detail: string): void => {
    if (violations.length < maxViolations) violations.push({ invariant, campaignId, detail });
  };
  verifyFile(sql, (invariant, detail) => add(invariant, null, detail));
  const campaigns = sql.all<{ campaign: number; id: string }>(
    'SELECT campaign, id FROM campaigns ORDER BY campaign',
  );
  for (const { campaign, id } of campaigns) {
    verifyCampaign(
      { sql, options, campaign, id, report: (invariant, detail) => add(invariant, id, detail) },
      counts,
    );
  }
  return { ok: violations.length === 0, campaigns: campaigns.length, ...counts, violations };
}

function verifyFile(sql: Sql, report: Check['report']): void {
  for (const row of sql.all<{ quick_check: string }>('PRAGMA quick_check(20)')) {
    if (row.quick_check !== 'ok') report('file', row.quick_check);
  }
  for (const row of sql.all<{ table: string; parent: string }>('PRAGMA foreign_key_check'))
    report('file', `a row of ${row.table} has no ${row.parent}`);
  findStrayRows(sql, report);
}

function verifyCampaign(check: Check, counts: Counts): void {
  const lane = readLane(check.sql, check.campaign, check.id);
  if (lane === null) return verifyDraft(check);
  const chain = verifyChain(check, lane, counts);
  const folded = chain.fold.lane();
  if (folded === null) return check.report('I4', 'the lane has no records');
  comparePublication(check);
  compareLane(check, lane.state, folded);
  compareEntries(check, chain.fold, counts);
  compareKeys(check, lane.state);
  compareUnits(check, chain.fold);
  compareDeliveries(check);
  compareDelivered(check);
  compareCounters(check, lane.state);
  judge(check);
}

/** The promises themselves, by the code that every harness uses. */
function judge({ sql, options, id, report }: Check): void {
  try {
    const vault = options.vault === undefined ? {} : { vault: options.vault };
    for (const { invariant, detail } of checkInvariants(
      snapshotOf(sql.db, id, { withoutBatches: true, ...vault }),
    ))
      report(invariant, detail);
  } catch (error) {
    report('I3', `a voucher cannot be opened: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function verifyDraft({ sql, campaign, report }: Check): void {
  for (const table of ['batches', 'entries', 'entry_keys', 'units', 'deliveries']) {
    if (sql.get(`SELECT 1 FROM ${table} WHERE campaign = ? LIMIT 1`, campaign) !== undefined)
      report('I4', `${table} of a campaign without a lane`);
  }
}

const selectBatches = `SELECT b.batch_no, b.lane, b.epoch, b.first_record_no, b.count, b.prev_head, b.root, b.head, b.time, b.kid, b.records, s.signature
  FROM batches b LEFT JOIN batch_signatures s USING (campaign, lane, batch_no) WHERE b.campaign = ? AND b.lane = 0 ORDER BY b.batch_no`;

/** I4 and I2. The newest batches may be unsigned for a moment; one that is signed after an unsigned one is a hole. */
function verifyChain(
  { sql, options, campaign, id, report }: Check,
  lane: LaneRow,
  counts: Counts,
): ChainVerifier {
  const { verifySignature } = options;
  const chain = createChainVerifier(
    sha256,
    verifySignature === null
      ? null
      : (kid, message, signature) => signature === '' || verifySignature(kid, message, signature),
  );
  let batchNo = 0;
  let unsigned = false;
  let broken = false;
  for (const stored of sql.iterate<StoredBatch>(selectBatches, campaign)) {
    if (stored.batch_no !== ++batchNo) report('I4', `batch ${batchNo} is missing`);
    const signature = stored.signature === null ? '' : Buffer.from(stored.signature).toString('base64url');
    if (signature !== '' && unsigned) report('I2', `the batch before ${stored.batch_no} has no signature`);
    unsigned = signature === '';
    const batch: ExportedBatch = {
      head: headOfStored(id, stored),
      records: stored.records.split('\n'),
      kid: stored.kid,
      signature,
    };
    const checked = chain.add(batch);
    if (!checked.ok && !broken)
      report(
        checked.reason === 'signature-invalid' ? 'I2' : 'I4',
        `batch ${stored.batch_no}: ${checked.reason}, ${checked.detail}`,
      );
    broken ||= !checked.ok;
    counts.batches++;
    counts.records += batch.records.length;
  }
  if (lane.batchNo !== batchNo)
    report('I4', `the lane says batch ${lane.batchNo}, the chain ends with ${batchNo}`);
  if (!broken && lane.head !== chain.head) report('I4', 'the head of the lane is not the head of its chain');
  return chain;
}

function compareLane({ report }: Check, stored: LaneState, folded: LaneState): void {
  for (const key of Object.keys(folded) as (keyof LaneState)[]) {
    const [is, says] = [JSON.stringify(stored[key]), JSON.stringify(folded[key])];
    if (is !== says) report(laneInvariant(key), `lane.${key} is ${is}, the records say ${says}`);
  }
}

function laneInvariant(key: keyof LaneState): string {
  return ['free', 'reserved', 'held', 'issued', 'void', 'capacity', 'nextUnit', 'returnedUnits'].includes(key)
    ? 'I6'
    : 'I4';
}

interface StoredEntry {
  seq: number;
  record_no: number;
  member_key: Uint8Array;
  verdict: string;
  unit: number | null;
  status: string;
  current_unit: number | null;
  at: number;
  salt: Uint8Array | null;
  answers: Uint8Array | null;
  erased: number;
}

function compareEntries(check: Check, fold: LaneFold, counts: Counts): void {
  let entries = 0;
  for (const stored of check.sql.iterate<StoredEntry>(
    'SELECT * FROM entries WHERE campaign = ? AND lane = 0 ORDER BY seq',
    check.campaign,
  )) {
    entries++;
    const folded = fold.entries.get(stored.seq);
    if (folded === undefined) check.report('I4', `entry ${stored.seq} has no record`);
    else compareEntry(check, stored, folded);
  }
  counts.entries += entries;
  if (entries !== fold.entries.size)
    check.report('I4', `${entries} entries, the records say ${fold.entries.size}`);
}

function compareEntry(check: Check, stored: StoredEntry, folded: FoldedEntry): void {
  const is = [stored.record_no, stored.at, stored.verdict, stored.unit, stored.current_unit, stored.status];
  const says = [folded.recordNo, folded.at, folded.verdict, folded.firstUnit, folded.unit, statusOf(folded)];
  if (is.join() !== says.join())
    check.report('I2', `entry ${stored.seq} is ${is.join()}, the records say ${says.join()}`);
  if (stored.salt === null) {
    if (stored.erased === 0) check.report('I2', `entry ${stored.seq} lost its salt without an erasure`);
    return;
  }
  const salt = hexOfBlob(stored.salt);
  if (memberCommitment(salt, hexOfBlob(stored.member_key), sha256) !== folded.member)
    check.report('I2', `entry ${stored.seq} is not the member of its record`);
  compareAnswers(check, stored, salt, folded);
}

function compareAnswers(
  { options, report }: Check,
  stored: StoredEntry,
  salt: string,
  folded: FoldedEntry,
): void {
  if ((stored.answers === null) !== (folded.answers === null))
    return report('I2', `the answers of entry ${stored.seq} are not what was recorded`);
  if (stored.answers === null || options.vault === undefined) return;
  try {
    const answers = JSON.parse(options.vault.open(salt, 'answers', stored.answers)) as SurveyAnswers;
    if (answersCommitment(salt, answers, sha256) !== folded.answers)
      report('I2', `the answers of entry ${stored.seq} were changed`);
  } catch {
    report('I2', `the answers of entry ${stored.seq} cannot be opened`);
  }
}

function statusOf(entry: FoldedEntry): string {
  if (entry.status === 'revoked') return 'revoked';
  return entry.verdict === 'waitlisted' && entry.status === 'granted' ? 'promoted' : 'live';
}

function compareUnits({ sql, campaign, report }: Check, fold: LaneFold): void {
  let units = 0;
  const stored = sql.iterate<{ unit: number; state: string; seq: number }>(
    'SELECT unit, state, seq FROM units WHERE campaign = ? ORDER BY unit',
    campaign,
  );
  for (const { unit, state, seq } of stored) {
    units++;
    const folded = fold.units.get(unit);
    if (folded === undefined) report('I1', `unit ${unit} was never given by a record`);
    else if (folded.state !== state || folded.seq !== seq)
      report(
        'I1',
        `unit ${unit} is ${state} with entry ${seq}, the records say ${folded.state} with ${folded.seq}`,
      );
  }
  if (units !== fold.units.size) report('I1', `${units} units, the records say ${fold.units.size}`);
}

/** Each unit in a holder's hands has its delivery, no other unit has a live one. */
function compareDeliveries({ sql, campaign, report }: Check): void {
  const missing = sql.all<{ unit: number }>(
    `SELECT u.unit FROM units u LEFT JOIN deliveries d ON d.campaign = u.campaign AND d.lane = u.lane AND d.seq = u.seq AND d.unit = u.unit
     WHERE u.campaign = ? AND u.state = 'issued' AND (d.state IS NULL OR d.state = 'cancelled') LIMIT 20`,
    campaign,
  );
  for (const { unit } of missing) report('I8', `unit ${unit} is issued without a delivery`);
  const stray = sql.all<{ seq: number; unit: number; state: string }>(
    `SELECT d.seq, d.unit, d.state FROM deliveries d LEFT JOIN units u ON u.campaign = d.campaign AND u.unit = d.unit AND u.seq = d.seq AND u.state = 'issued'
     WHERE d.campaign = ? AND d.state NOT IN ('cancelled', 'delivered') AND u.unit IS NULL LIMIT 20`,
    campaign,
  );
  for (const { seq, unit, state } of stray)
    report('I3', `entry ${seq} does not hold unit ${unit}, but its delivery is ${state}`);
  const orphans = sql.all<{ seq: number; unit: number }>(
    `SELECT d.seq, d.unit FROM deliveries d LEFT JOIN entries e USING (campaign, lane, seq) LEFT JOIN units u ON u.campaign = d.campaign AND u.unit = d.unit
     WHERE d.campaign = ? AND (e.seq IS NULL OR u.unit IS NULL) LIMIT 20`,
    campaign,
  );
  for (const { seq, unit } of orphans)
    report('I3', `a delivery of unit ${unit} to entry ${seq}, and one of them does not exist`);
  const untold = sql.all<{ seq: number }>(
    `SELECT d.seq FROM deliveries d JOIN units u ON u.campaign = d.campaign AND u.unit = d.unit
     WHERE d.campaign = ? AND d.state = 'delivered' AND u.voucher_shown = 0 LIMIT 20`,
    campaign,
  );
  for (const { seq } of untold)
    report('I3', `entry ${seq} was delivered, but its voucher is not marked as shown`);
}

/** I6 against the rows themselves, not only against the fold. */
function compareCounters({ sql, campaign, report }: Check, lane: LaneState): void {
  if (lane.free + lane.reserved + lane.held + lane.issued + lane.void !== lane.capacity)
    report('I6', 'the counters do not add up to the capacity');
  const rows = sql.all<{ state: string; n: number }>(
    'SELECT state, count(*) AS n FROM units WHERE campaign = ? GROUP BY state',
    campaign,
  );
  const count = (state: string): number => rows.find((row) => row.state === state)?.n ?? 0;
  if (count('issued') !== lane.issued)
    report('I1', `${count('issued')} units are issued, the lane says ${lane.issued}`);
  if (count('void') !== lane.void)
    report('I6', `${count('void')} units are void, the lane says ${lane.void}`);
  if (count('free') !== lane.returnedUnits.length)
    report('I6', `${count('free')} units came back, the lane says ${lane.returnedUnits.length}`);
}
