/**
 * Deliveries: claimed by compare-and-set, fenced, leased on the authority's clock. The state machine is in the port (`DeliveryState`); here each of its
 * arrows is one UPDATE whose WHERE clause is the state it leaves, so that an arrow that is not drawn changes no row.
 */
import type { SQLInputValue } from 'node:sqlite';
import type { EpochMs, MemberKey } from '@doorbuster/core';
import { deliveryIdOf, parseDeliveryId } from '../../delivery-id.ts';
import type {
  ClaimedDelivery,
  DeliveryResult,
  DeliveryState,
  DeliveryStep,
  DuePage,
  MessageState,
  Voucher,
  VoucherState,
} from '../../ledger.ts';
import type { Randomness } from '../../randomness.ts';
import type { Vault } from '../../vault.ts';
import type { CampaignRow, CampaignRows } from './campaign-rows.ts';
import { cursorOf, readCursor } from './cursor.ts';
import type { EntryKeys } from './entry-keys.ts';
import type { MemberRows } from './member-rows.ts';
import { blobOf, hexOfBlob, type Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

export interface DeliveryParts {
  readonly sql: Sql;
  readonly keys: EntryKeys;
  readonly campaigns: CampaignRows;
  readonly members: MemberRows;
  readonly vault: Vault;
  readonly randomness: Randomness;
}

/** The key of a delivery's row. */
export interface DeliveryKey {
  readonly campaign: CampaignRow;
  readonly lane: number;
  readonly seq: number;
  readonly unit: number;
}

interface DueRow {
  id: string;
  campaign: number;
  lane: number;
  seq: number;
  unit: number;
  wake_at: number;
}

interface ClaimRow {
  state: DeliveryState;
  wake_at: number | null;
  fence: number;
  attempts: number;
  message_state: MessageState;
  unknown_sendings: number;
  messenger_index: number;
  member_key: Uint8Array;
  generation: number;
  voucher_state: VoucherState;
  voucher_requested_at: number | null;
  voucher_salt: Uint8Array | null;
  voucher: Uint8Array | null;
}

const selectDue = `SELECT c.id, d.campaign, d.lane, d.seq, d.unit, d.wake_at FROM deliveries d JOIN campaigns c USING (campaign)
  WHERE d.wake_at <= ? AND (d.wake_at, d.campaign, d.lane, d.seq, d.unit) > (?, ?, ?, ?, ?)
  ORDER BY d.wake_at, d.campaign, d.lane, d.seq, d.unit LIMIT ?`;
const beforeAll = [-1, 0, 0, 0, 0];
const selectNextDue = 'SELECT min(wake_at) AS at FROM deliveries WHERE wake_at > ?';
const here = 'campaign = ? AND lane = ? AND seq = ? AND unit = ?';
/** The claim is still the caller's; an UPDATE under it changes one row, or none. */
const held = `${here} AND fence = ? AND state = 'sending'`;

export class DeliveryStore {
  readonly #parts: DeliveryParts;

  constructor(parts: DeliveryParts) {
    this.#parts = parts;
  }

  /** The key of an id; null when it cannot name a delivery. */
  keyOf(deliveryId: string): DeliveryKey | null {
    const parts = parseDeliveryId(deliveryId);
    const campaign = parts === null ? null : this.#parts.campaigns.find(parts.campaignId);
    return parts === null || campaign === null
      ? null
      : { campaign, lane: 0, seq: parts.seq, unit: parts.unit };
  }

  /** The cursor is the key of the last row in the index of what is due, so that a walk reads each row of a backlog once. */
  due(now: EpochMs, limit: number, after: string | undefined): DuePage {
    const { sql } = this.#parts;
    const rows = sql.all<DueRow>(selectDue, now, ...(readCursor(after, 5) ?? beforeAll), limit);
    const last = rows.at(-1);
    const more = rows.length === limit;
    return {
      deliveryIds: rows.map(({ id, seq, unit }) => deliveryIdOf(id, seq, unit)),
      next:
        last === undefined ? after : cursorOf(last.wake_at, last.campaign, last.lane, last.seq, last.unit),
      more,
      nextDueAt: more ? null : (sql.get<{ at: number | null }>(selectNextDue, now)?.at ?? null),
    };
  }

  claim(tx: Transaction, deliveryId: string, leaseMs: number): ClaimedDelivery | null {
    const key = this.keyOf(deliveryId);
    if (key === null) return null;
    const row = this.#claimable(key, tx.now);
    if (row === null) return null;
    if (row.state === 'sending') this.#abandon(key, row, tx.now);
    const leaseUntil = tx.now + leaseMs;
    const fence = row.fence + 1;
    this.#parts.sql.run(
      `UPDATE deliveries SET state = 'sending', fence = ?, attempts = attempts + 1, wake_at = ? WHERE ${here}`,
      fence,
      leaseUntil,
      ...columns(key),
    );
    this.#parts.sql.run(
      'INSERT INTO delivery_attempts (campaign, lane, seq, unit, fence, started_at) VALUES (?, ?, ?, ?, ?, ?)',
      ...columns(key),
      fence,
      tx.now,
    );
    return this.#claimed(key, row, { fence, leaseUntil, now: tx.now });
  }

  #claimable(key: DeliveryKey, now: EpochMs): ClaimRow | null {
    const row = this.#parts.sql.get<ClaimRow>(
      `SELECT d.state, d.wake_at, d.fence, d.attempts, d.message_state, d.unknown_sendings, d.messenger_index, e.member_key,
         u.generation, u.voucher_state, u.voucher_requested_at, u.voucher_salt, u.voucher
       FROM deliveries d JOIN entries e USING (campaign, lane, seq) JOIN units u ON u.campaign = d.campaign AND u.unit = d.unit
       WHERE d.campaign = ? AND d.lane = ? AND d.seq = ? AND d.unit = ?`,
      ...columns(key),
    );
    return row !== undefined && row.wake_at !== null && row.wake_at <= now ? row : null;
  }

  /** A lease ended: what was under way has an unknown outcome. Changes `row` to what it is now. */
  #abandon(key: DeliveryKey, row: ClaimRow, now: EpochMs): void {
    if (row.voucher_state === 'requested') {
      row.voucher_state = 'unknown';
      this.#setUnit(key, "voucher_state = 'unknown'");
    }
    if (row.message_state === 'sending') {
      row.message_state = 'unknown';
      row.unknown_sendings++;
      this.#parts.sql.run(
        `UPDATE deliveries SET message_state = 'unknown', unknown_sendings = unknown_sendings + 1 WHERE ${here}`,
        ...columns(key),
      );
    }
    this.#endAttempt(key, row.fence, now, 'lease-ended', null, null);
  }

  #claimed(
    key: DeliveryKey,
    row: ClaimRow,
    {
      fence,
      leaseUntil,
      now,
    }: { readonly fence: number; readonly leaseUntil: EpochMs; readonly now: EpochMs },
  ): ClaimedDelivery {
    const { campaign, seq, unit } = key;
    return {
      deliveryId: deliveryIdOf(campaign.id, seq, unit),
      campaignId: campaign.id,
      seq,
      unit,
      memberKey: hexOfBlob(row.member_key),
      generation: row.generation,
      fence,
      leaseUntil,
      attempts: row.attempts + 1,
      voucherState: row.voucher_state,
      voucherRequestedMsAgo:
        row.voucher_requested_at === null ? null : Math.max(0, now - row.voucher_requested_at),
      voucher: this.openVoucher(row.voucher_salt, row.voucher),
      poolCode: this.#poolCodeFor(campaign, unit, row.voucher_state),
      messageState: row.message_state,
      unknownSendings: row.unknown_sendings,
      messengerIndex: row.messenger_index,
      contact: this.#parts.members.contactOf(campaign.campaign, row.member_key),
      definition: campaign.definition,
    };
  }

  #poolCodeFor(campaign: CampaignRow, unit: number, voucherState: VoucherState): Voucher | null {
    const fromPool = (campaign.definition.reward.voucherSource ?? 'pool') === 'pool';
    return fromPool && voucherState !== 'issued' ? this.#poolCode(campaign, unit) : null;
  }

  openVoucher(salt: Uint8Array | null, sealed: Uint8Array | null): Voucher | null {
    if (salt === null || sealed === null) return null;
    return JSON.parse(this.#parts.vault.open(hexOfBlob(salt), 'voucher', sealed)) as Voucher;
  }

  #holds(key: DeliveryKey, fence: number): boolean {
    return (
      this.#parts.sql.get(`SELECT 1 FROM deliveries WHERE ${held}`, ...columns(key), fence) !== undefined
    );
  }

  progress(tx: Transaction, deliveryId: string, fence: number, step: DeliveryStep): boolean {
    const key = this.keyOf(deliveryId);
    if (key === null) return false;
    if (step.step === 'message-sending') return this.#sending(key, fence, step);
    if (!this.#holds(key, fence)) return false;
    switch (step.step) {
      case 'voucher-requested':
        this.#setUnit(key, "voucher_state = 'requested', voucher_requested_at = ?", tx.now);
        return true;
      case 'voucher-issued':
        this.#storeVoucher(key, step.voucher);
        return true;
      case 'voucher-cancelled':
        this.#setUnit(
          key,
          "voucher_state = 'none', voucher_requested_at = NULL, generation = generation + 1, voucher = NULL, voucher_salt = NULL",
        );
        return true;
    }
  }

  #sending(
    key: DeliveryKey,
    fence: number,
    { messenger, issued }: Extract<DeliveryStep, { step: 'message-sending' }>,
  ): boolean {
    const changed = this.#parts.sql.run(
      `UPDATE deliveries SET message_state = 'sending', messenger = ? WHERE ${held}`,
      messenger,
      ...columns(key),
      fence,
    );
    if (changed === 0) return false;
    if (issued === undefined) this.#setUnit(key, 'voucher_shown = 1');
    else this.#storeVoucher(key, issued, 'voucher_shown = 1');
    return true;
  }

  #setUnit(key: DeliveryKey, what: string, ...values: readonly SQLInputValue[]): void {
    this.#parts.sql.run(
      `UPDATE units SET ${what} WHERE campaign = ? AND unit = ?`,
      ...values,
      key.campaign.campaign,
      key.unit,
    );
  }

  #storeVoucher(key: DeliveryKey, { code, pin, url, validUntil }: Voucher, also?: string): void {
    const salt = Buffer.from(this.#parts.randomness.bytes(16)).toString('hex');
    const sealed = this.#parts.vault.seal(salt, 'voucher', JSON.stringify({ code, pin, url, validUntil }));
    const what = "voucher_state = 'issued', voucher_salt = ?, voucher = ?";
    this.#setUnit(key, also === undefined ? what : `${what}, ${also}`, blobOf(salt), sealed);
  }

  settle(tx: Transaction, deliveryId: string, fence: number, result: DeliveryResult): boolean {
    const key = this.keyOf(deliveryId);
    if (key === null) return false;
    const ours =
      result.result === 'delivered'
        ? this.#settleDelivered(key, fence, tx.now, result.messenger)
        : this.#settleOpen(key, fence, tx.now, result);
    if (!ours) return false;
    const failed = result.result === 'delivered' ? null : result;
    this.#endAttempt(key, fence, tx.now, result.result, failed?.errorCode ?? null, failed?.error ?? null);
    return true;
  }

  #settleDelivered(key: DeliveryKey, fence: number, now: EpochMs, messenger: string): boolean {
    const changed = this.#parts.sql.run(
      `UPDATE deliveries SET state = 'delivered', wake_at = NULL, message_state = 'sent', messenger = ?, delivered_at = ?, error_code = NULL, error = NULL WHERE ${held}`,
      messenger,
      now,
      ...columns(key),
      fence,
    );
    return changed === 1;
  }

  /** A retry and a parking by a definite refusal leave nothing in the air; the other results say what is. */
  #settleOpen(
    key: DeliveryKey,
    fence: number,
    now: EpochMs,
    result: Exclude<DeliveryResult, { result: 'delivered' }>,
  ): boolean {
    const unknown = result.result.endsWith('-unknown');
    const inTheAir = unknown || (result.result === 'parked' && result.errorCode.includes('unknown'));
    const state = result.result === 'retry' ? 'due' : unknown ? 'unknown' : 'parked';
    const changed = this.#parts.sql.run(
      `UPDATE deliveries SET state = ?, wake_at = ?, error_code = ?, error = ?, messenger_index = coalesce(?, messenger_index),
         unknown_sendings = unknown_sendings + (message_state = 'sending' AND ?),
         message_state = CASE WHEN message_state <> 'sending' THEN message_state WHEN ? THEN 'unknown' ELSE 'none' END WHERE ${held}`,
      state,
      'waitMs' in result ? now + Math.ceil(Math.max(0, result.waitMs)) : null,
      result.errorCode,
      result.error.slice(0, 2000),
      result.result === 'retry' ? (result.messengerIndex ?? null) : null,
      inTheAir ? 1 : 0,
      inTheAir ? 1 : 0,
      ...columns(key),
      fence,
    );
    if (changed === 0) return false;
    this.#parts.sql.run(
      "UPDATE units SET voucher_state = CASE WHEN ? THEN 'unknown' ELSE 'none' END WHERE campaign = ? AND unit = ? AND voucher_state = 'requested'",
      inTheAir ? 1 : 0,
      key.campaign.campaign,
      key.unit,
    );
    return true;
  }

  #endAttempt(
    key: DeliveryKey,
    fence: number,
    now: EpochMs,
    outcome: string,
    errorCode: string | null,
    error: string | null,
  ): void {
    this.#parts.sql.run(
      `UPDATE delivery_attempts SET ended_at = ?, outcome = ?, error_code = ?, error = ? WHERE ${here} AND fence = ?`,
      now,
      outcome,
      errorCode,
      error?.slice(0, 2000) ?? null,
      ...columns(key),
      fence,
    );
  }

  /** Marks the voucher as shown in the same transaction; null when it is not ready. */
  reveal(_tx: Transaction, campaignId: string, memberKey: MemberKey): Voucher | null {
    const campaign = this.#parts.campaigns.find(campaignId);
    if (campaign === null) return null;
    const row = this.#parts.sql.get<{
      unit: number;
      voucher_salt: Uint8Array | null;
      voucher: Uint8Array | null;
      voucher_shown: number;
    }>(
      `SELECT u.unit, u.voucher_salt, u.voucher, u.voucher_shown FROM entries e JOIN units u ON u.campaign = e.campaign AND u.unit = e.current_unit
       WHERE e.campaign = ? AND e.lane = 0 AND e.seq = ? AND u.voucher_state = 'issued' AND u.state = 'issued'`,
      campaign.campaign,
      this.#parts.keys.seqOf(campaign.campaign, blobOf(memberKey)),
    );
    const voucher = row === undefined ? null : this.openVoucher(row.voucher_salt, row.voucher);
    if (row === undefined || voucher === null) return null;
    if (row.voucher_shown === 0)
      this.#parts.sql.run(
        'UPDATE units SET voucher_shown = 1 WHERE campaign = ? AND unit = ?',
        campaign.campaign,
        row.unit,
      );
    return voucher;
  }

  poolCode(campaignId: string, unit: number): Voucher | null {
    const campaign = this.#parts.campaigns.find(campaignId);
    return campaign === null ? null : this.#poolCode(campaign, unit);
  }

  #poolCode(campaign: CampaignRow, unit: number): Voucher | null {
    const row = this.#parts.sql.get<{ salt: Uint8Array; sealed: Uint8Array }>(
      `SELECT v.salt, v.sealed FROM imports i JOIN voucher_codes v ON v.import = i.import AND v.ordinal = ?2 - i.first_unit + 1
       WHERE i.campaign = ?1 AND i.kind = 'voucher-codes' AND i.state = 'live' AND i.first_unit <= ?2 AND ?2 < i.first_unit + i.rows`,
      campaign.campaign,
      unit,
    );
    return row === undefined ? null : this.openVoucher(row.salt, row.sealed);
  }
}

export function columns(key: DeliveryKey): [number, number, number, number] {
  return [key.campaign.campaign, key.lane, key.seq, key.unit];
}
