/**
 * Inbox: remembers handled message ids in the transaction of the handler's own changes, which is what "effectively once" means: the
 * message may come twice, its effect is stored once. Outside of that transaction it would promise nothing.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { MessagingError } from './errors.ts';

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
 * now noted in the open transaction and stays if that commits. Refuses to run outside of a transaction.
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
  let insert = prepared.get(db);
  if (!insert) {
    insert = db.prepare(INSERT);
    prepared.set(db, insert);
  }
  return insert.run(entry.subscription, entry.messageId, entry.now).changes === 0;
}

/**
 * Forgets ids handled before `before` (ms since the epoch), at most `limit`; returns how many. Keep them longer than a message can live:
 * all retries, plus the time a dead letter may wait for its redrive.
 */
export function purgeInbox(db: DatabaseSync, before: number, limit = 10_000): number {
  const purge = db.prepare(
    'DELETE FROM inbox WHERE (subscription, message_id) IN (SELECT subscription, message_id FROM inbox WHERE handled_at < ? ORDER BY handled_at LIMIT ?)',
  );
  return Number(purge.run(before, limit).changes);
}
