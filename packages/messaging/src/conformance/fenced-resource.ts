/** A resource that checks the fence, as every resource behind a lock has to: one row in a SQLite file, so that several processes share it. */
import { DatabaseSync } from 'node:sqlite';

export interface FencedResource {
  /** `refused` when a higher fence has been seen. Lower numbers with `check: false` go through: the control. */
  write(value: string, fence: bigint, options?: { readonly check?: boolean }): 'written' | 'refused';
  read(): { readonly value: string; readonly fence: bigint };
  close(): void;
}

export function openFencedResource(path: string): FencedResource {
  const db = new DatabaseSync(path, { timeout: 5_000 });
  db.exec(`CREATE TABLE IF NOT EXISTS resource (one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL, fence INTEGER NOT NULL);
INSERT OR IGNORE INTO resource VALUES (1, '', 0);`);
  const checked = db.prepare('UPDATE resource SET value = ?, fence = ? WHERE fence <= ?');
  const unchecked = db.prepare('UPDATE resource SET value = ?, fence = ?');
  const select = db.prepare('SELECT value, fence FROM resource');
  select.setReadBigInts(true);
  return {
    write(value, fence, { check = true } = {}) {
      const { changes } = check ? checked.run(value, fence, fence) : unchecked.run(value, fence);
      return Number(changes) === 1 ? 'written' : 'refused';
    },
    read: () => select.get() as { value: string; fence: bigint },
    close: () => db.close(),
  };
}
