/** Streams in SQL: one way of appending and reading over the statements of three databases (`statements.ts`, which says how each keeps the order of all streams). */
import { systemClock, type Clock } from '../clock.ts';
import { MessagingError } from '../errors.ts';
import { createIds, type Ids } from '../ids.ts';
import {
  again,
  createTables,
  type SqlRow,
  type SqlDatabase,
  type SqlTransaction,
  type SqlValue,
} from '../sql.ts';
import { COUNT, ORDINAL, refuseBadNumbers } from '../sound-numbers.ts';
import { faultOfText, refuseBadNames } from '../sound-text.ts';
import { makeKeysExact } from '../sql/exact-keys.ts';
import { LONGEST_NAME, streamKeys, streamStatements, type StreamStatements } from './statements.ts';
import type {
  Appended,
  AppendOptions,
  ReadOptions,
  RecordedEvent,
  Snapshot,
  StreamEvent,
  StreamStore,
} from './stream-store.ts';

export interface SqlStreamStoreOptions {
  readonly sql: SqlDatabase;
  readonly clock?: Clock;
  readonly ids?: Ids;
}

/** Rows of one INSERT: SQLite takes 32,766 parameters, MariaDB and PostgreSQL 65,535. */
const ROWS_AT_ONCE = 1_000;
const MOST_READ = 10_000;
const READ_RULES = { fromVersion: ORDINAL, limit: { ...COUNT, to: MOST_READ } } as const;
const SNAPSHOT_RULES = { schemaVersion: ORDINAL, version: ORDINAL } as const;

export function createSqlStreamStore(options: SqlStreamStoreOptions): StreamStore {
  const clock = options.clock ?? systemClock;
  return new SqlStreams(options.sql, clock, options.ids ?? createIds(clock));
}

class SqlStreams implements StreamStore {
  readonly #sql: SqlDatabase;
  readonly #clock: Clock;
  readonly #ids: Ids;
  readonly #statements: StreamStatements;

  constructor(sql: SqlDatabase, clock: Clock, ids: Ids) {
    this.#sql = sql;
    this.#clock = clock;
    this.#ids = ids;
    this.#statements = streamStatements[sql.dialect];
  }

