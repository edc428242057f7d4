/**
 * The statements of streams, one per operation, for three databases. What differs is the order of all streams:
 *
 *   SQLite      one writer at a time, so numbers are drawn in the order of the commits.
 *   PostgreSQL  transactions commit in another order than they draw numbers. Order is (xid, position), and only rows whose transaction is older than
 *               every open one are read: nothing can come before them any more.
 *   MariaDB     has no such view of open transactions, so numbers are drawn from one locked row that is held to the commit: all appends of the database stand in one line.
 *
 * On PostgreSQL a transaction that began early may append to a stream after one that began later; (xid, position) would then turn the two around. The head of a stream
 * therefore keeps the xid of its last append, and a transaction with a lower one is refused (`overtaken`).
 */
import type { SqlDialect } from '../sql.ts';
import { exactKey, type KeyColumns } from '../sql/exact-keys.ts';

export interface StreamStatements {
  readonly schema: readonly string[];
  /** Takes the line of all appends, where there is one; returns `position`, the last number drawn. */
  readonly lockOrder: string | undefined;
  /** Params: stream. */
  readonly createHead: string;
  /** Params: stream. Locks it to the commit; returns `version` and `overtaken`. */
  readonly lockHead: string;
  /** Params: version, stream. */
  readonly moveHead: string;
  /** Params: last number drawn. */
  readonly moveOrder: string | undefined;
  /** Params of each row: stream, version, id, type, data, recorded_at, and before them the position where `lockOrder` is there. */
  readonly insert: (rows: number) => string;
  /** Params: stream, version. */
  readonly read: (limit: number) => string;
  /** Params: the parts of the checkpoint. */
  readonly readAll: (limit: number) => string;
  /** Params: stream, name, schema_version. */
  readonly loadSnapshot: string;
  /** Params: stream, name, schema_version, version, state. */
  readonly saveSnapshot: string;
  /** Of the first event: below every checkpoint. */
  readonly beginning: string;
}

const COLUMNS = 'stream, version, id, type, data, recorded_at';
const read =
  (checkpoint: string) =>
  (limit: number): string =>
    `SELECT ${COLUMNS}, ${checkpoint} AS checkpoint FROM stream_events WHERE stream = ? AND version >= ? ORDER BY version LIMIT ${limit}`;
const insert = (columns: string, values: string) => (rows: number) =>
  `INSERT INTO stream_events (${columns}) VALUES ${Array.from({ length: rows }, () => values).join(', ')}`;
const loadSnapshot =
  'SELECT version, schema_version, state FROM stream_snapshots WHERE stream = ? AND name = ? AND schema_version = ?';
const insertSnapshot =
  'INSERT INTO stream_snapshots (stream, name, schema_version, version, state) VALUES (?, ?, ?, ?, ?)';
const upsertSnapshot = `${insertSnapshot}
ON CONFLICT (stream, name) DO UPDATE SET schema_version = excluded.schema_version, version = excluded.version, state = excluded.state`;

