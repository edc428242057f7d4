/**
 * The file of the embedded engine. What a position is: every channel has one log per priority level, and a message's
 * `position` is `log * 2^40 + n`, n counting from 1 without gaps. One integer primary key therefore keeps each log
 * together, needs no second index, and `head - next` counts a backlog without a query.
 *
 * A subscription reads a log by a cursor: `next`, plus the positions handed out and not settled (`flying`). Acknowledging writes
 * nothing per message; a commit rewrites one cursor row. A message that leaves this order (retried, released,
 * waiting behind its key) is copied into `deferred`, so the log can be purged up to the slowest cursor.
 */
import type { DatabaseSync } from 'node:sqlite';
import { MessagingError } from '../../errors.ts';

export const POSITIONS_PER_LOG = 2 ** 40;
/** Each step takes a file one version further; a new file takes them all. Additive, so that an older file opens as it is. */
const STEPS: readonly string[] = [
  `
CREATE TABLE channels (
  name TEXT PRIMARY KEY,
  ordered INTEGER NOT NULL CHECK (ordered IN (0, 1)),
  on_failure TEXT NOT NULL CHECK (on_failure IN ('skip', 'blockKey', 'sequencedDlq')),
  ephemeral INTEGER NOT NULL CHECK (ephemeral IN (0, 1))
) STRICT;
CREATE TABLE logs (
  log INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  level INTEGER NOT NULL,
  UNIQUE (channel, level)
) STRICT;
CREATE TABLE messages (
  position INTEGER PRIMARY KEY,
  stored_at INTEGER NOT NULL,
  expires_at INTEGER,
  key TEXT,
  body TEXT NOT NULL
) STRICT;
CREATE TABLE scheduled (
  number INTEGER PRIMARY KEY,
  log INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  expires_at INTEGER,
  key TEXT,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX scheduled_by_due ON scheduled (due_at);
CREATE TABLE subscriptions (
  subscription INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  name TEXT NOT NULL,
  expired INTEGER NOT NULL DEFAULT 0,
  UNIQUE (channel, name)
) STRICT;
CREATE TABLE cursors (
  subscription INTEGER NOT NULL,
  log INTEGER NOT NULL,
  next INTEGER NOT NULL,
  flying TEXT NOT NULL,
  PRIMARY KEY (subscription, log)
) STRICT, WITHOUT ROWID;
-- due_at NULL: handed out now (flying = 1), or waiting behind another message of its key.
CREATE TABLE deferred (
  number INTEGER PRIMARY KEY,
  subscription INTEGER NOT NULL,
  origin INTEGER NOT NULL,
  due_at INTEGER,
  flying INTEGER NOT NULL,
  in_lane INTEGER NOT NULL,
  stored_at INTEGER NOT NULL,
  expires_at INTEGER,
  key TEXT,
  state TEXT,
  abandoned INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX deferred_by_due ON deferred (subscription, due_at, origin) WHERE due_at IS NOT NULL;
CREATE INDEX deferred_by_key ON deferred (subscription, key, origin) WHERE in_lane = 1;
CREATE TABLE dead_letters (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  subscription INTEGER NOT NULL,
  channel TEXT NOT NULL,
  subscription_name TEXT NOT NULL,
  message_id TEXT NOT NULL,
  origin INTEGER NOT NULL,
  in_lane INTEGER NOT NULL,
  stored_at INTEGER NOT NULL,
  expires_at INTEGER,
  key TEXT,
  reason TEXT NOT NULL,
  failure_group TEXT NOT NULL,
  parked_at INTEGER NOT NULL,
  history TEXT NOT NULL,
  state TEXT,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX dead_letters_by_group ON dead_letters (subscription, failure_group);
CREATE INDEX dead_letters_by_key ON dead_letters (subscription, key, origin) WHERE in_lane = 1;
`,
  // A route is what bindings look at, as JSON: a routing key, or headers. NULL was published while its channel was fanout: everybody's.
  // A binding holds for positions from `since` on: what waits keeps the bindings under which it was published.
  `
ALTER TABLE channels ADD COLUMN routing TEXT NOT NULL DEFAULT 'fanout';
ALTER TABLE channels ADD COLUMN keep_ms INTEGER;
ALTER TABLE messages ADD COLUMN route TEXT;
CREATE TABLE bindings (
  subscription INTEGER NOT NULL,
  log INTEGER NOT NULL,
  since INTEGER NOT NULL,
  bindings TEXT NOT NULL,
  PRIMARY KEY (subscription, log, since)
) STRICT, WITHOUT ROWID;
`,
];
const SCHEMA_VERSION = STEPS.length;

/**
 * Takes the file for this connection alone and refuses a store that cannot keep its promise. Exclusive locking is
 * deliberate: leases then live in memory and a second process is refused instead of being half safe.
 */
export function openDatabase(db: DatabaseSync, options: { readonly durable: boolean }): void {
  try {
    db.exec('PRAGMA busy_timeout = 0');
    db.exec('PRAGMA locking_mode = EXCLUSIVE');
    if (options.durable) makeDurable(db);
    db.exec('PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384; PRAGMA trusted_schema = OFF');
    db.exec('BEGIN IMMEDIATE');
    migrate(db);
    db.exec('COMMIT');
  } catch (error) {
    throw openingError(error);
  }
}

function makeDurable(db: DatabaseSync): void {
  const mode = db.prepare('PRAGMA journal_mode = WAL').get() as { journal_mode: string };
  db.exec('PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON');
  // Larger than SQLite's 1,000 pages: a checkpoint stops the writer, and a queue rewrites the same pages often.
  db.exec('PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864');
  const level = db.prepare('PRAGMA synchronous').get() as { synchronous: number };
  if (mode.journal_mode !== 'wal' || level.synchronous !== 2) {
    throw new MessagingError(
      'DB_MSG_ENGINE_UNSAFE',
      `journal_mode is ${mode.journal_mode}, synchronous is ${level.synchronous}; WAL and FULL (2) are needed`,
    );
  }
}

function migrate(db: DatabaseSync): void {
  const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number };
  if (version === SCHEMA_VERSION) return;
  if (version > SCHEMA_VERSION) {
    throw new MessagingError(
      'DB_MSG_ENGINE_UNSAFE',
      `the file has schema ${version}, this version knows ${SCHEMA_VERSION}`,
    );
  }
  for (const step of STEPS.slice(version)) db.exec(step);
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
}

const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;

function openingError(error: unknown): unknown {
  if (error instanceof MessagingError) return error;
  const code = primaryCode(error);
  if (code === SQLITE_BUSY || code === SQLITE_LOCKED) {
    return new MessagingError('DB_MSG_ENGINE_LOCKED', 'the file is held by another process or engine', {
      cause: error,
    });
  }
  return new MessagingError('DB_MSG_ENGINE_UNSAFE', 'the file cannot be opened', { cause: error });
}

/** SQLite's primary result code of an error of `node:sqlite`, or undefined for any other error. */
export function primaryCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | undefined)?.errcode;
  return typeof code === 'number' ? code & 0xff : undefined;
}
