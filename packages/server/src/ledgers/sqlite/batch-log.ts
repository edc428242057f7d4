/**
 * The chain of a lane: seals the records of a transaction into one batch, signs its head after the commit, and hands out receipts.
 *
 *   append    inside the transaction: texts, tree, head; one row
 *   sign      after the commit: one Ed25519 signature per batch, kept in memory
 *   store     in the next transaction (or when idle): the signature's row. After a crash in between it is made again: the key is named
 *             in the batch's row and Ed25519 is deterministic, so a repeat gets the very same receipt.
 *
 * Receipts are texts built here, once: the paths of recent batches stay in memory, older ones are computed again from the stored texts.
 */
import {
  type BatchHead,
  type Digest,
  encodeRecord,
  genesisHead,
  type LaneRecord,
  type LaneState,
  type SealedBatch,
  sealBatch,
  signedHeadMessage,
} from '@doorbuster/core';
import { type Signer, sha256, treeHashes } from '../../audit/signer.ts';
import type { ReceiptParts } from './admission-codec.ts';
import type { CampaignRow } from './campaign-rows.ts';
import type { LaneRow } from './lane-rows.ts';
import { blobOf, hexOfBlob, type Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

/** A batch as it stands in its row. */
export interface SealedRow {
  readonly campaign: number;
  readonly lane: number;
  readonly batchNo: number;
  readonly kid: string;
  readonly texts: readonly string[];
  readonly batch: SealedBatch;
}

/** A batch ready for receipts: everything of a receipt but record and path is the same for all of its records. */
interface OpenBatch {
  readonly row: SealedRow;
  readonly before: string;
  readonly after: string;
}

export interface StoredBatch {
  batch_no: number;
  lane: number;
  epoch: number;
  first_record_no: number;
  count: number;
  prev_head: Uint8Array;
  root: Uint8Array;
  head: Uint8Array;
  time: number;
  kid: string;
  records: string;
  signature: Uint8Array | null;
}

const selectBatch = `SELECT b.batch_no, b.lane, b.epoch, b.first_record_no, b.count, b.prev_head, b.root, b.head, b.time, b.kid, b.records, s.signature
  FROM batches b LEFT JOIN batch_signatures s USING (campaign, lane, batch_no)`;
const batchOfRecord = `${selectBatch} WHERE b.campaign = ? AND b.lane = ? AND b.first_record_no <= ? ORDER BY b.first_record_no DESC LIMIT 1`;
export const batchesFrom = `${selectBatch} WHERE b.campaign = ? AND b.lane = ? AND b.batch_no > ? ORDER BY b.batch_no LIMIT ?`;

/** How many batches keep their paths in memory; at 512 records each some 20 MB. */
const openBatches = 64;

export class BatchLog {
  readonly #sql: Sql;
  readonly #signer: Signer;
  /** Signatures that are not stored yet. */
  #unstored: { readonly row: SealedRow; readonly signature: Uint8Array }[] = [];
  /** Least recently used first. */
  readonly #open = new Map<string, OpenBatch>();
  /** The one used last: the next receipt is most often of the same batch. */
  #last: OpenBatch | null = null;

  constructor(sql: Sql, signer: Signer) {
    this.#sql = sql;
    this.#signer = signer;
  }

  /** Writes the batch and returns the lane's row after it. `before` is null for the first batch of a lane. The caller stores the lane. */
  seal(
    campaign: CampaignRow,
    before: LaneRow | null,
    state: LaneState,
    records: readonly LaneRecord[],
    time: number,
  ): { readonly lane: LaneRow; readonly row: SealedRow } {
    const first = records[0];
    if (first === undefined) throw new Error('a batch has at least one record');
    const texts = records.map(encodeRecord);
    const place = {
      campaign: campaign.id,
      lane: state.lane,
      epoch: state.epoch,
      firstRecordNo: first.recordNo,
      time,
    };
    const batch = sealBatch({ ...place, prevHead: before?.head ?? genesisHead }, texts, sha256, treeHashes);
    const batchNo = (before?.batchNo ?? 0) + 1;
    const row = {
      campaign: campaign.campaign,
      lane: state.lane,
      batchNo,
      kid: this.#signer.kid,
      texts,
      batch,
    };
    return { lane: { state, batchNo, head: batch.head.head }, row };
  }

  append(tx: Transaction, row: SealedRow): void {
    const { head } = row.batch;
    this.#sql.run(
      `INSERT INTO batches (campaign, lane, batch_no, epoch, first_record_no, count, prev_head, root, head, time, kid, records)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      row.campaign,
      row.lane,
      row.batchNo,
      head.epoch,
      head.firstRecordNo,
      head.count,
      blobOf(head.prevHead),
      blobOf(head.root),
      blobOf(head.head),
      head.time,
      row.kid,
      row.texts.join('\n'),
    );
    tx.sealed.push(row);
  }

  /** After the commit. */
  sign(rows: readonly SealedRow[]): void {
    for (const row of rows) {
      const signature = this.#signer.sign(row.kid, signedHeadMessage(row.batch.head));
      this.#unstored.push({ row, signature });
      this.#keep(openBatch(row, signature));
    }
  }

  get hasUnstored(): boolean {
    return this.#unstored.length > 0;
  }

  /** Inside a transaction. `stored` is called after its commit. */
  storeSignatures(): number {
    for (const { row, signature } of this.#unstored)
      insertSignature(this.#sql, row.campaign, row.lane, row.batchNo, signature);
    return this.#unstored.length;
  }

  stored(count: number): void {
    this.#unstored = this.#unstored.slice(count);
  }

  /** At start: signs what a crash left unsigned. Inside a transaction. */
  signMissing(): number {
    const rows = this.#sql.all<{
      campaign: number;
      lane: number;
      batch_no: number;
      epoch: number;
      head: Uint8Array;
      kid: string;
      id: string;
    }>(
      `SELECT b.campaign, b.lane, b.batch_no, b.epoch, b.head, b.kid, c.id FROM batches b JOIN campaigns c USING (campaign)
       WHERE NOT EXISTS (SELECT 1 FROM batch_signatures s WHERE s.campaign = b.campaign AND s.lane = b.lane AND s.batch_no = b.batch_no)`,
    );
    for (const row of rows) {
      const message = signedHeadMessage({
        campaign: row.id,
        lane: row.lane,
        epoch: row.epoch,
        head: hexOfBlob(row.head),
      });
      insertSignature(this.#sql, row.campaign, row.lane, row.batch_no, this.#signer.sign(row.kid, message));
    }
    return rows.length;
  }

  /** The JSON text of the receipt of a durable record; null when there is no such record. */
  receiptOf(campaign: CampaignRow, lane: number, recordNo: number): string | null {
    const parts = this.receiptParts(campaign, lane, recordNo);
    return parts === null ? null : parts.before + parts.own + parts.after;
  }

  /** The same in its parts: those of a whole batch need not travel with every entry. */
  receiptParts(campaign: CampaignRow, lane: number, recordNo: number): ReceiptParts | null {
    const open = this.#find(campaign, lane, recordNo);
    if (open === null) return null;
    const index = recordNo - open.row.batch.head.firstRecordNo;
    const text = open.row.texts[index];
    const path = open.row.batch.paths[index];
    if (text === undefined || path === undefined) return null;
    const siblings = path.length === 0 ? '' : `"${path.join('","')}"`;
    const { before, after } = open;
    return { before, own: `${JSON.stringify(text)},"path":[${siblings}]`, after };
  }

  #find(campaign: CampaignRow, lane: number, recordNo: number): OpenBatch | null {
    if (this.#last !== null && holds(this.#last, campaign, lane, recordNo)) return this.#last;
    for (const [key, open] of this.#open) {
      if (!holds(open, campaign, lane, recordNo)) continue;
      this.#open.delete(key);
      return this.#keep(open);
    }
    const stored = this.#sql.get<StoredBatch>(batchOfRecord, campaign.campaign, lane, recordNo);
    if (stored === undefined || recordNo >= stored.first_record_no + stored.count) return null;
    return this.#keep(this.#reopen(campaign, stored));
  }

  #reopen(campaign: CampaignRow, stored: StoredBatch): OpenBatch {
    const texts = stored.records.split('\n');
    const place = {
      campaign: campaign.id,
      lane: stored.lane,
      epoch: stored.epoch,
      firstRecordNo: stored.first_record_no,
      time: stored.time,
    };
    const batch = sealBatch({ ...place, prevHead: hexOfBlob(stored.prev_head) }, texts, sha256, treeHashes);
    if (batch.head.head !== hexOfBlob(stored.head))
      throw new Error(`batch ${stored.batch_no} of ${campaign.id} does not give its head`);
    const row = {
      campaign: campaign.campaign,
      lane: stored.lane,
      batchNo: stored.batch_no,
      kid: stored.kid,
      texts,
      batch,
    };
    return openBatch(row, stored.signature ?? this.#signer.sign(stored.kid, signedHeadMessage(batch.head)));
  }

  #keep(open: OpenBatch): OpenBatch {
    this.#last = open;
    this.#open.set(`${open.row.campaign}/${open.row.lane}/${open.row.batchNo}`, open);
    if (this.#open.size > openBatches) this.#open.delete(this.#open.keys().next().value as string);
    return open;
  }
}

function holds({ row }: OpenBatch, campaign: CampaignRow, lane: number, recordNo: number): boolean {
  const { firstRecordNo, count } = row.batch.head;
  const inside = recordNo >= firstRecordNo && recordNo < firstRecordNo + count;
  return inside && row.campaign === campaign.campaign && row.lane === lane;
}

function insertSignature(
  sql: Sql,
  campaign: number,
  lane: number,
  batchNo: number,
  signature: Uint8Array,
): void {
  sql.run(
    'INSERT OR IGNORE INTO batch_signatures (campaign, lane, batch_no, signature) VALUES (?, ?, ?, ?)',
    campaign,
    lane,
    batchNo,
    signature,
  );
}

/** The fields of core's `Receipt` in the order in which `buildReceipt` has them, split around record and path. */
function openBatch(row: SealedRow, signature: Uint8Array): OpenBatch {
  const { campaign, lane, epoch, prevHead, firstRecordNo, count, time } = row.batch.head;
  const base64url = Buffer.from(signature.buffer, signature.byteOffset, signature.byteLength).toString(
    'base64url',
  );
  return {
    row,
    before: `{"v":1,"campaign":${JSON.stringify(campaign)},"lane":${lane},"epoch":${epoch},"record":`,
    after: `,"prevHead":"${prevHead}","firstRecordNo":${firstRecordNo},"count":${count},"time":${time},"kid":${JSON.stringify(row.kid)},"signature":"${base64url}"}`,
  };
}

export function headOfStored(campaign: string, stored: StoredBatch): BatchHead {
  const hex = (blob: Uint8Array): Digest => hexOfBlob(blob);
  return {
    campaign,
    lane: stored.lane,
    epoch: stored.epoch,
    prevHead: hex(stored.prev_head),
    root: hex(stored.root),
    firstRecordNo: stored.first_record_no,
    count: stored.count,
    time: stored.time,
    head: hex(stored.head),
  };
}
