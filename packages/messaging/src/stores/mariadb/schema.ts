/**
 * Tables of outbox and inbox on MariaDB 10.6 or MySQL 8 and later, InnoDB. Run each statement once, again whenever you like. Ids are kept as bytes:
 * a collation would take `a`, `A` and `a ` for one message.
 */

/** `outbox_counter` gives the numbers: it is locked by a transaction that appends until that ends, so the order of the numbers is the order of the commits. */
export const mariadbOutboxSchema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS outbox (
  number BIGINT NOT NULL PRIMARY KEY,
  message_id VARBINARY(255) NOT NULL,
  channel VARCHAR(120) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  due_at BIGINT,
  priority INT,
  recorded_at BIGINT NOT NULL,
  body LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  KEY outbox_by_message (message_id),
  KEY outbox_by_time (recorded_at, number)
) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS outbox_counter (
  one INT NOT NULL PRIMARY KEY,
  last BIGINT NOT NULL
) ENGINE = InnoDB`,
  `INSERT IGNORE INTO outbox_counter (one, last) VALUES (1, 0)`,
  `CREATE TABLE IF NOT EXISTS outbox_mark (
  one INT NOT NULL PRIMARY KEY,
  published BIGINT NOT NULL
) ENGINE = InnoDB`,
  `INSERT IGNORE INTO outbox_mark (one, published) VALUES (1, 0)`,
  `CREATE TABLE IF NOT EXISTS outbox_kept (
  one INT NOT NULL PRIMARY KEY,
  kept_since BIGINT NOT NULL
) ENGINE = InnoDB`,
  `INSERT IGNORE INTO outbox_kept (one, kept_since) VALUES (1, 0)`,
  `CREATE TABLE IF NOT EXISTS outbox_held (
  number BIGINT NOT NULL PRIMARY KEY,
  lane VARBINARY(700) NOT NULL,
  state VARCHAR(10) CHARACTER SET ascii NOT NULL,
  reason TEXT CHARACTER SET utf8mb4 NOT NULL,
  at BIGINT NOT NULL,
  KEY outbox_held_by_lane (state, lane, number)
) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS outbox_runs (
  began_at BIGINT NOT NULL PRIMARY KEY,
  at BIGINT NOT NULL,
  up_to BIGINT NOT NULL,
  KEY outbox_runs_by_end (up_to)
) ENGINE = InnoDB`,
];

export const mariadbInboxSchema: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS inbox (
  subscription VARBINARY(255) NOT NULL,
  message_id VARBINARY(255) NOT NULL,
  handled_at BIGINT NOT NULL,
  PRIMARY KEY (subscription, message_id),
  KEY inbox_by_age (handled_at)
) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS inbox_mark (
  subscription VARBINARY(255) NOT NULL PRIMARY KEY,
  kept_since BIGINT NOT NULL
) ENGINE = InnoDB`,
];