const sqlite: StreamStatements = {
  schema: [
    `CREATE TABLE IF NOT EXISTS stream_heads (stream TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
    `CREATE TABLE IF NOT EXISTS stream_events (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  stream TEXT NOT NULL,
  version INTEGER NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  data TEXT NOT NULL,
  recorded_at INTEGER NOT NULL,
  UNIQUE (stream, version)
) STRICT`,
    `CREATE TABLE IF NOT EXISTS stream_snapshots (
  stream TEXT NOT NULL,
  name TEXT NOT NULL,
  schema_version INTEGER NOT NULL,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (stream, name)
) STRICT, WITHOUT ROWID`,
  ],
  lockOrder: undefined,
  moveOrder: undefined,
  createHead: 'INSERT OR IGNORE INTO stream_heads (stream, version) VALUES (?, 0)',
  lockHead: 'SELECT version, 0 AS overtaken FROM stream_heads WHERE stream = ?',
  moveHead: 'UPDATE stream_heads SET version = ? WHERE stream = ?',
  insert: insert(COLUMNS, '(?, ?, ?, ?, ?, ?)'),
  read: read('position'),
  readAll: (limit) =>
    `SELECT ${COLUMNS}, position AS checkpoint FROM stream_events WHERE position > ? ORDER BY position LIMIT ${limit}`,
  loadSnapshot,
  saveSnapshot: upsertSnapshot,
  beginning: '0',
};

const PG_CHECKPOINT = `xid::text || ':' || position::text`;

const postgres: StreamStatements = {
  schema: [
    `CREATE TABLE IF NOT EXISTS stream_heads (
  stream text PRIMARY KEY,
  version bigint NOT NULL,
  xid xid8 NOT NULL DEFAULT '0'
)`,
    `CREATE TABLE IF NOT EXISTS stream_events (
  position bigserial NOT NULL,
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  stream text NOT NULL,
  version bigint NOT NULL,
  id text NOT NULL,
  type text NOT NULL,
  data text NOT NULL,
  recorded_at bigint NOT NULL,
  PRIMARY KEY (stream, version)
)`,
    'CREATE UNIQUE INDEX IF NOT EXISTS stream_events_in_order ON stream_events (xid, position)',
    `CREATE TABLE IF NOT EXISTS stream_snapshots (
  stream text NOT NULL,
  name text NOT NULL,
  schema_version integer NOT NULL,
  version bigint NOT NULL,
  state text NOT NULL,
  PRIMARY KEY (stream, name)
)`,
  ],
  lockOrder: undefined,
  moveOrder: undefined,
  createHead: 'INSERT INTO stream_heads (stream, version) VALUES (?, 0) ON CONFLICT (stream) DO NOTHING',
  lockHead:
    'SELECT version, xid > pg_current_xact_id() AS overtaken FROM stream_heads WHERE stream = ? FOR UPDATE',
  moveHead: 'UPDATE stream_heads SET version = ?, xid = pg_current_xact_id() WHERE stream = ?',
  insert: insert(COLUMNS, '(?, ?, ?, ?, ?, ?)'),
  read: read(PG_CHECKPOINT),
  readAll: (limit) => `SELECT ${COLUMNS}, ${PG_CHECKPOINT} AS checkpoint FROM stream_events
WHERE (xid, position) > (?::xid8, ?::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY xid, position LIMIT ${limit}`,
  loadSnapshot,
  saveSnapshot: upsertSnapshot,
  beginning: '0:0',
};

/** Of streams, types and snapshots, in characters. */
export const LONGEST_NAME = 255;
const NAME = exactKey(LONGEST_NAME);
const TEXT = 'VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin';

const mariadb: StreamStatements = {
  schema: [
    'CREATE TABLE IF NOT EXISTS stream_order (one TINYINT PRIMARY KEY, position BIGINT NOT NULL) ENGINE = InnoDB',
    'INSERT INTO stream_order (one, position) VALUES (1, 0) ON DUPLICATE KEY UPDATE one = one',
    `CREATE TABLE IF NOT EXISTS stream_heads (stream ${NAME} PRIMARY KEY, version BIGINT NOT NULL) ENGINE = InnoDB`,
    `CREATE TABLE IF NOT EXISTS stream_events (
  position BIGINT PRIMARY KEY,
  stream ${NAME} NOT NULL,
  version BIGINT NOT NULL,
  id CHAR(36) NOT NULL,
  type ${TEXT} NOT NULL,
  data LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
  recorded_at BIGINT NOT NULL,
  UNIQUE KEY stream_version (stream, version)
) ENGINE = InnoDB`,
    `CREATE TABLE IF NOT EXISTS stream_snapshots (
  stream ${NAME} NOT NULL,
  name ${NAME} NOT NULL,
  schema_version INT NOT NULL,
  version BIGINT NOT NULL,
  state LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
  PRIMARY KEY (stream, name)
) ENGINE = InnoDB`,
  ],
  lockOrder: 'SELECT position FROM stream_order WHERE one = 1 FOR UPDATE',
  moveOrder: 'UPDATE stream_order SET position = ? WHERE one = 1',
  // IGNORE would swallow every other fault with the duplicate key.
  createHead:
    'INSERT INTO stream_heads (stream, version) VALUES (?, 0) ON DUPLICATE KEY UPDATE stream = stream',
  lockHead: 'SELECT version, 0 AS overtaken FROM stream_heads WHERE stream = ? FOR UPDATE',
  moveHead: 'UPDATE stream_heads SET version = ? WHERE stream = ?',
  insert: insert(`position, ${COLUMNS}`, '(?, ?, ?, ?, ?, ?, ?)'),
  read: read('position'),
  readAll: (limit) =>
    `SELECT ${COLUMNS}, position AS checkpoint FROM stream_events WHERE position > ? ORDER BY position LIMIT ${limit}`,
  loadSnapshot,
  saveSnapshot: `${insertSnapshot}
ON DUPLICATE KEY UPDATE schema_version = VALUES(schema_version), version = VALUES(version), state = VALUES(state)`,
  beginning: '0',
};

/** What names a stream or a snapshot. */
export const streamKeys: KeyColumns = {
  stream_heads: ['stream'],
  stream_events: ['stream'],
  stream_snapshots: ['stream', 'name'],
};

export const streamStatements: Readonly<Record<SqlDialect, StreamStatements>> = { sqlite, postgres, mariadb };
