/**
 * The first schema. Rule: a wrong state cannot be stored. Counters add up by CHECK, a unit has one row and with it one holder, a number one record, a
 * member one entry (by an index that follows the entries in sorted runs, see `key-runs.ts`); what is evidence (batches, signatures, audit records) refuses UPDATE and DELETE.
 *
 * `campaign` is the integer surrogate of the public id, because it is part of every key. Keys and salts are BLOBs: half the size of hex.
 * A batch is one row with the texts of its records joined by line feeds: records are only ever read by the batch (paths, export, verify), and
 * one row per record would double the rows of the hot path.
 *
 * Tables of the hot path have no foreign keys: the look-ups cost a third of the throughput, and `verify` compares every row with the fold of the
 * records, which says more than that a parent exists. Nor has one of them an IN in a CHECK: SQLite builds a table of the list for every
 * statement, 9 us of an entry's 20, where a chain of OR is free.
 */
export const ledgerTables = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE campaigns (
  campaign     INTEGER PRIMARY KEY,
  id           TEXT NOT NULL UNIQUE,
  version      INTEGER NOT NULL CHECK (version >= 1),
  definition   TEXT NOT NULL CHECK (json_valid(definition)),
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  published_at INTEGER,
  code_era     INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE lanes (
  campaign            INTEGER NOT NULL REFERENCES campaigns,
  lane                INTEGER NOT NULL CHECK (lane >= 0),
  epoch               INTEGER NOT NULL CHECK (epoch >= 1),
  phase               TEXT NOT NULL CHECK (phase = 'scheduled' OR phase = 'open' OR phase = 'paused' OR phase = 'closed'),
  close_reason        TEXT CHECK (close_reason = 'ends-at' OR close_reason = 'operator' OR close_reason = 'sold-out'),
  starts_at           INTEGER NOT NULL,
  ends_at             INTEGER,
  close_when_sold_out INTEGER NOT NULL CHECK (close_when_sold_out = 0 OR close_when_sold_out = 1),
  waitlist_limit      INTEGER NOT NULL CHECK (waitlist_limit >= 0),
  seq                 INTEGER NOT NULL CHECK (seq >= 0),
  record_no           INTEGER NOT NULL CHECK (record_no >= 1),
  capacity            INTEGER NOT NULL CHECK (capacity >= 1),
  free                INTEGER NOT NULL CHECK (free >= 0),
  reserved            INTEGER NOT NULL CHECK (reserved >= 0),
  held                INTEGER NOT NULL CHECK (held >= 0),
  issued              INTEGER NOT NULL CHECK (issued >= 0),
  void                INTEGER NOT NULL CHECK (void >= 0),
  next_unit           INTEGER NOT NULL CHECK (next_unit >= 1),
  returned_units      TEXT NOT NULL CHECK (json_valid(returned_units)),
  waiting             INTEGER NOT NULL CHECK (waiting >= 0 AND waiting <= waitlist_limit),
  sold_out_record_no  INTEGER,
  closed_record_no    INTEGER,
  batch_no            INTEGER NOT NULL CHECK (batch_no >= 1),
  head                BLOB NOT NULL CHECK (length(head) = 32),
  PRIMARY KEY (campaign, lane),
  CHECK (free + reserved + held + issued + void = capacity),
  CHECK (next_unit <= capacity + 1),
  CHECK ((phase = 'closed') = (closed_record_no IS NOT NULL)),
  CHECK ((phase = 'closed') = (close_reason IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER lanes_never_go_back BEFORE UPDATE ON lanes
WHEN new.seq < old.seq OR new.record_no < old.record_no OR new.epoch < old.epoch OR (old.phase = 'closed' AND new.phase <> 'closed')
BEGIN SELECT RAISE(ABORT, 'a lane never goes back'); END;

CREATE TABLE batches (
  campaign        INTEGER NOT NULL,
  lane            INTEGER NOT NULL,
  batch_no        INTEGER NOT NULL CHECK (batch_no >= 1),
  epoch           INTEGER NOT NULL,
  first_record_no INTEGER NOT NULL,
  count           INTEGER NOT NULL CHECK (count >= 1),
  prev_head       BLOB NOT NULL CHECK (length(prev_head) = 32),
  root            BLOB NOT NULL CHECK (length(root) = 32),
  head            BLOB NOT NULL CHECK (length(head) = 32),
  time            INTEGER NOT NULL,
  kid             TEXT NOT NULL,
  records         TEXT NOT NULL,
  PRIMARY KEY (campaign, lane, batch_no),
  UNIQUE (campaign, lane, first_record_no)
) STRICT;
CREATE TRIGGER batches_stay BEFORE UPDATE ON batches BEGIN SELECT RAISE(ABORT, 'batches are evidence'); END;
CREATE TRIGGER batches_remain BEFORE DELETE ON batches BEGIN SELECT RAISE(ABORT, 'batches are evidence'); END;

CREATE TABLE batch_signatures (
  campaign  INTEGER NOT NULL,
  lane      INTEGER NOT NULL,
  batch_no  INTEGER NOT NULL,
  signature BLOB NOT NULL CHECK (length(signature) = 64),
  PRIMARY KEY (campaign, lane, batch_no)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER signatures_stay BEFORE UPDATE ON batch_signatures BEGIN SELECT RAISE(ABORT, 'signatures are evidence'); END;
CREATE TRIGGER signatures_remain BEFORE DELETE ON batch_signatures BEGIN SELECT RAISE(ABORT, 'signatures are evidence'); END;

-- verdict and unit are the first answer, for ever; status and current_unit what became of it.
-- erased: 0 no, 1 personal data removed, 2 and the member key replaced by random bytes (campaign closed).
CREATE TABLE entries (
  campaign     INTEGER NOT NULL,
  lane         INTEGER NOT NULL,
  seq          INTEGER NOT NULL CHECK (seq >= 1),
  record_no    INTEGER NOT NULL,
  member_key   BLOB NOT NULL CHECK (length(member_key) = 16),
  verdict      TEXT NOT NULL CHECK (verdict = 'won' OR verdict = 'waitlisted'),
  unit         INTEGER,
  status       TEXT NOT NULL CHECK (status = 'live' OR status = 'promoted' OR status = 'revoked'),
  current_unit INTEGER,
  at           INTEGER NOT NULL,
  salt         BLOB CHECK (salt IS NULL OR length(salt) = 16),
  answers      BLOB,
  erased       INTEGER NOT NULL DEFAULT 0 CHECK (erased = 0 OR erased = 1 OR erased = 2),
  PRIMARY KEY (campaign, lane, seq),
  CHECK ((verdict = 'won') = (unit IS NOT NULL)),
  CHECK ((current_unit IS NULL) = (status = 'revoked' OR (status = 'live' AND verdict = 'waitlisted'))),
  CHECK (NOT (status = 'promoted' AND verdict = 'won')),
  CHECK (erased = 0 OR (salt IS NULL AND answers IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_waiting ON entries (campaign, lane, seq) WHERE verdict = 'waitlisted' AND status = 'live';
CREATE INDEX entries_erased ON entries (campaign) WHERE erased = 1;
CREATE TRIGGER entries_keep_the_first_answer BEFORE UPDATE OF campaign, lane, seq, record_no, verdict, unit, at ON entries
BEGIN SELECT RAISE(ABORT, 'the first answer stays'); END;
CREATE TRIGGER entries_remain BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are for ever'); END;

-- The unique index of entries on their member keys. It follows the entries in sorted runs: up to sealed_seq all are in it, and of the run up to
-- run_seq the keys that are not above after_key. A key that cannot be stored twice is the end of its lane: fault says so.
CREATE TABLE entry_keys (
  campaign   INTEGER NOT NULL,
  member_key BLOB NOT NULL CHECK (length(member_key) = 16),
  lane       INTEGER NOT NULL,
  seq        INTEGER NOT NULL CHECK (seq >= 1),
  PRIMARY KEY (campaign, member_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE key_runs (
  campaign   INTEGER NOT NULL,
  lane       INTEGER NOT NULL,
  sealed_seq INTEGER NOT NULL CHECK (sealed_seq >= 0),
  run_seq    INTEGER NOT NULL,
  after_key  BLOB NOT NULL DEFAULT x'',
  fault      TEXT,
  PRIMARY KEY (campaign, lane),
  CHECK (run_seq >= sealed_seq),
  CHECK (run_seq > sealed_seq OR length(after_key) = 0)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER runs_never_go_back BEFORE UPDATE ON key_runs WHEN new.sealed_seq < old.sealed_seq OR new.run_seq < old.run_seq
BEGIN SELECT RAISE(ABORT, 'a run never goes back'); END;

-- One row per unit that was ever given. The voucher belongs to the unit: a unit that came back unshown takes its voucher along.
CREATE TABLE units (
  campaign             INTEGER NOT NULL,
  unit                 INTEGER NOT NULL CHECK (unit >= 1),
  lane                 INTEGER NOT NULL,
  state                TEXT NOT NULL CHECK (state = 'issued' OR state = 'void' OR state = 'free'),
  seq                  INTEGER NOT NULL,
  generation           INTEGER NOT NULL DEFAULT 1 CHECK (generation >= 1),
  voucher_state        TEXT NOT NULL DEFAULT 'none' CHECK (voucher_state = 'none' OR voucher_state = 'requested' OR voucher_state = 'unknown' OR voucher_state = 'issued' OR voucher_state = 'cancelled'),
  voucher_requested_at INTEGER,
  voucher_shown        INTEGER NOT NULL DEFAULT 0 CHECK (voucher_shown = 0 OR voucher_shown = 1),
  voucher_salt         BLOB,
  voucher              BLOB,
  PRIMARY KEY (campaign, unit),
  CHECK (voucher IS NULL OR voucher_salt IS NOT NULL),
  CHECK (NOT (state = 'free' AND voucher_shown = 1))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX units_by_holder ON units (campaign, lane, seq) WHERE state = 'issued';
CREATE TRIGGER units_within_capacity BEFORE INSERT ON units
WHEN new.unit > coalesce((SELECT capacity FROM lanes WHERE campaign = new.campaign AND lane = new.lane), 0)
BEGIN SELECT RAISE(ABORT, 'a unit above the capacity'); END;
CREATE TRIGGER units_remain BEFORE DELETE ON units BEGIN SELECT RAISE(ABORT, 'units are for ever'); END;

-- wake_at: when it may be claimed next (due_at, or the end of the lease); null when nothing is to be done.
CREATE TABLE deliveries (
  campaign         INTEGER NOT NULL,
  lane             INTEGER NOT NULL,
  seq              INTEGER NOT NULL,
  unit             INTEGER NOT NULL,
  state            TEXT NOT NULL CHECK (state = 'due' OR state = 'sending' OR state = 'unknown' OR state = 'delivered' OR state = 'parked' OR state = 'cancelled'),
  wake_at          INTEGER,
  fence            INTEGER NOT NULL DEFAULT 0,
  attempts         INTEGER NOT NULL DEFAULT 0,
  message_state    TEXT NOT NULL DEFAULT 'none' CHECK (message_state = 'none' OR message_state = 'sending' OR message_state = 'unknown' OR message_state = 'sent'),
  unknown_sendings INTEGER NOT NULL DEFAULT 0,
  messenger_index  INTEGER NOT NULL DEFAULT 0,
  messenger        TEXT,
  error_code       TEXT,
  error            TEXT,
  delivered_at     INTEGER,
  created_at       INTEGER NOT NULL,
  PRIMARY KEY (campaign, lane, seq, unit),
  CHECK ((wake_at IS NOT NULL) = (state = 'due' OR state = 'sending' OR state = 'unknown'))
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_wake ON deliveries (wake_at) WHERE wake_at IS NOT NULL;

CREATE TABLE delivery_attempts (
  campaign   INTEGER NOT NULL,
  lane       INTEGER NOT NULL,
  seq        INTEGER NOT NULL,
  unit       INTEGER NOT NULL,
  fence      INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at   INTEGER,
  outcome    TEXT,
  error_code TEXT,
  error      TEXT,
  PRIMARY KEY (campaign, lane, seq, unit, fence)
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery_batches (
  batch       INTEGER PRIMARY KEY,
  id          TEXT NOT NULL UNIQUE,
  campaign    INTEGER NOT NULL REFERENCES campaigns,
  filter      TEXT NOT NULL CHECK (json_valid(filter)),
  resend      INTEGER NOT NULL CHECK (resend IN (0, 1)),
  state       TEXT NOT NULL CHECK (state IN ('running', 'done', 'aborted')),
  total       INTEGER NOT NULL,
  moved       INTEGER NOT NULL DEFAULT 0 CHECK (moved >= 0),
  cursor_seq  INTEGER NOT NULL DEFAULT 0,
  cursor_unit INTEGER NOT NULL DEFAULT 0,
  created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX delivery_batches_running ON delivery_batches (batch) WHERE state = 'running';

-- Rows of an import are seen when its row says live: one row switches all of them. first_unit: the codes of a live import serve the units
-- first_unit .. first_unit + rows - 1.
CREATE TABLE imports (
  import     INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  campaign   INTEGER NOT NULL REFERENCES campaigns,
  kind       TEXT NOT NULL CHECK (kind IN ('members', 'voucher-codes')),
  mode       TEXT NOT NULL CHECK (mode IN ('append', 'replace')),
  state      TEXT NOT NULL CHECK (state IN ('staging', 'live', 'dropped')),
  era        INTEGER NOT NULL,
  rows       INTEGER NOT NULL DEFAULT 0 CHECK (rows >= 0),
  fresh      INTEGER NOT NULL DEFAULT 0 CHECK (fresh >= 0),
  first_unit INTEGER,
  created_at INTEGER NOT NULL,
  CHECK ((first_unit IS NOT NULL) = (kind = 'voucher-codes' AND state = 'live'))
) STRICT;
CREATE INDEX imports_live ON imports (campaign, kind, state);

-- Rows of a list in the order in which they came: appended, so that an import dirties few pages beside a running admission.
CREATE TABLE staged_members (
  row        INTEGER PRIMARY KEY,
  import     INTEGER NOT NULL REFERENCES imports,
  member_key BLOB NOT NULL CHECK (length(member_key) = 16),
  attributes TEXT NOT NULL CHECK (json_valid(attributes)),
  salt       BLOB,
  contact    BLOB
) STRICT;

-- Filled from the staged rows in the order of the keys, which is appending again; random keys would dirty a page per row.
CREATE TABLE members (
  import     INTEGER NOT NULL REFERENCES imports,
  member_key BLOB NOT NULL CHECK (length(member_key) = 16),
  attributes TEXT NOT NULL,
  salt       BLOB,
  contact    BLOB,
  PRIMARY KEY (import, member_key)
) STRICT, WITHOUT ROWID;

-- What a verified token said of a member; stands above the imported rows, and never makes a member listed.
CREATE TABLE registrations (
  campaign   INTEGER NOT NULL,
  member_key BLOB NOT NULL CHECK (length(member_key) = 16),
  attributes TEXT,
  salt       BLOB,
  contact    BLOB,
  PRIMARY KEY (campaign, member_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE bans (
  campaign   INTEGER NOT NULL,
  member_key BLOB NOT NULL CHECK (length(member_key) = 16),
  at         INTEGER NOT NULL,
  PRIMARY KEY (campaign, member_key)
) STRICT, WITHOUT ROWID;

-- era: a replacing import begins a new one, so that it may hold the same codes as the pool it replaces.
CREATE TABLE voucher_codes (
  import   INTEGER NOT NULL REFERENCES imports,
  ordinal  INTEGER NOT NULL CHECK (ordinal >= 1),
  campaign INTEGER NOT NULL,
  era      INTEGER NOT NULL,
  blind    BLOB NOT NULL CHECK (length(blind) = 16),
  salt     BLOB NOT NULL,
  sealed   BLOB NOT NULL,
  PRIMARY KEY (import, ordinal)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX voucher_codes_blind ON voucher_codes (campaign, era, blind);

CREATE TABLE audit_records (
  audit_no   INTEGER PRIMARY KEY,
  at         INTEGER NOT NULL,
  actor_kind TEXT NOT NULL,
  actor_id   TEXT NOT NULL,
  request_id TEXT,
  action     TEXT NOT NULL,
  target     TEXT NOT NULL,
  campaign   INTEGER,
  detail     TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;
CREATE INDEX audit_records_by_campaign ON audit_records (campaign, audit_no);
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit_records BEGIN SELECT RAISE(ABORT, 'audit records are evidence'); END;
CREATE TRIGGER audit_remains BEFORE DELETE ON audit_records BEGIN SELECT RAISE(ABORT, 'audit records are evidence'); END;

CREATE TABLE api_keys (
  key_id          TEXT PRIMARY KEY,
  name            TEXT NOT NULL,
  scopes          TEXT NOT NULL CHECK (json_valid(scopes)),
  secret_hash     TEXT NOT NULL,
  old_hash        TEXT,
  old_valid_until INTEGER,
  created_at      INTEGER NOT NULL,
  last_used_at    INTEGER,
  expires_at      INTEGER,
  revoked_at      INTEGER
) STRICT, WITHOUT ROWID;

-- run: the process run that reserved it. A reservation of a run that ended is nobody's.
CREATE TABLE requests (
  scope        TEXT NOT NULL,
  key          TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  run          TEXT NOT NULL,
  status       INTEGER,
  body         TEXT,
  location     TEXT,
  at           INTEGER NOT NULL,
  PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_age ON requests (at);
`;
