/**
 * What `verify` looks at besides the fold: the definition against the record that published it, deliveries against what they say of themselves,
 * and rows that no lane and no record knows. No constraint refuses these (tables of the hot path have no foreign keys, and a definition
 * may be reworded after its publication), so whoever writes into the file by hand is found here.
 */
import { canonicalJson, decodeRecord, hexOf, type LaneState, utf8Of } from '@doorbuster/core';
import { sha256 } from '../../audit/signer.ts';
import { type CampaignDefinition, termsOf } from '../../campaign/definition.ts';
import type { Sql } from './sql.ts';
import type { Check } from './verify.ts';

interface PublicationRow {
  readonly definition: string;
  readonly published_at: number | null;
  readonly records: string;
  readonly reworded: number;
}

/** The terms must be those of the PUBLISHED record for ever, the whole definition as long as nobody reworded it. */
export function comparePublication({ sql, campaign, report }: Check): void {
  const row = sql.get<PublicationRow>(
    `SELECT c.definition, c.published_at, b.records,
       EXISTS (SELECT 1 FROM audit_records WHERE campaign = c.campaign AND action = 'campaign.updated' AND audit_no >
         (SELECT min(audit_no) FROM audit_records WHERE campaign = c.campaign AND action = 'campaign.published')) AS reworded
     FROM campaigns c JOIN batches b ON b.campaign = c.campaign AND b.lane = 0 AND b.batch_no = 1 WHERE c.campaign = ?`,
    campaign,
  );
  const published = row && readablePublication(row.records);
  // A missing or unreadable first batch was reported by the chain.
  if (!row || !published) return;
  if (row.published_at !== published.at)
    report('I4', `published_at is ${row.published_at}, the records say ${published.at}`);
  const definition = JSON.parse(row.definition) as CampaignDefinition;
  for (const [name, is] of Object.entries(termsOf(definition))) {
    const says = published[name as keyof ReturnType<typeof termsOf>];
    if (is !== says) report('I4', `${name} of the definition is ${is}, it was published with ${says}`);
  }
  if (row.reworded === 0 && hexOf(sha256(utf8Of(canonicalJson(definition)))) !== published.definition)
    report('I4', 'the definition is not the one that was published');
}

function readablePublication(records: string) {
  try {
    const record = decodeRecord(records.split('\n')[0] ?? '');
    return record.type === 'PUBLISHED' ? record : null;
  } catch {
    return null;
  }
}

const deliveryFaults: readonly (readonly [invariant: string, what: string, where: string])[] = [
  [
    'I8',
    'is delivered, but no messenger took it',
    "d.state = 'delivered' AND (d.delivered_at IS NULL OR d.message_state <> 'sent')",
  ],
  [
    'I3',
    'is delivered, but there is no voucher',
    `d.state = 'delivered' AND e.erased = 0 AND EXISTS (SELECT 1 FROM units u WHERE u.campaign = d.campaign AND u.unit = d.unit
       AND u.seq = d.seq AND (u.voucher IS NULL OR u.voucher_state <> 'issued'))`,
  ],
  [
    'I8',
    'counts attempts that are not noted',
    `d.attempts > (SELECT count(*) FROM delivery_attempts a
       WHERE a.campaign = d.campaign AND a.lane = d.lane AND a.seq = d.seq AND a.unit = d.unit)`,
  ],
];

/** A delivery agrees with its attempts and its voucher, and every unit that an entry ever began with has one. */
export function compareDelivered({ sql, campaign, report }: Check): void {
  for (const [invariant, what, where] of deliveryFaults)
    for (const { seq, unit } of sql.all<{ seq: number; unit: number }>(
      `SELECT d.seq, d.unit FROM deliveries d JOIN entries e USING (campaign, lane, seq) WHERE d.campaign = ? AND ${where} LIMIT 20`,
      campaign,
    ))
      report(invariant, `the delivery of unit ${unit} to entry ${seq} ${what}`);
  for (const table of ['entries', 'units'])
    for (const { seq, unit } of sql.all<{ seq: number; unit: number }>(
      `SELECT g.seq, g.unit FROM ${table} g WHERE g.campaign = ? AND g.unit IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deliveries d
         WHERE d.campaign = g.campaign AND d.lane = g.lane AND d.seq = g.seq AND d.unit = g.unit) LIMIT 20`,
      campaign,
    ))
      report('I8', `unit ${unit} was given to entry ${seq} without a delivery`);
}

