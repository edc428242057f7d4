/**
 * Units and the deliveries they begin. A grant is one unit row with one holder, one delivery due at once and a place in the doorbell of
 * the transaction that made the winner. Taking a unit back is the mirror of it. The voucher belongs to the unit: a unit that comes back unshown
 * and is given again takes its voucher, its generation and an unanswered request along.
 */
import type { LaneRecord, LaneState } from '@doorbuster/core';
import type { CampaignRow } from './campaign-rows.ts';
import type { Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

export class Grants {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** `returned`: the unit was given before and came back. */
  grant(
    tx: Transaction,
    campaign: CampaignRow,
    lane: number,
    seq: number,
    unit: number,
    returned: boolean,
  ): void {
    if (returned) this.#giveAgain(campaign, lane, seq, unit);
    else
      this.#sql.run(
        "INSERT INTO units (campaign, unit, lane, state, seq) VALUES (?, ?, ?, 'issued', ?)",
        campaign.campaign,
        unit,
        lane,
        seq,
      );
    this.#sql.run(
      `INSERT INTO deliveries (campaign, lane, seq, unit, state, wake_at, created_at) VALUES (?, ?, ?, ?, 'due', ?, ?)`,
      campaign.campaign,
      lane,
      seq,
      unit,
      tx.now,
      tx.now,
    );
    tx.ring(campaign.id, seq, unit);
  }

  #giveAgain(campaign: CampaignRow, lane: number, seq: number, unit: number): void {
    const changed = this.#sql.run(
      `UPDATE units SET state = 'issued', lane = ?, seq = ?,
         voucher_state = CASE voucher_state WHEN 'requested' THEN 'unknown' ELSE voucher_state END
       WHERE campaign = ? AND unit = ? AND state = 'free'`,
      lane,
      seq,
      campaign.campaign,
      unit,
    );
    if (changed !== 1) throw new Error(`unit ${unit} of ${campaign.id} is not free`);
  }

  /** The unit becomes free or void; a delivery that is not done is cancelled, and a worker at it is fenced off. */
  takeBack(campaign: CampaignRow, lane: number, seq: number, unit: number, becomes: 'free' | 'void'): void {
    const changed = this.#sql.run(
      "UPDATE units SET state = ? WHERE campaign = ? AND unit = ? AND seq = ? AND state = 'issued'",
      becomes,
      campaign.campaign,
      unit,
      seq,
    );
    if (changed !== 1) throw new Error(`unit ${unit} of ${campaign.id} is not held by entry ${seq}`);
    this.#sql.run(
      `UPDATE deliveries SET state = 'cancelled', wake_at = NULL, fence = fence + 1
       WHERE campaign = ? AND lane = ? AND seq = ? AND unit = ? AND state <> 'delivered'`,
      campaign.campaign,
      lane,
      seq,
      unit,
    );
  }

  /** What the records of an operator's command mean for entries, units and deliveries. `before`: the lane before them. */
  apply(tx: Transaction, campaign: CampaignRow, before: LaneState, records: readonly LaneRecord[]): void {
    for (const record of records) this.#applyOne(tx, campaign, before, record);
  }

  #applyOne(tx: Transaction, campaign: CampaignRow, { lane, nextUnit }: LaneState, record: LaneRecord): void {
    switch (record.type) {
      case 'REVOKED':
        if (record.unit !== null && record.unitBecomes !== null)
          this.takeBack(campaign, lane, record.seq, record.unit, record.unitBecomes);
        this.#setEntry(campaign, lane, record.seq, 'revoked', null);
        return;
      case 'PROMOTED':
        this.#setEntry(campaign, lane, record.seq, 'promoted', record.unit);
        this.grant(tx, campaign, lane, record.seq, record.unit, record.unit < nextUnit);
        return;
      case 'REPLACED':
        this.takeBack(campaign, lane, record.seq, record.unit, 'void');
        this.#setEntry(campaign, lane, record.seq, null, record.newUnit);
        this.grant(tx, campaign, lane, record.seq, record.newUnit, record.newUnit < nextUnit);
        return;
      case 'ENTRY':
        throw new Error('entries are stored by admission');
      case 'PUBLISHED':
      case 'OPENED':
      case 'PAUSED':
      case 'RESUMED':
      case 'SOLD_OUT':
      case 'REOPENED':
      case 'STOCK_CHANGED':
      case 'CLOSED':
      case 'RESTORED':
        return;
    }
  }

  /** `status` null leaves it as it is. */
  #setEntry(
    campaign: CampaignRow,
    lane: number,
    seq: number,
    status: 'revoked' | 'promoted' | null,
    unit: number | null,
  ): void {
    const changed = this.#sql.run(
      'UPDATE entries SET status = coalesce(?, status), current_unit = ? WHERE campaign = ? AND lane = ? AND seq = ?',
      status,
      unit,
      campaign.campaign,
      lane,
      seq,
    );
    if (changed !== 1) throw new Error(`no entry ${seq} of ${campaign.id}`);
  }
}
