/** Campaigns as rows, and what admission needs of a definition, compiled once. */
import { campaignStateOf, type Eligibility } from '@doorbuster/core';
import { type CampaignDefinition, eligibilityOf } from '../../campaign/definition.ts';
import type { Campaign } from '../../ledger.ts';
import { readLane } from './lane-rows.ts';
import type { Sql } from './sql.ts';

export interface CampaignRow {
  /** The surrogate that is part of every key. */
  readonly campaign: number;
  readonly id: string;
  readonly version: number;
  readonly definition: CampaignDefinition;
  readonly eligibility: Eligibility;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly publishedAt: number | null;
  readonly codeEra: number;
}

interface StoredCampaign {
  campaign: number;
  id: string;
  version: number;
  definition: string;
  created_at: number;
  updated_at: number;
  published_at: number | null;
  code_era: number;
}

/** Keeps parsed rows until `forget`: every change of a campaign, and every rollback, calls it. */
export class CampaignRows {
  readonly #sql: Sql;
  readonly #known = new Map<string, CampaignRow>();

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  find(id: string): CampaignRow | null {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const stored = this.#sql.get<StoredCampaign>('SELECT * FROM campaigns WHERE id = ?', id);
    return stored === undefined ? null : this.#keep(stored);
  }

  byNumber(campaign: number): CampaignRow {
    const stored = this.#sql.get<StoredCampaign>('SELECT * FROM campaigns WHERE campaign = ?', campaign);
    if (stored === undefined) throw new Error(`no campaign number ${campaign}`);
    return this.#known.get(stored.id) ?? this.#keep(stored);
  }

  forget(): void {
    this.#known.clear();
  }

  #keep(stored: StoredCampaign): CampaignRow {
    const row = campaignRowOf(stored);
    if (this.#known.size >= 10_000) this.#known.clear();
    this.#known.set(row.id, row);
    return row;
  }
}

function campaignRowOf(stored: StoredCampaign): CampaignRow {
  const definition = JSON.parse(stored.definition) as CampaignDefinition;
  return {
    campaign: stored.campaign,
    id: stored.id,
    version: stored.version,
    definition,
    eligibility: eligibilityOf(definition),
    createdAt: stored.created_at,
    updatedAt: stored.updated_at,
    publishedAt: stored.published_at,
    codeEra: stored.code_era,
  };
}

/** The campaign as the port shows it. */
export function viewOf(sql: Sql, row: CampaignRow): Campaign {
  const lane = readLane(sql, row.campaign, row.id)?.state ?? null;
  return {
    id: row.id,
    state: campaignStateOf(lane),
    version: row.version,
    definition: row.definition,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
    publishedAt: row.publishedAt,
    lane,
    memberCount: countMembers(sql, row.campaign),
    voucherCodeCount: countCodes(sql, row.campaign),
  };
}

export function countMembers(sql: Sql, campaign: number): number {
  const text =
    "SELECT coalesce(sum(fresh), 0) AS n FROM imports WHERE campaign = ? AND kind = 'members' AND state = 'live'";
  return sql.get<{ n: number }>(text, campaign)?.n ?? 0;
}

export function countCodes(sql: Sql, campaign: number): number {
  const text =
    "SELECT coalesce(sum(rows), 0) AS n FROM imports WHERE campaign = ? AND kind = 'voucher-codes' AND state = 'live'";
  return sql.get<{ n: number }>(text, campaign)?.n ?? 0;
}
