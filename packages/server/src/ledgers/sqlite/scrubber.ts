/**
 * Erasure. What identifies a member goes: contact, attributes, answers, salt, the sealed voucher. While the campaign is not closed the member
 * key stays, or the member could enter twice; after the close it is replaced by random bytes. Entry, records and chain stay as they are:
 * they hold commitments whose salt is gone.
 */
import type { Randomness } from '../../randomness.ts';
import type { EntryKeys } from './entry-keys.ts';
import type { KeyRuns } from './key-runs.ts';
import type { Sql } from './sql.ts';

export class Scrubber {
  readonly #sql: Sql;
  readonly #randomness: Randomness;
  readonly #keys: EntryKeys;
  readonly #runs: KeyRuns;

  constructor(sql: Sql, randomness: Randomness, keys: EntryKeys, runs: KeyRuns) {
    this.#sql = sql;
    this.#randomness = randomness;
    this.#keys = keys;
    this.#runs = runs;
  }

  /** Everything of one member in one campaign; true when anything was there. */
  erase(campaign: number, memberKey: Uint8Array, closed: boolean): boolean {
    const sql = this.#sql;
    const seq = this.#keys.seqOf(campaign, memberKey);
    let touched = sql.run(
      'DELETE FROM registrations WHERE campaign = ? AND member_key = ?',
      campaign,
      memberKey,
    );
    for (const table of ['members', 'staged_members']) {
      const text = `DELETE FROM ${table} WHERE member_key = ?2 AND import IN (SELECT import FROM imports WHERE campaign = ?1 AND kind = 'members')`;
      touched += sql.run(text, campaign, memberKey);
    }
    if (seq !== null) {
      this.eraseEntry(campaign, 0, seq, closed);
      touched++;
    }
    return touched > 0;
  }

  /** Whether `erase` would find anything. */
  holds(campaign: number, memberKey: Uint8Array): boolean {
    const listed = (table: string): string =>
      `SELECT 1 FROM ${table} WHERE member_key = ?2 AND import IN (SELECT import FROM imports WHERE campaign = ?1 AND kind = 'members')`;
    if (this.#keys.seqOf(campaign, memberKey) !== null) return true;
    const text = `SELECT 1 FROM registrations WHERE campaign = ?1 AND member_key = ?2
      UNION ALL ${listed('members')} UNION ALL ${listed('staged_members')} LIMIT 1`;
    return this.#sql.get(text, campaign, memberKey) !== undefined;
  }

  eraseEntry(campaign: number, lane: number, seq: number, closed: boolean): void {
    const sql = this.#sql;
    sql.run(
      // Every unit that an entry ever had has a delivery; without it this would read all units of the campaign.
      `UPDATE units SET voucher = NULL, voucher_salt = NULL WHERE campaign = ?1 AND lane = ?2 AND seq = ?3 AND state <> 'free'
         AND unit IN (SELECT unit FROM deliveries WHERE campaign = ?1 AND lane = ?2 AND seq = ?3)`,
      campaign,
      lane,
      seq,
    );
    sql.run(
      'UPDATE entries SET salt = NULL, answers = NULL, erased = max(erased, 1) WHERE campaign = ? AND lane = ? AND seq = ?',
      campaign,
      lane,
      seq,
    );
    if (closed) this.#replaceKey(campaign, lane, seq);
  }

  /** At the close: the keys of those who were erased before. */
  replaceKeys(campaign: number): void {
    const rows = this.#sql.all<{ lane: number; seq: number }>(
      'SELECT lane, seq FROM entries WHERE campaign = ? AND erased = 1',
      campaign,
    );
    for (const { lane, seq } of rows) this.#replaceKey(campaign, lane, seq);
  }

  #replaceKey(campaign: number, lane: number, seq: number): void {
    const row = this.#sql.get<{ member_key: Uint8Array }>(
      'SELECT member_key FROM entries WHERE campaign = ? AND lane = ? AND seq = ?',
      campaign,
      lane,
      seq,
    );
    if (row === undefined) throw new Error(`no entry ${seq} of campaign ${campaign}`);
    const key = this.#randomness.bytes(16);
    this.#runs.replace(campaign, seq, row.member_key, key);
    this.#sql.run(
      'UPDATE entries SET member_key = ?, erased = 2 WHERE campaign = ? AND lane = ? AND seq = ?',
      key,
      campaign,
      lane,
      seq,
    );
  }
}
