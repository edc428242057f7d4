/**
 * What the double check asks of the ledger: one question a query. Those over the index of what is due cost little and are asked often; the others read
 * whole tables and are asked now and then, because the reader thread serves members, too. Findings are grouped by campaign; a sample names the first deliveries. The one repair here is a doorbell rung again,
 * which is safe at any time because a claim decides.
 */
import type { EpochMs } from '@doorbuster/core';
import { deliveryIdOf } from '../../delivery-id.ts';
import type { ReconcileFinding } from '../../ledger.ts';
import type { Vault } from '../../vault.ts';
import type { CampaignRows } from './campaign-rows.ts';
import type { OutboxRows } from './outbox-rows.ts';
import type { Sql } from './sql.ts';
import type { DeliveryStore } from './store-deliveries.ts';
import type { Transaction } from './transaction.ts';

export interface ReconcileParts {
  readonly sql: Sql;
  readonly campaigns: CampaignRows;
  readonly outbox: OutboxRows;
  readonly deliveries: DeliveryStore;
  readonly vault: Vault;
}

/** Each selects `id, seq, unit`. `overdue`: over the index of what is due, ?1 the time since when it counts; the others read whole tables. */
const questions: readonly {
  readonly code: ReconcileFinding['code'];
  readonly overdue: boolean;
  readonly from: string;
}[] = [
  {
    code: 'grant-without-delivery',
    overdue: false,
    from: `SELECT c.id, e.seq, e.current_unit AS unit FROM entries e JOIN campaigns c USING (campaign)
      LEFT JOIN deliveries d ON d.campaign = e.campaign AND d.lane = e.lane AND d.seq = e.seq AND d.unit = e.current_unit
      WHERE e.current_unit IS NOT NULL AND e.status <> 'revoked' AND d.seq IS NULL`,
  },
  {
    code: 'delivery-overdue',
    overdue: true,
    from: "SELECT c.id, d.seq, d.unit FROM deliveries d JOIN campaigns c USING (campaign) WHERE d.wake_at < ?1 AND d.state IN ('due', 'unknown')",
  },
  {
    code: 'lease-ended',
    overdue: true,
    from: "SELECT c.id, d.seq, d.unit FROM deliveries d JOIN campaigns c USING (campaign) WHERE d.wake_at < ?1 AND d.state = 'sending'",
  },
  {
    code: 'delivered-without-voucher',
    overdue: false,
    from: `SELECT c.id, d.seq, d.unit FROM deliveries d JOIN campaigns c USING (campaign) JOIN units u ON u.campaign = d.campaign AND u.unit = d.unit
      JOIN entries e ON e.campaign = d.campaign AND e.seq = d.seq
      WHERE d.state = 'delivered' AND e.erased = 0 AND (u.voucher_state <> 'issued' OR u.voucher IS NULL)`,
  },
  {
    code: 'grant-without-code',
    overdue: false,
    from: `SELECT c.id, u.seq, u.unit FROM units u JOIN campaigns c USING (campaign)
      WHERE u.state = 'issued' AND u.voucher_state <> 'issued' AND coalesce(c.definition ->> '$.reward.voucherSource', 'pool') = 'pool'
        AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.campaign = u.campaign AND i.kind = 'voucher-codes' AND i.state = 'live'
          AND i.first_unit <= u.unit AND u.unit < i.first_unit + i.rows)`,
  },
  {
    code: 'parked',
    overdue: false,
    from: "SELECT c.id, d.seq, d.unit FROM deliveries d JOIN campaigns c USING (campaign) WHERE d.state = 'parked'",
  },
];
const SAMPLE = 10;
const OUTBOX_LOOK = 10_001;

export class ReconcileStore {
  readonly #parts: ReconcileParts;

  constructor(parts: ReconcileParts) {
    this.#parts = parts;
  }

  look(overdueSince: EpochMs, thorough: boolean): readonly ReconcileFinding[] {
    const asked = questions.filter(({ overdue }) => overdue || thorough);
    const findings = asked.flatMap((question) => this.#ask(question, overdueSince));
    const backlog = this.#parts.outbox.readUnpublished(OUTBOX_LOOK).length;
    return backlog === 0
      ? findings
      : [...findings, { code: 'outbox-backlog', campaignId: null, count: backlog, sample: [] }];
  }

  #ask(
    { code, overdue, from }: (typeof questions)[number],
    overdueSince: EpochMs,
  ): readonly ReconcileFinding[] {
    const values = overdue ? [overdueSince] : [];
    const counts = this.#parts.sql.all<{ id: string; n: number }>(
      `SELECT id, count(*) AS n FROM (${from}) GROUP BY id ORDER BY id`,
      ...values,
    );
    return counts.map(({ id, n }) => {
      const rows = this.#parts.sql.all<{ seq: number; unit: number }>(
        `SELECT seq, unit FROM (${from}) WHERE id = ${overdue ? '?2' : '?1'} ORDER BY seq LIMIT ${SAMPLE}`,
        ...values,
        id,
      );
      return {
        code,
        campaignId: id,
        count: n,
        sample: rows.map(({ seq, unit }) => deliveryIdOf(id, seq, unit)),
      };
    });
  }

  issuedCounts(): readonly { readonly campaignId: string; readonly issued: number }[] {
    return this.#parts.sql
      .all<{ id: string; n: number }>(
        "SELECT c.id, count(*) AS n FROM units u JOIN campaigns c USING (campaign) WHERE u.voucher_state = 'issued' GROUP BY c.id",
      )
      .map(({ id, n }) => ({ campaignId: id, issued: n }));
  }

  issuedCodes(
    campaignId: string,
    afterUnit: number,
    limit: number,
  ): readonly { readonly unit: number; readonly blind: string }[] {
    const { sql, campaigns, deliveries, vault } = this.#parts;
    const campaign = campaigns.find(campaignId);
    if (campaign === null) return [];
    const rows = sql.all<{ unit: number; voucher_salt: Uint8Array; voucher: Uint8Array }>(
      `SELECT unit, voucher_salt, voucher FROM units WHERE campaign = ? AND unit > ? AND voucher_state = 'issued' AND voucher IS NOT NULL
       ORDER BY unit LIMIT ?`,
      campaign.campaign,
      afterUnit,
      limit,
    );
    return rows.flatMap(({ unit, voucher_salt, voucher }) => {
      const opened = deliveries.openVoucher(voucher_salt, voucher);
      return opened === null ? [] : [{ unit, blind: vault.blindIndex(campaignId, opened.code) }];
    });
  }

  contactCount(campaignId: string): number {
    const campaign = this.#parts.campaigns.find(campaignId);
    return (
      this.#parts.sql.get<{ n: number }>(
        `SELECT count(*) AS n FROM (
         SELECT m.member_key FROM members m JOIN imports i USING (import) WHERE i.campaign = ?1 AND i.state = 'live' AND m.contact IS NOT NULL
         UNION SELECT member_key FROM registrations WHERE campaign = ?1 AND contact IS NOT NULL)`,
        campaign?.campaign ?? 0,
      )?.n ?? 0
    );
  }

  ringAgain(tx: Transaction, overdueSince: EpochMs, limit: number): number {
    const rows = this.#parts.sql.all<{ id: string; seq: number; unit: number }>(
      'SELECT c.id, d.seq, d.unit FROM deliveries d JOIN campaigns c USING (campaign) WHERE d.wake_at < ? ORDER BY d.wake_at LIMIT ?',
      overdueSince,
      limit,
    );
    for (const { id, seq, unit } of rows) tx.ring(id, seq, unit);
    return rows.length;
  }
}
