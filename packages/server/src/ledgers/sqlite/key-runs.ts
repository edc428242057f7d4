/**
 * Runs: the unique index on member keys, filled behind the commit. SQLite's cost is pages made dirty, and an index on random keys makes one dirty for
 * every entry; in the order of the keys a page takes many at once. So entries are sealed into `entry_keys` in sorted runs, a slice at the end of
 * a transaction that stored others:
 *
 *   idle --the tail is long, or the lane closed--> gathering (keys of the run, sorted in a temporary table) --> sealing (slices of
 *   neighbouring keys) --> idle, `sealed_seq` = end of the run
 *
 * A run is as long as `shortest` or an eighth of what is sealed, so that its keys share pages at any size and the cost of an entry does not grow. After a
 * crash the same run is gathered again and goes on after `after_key`: `run_seq` and `after_key` are stored with each slice.
 *
 * The memory of the writer keeps a member from entering twice; the index proves it. A key that is there already is therefore a bug, and the lane halts
 * for a person: `fault` keeps it halted after a restart.
 */
import type { CampaignRows } from './campaign-rows.ts';
import type { Halts } from './halts.ts';
import { SQLITE_CONSTRAINT, type Sql, sqliteCodeOf } from './sql.ts';

/** Of a run at least; see the design for the measurement. */
const shortestRun = 50_000;
const sealedOverRun = 8;
/** Of a slice when nothing else is to be written. */
const idleSlice = 1024;
/**
 * Of a slice that rides with a transaction: in proportion to its entries, however many they are, so that the end of a run comes long before the next is due.
 * Each key is gathered once and sealed once, so with less than two an entry the tail would grow for ever.
 */
const keysPerEntry = 4;
const smallestSlice = 256;

interface Run {
  readonly campaign: number;
  readonly from: number;
  readonly to: number;
  gathered: number;
  after: Uint8Array;
}
interface StoredRun {
  sealed_seq: number;
  run_seq: number;
  after_key: Uint8Array;
  fault: string | null;
}

const nothing = new Uint8Array(0);

export class KeyRuns {
  readonly #sql: Sql;
  readonly #campaigns: CampaignRows;
  readonly #halts: Halts;
  readonly #shortest: number;
  readonly #sealed = new Map<number, number>();
  readonly #due = new Set<number>();
  #run: Run | null = null;

  /** `shortest`: entries of a run at least. */
  constructor(parts: {
    readonly sql: Sql;
    readonly campaigns: CampaignRows;
    readonly halts: Halts;
    readonly shortest: number | undefined;
  }) {
    this.#sql = parts.sql;
    this.#campaigns = parts.campaigns;
    this.#halts = parts.halts;
    this.#shortest = parts.shortest ?? shortestRun;
  }

