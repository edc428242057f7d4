/** Tables of outbox and inbox on PostgreSQL 15 or later. Run the text once, again whenever you like; a schema of one's own comes with `search_path`. */

/**
 * `xid` is what the relay reads by: the transaction that wrote the row, or a later one that had ended by then (`append.ts`). `number` is drawn when the row is written, so within a key it follows the lock
 * under which the key was changed. `recorded_at` is the time of the message, ms since the epoch.
 */
export const postgresOutboxSchema = `
CREATE TABLE IF NOT EXISTS outbox (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  message_id text NOT NULL,
  channel text NOT NULL,
  due_at bigint,
  priority integer,
  recorded_at bigint NOT NULL,
  body text NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_by_xid ON outbox (xid, number);
CREATE INDEX IF NOT EXISTS outbox_by_message ON outbox (message_id);
CREATE INDEX IF NOT EXISTS outbox_by_time ON outbox (recorded_at, number);
CREATE TABLE IF NOT EXISTS outbox_mark (
  one integer PRIMARY KEY CHECK (one = 1),
  window_from xid8 NOT NULL,
  window_to xid8 NOT NULL,
  number bigint NOT NULL
);
INSERT INTO outbox_mark (one, window_from, window_to, number) VALUES (1, '0', '0', 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS outbox_kept (
  one integer PRIMARY KEY CHECK (one = 1),
  kept_since bigint NOT NULL
);
INSERT INTO outbox_kept (one, kept_since) VALUES (1, 0) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS outbox_held (
  number bigint PRIMARY KEY,
  lane text NOT NULL,
  state text NOT NULL CHECK (state IN ('waiting', 'parked', 'published', 'discarded')),
  reason text NOT NULL,
  at bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_held_by_lane ON outbox_held (lane, number) WHERE state IN ('waiting', 'parked');
CREATE TABLE IF NOT EXISTS outbox_runs (
  began_at bigint PRIMARY KEY,
  at bigint NOT NULL,
  up_to xid8 NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_runs_by_end ON outbox_runs (up_to);
`;

export const postgresInboxSchema = `
CREATE TABLE IF NOT EXISTS inbox (
  subscription text NOT NULL,
  message_id text NOT NULL,
  handled_at bigint NOT NULL,
  PRIMARY KEY (subscription, message_id)
);
CREATE INDEX IF NOT EXISTS inbox_by_age ON inbox (handled_at);
CREATE TABLE IF NOT EXISTS inbox_mark (
  subscription text PRIMARY KEY,
  kept_since bigint NOT NULL
);
`;
