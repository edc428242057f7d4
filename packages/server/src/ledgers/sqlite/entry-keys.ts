/**
 * Who is in: the entry of a member key. Entries are appended by seq and the commit keeps no index on their random keys, which would make a page dirty
 * for each. The unique index is its own table, `entry_keys`, and follows in runs (`key-runs.ts`); between the two lies the tail.
 *
 *   writer   a table in memory says where a member's entry may be, of all entries of a campaign, and the row of that seq confirms it
 *   reader   `entry_keys` first, then the same table of the tail alone, caught up with what was committed since
 *
 * Either way the answer is a row of the transaction that asks: what was rolled back is not in it.
 */
import type { Sql } from './sql.ts';
import { MemberTable } from './member-table.ts';

interface Loaded {
  readonly table: MemberTable;
  /** It holds the entries after this seq; those up to it are in `entry_keys`. */
  readonly from: number;
  /** It holds the entries up to this seq. */
  last: number;
}

const selectKey = 'SELECT member_key FROM entries WHERE campaign = ? AND lane = 0 AND seq = ?';
const selectSealed = 'SELECT seq FROM entry_keys WHERE campaign = ? AND member_key = ?';
const selectUpTo = `SELECT l.seq, l.phase, coalesce(k.sealed_seq, 0) AS sealed FROM lanes l LEFT JOIN key_runs k USING (campaign, lane)
  WHERE l.campaign = ? AND l.lane = 0`;
/** Many in one row, key and seq as 40 hex characters each: a row for each took 2.3 us an entry at the start, and left 60 MB of garbage at a million. */
const selectTail = `SELECT group_concat(hex(member_key) || printf('%08x', seq), '') AS entries FROM entries
  WHERE campaign = ? AND lane = 0 AND seq > ? AND seq <= ?`;
const entryBytes = 20;
const entriesAtOnce = 1024;
/** Tables of campaigns that were asked for last. The writer's are kept: every entry would load them again. */
const mostOfReader = 64;
/** A reader begins its tail anew when so many of it have been sealed meanwhile. */
const worthBeginningAnew = 50_000;

export class EntryKeys {
  readonly #sql: Sql;
  readonly #writes: boolean;
  readonly #loaded = new Map<number, Loaded>();
  /** Of one row of `selectTail`: a fresh one for each would be garbage outside the heap, which is collected late. */
  readonly #row = Buffer.alloc(entryBytes * entriesAtOnce);

  constructor(sql: Sql, role: 'writer' | 'reader') {
    this.#sql = sql;
    this.#writes = role === 'writer';
  }

  /** The seq of the member's entry; null when there is none. `memberKey`: 16 bytes. */
  seqOf(campaign: number, memberKey: Uint8Array): number | null {
    const loaded = this.#upToDate(campaign);
    if (loaded.from > 0) {
      const sealed = this.#sql.get<{ seq: number }>(selectSealed, campaign, memberKey)?.seq;
      if (sealed !== undefined) return sealed;
    }
    for (const seq of loaded.table.seqsOf(memberKey)) {
      const row = this.#sql.get<{ member_key: Uint8Array }>(selectKey, campaign, seq);
      if (row !== undefined && Buffer.compare(row.member_key, memberKey) === 0) return seq;
    }
    return null;
  }

  /** After the insert of an entry, in the same transaction. */
  added(campaign: number, memberKey: Uint8Array, seq: number): void {
    this.#loaded.get(campaign)?.table.add(memberKey, seq);
  }

  /** At start, for the lanes that may still admit: the first entry should not wait for it. */
  load(campaign: number): void {
    this.#upToDate(campaign);
  }

  /** A closed lane admits nobody: what its index holds needs no memory. */
  closed(campaign: number): void {
    this.#loaded.delete(campaign);
  }

  #upToDate(campaign: number): Loaded {
    const loaded = this.#loaded.get(campaign);
    if (loaded !== undefined && this.#writes) return loaded;
    const { seq, phase, sealed } = this.#sql.get<{ seq: number; phase: string; sealed: number }>(
      selectUpTo,
      campaign,
    ) ?? { seq: 0, phase: 'closed', sealed: 0 };
    if (loaded !== undefined && sealed - loaded.from < worthBeginningAnew)
      return this.#catchUp(campaign, loaded, seq);
    const from = this.#writes && phase !== 'closed' ? 0 : sealed;
    return this.#keep(campaign, { table: new MemberTable(seq - from), from, last: from }, seq);
  }

  #keep(campaign: number, loaded: Loaded, seq: number): Loaded {
    this.#loaded.delete(campaign);
    this.#loaded.set(campaign, loaded);
    if (!this.#writes && this.#loaded.size > mostOfReader)
      this.#loaded.delete(this.#loaded.keys().next().value as number);
    return this.#catchUp(campaign, loaded, seq);
  }

  #catchUp(campaign: number, loaded: Loaded, seq: number): Loaded {
    for (; loaded.last < seq; loaded.last = Math.min(seq, loaded.last + entriesAtOnce)) {
      const upTo = Math.min(seq, loaded.last + entriesAtOnce);
      const row = this.#sql.get<{ entries: string | null }>(selectTail, campaign, loaded.last, upTo);
      const length = this.#row.write(row?.entries ?? '', 'hex');
      for (let at = 0; at < length; at += entryBytes)
        loaded.table.add(this.#row.subarray(at, at + 16), this.#row.readUInt32BE(at + 16));
    }
    return loaded;
  }
}
