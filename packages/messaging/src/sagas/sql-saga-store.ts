/**
 * Sagas in SQL: one row per instance, its state as JSON, a version that every change compares and counts up, and a due time that the sweep looks for. Mail lies in a
 * table beside it until the step it is for has taken it. The same statements run on SQLite, PostgreSQL and MariaDB; what differs is listed at the top.
 */
import type { OutgoingMessage } from '../engine.ts';
import { MessagingError } from '../errors.ts';
import {
  again,
  createTables,
  numberOf,
  placeholders,
  type SqlDatabase,
  type SqlDialect,
  type SqlRow,
  type SqlRunner,
  type SqlTransaction,
  type SqlValue,
} from '../sql.ts';
import { faultOfName, faultOfText, refuseBadNames } from '../sound-text.ts';
import { faultBeforeWork, passingFault } from '../sql/passing-faults.ts';
import { exactKey, type KeyColumns, makeKeysExact } from '../sql/exact-keys.ts';
import { lookOf } from './saga-mail.ts';
import { isOver, type SagaState, waitsForMail } from './saga-state.ts';
import type { KeptSagaMail, SagaChanges, SagaMail, SagaPurge, SagaRecord, SagaStore } from './saga-store.ts';

export interface SqlSagaStoreOptions<Native> {
  readonly sql: SqlDatabase<Native>;
  /** Puts messages into the outbox of this database, inside the given transaction. Without it the outcome of a step that emits is unknown, and says so. */
  readonly appendToOutbox?: (
    tx: SqlTransaction<Native>,
    messages: readonly OutgoingMessage[],
  ) => Promise<void> | void;
}

const tables = (key: string, text: string, number: string, long: string, end = ''): readonly string[] => [
  `CREATE TABLE IF NOT EXISTS sagas (
  saga ${key} NOT NULL,
  saga_key ${key} NOT NULL,
  version ${number} NOT NULL,
  status ${text} NOT NULL,
  due_at ${number},
  body ${long} NOT NULL,
  PRIMARY KEY (saga, saga_key)
)${end}`,
  'CREATE INDEX IF NOT EXISTS sagas_due ON sagas (saga, due_at)',
  'CREATE INDEX IF NOT EXISTS sagas_by_status ON sagas (saga, status)',
  `CREATE TABLE IF NOT EXISTS saga_mail (
  saga ${key} NOT NULL,
  saga_key ${key} NOT NULL,
  message_id ${key} NOT NULL,
  place ${number} NOT NULL,
  is_read ${number} NOT NULL,
  type ${text} NOT NULL,
  data ${long} NOT NULL,
  PRIMARY KEY (saga, saga_key, message_id)
)${end}`,
];
/** Beside `sagas` and not in it: tables of earlier versions get it by `prepare`. What ended before that is not in it and is not purged. */
const ends = (key: string, number: string, end = ''): readonly string[] => [
  `CREATE TABLE IF NOT EXISTS saga_ends (
  saga ${key} NOT NULL,
  saga_key ${key} NOT NULL,
  ended_at ${number} NOT NULL,
  PRIMARY KEY (saga, saga_key)
)${end}`,
  'CREATE INDEX IF NOT EXISTS saga_ends_by_age ON saga_ends (saga, ended_at)',
];
/** Three of them make a key of MariaDB, which has at most 3,072 bytes. */
const LONGEST_KEY = 190;
const MARIADB_TEXT = 'VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin';
const schema: Readonly<Record<SqlDialect, readonly string[]>> = {
  sqlite: [...tables('TEXT', 'TEXT', 'INTEGER', 'TEXT', ' STRICT'), ...ends('TEXT', 'INTEGER', ' STRICT')],
  postgres: [...tables('text', 'text', 'bigint', 'text'), ...ends('text', 'bigint')],
  mariadb: [
    ...tables(
      exactKey(LONGEST_KEY),
      MARIADB_TEXT,
      'BIGINT',
      'LONGTEXT CHARACTER SET utf8mb4',
      ' ENGINE = InnoDB',
    ),
    ...ends(exactKey(LONGEST_KEY), 'BIGINT', ' ENGINE = InnoDB'),
  ],
};
const KEYS: KeyColumns = {
  sagas: ['saga', 'saga_key'],
  saga_mail: ['saga', 'saga_key', 'message_id'],
  saga_ends: ['saga', 'saga_key'],
};
const DUPLICATE_KEY = 1062;
/** Instances forgotten in one transaction. */
const PURGE_ROWS = 500;

const COLUMNS = 'saga, saga_key, version, due_at, body';

export function createSqlSagaStore<Native>(options: SqlSagaStoreOptions<Native>): SagaStore {
  return new SqlSagas(options);
}

