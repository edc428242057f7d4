/**
 * The floor under the embedded engine: `node:sqlite` by hand with the engine's pragmas. Publishing is a group commit of prepared inserts: what was asked while the
 * last commit ran goes with the next. Consuming reads the next rows behind a cursor and deletes them, with one commit for each batch. One consumer, no leases, no
 * retries, no second subscription: what a queue costs beyond this is what it does beyond this. With keys there is a column for them, and a batch is taken apart into
 * a first-in-first-out list for each key, of which the first is handled and then the next.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type Contender,
  fillBy,
  keyOf,
  numberIn,
  type OpenContender,
  structuredEvent,
} from '../contender.ts';

interface Row {
  readonly number: number;
  readonly key: string;
  readonly event: string;
}

/** Handles the lists of all keys in turn, each from its front. */
function handleByKey(rows: readonly Row[], handle: (event: string) => void): void {
  const lists = new Map<string, string[]>();
  for (const { key, event } of rows) {
    const list = lists.get(key);
    if (list) list.push(event);
    else lists.set(key, [event]);
  }
  for (const list of lists.values()) for (const event of list) handle(event);
}

interface Waiting {
  readonly key: string | undefined;
  readonly event: string;
  readonly resolve: () => void;
}

export const openEmbedded: OpenContender = async ({ folder, prefetch, keyed }) => {
  const db = new DatabaseSync(join(folder, 'bare.sqlite'));
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000');
  const column = keyed ? ', key TEXT NOT NULL' : '';
  db.exec(`CREATE TABLE message (number INTEGER PRIMARY KEY, event TEXT NOT NULL${column}) STRICT`);
  const [columns, values] = keyed ? ['event, key', '?, ?'] : ['event', '?'];
  const insert = db.prepare(`INSERT INTO message (${columns}) VALUES (${values})`);
  const read = db.prepare(`SELECT number, ${columns} FROM message WHERE number > ? ORDER BY number LIMIT ?`);
  const remove = db.prepare('DELETE FROM message WHERE number <= ?');
  let waiting: Waiting[] = [];
  function commit(): void {
    const group = waiting;
    waiting = [];
    db.exec('BEGIN IMMEDIATE');
    for (const { event, key } of group) {
      if (key === undefined) insert.run(event);
      else insert.run(event, key);
    }
    db.exec('COMMIT');
    for (const { resolve } of group) resolve();
  }
  const publish = (n: number): Promise<void> =>
    new Promise((resolve) => {
      if (waiting.length === 0) setImmediate(commit);
      const key = keyed ? keyOf(n) : undefined;
      waiting.push({ event: structuredEvent(n, key), key, resolve });
    });
  let closing = false;
  let reading: Promise<void> = Promise.resolve();
  async function readAll(handled: (n: number) => void): Promise<void> {
    let cursor = 0;
    while (!closing) {
      const rows = read.all(cursor, prefetch) as unknown as Row[];
      if (keyed) handleByKey(rows, (event) => handled(numberIn(event)));
      else for (const { event } of rows) handled(numberIn(event));
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
