/** Campaigns and what operators do to their lanes: every change is a record, its consequences are rows of the same transaction. */
import {
  type CampaignState,
  canonicalJson,
  decideLane,
  type EpochMs,
  hexOf,
  type LaneCommand,
  type LaneRecord,
  type LaneRejection,
  type LaneState,
  publishLane,
  utf8Of,
} from '@doorbuster/core';
import { sha256 } from '../../audit/signer.ts';
import { type CampaignDefinition, termsOf } from '../../campaign/definition.ts';
import { OperationalError } from '../../errors.ts';
import type { Actor, Campaign, Done, OperatorLaneCommand, Page, PageRequest, Refused } from '../../ledger.ts';
import { note, system } from './audit-log.ts';
import type { AuthorityClock } from './authority-clock.ts';
import type { BatchLog } from './batch-log.ts';
import { type CampaignRow, type CampaignRows, viewOf } from './campaign-rows.ts';
import { cursorOf, readCursor } from './cursor.ts';
import type { EntryKeys } from './entry-keys.ts';
import type { Grants } from './grants.ts';
import type { Halts } from './halts.ts';
import type { KeyRuns } from './key-runs.ts';
import { insertLane, type LaneRow, readLane, updateLane } from './lane-rows.ts';
import type { Scrubber } from './scrubber.ts';
import type { Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

export type CommandRefusal =
  | Refused<'unknown' | 'not-published' | 'unknown-entry'>
  | { readonly ok: false; readonly code: 'rejected'; readonly rejection: LaneRejection };

interface DecidedCommand {
  readonly row: CampaignRow;
  readonly lane: LaneRow;
  readonly outcome: { readonly lane: LaneState; readonly records: readonly LaneRecord[] };
}

export interface CampaignParts {
  readonly sql: Sql;
  readonly campaigns: CampaignRows;
  readonly log: BatchLog;
  readonly grants: Grants;
  readonly keys: EntryKeys;
  readonly runs: KeyRuns;
  readonly scrubber: Scrubber;
  readonly halts: Halts;
  readonly clock: AuthorityClock;
}

export class CampaignStore {
  readonly #parts: CampaignParts;

  constructor(parts: CampaignParts) {
    this.#parts = parts;
  }

  create(
    tx: Transaction,
    id: string,
    definition: CampaignDefinition,
    actor: Actor,
  ): Done<Campaign> | Refused<'id-taken'> {
    const { sql, campaigns } = this.#parts;
    if (campaigns.find(id) !== null) return { ok: false, code: 'id-taken' };
    sql.run(
      'INSERT INTO campaigns (id, version, definition, created_at, updated_at) VALUES (?, 1, ?, ?, ?)',
      id,
      JSON.stringify(definition),
      tx.now,
      tx.now,
    );
    const row = this.#require(id);
    note(sql, tx, actor, 'campaign.created', { name: id, campaign: row.campaign });
    return { ok: true, value: viewOf(sql, row) };
  }

  update(
    tx: Transaction,
    id: string,
    definition: CampaignDefinition,
    expectedVersion: number,
    actor: Actor,
  ): Done<Campaign> | Refused<'unknown' | 'version-changed' | 'closed'> {
    const { sql, campaigns } = this.#parts;
    const row = campaigns.find(id);
    if (row === null) return { ok: false, code: 'unknown' };
    if (readLane(sql, row.campaign, id)?.state.phase === 'closed') return { ok: false, code: 'closed' };
    if (row.version !== expectedVersion)
      return { ok: false, code: 'version-changed', detail: `it is ${row.version}` };
    sql.run(
      'UPDATE campaigns SET definition = ?, version = version + 1, updated_at = ? WHERE campaign = ?',
      JSON.stringify(definition),
      tx.now,
      row.campaign,
    );
    campaigns.forget();
    note(
      sql,
      tx,
      actor,
      'campaign.updated',
      { name: id, campaign: row.campaign },
      { version: expectedVersion + 1 },
    );
    return { ok: true, value: viewOf(sql, this.#require(id)) };
  }

  publish(
    tx: Transaction,
    id: string,
    actor: Actor,
    lookedAt?: Pick<Campaign, 'version' | 'memberCount' | 'voucherCodeCount'>,
  ): Done<Campaign> | Refused<'unknown' | 'already-published' | 'version-changed'> {
    const { sql, campaigns, log } = this.#parts;
    const row = campaigns.find(id);
    if (row === null) return { ok: false, code: 'unknown' };
    if (readLane(sql, row.campaign, id) !== null) return { ok: false, code: 'already-published' };
    if (lookedAt && hasLess(viewOf(sql, row), lookedAt)) return { ok: false, code: 'version-changed' };
    const { lane, records } = publication(row, tx.now);
    const sealed = log.seal(row, null, lane, records, tx.now);
    insertLane(sql, row.campaign, sealed.lane);
    log.append(tx, sealed.row);
    tx.lanes.push(lane);
    sql.run(
      'UPDATE campaigns SET version = version + 1, updated_at = ?, published_at = ? WHERE campaign = ?',
      tx.now,
      tx.now,
      row.campaign,
    );
    campaigns.forget();
    note(
      sql,
      tx,
      actor,
      'campaign.published',
      { name: id, campaign: row.campaign },
      { version: row.version + 1 },
    );
    return { ok: true, value: viewOf(sql, this.#require(id)) };
  }

  command(
    tx: Transaction,
    id: string,
    command: OperatorLaneCommand,
    actor: Actor,
  ): Done<Campaign> | CommandRefusal {
    const { sql } = this.#parts;
    const decided = this.#decide(id, command, tx.now);
    if ('ok' in decided) return decided;
    const { row, lane, outcome } = decided;
    this.#store(tx, row, lane, outcome.lane, outcome.records);
    const { type, ...detail } = command;
    note(
      sql,
      tx,
      actor,
      `lane.${type}`,
      { name: id, campaign: row.campaign },
      { ...detail, recordNo: outcome.lane.recordNo },
    );
    return { ok: true, value: viewOf(sql, this.#require(id)) };
  }

  /** What `command` would answer now. */
  foresee(id: string, command: OperatorLaneCommand, now: EpochMs): Done<Campaign> | CommandRefusal {
    const { sql, campaigns } = this.#parts;
    campaigns.forget();
    const decided = this.#decide(id, command, now);
    if ('ok' in decided) return decided;
    const { lane } = decided.outcome;
    return { ok: true, value: { ...viewOf(sql, decided.row), state: lane.phase, lane } };
  }

  #decide(id: string, command: OperatorLaneCommand, now: EpochMs): DecidedCommand | CommandRefusal {
    const { sql, campaigns, halts } = this.#parts;
    const row = campaigns.find(id);
    if (row === null) return { ok: false, code: 'unknown' };
    const lane = readLane(sql, row.campaign, id);
    if (lane === null) return { ok: false, code: 'not-published' };
    halts.check(id);
    const laneCommand = this.#complete(row, lane.state, command);
    if ('ok' in laneCommand) return laneCommand;
    const outcome = decideLane(lane.state, laneCommand, now);
    return outcome.ok ? { row, lane, outcome } : rejected(outcome.rejection);
  }

  /** Opens and closes what is due. Returns when to come back, on the wall clock. */
  tick(tx: Transaction): EpochMs | null {
    const { sql, campaigns, halts, clock } = this.#parts;
    const due = sql.all<{ campaign: number }>(
      "SELECT campaign FROM lanes WHERE phase <> 'closed' AND ((phase = 'scheduled' AND starts_at <= ?) OR ends_at <= ?)",
      tx.now,
      tx.now,
    );
    for (const { campaign } of due) {
      const row = campaigns.byNumber(campaign);
      if (halts.reasonOf(row.id) !== null) continue;
      const lane = readLane(sql, campaign, row.id) as LaneRow;
      const outcome = decideLane(lane.state, { command: 'tick' }, tx.now);
      if (outcome.ok) this.#store(tx, row, lane, outcome.lane, outcome.records);
    }
    const next = sql.get<{ at: number | null }>(
      `SELECT min(at) AS at FROM (SELECT starts_at AS at FROM lanes WHERE phase = 'scheduled' UNION ALL SELECT ends_at FROM lanes WHERE phase <> 'closed')
       WHERE at > ?`,
      tx.now,
    );
    const at = next?.at ?? null;
    return at === null ? null : at + clock.aheadMs();
  }

  /** A restored backup: one RESTORED record per lane. */
  restore(tx: Transaction, id: string, epoch: number): void {
    const { sql } = this.#parts;
    const row = this.#require(id);
    const lane = readLane(sql, row.campaign, id);
    if (lane === null) return;
    const outcome = decideLane(lane.state, { command: 'restore', epoch }, Math.max(tx.now, 0));
    if (!outcome.ok) throw new Error(`${id} cannot take epoch ${epoch}: ${outcome.rejection.code}`);
    this.#store(tx, row, lane, outcome.lane, outcome.records);
    note(sql, tx, system, 'lane.restored', { name: id, campaign: row.campaign }, { epoch });
  }

  get(id: string): Campaign | null {
    const { sql, campaigns } = this.#parts;
    campaigns.forget();
    const row = campaigns.find(id);
    return row === null ? null : viewOf(sql, row);
  }

  /** Newest first. */
  list(request: PageRequest & { readonly state?: CampaignState }): Page<Campaign> {
    const { sql, campaigns } = this.#parts;
    campaigns.forget();
    const rows = sql.all<{ campaign: number }>(
      `SELECT c.campaign FROM campaigns c LEFT JOIN lanes l ON l.campaign = c.campaign AND l.lane = 0
       WHERE c.campaign < ? AND (?2 IS NULL OR coalesce(l.phase, 'draft') = ?2) ORDER BY c.campaign DESC LIMIT ?3`,
      readCursor(request.after, 1)?.[0] ?? Number.MAX_SAFE_INTEGER,
      request.state ?? null,
      request.limit + 1,
    );
    const items = rows.slice(0, request.limit);
    const last = items.at(-1);
    const next = rows.length > request.limit && last !== undefined ? cursorOf(last.campaign) : null;
    return { items: items.map(({ campaign }) => viewOf(sql, campaigns.byNumber(campaign))), next };
  }

  #require(id: string): CampaignRow {
    const row = this.#parts.campaigns.find(id);
    if (row === null) throw new OperationalError('CAMPAIGN_UNKNOWN', { detail: id });
    return row;
  }

  /** Records, lane and everything that follows from them. The lane goes first: units are checked against its capacity. */
  #store(
    tx: Transaction,
    row: CampaignRow,
    before: LaneRow,
    lane: LaneState,
    records: readonly LaneRecord[],
  ): void {
    if (records.length === 0) return;
    const { sql, log, grants, scrubber, keys, runs } = this.#parts;
    const sealed = log.seal(row, before, lane, records, tx.now);
    updateLane(sql, row.campaign, sealed.lane);
    log.append(tx, sealed.row);
    grants.apply(tx, row, before.state, records);
    if (before.state.phase !== 'closed' && lane.phase === 'closed') {
      scrubber.replaceKeys(row.campaign);
      keys.closed(row.campaign);
      runs.grew(row.campaign, lane.seq, true);
    }
    tx.lanes.push(lane);
  }

  /** What only the transaction knows: who waits, which unit an entry holds, whether its voucher was shown. */
  #complete(row: CampaignRow, lane: LaneState, command: OperatorLaneCommand): LaneCommand | CommandRefusal {
    switch (command.type) {
      case 'pause':
      case 'resume':
      case 'close':
        return { command: command.type };
      case 'promote': {
        const [seq] = this.#waiting(row, lane.lane, 1);
        return seq === undefined ? rejected({ code: 'nobody-waits' }) : { command: 'promote', seq };
      }
      case 'change-stock': {
        const { capacity, safetyStock } = command;
        const free = Math.max(0, capacity - safetyStock - lane.held - lane.issued - lane.void);
        return {
          command: 'change-stock',
          capacity,
          safetyStock,
          waitingSeqs: this.#waiting(row, lane.lane, free),
        };
      }
      case 'revoke':
      case 'replace':
        return this.#completeForEntry(row, lane, command);
    }
  }

  #completeForEntry(
    row: CampaignRow,
    lane: LaneState,
    command: { readonly type: 'revoke' | 'replace'; readonly seq: number },
  ): LaneCommand | CommandRefusal {
    const { seq } = command;
    const entry = this.#parts.sql.get<{
      status: string;
      verdict: string;
      current_unit: number | null;
      voucher_shown: number | null;
    }>(
      `SELECT e.status, e.verdict, e.current_unit, u.voucher_shown FROM entries e
       LEFT JOIN units u ON u.campaign = e.campaign AND u.unit = e.current_unit WHERE e.campaign = ? AND e.lane = ? AND e.seq = ?`,
      row.campaign,
      lane.lane,
      seq,
    );
    if (entry === undefined) return { ok: false, code: 'unknown-entry' };
    const unit = entry.current_unit;
    if (command.type === 'replace')
      return unit === null ? rejected({ code: 'unit-not-given' }) : { command: 'replace', seq, unit };
    const waiting = entry.verdict === 'waitlisted' && entry.status === 'live';
    const waitingSeqs = this.#waiting(row, lane.lane, lane.free + 2).filter((other) => other !== seq);
    return { command: 'revoke', seq, unit, unitShown: entry.voucher_shown === 1, waiting, waitingSeqs };
  }

  #waiting(row: CampaignRow, lane: number, limit: number): number[] {
    const text = `SELECT seq FROM entries WHERE campaign = ? AND lane = ? AND verdict = 'waitlisted' AND status = 'live' ORDER BY seq LIMIT ?`;
    return this.#parts.sql.all<{ seq: number }>(text, row.campaign, lane, limit).map((entry) => entry.seq);
  }
}

function rejected(rejection: LaneRejection): CommandRefusal {
  return { ok: false, code: 'rejected', rejection };
}

function publication(
  row: CampaignRow,
  now: EpochMs,
): { readonly lane: LaneState; readonly records: readonly LaneRecord[] } {
  const digest = hexOf(sha256(utf8Of(canonicalJson(row.definition))));
  try {
    return publishLane(row.id, 0, termsOf(row.definition), digest, now);
  } catch (cause) {
    if (cause instanceof RangeError)
      throw new OperationalError('DEFINITION_INVALID', { detail: cause.message, cause });
    throw cause;
  }
}

/** Whether what a pre-flight found may no longer hold. An import changes no version, and more rows take nothing away. */
function hasLess(
  now: Campaign,
  lookedAt: Pick<Campaign, 'version' | 'memberCount' | 'voucherCodeCount'>,
): boolean {
  return (
    now.version !== lookedAt.version ||
    now.memberCount < lookedAt.memberCount ||
    now.voucherCodeCount < lookedAt.voucherCodeCount
  );
}