class SqlSagas<Native> implements SagaStore {
  readonly #sql: SqlDatabase<Native>;
  readonly #appendToOutbox: SqlSagaStoreOptions<Native>['appendToOutbox'];

  readonly emits: boolean;

  constructor({ sql, appendToOutbox }: SqlSagaStoreOptions<Native>) {
    this.#sql = sql;
    this.emits = appendToOutbox !== undefined;
    this.#appendToOutbox = appendToOutbox;
  }

  async prepare(): Promise<void> {
    await createTables(this.#sql, schema[this.#sql.dialect]);
    await makeKeysExact(this.#sql, KEYS, LONGEST_KEY);
  }

  async create({ saga, key, version, state, dueAt }: SagaRecord): Promise<boolean> {
    if (faultOfText(key) !== undefined || key.length > LONGEST_KEY)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `a key of a saga has 1 to ${LONGEST_KEY} characters, without lone surrogates and U+0000`,
      );
    const text =
      'INSERT INTO sagas (saga, saga_key, version, status, due_at, body) VALUES (?, ?, ?, ?, ?, ?)';
    const params = [saga, key, version, state.status, dueAt ?? null, JSON.stringify(state)];
    return again(() => this.#insertNew(this.#sql, text, params));
  }

  async load(saga: string, key: string): Promise<SagaRecord | undefined> {
    refuseBadInstance(saga, key);
    const { rows } = await this.#sql.run(`SELECT ${COLUMNS} FROM sagas WHERE saga = ? AND saga_key = ?`, [
      saga,
      key,
    ]);
    return rows[0] && recordOf(rows[0]);
  }

