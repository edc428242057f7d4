/** Deliveries as operators see them, and what they do with many at once: a durable batch that moves a slice at a time and can be resumed. */
import type { SQLInputValue } from 'node:sqlite';
import { deliveryIdOf } from '../../delivery-id.ts';
import { OperationalError } from '../../errors.ts';
import type {
  Actor,
  DeliveryAttempt,
  DeliveryBatch,
  DeliveryFilter,
  DeliveryState,
  DeliveryView,
  MessageState,
  Page,
  PageRequest,
  VoucherState,
} from '../../ledger.ts';
import { newId, type Randomness } from '../../randomness.ts';
import { note } from './audit-log.ts';
import type { CampaignRow, CampaignRows } from './campaign-rows.ts';
import { cursorOf, readCursor } from './cursor.ts';
import type { Sql } from './sql.ts';
import { columns, type DeliveryStore } from './store-deliveries.ts';
import type { Transaction } from './transaction.ts';

interface ViewRow {
  seq: number;
  unit: number;
  state: DeliveryState;
  voucher_state: VoucherState;
  message_state: MessageState;
  attempts: number;
  wake_at: number | null;
  error_code: string | null;
  error: string | null;
  messenger: string | null;
  delivered_at: number | null;
  created_at: number;
  taken_back: number;
}
interface BatchRow {
  batch: number;
  id: string;
  campaign: number;
  filter: string;
  resend: number;
  state: DeliveryBatch['state'];
  total: number;
  moved: number;
  cursor_seq: number;
  cursor_unit: number;
  created_at: number;
}

const states: readonly DeliveryState[] = ['due', 'sending', 'unknown', 'delivered', 'parked', 'cancelled'];
const filtered =
  '(?2 IS NULL OR d.state = ?2) AND (?3 IS NULL OR d.error_code = ?3) AND (?4 IS NULL OR d.seq = ?4)';
const after = '(d.seq, d.unit) > (?5, ?6)';
/**
 * What an operator's retry may move; ?7: a resend, which takes delivered ones too. Only of a grant that stands: a delivery that was done before its
 * grant was taken back stays `delivered`, and the voucher is nobody's to be sent any more.
 */
const retriable = `(d.state IN ('parked', 'unknown') OR (?7 AND d.state = 'delivered'))
  AND EXISTS (SELECT 1 FROM units u WHERE u.campaign = d.campaign AND u.unit = d.unit AND u.seq = d.seq AND u.state = 'issued')`;

export class DeliveryViews {
  readonly #sql: Sql;
  readonly #campaigns: CampaignRows;
  readonly #deliveries: DeliveryStore;
  readonly #randomness: Randomness;

  constructor(parts: {
    readonly sql: Sql;
    readonly campaigns: CampaignRows;
    readonly deliveries: DeliveryStore;
    readonly randomness: Randomness;
  }) {
    this.#sql = parts.sql;
    this.#campaigns = parts.campaigns;
    this.#deliveries = parts.deliveries;
    this.#randomness = parts.randomness;
  }

