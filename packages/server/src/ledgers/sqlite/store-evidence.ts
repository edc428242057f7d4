/** What can be shown and checked: entries, records, audit records, checkpoints; and erasure, which must leave all of them standing. */
import {
  type Checkpoint,
  checkpointMessage,
  createTreeAccumulator,
  type Digest,
  hexOf,
  leafHash,
  type MemberKey,
  signedHeadMessage,
  type SurveyAnswers,
} from '@doorbuster/core';
import { type Signer, sha256 } from '../../audit/signer.ts';
import type { Actor, AuditRecord, EntryView, Page, PageRequest, RecordBatch } from '../../ledger.ts';
import type { Vault } from '../../vault.ts';
import { note, system } from './audit-log.ts';
import { batchesFrom, headOfStored, type StoredBatch } from './batch-log.ts';
import type { CampaignRow, CampaignRows } from './campaign-rows.ts';
import { cursorOf, readCursor } from './cursor.ts';
import { readLane } from './lane-rows.ts';
import type { Scrubber } from './scrubber.ts';
import { blobOf, hexOfBlob, type Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

export interface EvidenceParts {
  readonly sql: Sql;
  readonly campaigns: CampaignRows;
  readonly vault: Vault;
  readonly signer: Signer;
  readonly scrubber: Scrubber;
}

interface StoredEntry {
  seq: number;
  record_no: number;
  verdict: 'won' | 'waitlisted';
  status: 'live' | 'promoted' | 'revoked';
  current_unit: number | null;
  at: number;
  salt: Uint8Array | null;
  answers: Uint8Array | null;
  erased: number;
}
interface StoredAudit {
  audit_no: number;
  at: number;
  actor_kind: Actor['kind'];
  actor_id: string;
  request_id: string | null;
  action: string;
  target: string;
  detail: string;
}

const selectEntries =
  'SELECT seq, record_no, verdict, status, current_unit, at, salt, answers, erased FROM entries';
const checkpointMaxAgeMs = 1000;

export class EvidenceStore {
  readonly #parts: EvidenceParts;
  readonly #checkpoints = new Map<string, { readonly madeAt: number; readonly checkpoint: Checkpoint }>();

  constructor(parts: EvidenceParts) {
    this.#parts = parts;
  }

  entries(
    campaignId: string,
    filter: { readonly verdict?: 'won' | 'waitlisted'; readonly status?: 'live' | 'promoted' | 'revoked' },
    page: PageRequest,
  ): Page<EntryView> {
    const campaign = this.#parts.campaigns.find(campaignId);
    if (campaign === null) return { items: [], next: null };
    const rows = this.#parts.sql.all<StoredEntry>(
      `${selectEntries} WHERE campaign = ? AND lane = 0 AND seq > ? AND (?3 IS NULL OR verdict = ?3) AND (?4 IS NULL OR status = ?4) ORDER BY seq LIMIT ?5`,
      campaign.campaign,
      readCursor(page.after, 1)?.[0] ?? 0,
      filter.verdict ?? null,
      filter.status ?? null,
      page.limit + 1,
    );
    const items = rows.slice(0, page.limit);
    const last = items.at(-1);
    return {
      items: items.map((row) => this.#entryView(row)),
      next: rows.length > page.limit && last ? cursorOf(last.seq) : null,
    };
  }

  /** Entries after `seq`, at most `limit`. */
  entriesAfter(campaignId: string, seq: number, limit: number): readonly EntryView[] {
    const campaign = this.#parts.campaigns.find(campaignId);
    if (campaign === null) return [];
    const rows = this.#parts.sql.all<StoredEntry>(
      `${selectEntries} WHERE campaign = ? AND lane = 0 AND seq > ? ORDER BY seq LIMIT ?`,
      campaign.campaign,
      seq,
      limit,
    );
    return rows.map((row) => this.#entryView(row));
  }

  #entryView(row: StoredEntry): EntryView {
    const { seq, record_no: recordNo, verdict, status, current_unit: unit, at } = row;
    return {
      seq,
      recordNo,
      verdict,
      status,
      unit,
      at,
      answers: this.#openAnswers(row),
      erased: row.erased > 0,
    };
  }

  #openAnswers({ salt, answers }: StoredEntry): SurveyAnswers | null {
    if (salt === null || answers === null) return null;
    return JSON.parse(this.#parts.vault.open(hexOfBlob(salt), 'answers', answers)) as SurveyAnswers;
  }

  /** Keys of entries after `seq` and the last seq among them. */
  memberKeysAfter(
    campaignId: string,
    seq: number,
    limit: number,
  ): { readonly keys: Uint8Array<ArrayBuffer>; readonly seq: number } {
    const campaign = this.#parts.campaigns.find(campaignId);
    // In one row: at a million entries one for each took 0.9 s and left 100 MB of garbage, this takes 0.2 s.
    const text = `SELECT group_concat(hex(member_key), '') AS keys, max(seq) AS last FROM entries
      WHERE campaign = ? AND lane = 0 AND seq > ? AND seq <= ?`;
    const row = this.#parts.sql.get<{ keys: string | null; last: number | null }>(
      text,
      campaign?.campaign ?? 0,
      seq,
      seq + limit,
    );
    const hex = row?.keys ?? '';
    // Bytes of their own, and not a piece of the pool of Buffers: they go to another thread.
    const keys = new Uint8Array(hex.length / 2);
    Buffer.from(keys.buffer).write(hex, 'hex');
    return { keys, seq: row?.last ?? seq };
  }

  /** Number of the batch before the one that holds the record: where an export from there begins. */
  batchBefore(campaignId: string, recordNo: number): number {
    const campaign = this.#parts.campaigns.find(campaignId);
    const text =
      'SELECT max(batch_no) AS n FROM batches WHERE campaign = ? AND lane = 0 AND first_record_no <= ?';
    const found = this.#parts.sql.get<{ n: number | null }>(
      text,
      campaign?.campaign ?? 0,
      Math.max(1, recordNo),
    );
    return Math.max(0, (found?.n ?? 1) - 1);
  }

  batchesAfter(campaignId: string, batchNo: number, limit: number): readonly RecordBatch[] {
    const campaign = this.#parts.campaigns.find(campaignId);
    if (campaign === null) return [];
    return this.#parts.sql
      .all<StoredBatch>(batchesFrom, campaign.campaign, 0, batchNo, limit)
      .map((stored) => this.#signed(recordBatchOf(campaignId, stored), campaignId));
  }

  /** The writer stores a signature up to 200 ms after the commit; what can be read is durable, and the same key gives the same signature. */
  #signed(batch: RecordBatch, campaign: string): RecordBatch {
    const { kid, signature, epoch, head } = batch;
    if (signature !== null || kid === null) return batch;
    const made = this.#parts.signer.sign(kid, signedHeadMessage({ campaign, lane: 0, epoch, head }));
    return { ...batch, signature: Buffer.from(made).toString('base64url') };
  }

  /** `at`: the authority's clock of whoever asks. */
  checkpoint(campaignId: string, at: number): Checkpoint | null {
    const cached = this.#checkpoints.get(campaignId);
    if (cached !== undefined && at - cached.madeAt >= 0 && at - cached.madeAt < checkpointMaxAgeMs)
      return cached.checkpoint;
    const { campaigns, sql, signer } = this.#parts;
    const campaign = campaigns.find(campaignId);
    const lane = campaign === null ? null : readLane(sql, campaign.campaign, campaignId);
    if (lane === null) return null;
    const { epoch, recordNo } = lane.state;
    const place = { campaign: campaignId, lane: 0, epoch, recordNo, head: lane.head, time: at };
    const signature = Buffer.from(signer.sign(signer.kid, checkpointMessage(place))).toString('base64url');
    const checkpoint: Checkpoint = { v: 1, ...place, kid: signer.kid, signature };
    this.#checkpoints.set(campaignId, { madeAt: at, checkpoint });
    return checkpoint;
  }

  closingRoot(campaignId: string): { readonly records: number; readonly root: Digest } | null {
    const { campaigns, sql } = this.#parts;
    const campaign = campaigns.find(campaignId);
    const lane = campaign === null ? null : readLane(sql, campaign.campaign, campaignId);
    if (campaign === null || lane?.state.phase !== 'closed') return null;
    const tree = createTreeAccumulator(sha256);
    for (const row of sql.iterate<{ records: string }>(
      'SELECT records FROM batches WHERE campaign = ? AND lane = 0 ORDER BY batch_no',
      campaign.campaign,
    )) {
      for (const text of row.records.split('\n')) tree.add(leafHash(text, sha256));
    }
    return { records: tree.size, root: hexOf(tree.root()) };
  }

  /** Newest first. */
  auditRecords(filter: { readonly campaignId?: string }, page: PageRequest): Page<AuditRecord> {
    const { sql, campaigns } = this.#parts;
    const campaign =
      filter.campaignId === undefined ? null : (campaigns.find(filter.campaignId)?.campaign ?? 0);
    const rows = sql.all<StoredAudit>(
      'SELECT * FROM audit_records WHERE audit_no < ? AND (?2 IS NULL OR campaign = ?2) ORDER BY audit_no DESC LIMIT ?3',
      readCursor(page.after, 1)?.[0] ?? Number.MAX_SAFE_INTEGER,
      campaign,
      page.limit + 1,
    );
    const items = rows.slice(0, page.limit);
    const last = items.at(-1);
    return {
      items: items.map(auditView),
      next: rows.length > page.limit && last ? cursorOf(last.audit_no) : null,
    };
  }

  erase(tx: Transaction, campaignId: string, memberKey: MemberKey, actor: Actor): boolean {
    const { sql, campaigns, scrubber } = this.#parts;
    const campaign = campaigns.find(campaignId);
    if (campaign === null) return false;
    const closed = readLane(sql, campaign.campaign, campaignId)?.state.phase === 'closed';
    if (!scrubber.erase(campaign.campaign, blobOf(memberKey), closed)) return false;
    note(sql, tx, actor, 'member.erased', { name: campaignId, campaign: campaign.campaign });
    return true;
  }

  holds(campaignId: string, memberKey: MemberKey): boolean {
    const { campaigns, scrubber } = this.#parts;
    campaigns.forget();
    const campaign = campaigns.find(campaignId);
    return campaign !== null && scrubber.holds(campaign.campaign, blobOf(memberKey));
  }

  /** Entries first, then list rows of members who never entered. */
  expire(tx: Transaction, closedBefore: number, slice: number): number {
    const { sql } = this.#parts;
    const closed = sql.all<{ campaign: number }>(
      `SELECT l.campaign FROM lanes l JOIN batches b ON b.campaign = l.campaign AND b.lane = l.lane
       AND b.first_record_no <= l.closed_record_no AND l.closed_record_no < b.first_record_no + b.count
       WHERE l.phase = 'closed' AND b.time < ?`,
      closedBefore,
    );
    let erased = 0;
    for (const { campaign } of closed) {
      if (erased < slice)
        erased += this.#expireCampaign(tx, this.#parts.campaigns.byNumber(campaign), slice - erased);
    }
    return erased;
  }

  #expireCampaign(tx: Transaction, campaign: CampaignRow, slice: number): number {
    const { sql, scrubber } = this.#parts;
    const entries = sql.all<{ member_key: Uint8Array }>(
      'SELECT member_key FROM entries WHERE campaign = ? AND erased <> 2 LIMIT ?',
      campaign.campaign,
      slice,
    );
    for (const entry of entries) scrubber.erase(campaign.campaign, entry.member_key, true);
    const rest = slice - entries.length;
    const listed = sql.run(
      'DELETE FROM members WHERE (import, member_key) IN (SELECT m.import, m.member_key FROM imports i JOIN members m USING (import) WHERE i.campaign = ? LIMIT ?)',
      campaign.campaign,
      rest,
    );
    const registered = sql.run(
      'DELETE FROM registrations WHERE (campaign, member_key) IN (SELECT campaign, member_key FROM registrations WHERE campaign = ? LIMIT ?)',
      campaign.campaign,
      rest - listed,
    );
    const erased = entries.length + listed + registered;
    if (erased > 0)
      note(
        sql,
        tx,
        system,
        'members.expired',
        { name: campaign.id, campaign: campaign.campaign },
        { members: erased },
      );
    return erased;
  }
}

export function recordBatchOf(campaignId: string, stored: StoredBatch): RecordBatch {
  const { epoch, firstRecordNo, count, prevHead, root, head, time } = headOfStored(campaignId, stored);
  const signature = stored.signature === null ? null : Buffer.from(stored.signature).toString('base64url');
  return {
    batchNo: stored.batch_no,
    epoch,
    firstRecordNo,
    count,
    prevHead,
    root,
    head,
    time,
    kid: stored.kid,
    signature,
    records: stored.records.split('\n'),
  };
}

function auditView(row: StoredAudit): AuditRecord {
  const requestId = row.request_id === null ? {} : { requestId: row.request_id };
  const actor: Actor = { kind: row.actor_kind, id: row.actor_id, ...requestId };
  return {
    auditNo: row.audit_no,
    at: row.at,
    actor,
    action: row.action,
    target: row.target,
    detail: JSON.parse(row.detail) as Record<string, unknown>,
  };
}
