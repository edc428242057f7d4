/**
 * Baseline (b): the design that most begin with, fairly written: one durable SQLite transaction per entry (WAL, FULL, prepared statements, a unique
 * index on the member), in the thread that serves. Correct, without receipts, chain, outbox and delivery.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type Enter, serveBaseline } from './baseline.ts';
import type { BaselineOptions } from './system.ts';

const schema = `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE campaign (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, free INTEGER NOT NULL CHECK (free >= 0));
CREATE TABLE entries (seq INTEGER PRIMARY KEY, member TEXT NOT NULL UNIQUE, answers TEXT NOT NULL, at INTEGER NOT NULL);
`;

await serveBaseline((options: BaselineOptions) => {
  const db = new DatabaseSync(join(options.directory, 'naive.sqlite'));
  db.exec(schema);
  db.prepare('INSERT INTO campaign (id, seq, free) VALUES (1, 0, ?)').run(options.units);
  return { enter: entryInto(db), close: () => db.close() };
});

function entryInto(db: DatabaseSync): Enter {
  const begin = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  const known = db.prepare('SELECT seq FROM entries WHERE member = ?');
  const take = db.prepare('UPDATE campaign SET seq = seq + 1, free = free - 1 WHERE free > 0 RETURNING seq');
  const insert = db.prepare('INSERT INTO entries (seq, member, answers, at) VALUES (?, ?, ?, ?)');
  return (memberKey, answers) => {
    begin.run();
    const before = known.get(memberKey) as { seq: number } | undefined;
    const taken = before ?? (take.get() as { seq: number } | undefined);
    if (taken && !before) insert.run(taken.seq, memberKey, JSON.stringify(answers), Date.now());
    commit.run();
    if (!taken) return { status: 410, body: { verdict: 'sold-out' } };
    return {
      status: before ? 200 : 201,
      body: { verdict: 'won', seq: taken.seq, repeated: before !== undefined },
    };
  };
}
