/**
 * Imports: rows are staged under a number nobody reads yet; the commit changes the import's own row, and with it every row is seen at once. Sealing
 * is done before (`sealMembers`, `sealCodes`), off the writer, because it costs more than the insert. Members are appended as they come and
 * moved in the order of their keys, because random keys made a page dirty per row: 100,000 rows wrote 400 MB and held up admission.
 *
 * A code is one per unit and one per pool: the UNIQUE blind index refuses a second one while it is staged. A replacing import of codes
 * begins a new era of that index, so that it may bring codes again that the old pool had.
 */
import type { Actor, Contact, Done, ImportKind, MemberRow, Refused, VoucherRow } from '../../ledger.ts';
import { newId, type Randomness } from '../../randomness.ts';
import type { Vault } from '../../vault.ts';
import { note, system } from './audit-log.ts';
import { type CampaignRow, type CampaignRows, countCodes, countMembers } from './campaign-rows.ts';
import { readLane } from './lane-rows.ts';
import { blobOf, type Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

export interface SealedMember {
  readonly memberKey: Uint8Array;
  readonly attributes: string;
  readonly salt: Uint8Array | null;
  readonly contact: Uint8Array | null;
}
export interface SealedCode {
  readonly line: number;
  readonly blind: Uint8Array;
  readonly salt: Uint8Array;
  readonly sealed: Uint8Array;
}

interface ImportRow {
  import: number;
  id: string;
  campaign: number;
  kind: ImportKind;
  mode: 'append' | 'replace';
  state: 'staging' | 'live' | 'dropped';
  era: number;
  rows: number;
  fresh: number;
}

export function sealMembers(
  vault: Vault,
  randomness: Randomness,
  rows: readonly MemberRow[],
): SealedMember[] {
  return rows.map(({ memberKey, contact, attributes }) => {
    const key = { memberKey: blobOf(memberKey), attributes: JSON.stringify(attributes) };
    if (contact === null) return { ...key, salt: null, contact: null };
    const salt = randomness.bytes(16);
    return {
      ...key,
      salt,
      contact: vault.seal(
        Buffer.from(salt).toString('hex'),
        'contact',
        JSON.stringify(contact satisfies Contact),
      ),
    };
  });
}

export function sealCodes(
  vault: Vault,
  randomness: Randomness,
  campaignId: string,
  rows: readonly VoucherRow[],
): SealedCode[] {
  return rows.map(({ line, code, pin, url, validUntil }) => {
    const salt = randomness.bytes(16);
    const sealed = vault.seal(
      Buffer.from(salt).toString('hex'),
      'voucher',
      JSON.stringify({ code, pin, url, validUntil }),
    );
    return { line, blind: blobOf(vault.blindIndex(campaignId, code)), salt, sealed };
  });
}

export class ImportStore {
  readonly #sql: Sql;
  readonly #campaigns: CampaignRows;
  readonly #randomness: Randomness;

  constructor(parts: {
    readonly sql: Sql;
    readonly campaigns: CampaignRows;
    readonly randomness: Randomness;
  }) {
    this.#sql = parts.sql;
    this.#campaigns = parts.campaigns;
    this.#randomness = parts.randomness;
  }

  begin(
    tx: Transaction,
    campaignId: string,
    kind: ImportKind,
    mode: 'append' | 'replace',
    actor: Actor,
  ): Done<string> | Refused<'unknown' | 'closed' | 'published'> {
    const campaign = this.#campaigns.find(campaignId);
    if (campaign === null) return { ok: false, code: 'unknown' };
    const phase = readLane(this.#sql, campaign.campaign, campaignId)?.state.phase ?? null;
    if (phase === 'closed') return { ok: false, code: 'closed' };
    if (phase !== null && kind === 'voucher-codes' && mode === 'replace')
      return { ok: false, code: 'published' };
    const id = newId(this.#randomness);
    const era = kind === 'voucher-codes' && mode === 'replace' ? this.#newEra(campaign) : campaign.codeEra;
    this.#sql.run(
      "INSERT INTO imports (id, campaign, kind, mode, state, era, created_at) VALUES (?, ?, ?, ?, 'staging', ?, ?)",
      id,
      campaign.campaign,
      kind,
      mode,
      era,
      tx.now,
    );
    note(
      this.#sql,
      tx,
      actor,
      'import.begun',
      { name: campaignId, campaign: campaign.campaign },
      { importId: id, kind, mode },
    );
    return { ok: true, value: id };
  }

  #newEra(campaign: CampaignRow): number {
    const highest = this.#sql.get<{ era: number | null }>(
      'SELECT max(era) AS era FROM imports WHERE campaign = ?',
      campaign.campaign,
    );
    return Math.max(campaign.codeEra, highest?.era ?? 0) + 1;
  }

  #staging(importId: string, kind: ImportKind | null): ImportRow {
    const row = this.#sql.get<ImportRow>('SELECT * FROM imports WHERE id = ?', importId);
    if (row?.state !== 'staging' || (kind !== null && row.kind !== kind))
      throw new Error(`no ${kind ?? ''} import ${importId} is being staged`);
    return row;
  }

  campaignOf(importId: string): string {
    const row = this.#sql.get<{ id: string }>(
      'SELECT c.id FROM imports i JOIN campaigns c USING (campaign) WHERE i.id = ?',
      importId,
    );
    if (row === undefined) throw new Error(`no import ${importId}`);
    return row.id;
  }

  stageMembers(_tx: Transaction, importId: string, rows: readonly SealedMember[]): void {
    const staged = this.#staging(importId, 'members');
    const text =
      'INSERT INTO staged_members (import, member_key, attributes, salt, contact) VALUES (?, ?, ?, ?, ?)';
    for (const { memberKey, attributes, salt, contact } of rows)
      this.#sql.run(text, staged.import, memberKey, attributes, salt, contact);
  }

  /** Numbers of the staged rows in the order of their keys, a member's later line after the earlier. A read. */
  stagedOrder(importId: string): Float64Array {
    const text =
      'SELECT s.row FROM imports i JOIN staged_members s USING (import) WHERE i.id = ? ORDER BY s.member_key, s.row';
    return Float64Array.from(this.#sql.iterate<{ row: number }>(text, importId), ({ row }) => row);
  }

  /** The next rows of `stagedOrder` become rows of the list, still unseen. Of one member's lines the last wins. */
  moveMembers(_tx: Transaction, importId: string, rows: Float64Array): void {
    const staged = this.#staging(importId, 'members');
    const counts = staged.mode === 'append' && this.#hasList(staged.campaign);
    let added = 0;
    let known = 0;
    for (const row of rows) {
      if (this.#moveMember(row) === 0) continue;
      added++;
      if (counts && this.#isListed(staged.campaign, row)) known++;
    }
    this.#sql.run(
      'UPDATE imports SET rows = rows + ?, fresh = fresh + ? WHERE import = ?',
      added,
      added - known,
      staged.import,
    );
  }

  /** 0 when the member has a row of this import already; it then takes the later line. */
  #moveMember(row: number): number {
    const added = this.#sql.run(
      'INSERT OR IGNORE INTO members SELECT import, member_key, attributes, salt, contact FROM staged_members WHERE row = ?',
      row,
    );
    if (added === 0)
      this.#sql.run(
        'INSERT OR REPLACE INTO members SELECT import, member_key, attributes, salt, contact FROM staged_members WHERE row = ?',
        row,
      );
    return added;
  }

  #hasList(campaign: number): boolean {
    return (
      this.#sql.get(
        "SELECT 1 FROM imports WHERE campaign = ? AND kind = 'members' AND state = 'live' LIMIT 1",
        campaign,
      ) !== undefined
    );
  }

  #isListed(campaign: number, row: number): boolean {
    const text = `SELECT 1 FROM staged_members s, imports i JOIN members m ON m.import = i.import AND m.member_key = s.member_key
      WHERE s.row = ?2 AND i.campaign = ?1 AND i.kind = 'members' AND i.state = 'live' LIMIT 1`;
    return this.#sql.get(text, campaign, row) !== undefined;
  }

  /** The lines refused because the pool has their code already. */
  stageCodes(_tx: Transaction, importId: string, rows: readonly SealedCode[]): readonly number[] {
    const staged = this.#staging(importId, 'voucher-codes');
    const refused: number[] = [];
    let ordinal = staged.rows;
    for (const row of rows) {
      const inserted = this.#sql.run(
        'INSERT OR IGNORE INTO voucher_codes (import, ordinal, campaign, era, blind, salt, sealed) VALUES (?, ?, ?, ?, ?, ?, ?)',
        staged.import,
        ordinal + 1,
        staged.campaign,
        staged.era,
        row.blind,
        row.salt,
        row.sealed,
      );
      if (inserted === 1) ordinal++;
      else refused.push(row.line);
    }
    this.#sql.run('UPDATE imports SET rows = ? WHERE import = ?', ordinal, staged.import);
    return refused;
  }

  /** `replaced`: a replacing import overtook this one, and the caller begins again. `published`: the codes of a published campaign are not replaced. */
  commit(
    tx: Transaction,
    importId: string,
  ): { readonly rows: number; readonly total: number } | Refused<'published' | 'replaced'> {
    const staged = this.#staging(importId, null);
    const campaign = this.#campaigns.byNumber(staged.campaign);
    const overtaken = staged.kind === 'voucher-codes' ? this.#overtaken(campaign, staged) : null;
    if (overtaken !== null) return { ok: false, code: overtaken };
    if (staged.kind === 'voucher-codes') this.#switchCodes(campaign, staged);
    else this.#switchMembers(staged);
    const total =
      staged.kind === 'members'
        ? countMembers(this.#sql, staged.campaign)
        : countCodes(this.#sql, staged.campaign);
    note(
      this.#sql,
      tx,
      system,
      'import.switched-in',
      { name: campaign.id, campaign: staged.campaign },
      { importId, rows: staged.rows, total },
    );
    return { rows: staged.rows, total };
  }

  #switchMembers(staged: ImportRow): void {
    if (staged.mode === 'replace') this.#dropLive(staged);
    this.#sql.run("UPDATE imports SET state = 'live' WHERE import = ?", staged.import);
  }

  /** What happened to the campaign's codes since the import began, if it leaves the staged ones no place. */
  #overtaken(campaign: CampaignRow, staged: ImportRow): 'published' | 'replaced' | null {
    if (staged.mode === 'append') return staged.era === campaign.codeEra ? null : 'replaced';
    return readLane(this.#sql, campaign.campaign, campaign.id) === null ? null : 'published';
  }

  #switchCodes(campaign: CampaignRow, staged: ImportRow): void {
    if (staged.mode === 'replace') {
      this.#dropLive(staged);
      this.#sql.run('UPDATE campaigns SET code_era = ? WHERE campaign = ?', staged.era, campaign.campaign);
      this.#campaigns.forget();
    }
    const firstUnit = countCodes(this.#sql, campaign.campaign) + 1;
    this.#sql.run(
      "UPDATE imports SET state = 'live', first_unit = ? WHERE import = ?",
      firstUnit,
      staged.import,
    );
  }

  #dropLive(staged: ImportRow): void {
    this.#sql.run(
      "UPDATE imports SET state = 'dropped', first_unit = NULL WHERE campaign = ? AND kind = ? AND state = 'live'",
      staged.campaign,
      staged.kind,
    );
  }

  abort(_tx: Transaction, importId: string): void {
    this.#sql.run("UPDATE imports SET state = 'dropped' WHERE id = ? AND state = 'staging'", importId);
  }

  /** At start: what an ended process was staging. */
  dropStaging(): void {
    this.#sql.run("UPDATE imports SET state = 'dropped' WHERE state = 'staging'");
  }

  /** Deletes what no import needs any more, at most `slice` rows; returns how many. */
  purge(_tx: Transaction, slice: number): number {
    const staged = this.#sql.run(
      "DELETE FROM staged_members WHERE row IN (SELECT s.row FROM staged_members s JOIN imports i USING (import) WHERE i.state <> 'staging' LIMIT ?)",
      slice,
    );
    return staged > 0 ? staged : this.#purgeDropped(slice);
  }

  #purgeDropped(slice: number): number {
    const dropped = this.#sql.get<{ import: number; kind: ImportKind }>(
      "SELECT import, kind FROM imports WHERE state = 'dropped' AND rows > 0 ORDER BY import LIMIT 1",
    );
    if (dropped === undefined) return 0;
    const [table, key] =
      dropped.kind === 'members' ? ['members', 'member_key'] : ['voucher_codes', 'ordinal'];
    const text = `DELETE FROM ${table} WHERE import = ?1 AND ${key} IN (SELECT ${key} FROM ${table} WHERE import = ?1 LIMIT ?2)`;
    const deleted = this.#sql.run(text, dropped.import, slice);
    if (deleted < slice)
      this.#sql.run('UPDATE imports SET rows = 0, fresh = 0 WHERE import = ?', dropped.import);
    return deleted;
  }
}