  /** At start, inside a transaction: what a crash left half done, and the lanes that are halted for a fault. */
  prepare(): void {
    this.#sql.db.exec(
      'CREATE TEMP TABLE IF NOT EXISTS key_run (member_key BLOB PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID',
    );
    const lanes = this.#sql.all<{ campaign: number; seq: number; phase: string; fault: string | null }>(
      `SELECT l.campaign, l.seq, l.phase, k.fault FROM lanes l LEFT JOIN key_runs k USING (campaign, lane) WHERE l.lane = 0`,
    );
    for (const { campaign, seq, phase, fault } of lanes) {
      if (fault !== null) this.#halts.halt(this.#campaigns.byNumber(campaign).id, fault);
      else this.grew(campaign, seq, phase === 'closed');
    }
  }

  /** After a batch of entries, or the close. */
  grew(campaign: number, seq: number, closed: boolean): void {
    let sealed = this.#sealed.get(campaign);
    if (sealed === undefined) {
      const stored = this.#stored(campaign);
      if (stored !== undefined && stored.run_seq > stored.sealed_seq) this.#due.add(campaign);
      sealed = stored?.sealed_seq ?? 0;
      this.#sealed.set(campaign, sealed);
    }
    const tail = seq - sealed;
    if (tail >= Math.max(this.#shortest, sealed / sealedOverRun) || (closed && tail > 0))
      this.#due.add(campaign);
  }

  get hasWork(): boolean {
    return this.#run !== null || this.#due.size > 0;
  }

  /** Inside a transaction: one slice of the run under way. `entered`: the entries of the transaction; null when it has no other work. */
  step(entered: number | null): void {
    if (!this.hasWork) return;
    const { db } = this.#sql;
    const smallest = Math.min(smallestSlice, Math.ceil(this.#shortest / keysPerEntry));
    const keys = entered === null ? idleSlice : Math.max(smallest, keysPerEntry * entered);
    const run = this.#run ?? this.#begin();
    if (run === null) return;
    db.exec('SAVEPOINT run');
    try {
      this.#advance(run, keys);
    } catch (error) {
      if (sqliteCodeOf(error) !== SQLITE_CONSTRAINT) throw error;
      db.exec('ROLLBACK TO run');
      this.#fail(run);
    }
    db.exec('RELEASE run');
  }

  #stored(campaign: number): StoredRun | undefined {
    const text = 'SELECT sealed_seq, run_seq, after_key, fault FROM key_runs WHERE campaign = ? AND lane = 0';
    return this.#sql.get<StoredRun>(text, campaign);
  }

  /** The next campaign that is due; null when none is after all. */
  #begin(): Run | null {
    for (const campaign of this.#due) {
      this.#due.delete(campaign);
      const stored = this.#stored(campaign);
      const from = stored?.sealed_seq ?? 0;
      let to = stored?.run_seq ?? 0;
      if (to === from) to = this.#newRun(campaign, from);
      if (to === from || typeof stored?.fault === 'string') continue;
      this.#sql.run('DELETE FROM temp.key_run');
      this.#run = { campaign, from, to, gathered: from, after: stored?.after_key ?? nothing };
      return this.#run;
    }
    return null;
  }

  #newRun(campaign: number, from: number): number {
    const to =
      this.#sql.get<{ seq: number }>('SELECT seq FROM lanes WHERE campaign = ? AND lane = 0', campaign)
        ?.seq ?? from;
    if (to > from)
      this.#sql.run(
        `INSERT INTO key_runs (campaign, lane, sealed_seq, run_seq) VALUES (?, 0, 0, ?)
         ON CONFLICT DO UPDATE SET run_seq = excluded.run_seq`,
        campaign,
        to,
      );
    return to;
  }

  #advance(run: Run, keys: number): void {
    if (run.gathered < run.to) this.#gather(run, keys);
    else this.#seal(run, keys);
  }

  #gather(run: Run, keys: number): void {
    const to = Math.min(run.to, run.gathered + keys);
    this.#sql.run(
      `INSERT INTO temp.key_run SELECT member_key, seq FROM main.entries WHERE campaign = ? AND lane = 0 AND seq > ? AND seq <= ?`,
      run.campaign,
      run.gathered,
      to,
    );
    run.gathered = to;
  }

  #seal(run: Run, keys: number): void {
    const { campaign, after } = run;
    const last = this.#sql.get<{ member_key: Uint8Array }>(
      'SELECT member_key FROM temp.key_run WHERE member_key > ? ORDER BY member_key LIMIT 1 OFFSET ?',
      after,
      keys - 1,
    )?.member_key;
    this.#sql.run(
      `INSERT INTO main.entry_keys (campaign, member_key, lane, seq)
       SELECT ?1, member_key, 0, seq FROM temp.key_run WHERE member_key > ?2 AND (?3 IS NULL OR member_key <= ?3) ORDER BY member_key`,
      campaign,
      after,
      last ?? null,
    );
    if (last === undefined) return this.#end(run);
    this.#sql.run('UPDATE key_runs SET after_key = ? WHERE campaign = ? AND lane = 0', last, campaign);
    run.after = last;
  }

  #end({ campaign, to }: Run): void {
    this.#sql.run(
      "UPDATE key_runs SET sealed_seq = run_seq, after_key = x'' WHERE campaign = ? AND lane = 0",
      campaign,
    );
    this.#sql.run('DELETE FROM temp.key_run');
    this.#sealed.set(campaign, to);
    this.#run = null;
  }

  #fail({ campaign, from, to }: Run): void {
    const fault = `a member has two entries, one of them of ${from + 1} to ${to}`;
    this.#sql.run('UPDATE key_runs SET fault = ? WHERE campaign = ? AND lane = 0', fault, campaign);
    this.#sql.run('DELETE FROM temp.key_run');
    this.#halts.halt(this.#campaigns.byNumber(campaign).id, fault);
    this.#run = null;
  }

  /** After a rollback: what was gathered and sealed in memory did not happen, nor the end of a run. A run that is stored goes on. */
  forget(): void {
    if (this.#run !== null) this.#due.add(this.#run.campaign);
    const unended = this.#sql.all<{ campaign: number }>(
      'SELECT campaign FROM key_runs WHERE lane = 0 AND run_seq > sealed_seq AND fault IS NULL',
    );
    for (const { campaign } of unended) this.#due.add(campaign);
    this.#sealed.clear();
    this.#run = null;
  }

  /**
   * Inside a transaction: the key of an entry becomes another, wherever it has come to. Of a run under way every key up to `after_key` is in the index,
   * and every other in the rows that are gathered.
   */
  replace(campaign: number, seq: number, before: Uint8Array, now: Uint8Array): void {
    const removed = this.#sql.run(
      'DELETE FROM entry_keys WHERE campaign = ? AND member_key = ? AND seq = ?',
      campaign,
      before,
      seq,
    );
    const stored = this.#stored(campaign);
    const inRun = stored !== undefined && seq > stored.sealed_seq && seq <= stored.run_seq;
    const gathered = this.#run?.campaign === campaign && seq > this.#run.from && seq <= this.#run.gathered;
    if (gathered) this.#sql.run('DELETE FROM temp.key_run WHERE member_key = ?', before);
    if (removed > 0 || (inRun && Buffer.compare(now, stored.after_key) <= 0))
      this.#sql.run(
        'INSERT INTO entry_keys (campaign, member_key, lane, seq) VALUES (?, ?, 0, ?)',
        campaign,
        now,
        seq,
      );
    else if (gathered) this.#sql.run('INSERT INTO temp.key_run (member_key, seq) VALUES (?, ?)', now, seq);
  }
}
