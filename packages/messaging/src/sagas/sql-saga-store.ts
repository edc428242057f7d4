/**
 * Sagas in SQL: one row per instance, its state as JSON, a version that every change compares and counts up, and a due time that the sweep looks for. Mail lies in a
 * table beside it until the step it is for has read it. The same statements run on SQLite, PostgreSQL and MariaDB; what differs is listed at the top.
 */
import type { OutgoingMessage } from '../engine.ts';
import { MessagingError } from '../errors.ts';
import {
  again,
  createTables,
  type SqlDialect,
  type SqlRow,
  type SqlDatabase,
  type SqlTransaction,
} from '../sql.ts';
import { type SagaState, waitsForMail } from './saga-state.ts';
import type { SagaMail, SagaRecord, SagaStore } from './saga-store.ts';

export interface SqlSagaStoreOptions<Native> {
  readonly sql: SqlDatabase<Native>;
  /** Puts messages into the outbox of this database, inside the given transaction. Without it a step that emits is refused. */
  readonly appendToOutbox?: (
    tx: SqlTransaction<Native>,
    messages: readonly OutgoingMessage[],
  ) => Promise<void> | void;
}

const tables = (text: string, number: string, long: string, end = ''): readonly string[] => [
  `CREATE TABLE IF NOT EXISTS sagas (
  saga ${text} NOT NULL,
  saga_key ${text} NOT NULL,
  version ${number} NOT NULL,
  status ${text} NOT NULL,
  due_at ${number},
  body ${long} NOT NULL,
  PRIMARY KEY (saga, saga_key)
)${end}`,
  'CREATE INDEX IF NOT EXISTS sagas_due ON sagas (saga, due_at)',
  'CREATE INDEX IF NOT EXISTS sagas_by_status ON sagas (saga, status)',
  `CREATE TABLE IF NOT EXISTS saga_mail (
  saga ${text} NOT NULL,
  saga_key ${text} NOT NULL,
  message_id ${text} NOT NULL,
  place ${number} NOT NULL,
  is_read ${number} NOT NULL,
  type ${text} NOT NULL,
  data ${long} NOT NULL,
  PRIMARY KEY (saga, saga_key, message_id)
)${end}`,
];
const schema: Readonly<Record<SqlDialect, readonly string[]>> = {
  sqlite: tables('TEXT', 'INTEGER', 'TEXT', ' STRICT'),
  postgres: tables('text', 'bigint', 'text'),
  // Three of them make a key, which has at most 3,072 bytes.
  mariadb: tables(
    'VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin',
    'BIGINT',
    'LONGTEXT CHARACTER SET utf8mb4',
    ' ENGINE = InnoDB',
  ),
};
const LONGEST_KEY = 190;

const COLUMNS = 'saga, saga_key, version, due_at, body';

export function createSqlSagaStore<Native>(options: SqlSagaStoreOptions<Native>): SagaStore {
  return new SqlSagas(options);
}

class SqlSagas<Native> implements SagaStore {
  readonly #sql: SqlDatabase<Native>;
  readonly #appendToOutbox: SqlSagaStoreOptions<Native>['appendToOutbox'];

  constructor({ sql, appendToOutbox }: SqlSagaStoreOptions<Native>) {
    this.#sql = sql;
    this.#appendToOutbox = appendToOutbox;
  }