const keyFaults: readonly (readonly [what: string, text: string])[] = [
  [
    'has two entries of one member',
    'SELECT max(seq) AS seq FROM entries WHERE campaign = ? GROUP BY member_key HAVING count(*) > 1 LIMIT 20',
  ],
  [
    'is not in the index of members as it should be',
    `SELECT e.seq FROM entries e JOIN key_runs r ON r.campaign = e.campaign AND r.lane = e.lane
     WHERE e.campaign = ? AND (e.seq <= r.sealed_seq OR (e.seq <= r.run_seq AND e.member_key <= r.after_key))
       AND NOT EXISTS (SELECT 1 FROM entry_keys k WHERE k.campaign = e.campaign AND k.member_key = e.member_key AND k.lane = e.lane AND k.seq = e.seq) LIMIT 20`,
  ],
  [
    'is in the index of members with another key, or too early',
    `SELECT k.seq FROM entry_keys k LEFT JOIN entries e USING (campaign, lane, seq) LEFT JOIN key_runs r USING (campaign, lane)
     WHERE k.campaign = ? AND (e.member_key IS NOT k.member_key OR k.seq > coalesce(r.run_seq, 0)
       OR (k.seq > r.sealed_seq AND k.member_key > r.after_key)) LIMIT 20`,
  ],
];

/** One entry a member, over the index and the tail that is not in it yet; and the index is of these entries. */
export function compareKeys({ sql, campaign, report }: Check, lane: LaneState): void {
  for (const [what, text] of keyFaults)
    for (const { seq } of sql.all<{ seq: number }>(text, campaign)) report('I3', `entry ${seq} ${what}`);
  const run = sql.get<{ run_seq: number; fault: string | null }>(
    'SELECT run_seq, fault FROM key_runs WHERE campaign = ? AND lane = 0',
    campaign,
  );
  if (run !== undefined && run.run_seq > lane.seq)
    report('I4', `a run of keys ends with entry ${run.run_seq}, the lane with ${lane.seq}`);
  if (typeof run?.fault === 'string') report('I3', `the lane was halted: ${run.fault}`);
}

/** Rows of the hot path whose lane does not exist, evidence without its batch, and holes in the audit records. */
export function findStrayRows(sql: Sql, report: (invariant: string, detail: string) => void): void {
  for (const table of [
    'batches',
    'batch_signatures',
    'entries',
    'entry_keys',
    'key_runs',
    'units',
    'deliveries',
    'delivery_attempts',
  ]) {
    const { n } = sql.get<{ n: number }>(
      `SELECT count(*) AS n FROM ${table} t WHERE NOT EXISTS (SELECT 1 FROM lanes l WHERE l.campaign = t.campaign AND l.lane = t.lane)`,
    ) ?? { n: 0 };
    if (n > 0) report('file', `${n} rows of ${table} belong to no lane`);
  }
  const orphans: readonly (readonly [table: string, parent: string, key: string])[] = [
    ['batch_signatures', 'batches', 'batch_no'],
    ['delivery_attempts', 'deliveries', 'seq'],
  ];
  for (const [table, parent, key] of orphans) {
    const unit = parent === 'deliveries' ? ' AND p.unit = t.unit' : '';
    const { n } = sql.get<{ n: number }>(
      `SELECT count(*) AS n FROM ${table} t WHERE NOT EXISTS (SELECT 1 FROM ${parent} p
         WHERE p.campaign = t.campaign AND p.lane = t.lane AND p.${key} = t.${key}${unit})`,
    ) ?? { n: 0 };
    if (n > 0) report('file', `${n} rows of ${table} have no row in ${parent}`);
  }
  const audit = sql.get<{ n: number; last: number | null }>(
    'SELECT count(*) AS n, max(audit_no) AS last FROM audit_records',
  );
  if (audit && audit.n !== (audit.last ?? 0))
    report('file', `${(audit.last ?? 0) - audit.n} audit records are missing`);
}
