/**
 * The floor under the embedded engine: `node:sqlite` by hand with the engine's pragmas. Publishing is a group commit of prepared inserts: what was asked while the
 * last commit ran goes with the next. Consuming reads the next rows behind a cursor and deletes them, with one commit for each batch. One consumer, no leases, no
 * retries, no second subscription: what a queue costs beyond this is what it does beyond this.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Contender, fillBy, numberIn, type OpenContender, structuredEvent } from '../contender.ts';

interface Waiting {
  readonly event: string;
  readonly resolve: () => void;
}

export const openEmbedded: OpenContender = async ({ folder, prefetch }) => {
  const db = new DatabaseSync(join(folder, 'bare.sqlite'));
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000');
  db.exec('CREATE TABLE message (number INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT');
  const insert = db.prepare('INSERT INTO message (event) VALUES (?)');
  const read = db.prepare('SELECT number, event FROM message WHERE number > ? ORDER BY number LIMIT ?');
  const remove = db.prepare('DELETE FROM message WHERE number <= ?');
  let waiting: Waiting[] = [];
  function commit(): void {
    const group = waiting;
    waiting = [];
    db.exec('BEGIN IMMEDIATE');
    for (const { event } of group) insert.run(event);
    db.exec('COMMIT');
    for (const { resolve } of group) resolve();
  }
  const publish = (n: number): Promise<void> =>
    new Promise((resolve) => {
      if (waiting.length === 0) setImmediate(commit);
      waiting.push({ event: structuredEvent(n), resolve });
    });
  let closing = false;
  let reading: Promise<void> = Promise.resolve();
  async function readAll(handled: (n: number) => void): Promise<void> {
    let cursor = 0;
    while (!closing) {
      const rows = read.all(cursor, prefetch) as { number: number; event: string }[];
      for (const { event } of rows) handled(numberIn(event));
      cursor = rows.at(-1)?.number ?? cursor;
      if (rows.length > 0) remove.run(cursor);
      // Others have their turn, as in a process that does more than this.
      await nextTurn();
    }
  }
  const contender: Contender = {
    publish,
    fill: (count) => fillBy(publish, count),
    async consume(handled) {
      reading = readAll(handled);
    },
    async close() {
      closing = true;
      await reading;
      db.close();
    },
  };
  return contender;
};