  async save(
    { saga, key, version, state, dueAt }: SagaRecord,
    { messages, read, now, isLease = false }: SagaChanges,
  ): Promise<boolean> {
    refuseBadInstance(saga, key);
    const body = JSON.stringify(isLease ? { ...state, leasedUntil: dueAt } : state);
    let began = false;
    const saving = again(() => {
      began = false;
      return this.#sql.transaction(async (tx) => {
        began = true;
        const { changes } = await tx.run(
          'UPDATE sagas SET version = ?, status = ?, due_at = ?, body = ? WHERE saga = ? AND saga_key = ? AND version = ?',
          [version, state.status, dueAt ?? null, body, saga, key, version - 1],
        );
        if (changes !== 1) return false;
        for (const id of read)
          await tx.run(
            'UPDATE saga_mail SET is_read = 1 WHERE saga = ? AND saga_key = ? AND message_id = ?',
            [saga, key, id],
          );
        // The row is locked, and whoever delivers locks it too: no mail can fall between its reading and this. What the step has looked at already does not count, or it would be asked again at once, for ever. Nor does it count in a lease, or others would be handed what is worked on.
        if (waitsForMail(state) && !isLease)
          await tx.run(
            'UPDATE sagas SET due_at = 0 WHERE saga = ? AND saga_key = ? AND EXISTS (SELECT 1 FROM saga_mail WHERE saga_mail.saga = sagas.saga AND saga_mail.saga_key = sagas.saga_key AND is_read = 0 AND place >= ?)',
            [saga, key, lookOf(state).upTo],
          );
        if (isOver(state))
          await this.#insertNew(tx, 'INSERT INTO saga_ends (saga, saga_key, ended_at) VALUES (?, ?, ?)', [
            saga,
            key,
            now,
          ]);
        if (messages.length > 0) await this.#emit(tx, messages);
        return true;
      });
    });
    return saving.catch((error: unknown) => {
      throw began ? passingFault(error) : faultBeforeWork(error);
    });
  }

  async due(saga: string, now: number, limit: number): Promise<readonly SagaRecord[]> {
    refuseBadInstance(saga);
    const { rows } = await this.#sql.run(
      `SELECT ${COLUMNS} FROM sagas WHERE saga = ? AND due_at <= ? ORDER BY due_at LIMIT ${Math.trunc(limit)}`,
      [saga, now],
    );
    return rows.map(recordOf);
  }

  async deliver(saga: string, key: string, mail: SagaMail, now: number): Promise<boolean> {
    refuseBadInstance(saga, key);
    // A server that cuts off what is too long would take two ids with one beginning for one message.
    if (
      [mail.messageId, mail.type].some((text) => faultOfName(text) !== undefined || text.length > LONGEST_KEY)
    )
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `id and type of a message for a saga have at most ${LONGEST_KEY} characters, without lone surrogates and U+0000`,
      );
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
        const insert =
          'INSERT INTO saga_mail (saga, saga_key, message_id, place, is_read, type, data) VALUES (?, ?, ?, ?, 0, ?, ?)';
        const isNew = await this.#insertNew(tx, insert, [
          saga,
          key,
          mail.messageId,
          Number(place.rows[0]?.['place']),
          mail.type,
          JSON.stringify(mail.data ?? null),
        ]);
        if (isNew && waitsForMail(recordOf(row).state) && !isLeased(row))
          await tx.run('UPDATE sagas SET due_at = ? WHERE saga = ? AND saga_key = ?', [now, saga, key]);
        return true;
      }),
    );
  }

  async mail(saga: string, key: string): Promise<readonly KeptSagaMail[]> {
    refuseBadInstance(saga, key);
    const { rows } = await this.#sql.run(
      'SELECT message_id, type, data, place FROM saga_mail WHERE saga = ? AND saga_key = ? AND is_read = 0 ORDER BY place',
      [saga, key],
    );
    return rows.map((row) => ({
      messageId: String(row['message_id']),
      type: String(row['type']),
      data: JSON.parse(String(row['data'])) as unknown,
      place: Number(row['place']),
    }));
  }

  async list(
    saga: string,
    { status }: { readonly status?: SagaState['status'] },
    limit: number,
  ): Promise<readonly SagaRecord[]> {
    refuseBadInstance(saga);
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

  /** False when there is a row of this key. A duplicate key and nothing else: MariaDB's IGNORE would cut off and convert what does not fit, too. */
  async #insertNew(runner: SqlRunner, insert: string, params: readonly SqlValue[]): Promise<boolean> {
    if (this.#sql.dialect !== 'mariadb')
      return (await runner.run(`${insert} ON CONFLICT DO NOTHING`, params)).changes === 1;
    try {
      await runner.run(insert, params);
      return true;
    } catch (error) {
      if ((error as { readonly errno?: unknown }).errno === DUPLICATE_KEY) return false;
      throw error;
    }
  }

  async purge(saga: string, purge: SagaPurge): Promise<number> {
    refuseBadInstance(saga);
    const { limit = 10_000 } = purge;
    let forgotten = 0;
    while (forgotten < limit) {
      const run = Math.min(PURGE_ROWS, limit - forgotten);
      const count = await again(() => this.#sql.transaction((tx) => purgeRun(tx, saga, purge, run)));
      forgotten += count;
      if (count < run) break;
    }
    return forgotten;
  }
}

/** An empty key, or one that is too long to be stored, is merely one that there is none of. */
function refuseBadInstance(saga: string, key = ''): void {
  refuseBadNames('a saga', { 'its name': saga, 'the key of an instance': key });
}

/** The instances first: whoever delivers locks them, so no mail can come behind the deletion of the mail. */
async function purgeRun(
  tx: SqlRunner,
  saga: string,
  { before, status, withUnreadMail = false }: SagaPurge,
  limit: number,
): Promise<number> {
  const unread = withUnreadMail
    ? ''
    : ' AND NOT EXISTS (SELECT 1 FROM saga_mail m WHERE m.saga = e.saga AND m.saga_key = e.saga_key AND m.is_read = 0)';
  const { rows } = await tx.run(
    `SELECT e.saga_key FROM saga_ends e JOIN sagas s ON s.saga = e.saga AND s.saga_key = e.saga_key
     WHERE e.saga = ? AND e.ended_at < ?${status === undefined ? '' : ' AND s.status = ?'}${unread}
     ORDER BY e.ended_at LIMIT ${Math.trunc(limit)}`,
    [saga, before, ...(status === undefined ? [] : [status])],
  );
  const keys = rows.map((row) => String(row['saga_key']));
  if (keys.length === 0) return 0;
  for (const table of ['sagas', 'saga_mail', 'saga_ends'])
    await tx.run(`DELETE FROM ${table} WHERE saga = ? AND saga_key IN (${placeholders(keys.length)})`, [
      saga,
      ...keys,
    ]);
  return keys.length;
}

/** The end of a lease is kept with the state, so that tables of earlier versions need no other columns. */
interface SagaBody extends SagaState {
  readonly leasedUntil?: number;
}

const bodyOf = (row: SqlRow): SagaBody => JSON.parse(String(row['body'])) as SagaBody;
const dueAtOf = (row: SqlRow): number | undefined => numberOf(row['due_at']);

function recordOf(row: SqlRow): SagaRecord {
  const { leasedUntil: _, ...state } = bodyOf(row);
  return {
    saga: String(row['saga']),
    key: String(row['saga_key']),
    version: Number(row['version']),
    state,
    dueAt: dueAtOf(row),
  };
}

/** A lease whose end is not the due time any more was ended by who knows of none: an earlier version of this, or a statement by hand. */
function isLeased(row: SqlRow): boolean {
  const { leasedUntil } = bodyOf(row);
  return leasedUntil !== undefined && leasedUntil === dueAtOf(row);
}
