/**
 * Inbox: remembers handled message ids in the transaction of the handler's own changes, which is what "effectively once" means: the
 * message may come twice, its effect is stored once. Outside of that transaction it would promise nothing.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { MessagingError } from './errors.ts';
import { COUNT, refuseBadNumbers, TIME } from './sound-numbers.ts';
import { refuseBadNames } from './sound-text.ts';
import { namedAtOnce } from './sql/faults.ts';
import { atOnce } from './sqlite-transaction.ts';

/** Run it once in the database the handler changes; it may be run again. */
export const inboxSchema = `
CREATE TABLE IF NOT EXISTS inbox (
  subscription TEXT NOT NULL,
  message_id TEXT NOT NULL,
  handled_at INTEGER NOT NULL,
  PRIMARY KEY (subscription, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS inbox_by_age ON inbox (handled_at);
`;

const INSERT = 'INSERT OR IGNORE INTO inbox (subscription, message_id, handled_at) VALUES (?, ?, ?)';
const prepared = new WeakMap<DatabaseSync, StatementSync>();

/**
 * True when this subscription has handled the message before: then change nothing and `ack()`. False the first time; the id is
 * now noted in the open transaction and stays if that commits. Refuses to run outside of a transaction, and names with U+0000 or lone surrogates.
 */
export function alreadyHandled(
  db: DatabaseSync,
  entry: { readonly subscription: string; readonly messageId: string; readonly now: number },
): boolean {
  if (!db.isTransaction)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      "alreadyHandled belongs inside the handler's own transaction",
    );
  refuseBadNames('alreadyHandled', { subscription: entry.subscription, messageId: entry.messageId });
  let insert = prepared.get(db);
  if (!insert) {
    insert = db.prepare(INSERT);
    prepared.set(db, insert);
  }
  const noting = insert;
  return namedAtOnce(() => noting.run(entry.subscription, entry.messageId, entry.now).changes === 0);
}

/** A subscription may have forgotten ids handled before `kept_since`: a reconciliation must not take those for lost. */
export const inboxMarkSchema = `
CREATE TABLE IF NOT EXISTS inbox_mark (
  subscription TEXT PRIMARY KEY,
  kept_since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;

const PURGE = `DELETE FROM inbox WHERE (subscription, message_id) IN
  (SELECT subscription, message_id FROM inbox WHERE handled_at < ? ORDER BY handled_at LIMIT ?)
  RETURNING subscription, handled_at`;
const MARK = `INSERT INTO inbox_mark (subscription, kept_since) VALUES (?, ?)
  ON CONFLICT (subscription) DO UPDATE SET kept_since = max(kept_since, excluded.kept_since)`;

/**
 * Forgets ids of every subscription that were handled before `before` (ms since the epoch), at most `limit`; returns how many. Keep them longer than a message can
 * live: all retries, plus the time a dead letter may wait for its redrive. How far back a subscription still remembers is noted in the same transaction, in a
 * table that is made here when it is missing: a reconciliation that begins later has to know it too.
 */
export function purgeInbox(db: DatabaseSync, before: number, limit = 10_000): number {
  refuseBadNumbers('a purge of an inbox', { before, limit }, { before: TIME, limit: COUNT });
  return atOnce(db, () => {
    const gone = db.prepare(PURGE).all(before, limit) as { subscription: string; handled_at: number }[];
    const keptSince = new Map<string, number>();
    for (const { subscription, handled_at: at } of gone)
      keptSince.set(subscription, Math.max(keptSince.get(subscription) ?? 0, at + 1));
    if (gone.length > 0) db.exec(inboxMarkSchema);
    for (const [subscription, since] of keptSince) db.prepare(MARK).run(subscription, since);
    return gone.length;
  });
}
