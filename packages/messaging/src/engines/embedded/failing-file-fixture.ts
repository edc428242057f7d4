/**
 * A file of the embedded engine whose COMMIT fails when a test wants it, through the real writer thread and with nothing of the engine replaced. Only so is a turn undone
 * after its hand-outs were told: a limit of pages, the usual full disk of tests, already ends the statement that needs a page.
 *
 * What the newest message of the channel `disk` says decides about each turn that moves a cursor. `full`: SQLite says SQLITE_FULL. The turn writes to a full-text index,
 * which keeps that until the commit; there it replaces rows that `watch` refers to, and a trigger on `watch` asks a used up AUTOINCREMENT for one number more. `broken`: a
 * deferred reference to nothing, an error that the writer does not survive. Anything else: as always.
 */
import { DatabaseSync } from 'node:sqlite';
import { openDatabase } from './schema.ts';

export type DiskState = 'full' | 'broken' | 'well';

const newest = `(SELECT messages.body FROM messages JOIN logs ON logs.log = messages.position >> 40
  WHERE logs.channel = 'disk' ORDER BY messages.position DESC LIMIT 1)`;

/** Makes the file, which must not be there yet. */
export function createFailingFile(path: string): void {
  const db = new DatabaseSync(path);
  openDatabase(db, { durable: true });
  db.exec(`
CREATE TABLE used_up (number INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT INTO used_up VALUES (9223372036854775807);
CREATE VIRTUAL TABLE late USING fts5 (word);
CREATE TABLE watch (of INTEGER REFERENCES late_data (id) ON DELETE SET NULL);
INSERT INTO watch SELECT id FROM late_data;
CREATE TRIGGER no_room AFTER UPDATE ON watch BEGIN INSERT INTO used_up VALUES (NULL); END;
CREATE TRIGGER full AFTER UPDATE ON cursors WHEN ${newest} LIKE '%"full"%'
  BEGIN INSERT INTO late VALUES ('word'); END;
CREATE TABLE nobody (id INTEGER PRIMARY KEY);
CREATE TABLE owed (to_whom INTEGER REFERENCES nobody (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TRIGGER broken AFTER UPDATE ON cursors WHEN ${newest} LIKE '%"broken"%'
  BEGIN INSERT INTO owed VALUES (1); END;
`);
  db.close();
}

/** After the writer is lost. Throws while its thread, which ends a moment later, still holds the file. */
export function mendFailingFile(path: string): void {
  const db = new DatabaseSync(path);
  try {
    db.exec('DROP TRIGGER full; DROP TRIGGER broken');
  } finally {
    db.close();
  }
}
