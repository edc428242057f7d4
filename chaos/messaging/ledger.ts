/**
 * What the workers did, in one SQLite file that all of them write: the inbox and the effects of the handler in one transaction, as an application would. A
 * commit here survives a killed process without a sync (`synchronous=NORMAL` in WAL), and no machine is switched off in this run, so the ledger does not
 * become what is measured. Effects are numbered in the order of their commits.
 */
import { DatabaseSync } from 'node:sqlite';
import { alreadyHandled, inboxSchema } from '@doorbuster/messaging';

const schema = `
CREATE TABLE IF NOT EXISTS effect (place INTEGER PRIMARY KEY, n INTEGER NOT NULL, key INTEGER NOT NULL, worker INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), confirmed INTEGER NOT NULL, total INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO progress (one, confirmed, total) VALUES (1, 0, 0);
`;

export interface Effect {
  readonly messageId: string;
  readonly n: number;
  readonly key: number;
}

export class Ledger {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = new DatabaseSync(path, { timeout: 20_000 });
    this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000');
    this.#db.exec(`BEGIN IMMEDIATE; ${schema} ${inboxSchema} COMMIT`);
  }

  /** One transaction for all of them. With `inbox` what was there before is left out. */
  record(
    effects: readonly Effect[],
    { worker, inbox, now }: { worker: number; inbox: boolean; now: number },
  ): void {
    const insert = this.#db.prepare('INSERT INTO effect (n, key, worker) VALUES (?, ?, ?)');
    this.#db.exec('BEGIN IMMEDIATE');
    for (const { messageId, n, key } of effects) {
      if (inbox && alreadyHandled(this.#db, { subscription: 'soak', messageId, now })) continue;
      insert.run(n, key, worker);
    }
    this.#db.exec('COMMIT');
  }

  /** Messages below this number are confirmed. */
  confirmed(): number {
    return (this.#db.prepare('SELECT confirmed FROM progress').get() as { confirmed: number }).confirmed;
  }

  confirm(below: number): void {
    this.#db.prepare('UPDATE progress SET confirmed = ?').run(below);
  }

  /** Messages below this number are to be published. */
  total(): number {
    return (this.#db.prepare('SELECT total FROM progress').get() as { total: number }).total;
  }

  goOnTo(below: number): void {
    this.#db.prepare('UPDATE progress SET total = ?').run(below);
  }

  /** Effects so far. */
  effects(): number {
    return (
      (this.#db.prepare('SELECT max(place) AS last FROM effect').get() as { last: number | null }).last ?? 0
    );
  }

  /** Effects behind a place, by worker, and the last place. */
  since(place: number): {
    readonly last: number;
    readonly workers: readonly { readonly worker: number; readonly count: number }[];
  } {
    const workers = this.#db
      .prepare(
        'SELECT worker, count(*) AS count, max(place) AS last FROM effect WHERE place > ? GROUP BY worker',
      )
      .all(place) as { worker: number; count: number; last: number }[];
    return { last: Math.max(place, ...workers.map(({ last }) => last)), workers };
  }

  distinct(): number {
    return (this.#db.prepare('SELECT count(DISTINCT n) AS found FROM effect').get() as { found: number })
      .found;
  }

  /** In the order of their commits. */
  all(): Iterable<{ readonly n: number; readonly key: number }> {
    return this.#db.prepare('SELECT n, key FROM effect ORDER BY place').iterate() as Iterable<{
      n: number;
      key: number;
    }>;
  }

  close(): void {
    this.#db.close();
  }
}