  async prepare(): Promise<void> {
    await createTables(this.#sql, this.#statements.schema);
    await makeKeysExact(this.#sql, streamKeys, LONGEST_NAME);
  }

  append(stream: string, events: readonly StreamEvent[], options: AppendOptions = {}): Promise<Appended> {
    const attempt = async (): Promise<Appended> => {
      try {
        return await this.#sql.transaction((tx) => this.appendIn(tx, stream, events, options));
      } catch (error) {
        // Its next attempt is a new transaction, later than the one that overtook it.
        if ((error as MessagingError).code !== 'DB_MSG_STREAM_OVERTAKEN') throw error;
        throw new MessagingError('DB_MSG_STORE_BUSY', (error as Error).message, { cause: error });
      }
    };
    return again(attempt);
  }

  async appendIn(
    tx: SqlTransaction,
    stream: string,
    events: readonly StreamEvent[],
    { expectedVersion }: AppendOptions = {},
  ): Promise<Appended> {
    refuseBad(stream, events);
    if (expectedVersion !== undefined)
      refuseBadNumbers(`an append to stream "${stream}"`, { expectedVersion }, { expectedVersion: ORDINAL });
    const { lockOrder, createHead, lockHead, moveHead, moveOrder } = this.#statements;
    const order = lockOrder === undefined ? undefined : numberOf(await tx.run(lockOrder), 'position');
    await tx.run(createHead, [stream]);
    const { rows } = await tx.run(lockHead, [stream]);
    const version = Number(rows[0]?.['version']);
    if (expectedVersion !== undefined && expectedVersion !== version)
      throw new MessagingError(
        'DB_MSG_STREAM_CONFLICT',
        `stream "${stream}" is at version ${version}, not ${expectedVersion}`,
      );
    if (rows[0]?.['overtaken'] === true)
      throw new MessagingError(
        'DB_MSG_STREAM_OVERTAKEN',
        `a later transaction appended to stream "${stream}" before this one`,
      );
    await this.#insert(tx, stream, events, version, order);
    await tx.run(moveHead, [version + events.length, stream]);
    if (moveOrder !== undefined) await tx.run(moveOrder, [(order ?? 0) + events.length]);
    return { version: version + events.length };
  }

  async read(
    stream: string,
    { fromVersion = 1, limit = MOST_READ }: ReadOptions = {},
  ): Promise<readonly RecordedEvent[]> {
    refuseBadNames('a read of a stream', { 'its name': stream });
    refuseBadNumbers(`a read of stream "${stream}"`, { fromVersion, limit }, READ_RULES);
    const { rows } = await this.#sql.run(this.#statements.read(limit), [stream, fromVersion]);
    return rows.map(eventOf);
  }

  async readAll(checkpoint: string | undefined, limit: number): Promise<readonly RecordedEvent[]> {
    refuseBadNumbers('a read of all streams', { limit }, { limit: READ_RULES.limit });
    const { beginning, readAll } = this.#statements;
    const after = (checkpoint ?? beginning).split(':');
    if (after.length !== beginning.split(':').length || after.some((part) => !/^\d+$/.test(part)))
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `"${checkpoint}" is no checkpoint of ${this.#sql.dialect}`,
      );
    const { rows } = await this.#sql.run(readAll(limit), after);
    return rows.map(eventOf);
  }

  async loadSnapshot(stream: string, name: string, schemaVersion: number): Promise<Snapshot | undefined> {
    refuseBadNames('a snapshot', { 'its name': name, 'that of its stream': stream });
    refuseBadNumbers(
      `snapshot "${name}" of stream "${stream}"`,
      { schemaVersion },
      { schemaVersion: ORDINAL },
    );
    const { rows } = await this.#sql.run(this.#statements.loadSnapshot, [stream, name, schemaVersion]);
    const [row] = rows;
    return (
      row && {
        version: Number(row['version']),
        schemaVersion: Number(row['schema_version']),
        state: JSON.parse(String(row['state'])) as unknown,
      }
    );
  }

  async saveSnapshot(
    stream: string,
    name: string,
    { schemaVersion, version, state }: Snapshot,
  ): Promise<void> {
    refuseBadNames('a snapshot', { 'its name': name, 'that of its stream': stream });
    const numbers = { schemaVersion, version };
    refuseBadNumbers(`snapshot "${name}" of stream "${stream}"`, numbers, SNAPSHOT_RULES);
    const params = [stream, name, schemaVersion, version, JSON.stringify(state)];
    await again(() => this.#sql.run(this.#statements.saveSnapshot, params));
  }

  async #insert(
    tx: SqlTransaction,
    stream: string,
    events: readonly StreamEvent[],
    version: number,
    order: number | undefined,
  ): Promise<void> {
    const now = this.#clock.now();
    for (let from = 0; from < events.length; from += ROWS_AT_ONCE) {
      const some = events.slice(from, from + ROWS_AT_ONCE);
      const params = some.flatMap(({ type, data }, index): SqlValue[] => {
        const at = from + index + 1;
        const row = [stream, version + at, this.#ids.next(), type, JSON.stringify(data ?? null), now];
        return order === undefined ? row : [order + at, ...row];
      });
      await tx.run(this.#statements.insert(some.length), params);
    }
  }
}

function refuseBad(stream: string, events: readonly StreamEvent[]): void {
  const bad = (detail: string): never => {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `stream "${stream}": ${detail}`);
  };
  if (faultOfText(stream) !== undefined || stream.length > LONGEST_NAME)
    bad(`the name has 1 to ${LONGEST_NAME} characters, without lone surrogates and U+0000`);
  if (events.length === 0) bad('nothing to append');
  for (const { type } of events)
    if (faultOfText(type) !== undefined || type.length > LONGEST_NAME)
      bad(`a type has 1 to ${LONGEST_NAME} characters, without lone surrogates and U+0000`);
}

const numberOf = ({ rows }: { readonly rows: readonly SqlRow[] }, column: string): number =>
  Number(rows[0]?.[column]);

function eventOf(row: SqlRow): RecordedEvent {
  return {
    id: String(row['id']),
    stream: String(row['stream']),
    version: Number(row['version']),
    type: String(row['type']),
    data: JSON.parse(String(row['data'])) as unknown,
    recordedAt: Number(row['recorded_at']),
    checkpoint: String(row['checkpoint']),
  };
}