  prepare(): Promise<void> {
    return createTables(this.#sql, schema[this.#sql.dialect]);
  }

  async create({ saga, key, version, state, dueAt }: SagaRecord): Promise<boolean> {
    if (key === '' || key.length > LONGEST_KEY)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `a key of a saga has 1 to ${LONGEST_KEY} characters`,
      );
    const text = this.#ignoring(
      'INSERT INTO sagas (saga, saga_key, version, status, due_at, body) VALUES (?, ?, ?, ?, ?, ?)',
    );
    const params = [saga, key, version, state.status, dueAt ?? null, JSON.stringify(state)];
    return (await again(() => this.#sql.run(text, params))).changes === 1;
  }

  async load(saga: string, key: string): Promise<SagaRecord | undefined> {
    const { rows } = await this.#sql.run(`SELECT ${COLUMNS} FROM sagas WHERE saga = ? AND saga_key = ?`, [
      saga,
      key,
    ]);
    return rows[0] && recordOf(rows[0]);
  }

  save(
    { saga, key, version, state, dueAt }: SagaRecord,
    { messages, read }: { readonly messages: readonly OutgoingMessage[]; readonly read: readonly string[] },
  ): Promise<boolean> {
    return again(() =>
      this.#sql.transaction(async (tx) => {
        const { changes } = await tx.run(
          'UPDATE sagas SET version = ?, status = ?, due_at = ?, body = ? WHERE saga = ? AND saga_key = ? AND version = ?',
          [version, state.status, dueAt ?? null, JSON.stringify(state), saga, key, version - 1],
        );
        if (changes !== 1) return false;
        for (const id of read)
          await tx.run(
            'UPDATE saga_mail SET is_read = 1 WHERE saga = ? AND saga_key = ? AND message_id = ?',
            [saga, key, id],
          );
        // The row is locked, and whoever delivers locks it too: no mail can fall between its reading and this.
        if (waitsForMail(state))
          await tx.run(
            'UPDATE sagas SET due_at = 0 WHERE saga = ? AND saga_key = ? AND EXISTS (SELECT 1 FROM saga_mail WHERE saga_mail.saga = sagas.saga AND saga_mail.saga_key = sagas.saga_key AND is_read = 0)',
            [saga, key],
          );
        if (messages.length > 0) await this.#emit(tx, messages);
        return true;
      }),
    );
  }

  async due(saga: string, now: number, limit: number): Promise<readonly SagaRecord[]> {
    const { rows } = await this.#sql.run(
      `SELECT ${COLUMNS} FROM sagas WHERE saga = ? AND due_at <= ? ORDER BY due_at LIMIT ${Math.trunc(limit)}`,
      [saga, now],
    );
    return rows.map(recordOf);
  }

  deliver(saga: string, key: string, mail: SagaMail, now: number): Promise<boolean> {
    const lock = this.#sql.dialect === 'sqlite' ? '' : ' FOR UPDATE';
    return again(() =>
      this.#sql.transaction(async (tx) => {
        const { rows } = await tx.run(`SELECT ${COLUMNS} FROM sagas WHERE saga = ? AND saga_key = ?${lock}`, [
          saga,
          key,
        ]);
        const [row] = rows;
        if (!row) return false;
        const place = await tx.run(
          'SELECT count(*) AS place FROM saga_mail WHERE saga = ? AND saga_key = ?',
          [saga, key],
        );
        const insert = this.#ignoring(
          'INSERT INTO saga_mail (saga, saga_key, message_id, place, is_read, type, data) VALUES (?, ?, ?, ?, 0, ?, ?)',
        );
        const { changes } = await tx.run(insert, [
          saga,
          key,
          mail.messageId,
          Number(place.rows[0]?.['place']),
          mail.type,
          JSON.stringify(mail.data ?? null),
        ]);
        if (changes === 1 && waitsForMail(recordOf(row).state))
          await tx.run('UPDATE sagas SET due_at = ? WHERE saga = ? AND saga_key = ?', [now, saga, key]);
        return true;
      }),
    );
  }

  async mail(saga: string, key: string): Promise<readonly SagaMail[]> {
    const { rows } = await this.#sql.run(
      'SELECT message_id, type, data FROM saga_mail WHERE saga = ? AND saga_key = ? AND is_read = 0 ORDER BY place',
      [saga, key],
    );
    return rows.map((row) => ({
      messageId: String(row['message_id']),
      type: String(row['type']),
      data: JSON.parse(String(row['data'])) as unknown,
    }));
  }

  async list(
    saga: string,
    { status }: { readonly status?: SagaState['status'] },
    limit: number,
  ): Promise<readonly SagaRecord[]> {
    const where = status === undefined ? '' : ' AND status = ?';
    const { rows } = await this.#sql.run(
      `SELECT ${COLUMNS} FROM sagas WHERE saga = ?${where} ORDER BY saga_key LIMIT ${Math.trunc(limit)}`,
      status === undefined ? [saga] : [saga, status],
    );
    return rows.map(recordOf);
  }

  async #emit(tx: SqlTransaction<Native>, messages: readonly OutgoingMessage[]): Promise<void> {
    if (!this.#appendToOutbox)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        'a step emits messages, but the store was given no appendToOutbox',
      );
    await this.#appendToOutbox(tx, messages);
  }

  #ignoring(insert: string): string {
    if (this.#sql.dialect === 'mariadb') return insert.replace('INSERT', 'INSERT IGNORE');
    return `${insert} ON CONFLICT DO NOTHING`;
  }
}

function recordOf(row: SqlRow): SagaRecord {
  return {
    saga: String(row['saga']),
    key: String(row['saga_key']),
    version: Number(row['version']),
    state: JSON.parse(String(row['body'])) as SagaState,
    dueAt: row['due_at'] === null ? undefined : Number(row['due_at']),
  };
}
