/**
 * What the relay with keys and reconciliation need beside `outboxSchema` and `inboxSchema`. Rows are those of `appendToOutbox`; their id and time are read
 * from the message itself, so an outbox that is in use already gets it by running this text.
 */
import { inboxMarkSchema } from '../../inbox.ts';

export const MESSAGE_ID = (row: string): string => `json_extract(${row}body, '$.id')`;
/** The time of the message, ms since the epoch; 0 when it has none. */
export const RECORDED_AT = (row: string): string =>
  `coalesce(CAST(round(unixepoch(json_extract(${row}body, '$.time'), 'subsec') * 1000) AS INTEGER), 0)`;

/** Run it once, after `outboxSchema` and `inboxSchema`; it may be run again. */
export const sqliteOutboxHistorySchema = `
CREATE INDEX IF NOT EXISTS outbox_by_message ON outbox (${MESSAGE_ID('')});
CREATE INDEX IF NOT EXISTS outbox_by_time ON outbox (${RECORDED_AT('')}, number);
CREATE TABLE IF NOT EXISTS outbox_kept (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  kept_since INTEGER NOT NULL
) STRICT;
-- An outbox that was purged before this was there: nobody knows up to when, so nothing older than now is certain.
INSERT INTO outbox_kept (one, kept_since)
SELECT 1, CASE WHEN purged > 0 THEN CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER) + 1 ELSE 0 END FROM outbox_mark WHERE true
ON CONFLICT (one) DO UPDATE SET kept_since = excluded.kept_since WHERE kept_since = 0;
CREATE TABLE IF NOT EXISTS outbox_held (
  number INTEGER PRIMARY KEY,
  lane TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'parked', 'published', 'discarded')),
  reason TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_held_by_lane ON outbox_held (lane, number) WHERE state IN ('waiting', 'parked');
CREATE TABLE IF NOT EXISTS outbox_runs (
  began_at INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  up_to INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_runs_by_end ON outbox_runs (up_to);
${inboxMarkSchema}`;
