/** What people decided about dead letters, in one table of a database. Rows are only added: the same decision twice says the same. */
import { type Clock, systemClock } from '../clock.ts';
import type { Decision, DecisionLog } from '../dead-letter-decisions.ts';
import { faultOfName } from '../sound-text.ts';
import {
  createTables,
  numberOf,
  placeholders,
  type SqlDatabase,
  type SqlDialect,
  type SqlRow,
} from '../sql.ts';

export interface SqlDecisions extends DecisionLog {
  /** Creates the table where it is missing; `since` is the time of the first call. */
  prepare(): Promise<void>;
  /** Calls `onClose`; without it the database stays open. */
  close(): Promise<void>;
}

/** Ids asked for in one statement; each is asked for twice. */
const IDS = 500;
/** Rows of one INSERT. */
const ROWS = 200;
const COLUMNS = ['kind', 'channel', 'subscription', 'message_id', 'replaced_by'] as const;
const TEXT: Readonly<Record<SqlDialect, string>> = {
  sqlite: 'TEXT',
  postgres: 'TEXT COLLATE "C"',
  // Compared byte by byte, trailing spaces and all.
  mariadb: 'VARBINARY(255)',
};

export function createSqlDecisions(options: {
  readonly sql: SqlDatabase;
  readonly clock?: Pick<Clock, 'now'>;
  /** Closes the database, where it was opened for the log alone: `() => store.close()`. */
  readonly onClose?: () => Promise<void>;
}): SqlDecisions {
  const { sql, clock = systemClock, onClose } = options;
  const insert = (count: number): string =>
    `INSERT INTO dead_letter_decisions (${COLUMNS.join(', ')}, decided_at) VALUES ${Array.from({ length: count }, () => '(?, ?, ?, ?, ?, ?)').join(', ')}`;
  return {
    async prepare() {
      await createTables(sql, schemaOf(sql.dialect));
      const begun = await sql.run(
        "SELECT 1 AS one FROM dead_letter_decisions WHERE message_id = '' AND kind = 'begun'",
      );
      // Two processes at once leave two rows; the later one counts, and hides nothing.
      if (begun.rows.length === 0) await sql.run(insert(1), ['begun', '', '', '', '', clock.now()]);
    },
    async note(decisions) {
      const storable = decisions.filter(
        ({ messageId, kind }) => kind === 'skipped' || faultOfName(messageId) === undefined,
      );
      for (let from = 0; from < storable.length; from += ROWS) {
        const lot = storable.slice(from, from + ROWS);
        await sql.run(
          insert(lot.length),
          lot.flatMap((one) => [
            one.kind,
            one.channel,
            one.subscription,
            one.messageId,
            one.replacedBy ?? '',
            one.at,
          ]),
        );
      }
    },
    async about(messageIds) {
      const storable = messageIds.filter((id) => id !== '' && faultOfName(id) === undefined);
      const rows = [...(await sql.run(skippedOf(sql.dialect))).rows];
      for (let from = 0; from < storable.length; from += IDS) {
        const lot = storable.slice(from, from + IDS);
        for (const column of ['message_id', 'replaced_by'])
          rows.push(
            ...(
              await sql.run(
                `${selectOf(sql.dialect)} WHERE d.${column} IN (${placeholders(lot.length)})`,
                lot,
              )
            ).rows,
          );
      }
      return rows.map(decisionOf);
    },
    async since() {
      const { rows } = await sql.run(
        "SELECT max(decided_at) AS since FROM dead_letter_decisions WHERE message_id = '' AND kind = 'begun'",
      );
      return numberOf(rows[0]?.['since']) ?? Number.POSITIVE_INFINITY;
    },
    async close() {
      await onClose?.();
    },
  };
}

function schemaOf(dialect: SqlDialect): readonly string[] {
  const columns = COLUMNS.map((name) => `${name} ${TEXT[dialect]} NOT NULL`).join(', ');
  const byId = ['message_id', 'replaced_by'];
  const keys = byId.map((column) => `INDEX dead_letter_decisions_by_${column} (${column})`);
  const table = `CREATE TABLE IF NOT EXISTS dead_letter_decisions (${columns}, decided_at BIGINT NOT NULL`;
  if (dialect === 'mariadb') return [`${table}, ${keys.join(', ')})`];
  return [
    `${table})`,
    ...byId.map(
      (column) =>
        `CREATE INDEX IF NOT EXISTS dead_letter_decisions_by_${column} ON dead_letter_decisions (${column})`,
    ),
  ];
}

const readable = (dialect: SqlDialect, name: string): string =>
  dialect === 'mariadb' ? `CONVERT(d.${name} USING utf8mb4) AS ${name}` : `d.${name}`;

function selectOf(dialect: SqlDialect): string {
  const columns = COLUMNS.map((name) => readable(dialect, name));
  return `SELECT ${columns.join(', ')}, d.decided_at FROM dead_letter_decisions d`;
}

/** Of each place the latest rewind, which took in the others: each page of a reconciliation asks, and rows are never purged. Grouped by the columns as they are stored, byte by byte. */
function skippedOf(dialect: SqlDialect): string {
  const columns = ['channel', 'subscription'].map((name) => readable(dialect, name));
  return `SELECT 'skipped' AS kind, ${columns.join(', ')}, '' AS message_id, '' AS replaced_by, max(d.decided_at) AS decided_at
    FROM dead_letter_decisions d WHERE d.message_id = '' AND d.kind = 'skipped' GROUP BY d.channel, d.subscription`;
}

function decisionOf(row: SqlRow): Decision {
  const replacedBy = String(row['replaced_by']);
  return {
    kind: String(row['kind']) as Decision['kind'],
    channel: String(row['channel']),
    subscription: String(row['subscription']),
    messageId: String(row['message_id']),
    replacedBy: replacedBy === '' ? undefined : replacedBy,
    at: Number(row['decided_at']),
  };
}