  /** In the order of seq. */
  list(campaignId: string, filter: DeliveryFilter, page: PageRequest): Page<DeliveryView> {
    const campaign = this.#campaigns.find(campaignId);
    if (campaign === null) return { items: [], next: null };
    const [seq = 0, unit = 0] = readCursor(page.after, 2) ?? [];
    const rows = this.#sql.all<ViewRow>(
      `SELECT d.seq, d.unit, d.state, u.voucher_state, d.message_state, d.attempts, d.wake_at, d.error_code, d.error, d.messenger, d.delivered_at, d.created_at,
         NOT (u.seq = d.seq AND u.state = 'issued') AS taken_back
       FROM deliveries d JOIN units u ON u.campaign = d.campaign AND u.unit = d.unit
       WHERE d.campaign = ?1 AND d.lane = 0 AND ${filtered} AND ${after} ORDER BY d.seq, d.unit LIMIT ?7`,
      ...filterValues(campaign, filter),
      seq,
      unit,
      page.limit + 1,
    );
    const items = rows.slice(0, page.limit);
    const last = items.at(-1);
    return {
      items: items.map((row) => deliveryView(campaignId, row)),
      next: rows.length > page.limit && last ? cursorOf(last.seq, last.unit) : null,
    };
  }

  summary(campaignId: string): {
    readonly byState: Readonly<Record<DeliveryState, number>>;
    readonly byError: readonly { readonly errorCode: string; readonly count: number }[];
  } {
    const campaign = this.#campaigns.find(campaignId);
    const rows = this.#sql.all<{ state: DeliveryState; error_code: string | null; n: number }>(
      'SELECT state, error_code, count(*) AS n FROM deliveries WHERE campaign = ? GROUP BY state, error_code',
      campaign?.campaign ?? 0,
    );
    const byState = Object.fromEntries(states.map((state) => [state, 0])) as Record<DeliveryState, number>;
    const byError = new Map<string, number>();
    for (const { state, error_code: code, n } of rows) {
      byState[state] += n;
      if (code !== null) byError.set(code, (byError.get(code) ?? 0) + n);
    }
    const errors = [...byError].map(([errorCode, count]) => ({ errorCode, count }));
    return {
      byState,
      byError: errors.sort((a, b) => b.count - a.count || a.errorCode.localeCompare(b.errorCode)),
    };
  }

  attempts(deliveryId: string): readonly DeliveryAttempt[] | null {
    const key = this.#deliveries.keyOf(deliveryId);
    if (
      key === null ||
      this.#sql.get(
        'SELECT 1 FROM deliveries WHERE campaign = ? AND lane = ? AND seq = ? AND unit = ?',
        ...columns(key),
      ) === undefined
    )
      return null;
    const rows = this.#sql.all<{
      fence: number;
      started_at: number;
      ended_at: number | null;
      outcome: string | null;
      error_code: string | null;
      error: string | null;
    }>(
      'SELECT fence, started_at, ended_at, outcome, error_code, error FROM delivery_attempts WHERE campaign = ? AND lane = ? AND seq = ? AND unit = ? ORDER BY fence',
      ...columns(key),
    );
    return rows.map((row, i) => ({
      attempt: i + 1,
      fence: row.fence,
      startedAt: row.started_at,
      endedAt: row.ended_at,
      outcome: row.outcome,
      errorCode: row.error_code,
      error: row.error,
    }));
  }

  startBatch(
    tx: Transaction,
    campaignId: string,
    filter: DeliveryFilter,
    resend: boolean,
    actor: Actor,
  ): DeliveryBatch {
    const campaign = this.#campaigns.find(campaignId);
    if (campaign === null) throw new OperationalError('CAMPAIGN_UNKNOWN', { detail: campaignId });
    const total = this.#sql.get<{ n: number }>(
      `SELECT count(*) AS n FROM deliveries d WHERE d.campaign = ?1 AND d.lane = 0 AND ${filtered} AND ${after} AND ${retriable}`,
      ...filterValues(campaign, filter),
      0,
      0,
      resend ? 1 : 0,
    )?.n;
    const id = newId(this.#randomness);
    this.#sql.run(
      "INSERT INTO delivery_batches (id, campaign, filter, resend, state, total, created_at) VALUES (?, ?, ?, ?, 'running', ?, ?)",
      id,
      campaign.campaign,
      JSON.stringify(filter),
      resend ? 1 : 0,
      total ?? 0,
      tx.now,
    );
    note(
      this.#sql,
      tx,
      actor,
      resend ? 'deliveries.resent' : 'deliveries.retried',
      { name: campaignId, campaign: campaign.campaign },
      { batchId: id, total, filter },
    );
    return this.batch(id) as DeliveryBatch;
  }

  batch(batchId: string): DeliveryBatch | null {
    const row = this.#sql.get<BatchRow>('SELECT * FROM delivery_batches WHERE id = ?', batchId);
    return row === undefined ? null : this.#batchView(row);
  }

  #batchView(row: BatchRow): DeliveryBatch {
    const { id: batchId, state, total, moved, created_at: createdAt } = row;
    const filter = JSON.parse(row.filter) as DeliveryFilter;
    return {
      batchId,
      campaignId: this.#campaigns.byNumber(row.campaign).id,
      filter,
      resend: row.resend === 1,
      state,
      total,
      moved,
      createdAt,
    };
  }

  abortBatch(tx: Transaction, batchId: string, actor: Actor): DeliveryBatch | null {
    const row = this.#sql.get<BatchRow>('SELECT * FROM delivery_batches WHERE id = ?', batchId);
    if (row === undefined) return null;
    if (
      this.#sql.run(
        "UPDATE delivery_batches SET state = 'aborted' WHERE batch = ? AND state = 'running'",
        row.batch,
      ) === 1
    ) {
      const campaign = this.#campaigns.byNumber(row.campaign);
      note(
        this.#sql,
        tx,
        actor,
        'deliveries.batch-aborted',
        { name: campaign.id, campaign: row.campaign },
        { batchId, moved: row.moved },
      );
    }
    return this.batch(batchId);
  }

  /** One slice of the oldest running batch. */
  runBatches(tx: Transaction, slice: number): number {
    const row = this.#sql.get<BatchRow>(
      "SELECT * FROM delivery_batches WHERE state = 'running' ORDER BY batch LIMIT 1",
    );
    if (row === undefined) return 0;
    const campaign = this.#campaigns.byNumber(row.campaign);
    const filter = JSON.parse(row.filter) as DeliveryFilter;
    const rows = this.#sql.all<{ seq: number; unit: number }>(
      `SELECT d.seq, d.unit FROM deliveries d WHERE d.campaign = ?1 AND d.lane = 0 AND ${filtered} AND ${after} AND ${retriable} ORDER BY d.seq, d.unit LIMIT ?8`,
      ...filterValues(campaign, filter),
      row.cursor_seq,
      row.cursor_unit,
      row.resend,
      slice,
    );
    for (const { seq, unit } of rows) this.#moveToDue(tx, campaign, seq, unit);
    const last = rows.at(-1);
    this.#sql.run(
      'UPDATE delivery_batches SET moved = moved + ?, cursor_seq = ?, cursor_unit = ?, state = ? WHERE batch = ?',
      rows.length,
      last?.seq ?? row.cursor_seq,
      last?.unit ?? row.cursor_unit,
      rows.length < slice ? 'done' : 'running',
      row.batch,
    );
    return rows.length;
  }

  /** A person decided: a fresh budget of attempts, from the first messenger. What the voucher source owes stays as it is. */
  #moveToDue(tx: Transaction, campaign: CampaignRow, seq: number, unit: number): void {
    this.#sql.run(
      `UPDATE deliveries SET state = 'due', wake_at = ?, attempts = 0, messenger_index = 0, unknown_sendings = 0, message_state = 'none'
       WHERE campaign = ? AND lane = 0 AND seq = ? AND unit = ?`,
      tx.now,
      campaign.campaign,
      seq,
      unit,
    );
    tx.ring(campaign.id, seq, unit);
  }
}

function filterValues(campaign: CampaignRow, filter: DeliveryFilter): SQLInputValue[] {
  return [campaign.campaign, filter.state ?? null, filter.errorCode ?? null, filter.seq ?? null];
}

function deliveryView(campaignId: string, row: ViewRow): DeliveryView {
  return {
    deliveryId: deliveryIdOf(campaignId, row.seq, row.unit),
    seq: row.seq,
    unit: row.unit,
    state: row.state,
    voucherState: row.voucher_state,
    messageState: row.message_state,
    attempts: row.attempts,
    dueAt: row.wake_at,
    errorCode: row.error_code,
    error: row.error,
    messenger: row.messenger,
    deliveredAt: row.delivered_at,
    takenBack: row.taken_back === 1,
    createdAt: row.created_at,
  };
}
