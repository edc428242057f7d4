/** The outbox of the relay on any SQL database: what is the same on all three. Ordering and locking are the dialect's. */
import {
  type HeldLane,
  type HeldRow,
  type LaneName,
  laneWithoutKey,
  type OutboxStore,
  type OutboxView,
  type OwnedOutbox,
  type ParkedRow,
  type RelayProgress,
  type StoredRow,
  type WaitingPage,
} from '../outbox-store.ts';
import { type FreshReader, type OutboxDialect, ROW_COLUMNS, storedRowOf } from './outbox-dialect.ts';
import { COUNT, ORDINAL, refuseBadNumbers } from '../sound-numbers.ts';
import { numberOf, placeholders, type SqlConnection, type SqlDatabase, type SqlStatement } from '../sql.ts';

/** A run takes in what is published within this time: one row of `outbox_runs` a second, however many batches there are. */
const RUN_MS = 1_000;
/** Rows deleted by one purge, so that no transaction is long. */
const PURGE_ROWS = 1_000;
/** Rows in one statement that names each of them: databases take some ten thousands of parameters. */
const ROWS_AT_ONCE = 500;
/** Rows counted for a view. */
const COUNT_LIMIT = 10_000;

/** In these words the partial index `outbox_held_by_lane` serves: SQLite does not see by itself that `waiting` is one of the two. */
const IS_HELD = `h.state IN ('waiting', 'parked')`;
const IS_WITHOUT_KEY = `h.lane LIKE '#%'`;
/** CROSS JOIN: SQLite takes the tables in this order, the few that are held first. */
const WAITING = `SELECT ${ROW_COLUMNS} FROM outbox_held h CROSS JOIN outbox o
       WHERE ${IS_HELD} AND h.state = 'waiting' AND o.number = h.number`;

export function sqlOutbox(database: SqlDatabase, dialect: OutboxDialect): OutboxStore {
  return {
    async own() {
      const connection = await database.connect();
      let locked = false;
      let owned: OwnedOutbox | undefined;
      try {
        locked = await dialect.lock(connection);
        if (locked) owned = await openOwned(connection, dialect);
        return owned;
      } finally {
        // The lock need not live on the connection, and one that nobody knows of would keep every relay out.
        if (locked && !owned) await dialect.unlock(connection).catch(() => {});
        if (!owned) await connection.release();
      }
    },
    view: (now) => viewOf(database, dialect, now),
    parked: (page) => parkedOf(database, page),
    retryParked: (numbers, now) => decide(database, numbers, 'waiting', now),
    discardParked: (numbers, now) => decide(database, numbers, 'discarded', now),
  };
}

async function openOwned(connection: SqlConnection, dialect: OutboxDialect): Promise<OwnedOutbox> {
  const reader = await dialect.openReader(connection);
  const { rows } = await connection.run('SELECT max(began_at) AS began_at FROM outbox_runs');
  return new OwnedSqlOutbox(connection, dialect, reader, numberOf(rows[0]?.began_at) ?? 0);
}

class OwnedSqlOutbox implements OwnedOutbox {
  readonly #connection: SqlConnection;
  readonly #dialect: OutboxDialect;
  readonly #reader: FreshReader;
  #runBeganAt: number;
  #runIsOpen = false;

  constructor(connection: SqlConnection, dialect: OutboxDialect, reader: FreshReader, runBeganAt: number) {
    this.#connection = connection;
    this.#dialect = dialect;
    this.#reader = reader;
    this.#runBeganAt = runBeganAt;
  }

  get lost(): boolean {
    return this.#connection.lost;
  }

  readFresh(limit: number): Promise<readonly StoredRow[]> {
    return this.#reader.read(limit);
  }

  async heldLanes(): Promise<readonly HeldLane[]> {
    const { rows } = await this.#connection.run(
      `SELECT CASE WHEN ${IS_WITHOUT_KEY} THEN NULL ELSE h.lane END AS lane_name, o.channel,
              sum(CASE WHEN h.state = 'waiting' THEN 1 ELSE 0 END) AS waiting,
              sum(CASE WHEN h.state = 'parked' THEN 1 ELSE 0 END) AS parked
       FROM outbox_held h CROSS JOIN outbox o WHERE ${IS_HELD} AND o.number = h.number GROUP BY 1, 2`,
    );
    return rows.map(({ lane_name: lane, channel, waiting, parked }) => ({
      lane: lane === null ? undefined : String(lane),
      channel: String(channel),
      waiting: Number(waiting),
      parked: Number(parked),
    }));
  }

  async readWaiting(
    { lane, channel }: LaneName,
    { limit, after = 0 }: WaitingPage,
  ): Promise<readonly StoredRow[]> {
    const { rows } =
      lane === undefined
        ? await this.#connection.run(
            `${WAITING} AND h.lane > ? AND ${IS_WITHOUT_KEY} AND o.channel = ? ORDER BY h.lane LIMIT ${limit}`,
            [laneWithoutKey(after), channel],
          )
        : await this.#connection.run(
            `${WAITING} AND h.lane = ? AND h.number > ? ORDER BY h.number LIMIT ${limit}`,
            [lane, after],
          );
    return rows.map(storedRowOf);
  }

  async record({ upTo, waiting, parked, published, now }: RelayProgress): Promise<void> {
    const statements: SqlStatement[] = [];
    if (upTo !== undefined) {
      statements.push(...this.#reader.advance(upTo));
      for (const rows of inRuns(waiting)) statements.push(hold(rows, 'waiting', now));
      for (const rows of inRuns(parked)) statements.push(hold(rows, 'parked', now));
    } else for (const statement of parkWaiting(parked, now)) statements.push(statement);
    if (published.length > 0)
      statements.push({
        text: `UPDATE outbox_held SET state = 'published', at = ? WHERE number IN (${placeholders(published.length)})`,
        params: [now, ...published],
      });
    const run = upTo === undefined ? undefined : this.#runStatement(upTo, now);
    if (run) statements.push(run.statement);
    await this.#connection.batch(statements);
    this.#reader.committed(upTo);
    run?.done();
  }

  async purge(before: number, now: number): Promise<boolean> {
    await this.#closeRun(now);
    // Servers have no such number.
    if (before === Number.NEGATIVE_INFINITY) return false;
    const cut = await this.#connection.run(
      `SELECT up_to, began_at FROM outbox_runs WHERE at < ? ORDER BY up_to DESC, began_at DESC LIMIT 1`,
      [before],
    );
    const beganAt = cut.rows[0]?.began_at;
    if (beganAt === undefined) return false;
    const { rows } = await this.#connection.run(
      `SELECT o.number, ${this.#dialect.recordedAt} AS recorded_at FROM outbox o, outbox_runs r
       WHERE r.began_at = ? AND ${this.#dialect.isInRun} AND NOT EXISTS (
         SELECT 1 FROM outbox_held h WHERE h.number = o.number AND (h.state IN ('waiting', 'parked') OR h.at >= ?))
       ORDER BY o.number LIMIT ${PURGE_ROWS}`,
      [Number(beganAt), before],
    );
    const numbers = rows.map((row) => Number(row.number));
    const keptSince = rows.reduce((latest, row) => Math.max(latest, (numberOf(row.recorded_at) ?? 0) + 1), 0);
    const list = placeholders(numbers.length);
    await this.#connection.batch([
      { text: 'UPDATE outbox_kept SET kept_since = ? WHERE kept_since < ?', params: [keptSince, keptSince] },
      { text: `DELETE FROM outbox WHERE number IN (${list})`, params: numbers },
      { text: `DELETE FROM outbox_held WHERE number IN (${list})`, params: numbers },
      { text: 'DELETE FROM outbox_runs WHERE at < ? AND began_at <> ?', params: [before, Number(beganAt)] },
    ]);
    return numbers.length === PURGE_ROWS;
  }

  async release(): Promise<void> {
    try {
      await this.#dialect.unlock(this.#connection);
    } catch (error) {
      // A lock that lived on the connection went with it.
      if (!this.#connection.lost) throw error;
    } finally {
      await this.#connection.release();
    }
  }

  /** A reader that knows the end of what it published only when nothing more came says it here. */
  async #closeRun(now: number): Promise<void> {
    const run = this.#runStatement(undefined, now);
    if (!run) return;
    await this.#connection.batch([run.statement]);
    this.#reader.committed(undefined);
    run.done();
  }

  #runStatement(
    upTo: number | undefined,
    now: number,
  ): { readonly statement: SqlStatement; readonly done: () => void } | undefined {
    const end = this.#reader.runEnd(upTo);
    if (!end) return undefined;
    if (this.#runIsOpen && now >= this.#runBeganAt && now - this.#runBeganAt < RUN_MS) {
      const text = `UPDATE outbox_runs SET up_to = ${end.sql}, at = ? WHERE began_at = ?`;
      return { statement: { text, params: [end.value, now, this.#runBeganAt] }, done: () => {} };
    }
    // Names of runs go up also when the clock is set back.
    const beganAt = Math.max(now, this.#runBeganAt + 1);
    const text = `INSERT INTO outbox_runs (began_at, at, up_to) VALUES (?, ?, ${end.sql})`;
    return {
      statement: { text, params: [beganAt, now, end.value] },
      done: () => {
        this.#runBeganAt = beganAt;
        this.#runIsOpen = true;
      },
    };
  }
}

/** A round trip for each would keep the owner busy for seconds where a whole batch waits. */
function* inRuns<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += ROWS_AT_ONCE) yield all.slice(from, from + ROWS_AT_ONCE);
}

function hold(rows: readonly HeldRow[], state: 'waiting' | 'parked', now: number): SqlStatement {
  return {
    text: `INSERT INTO outbox_held (number, lane, state, reason, at) VALUES ${rows.map(() => '(?, ?, ?, ?, ?)').join(', ')}`,
    params: rows.flatMap(({ number, lane, reason }) => [number, lane, state, storable(reason), now]),
  };
}

/** By reason: a channel that is given up has one for all its rows, and what is refused alone had a publish of its own before. */
function* parkWaiting(parked: readonly HeldRow[], now: number): Generator<SqlStatement> {
  for (const [reason, rows] of Map.groupBy(parked, (row) => storable(row.reason)))
    for (const some of inRuns(rows))
      yield {
        text: `UPDATE outbox_held SET state = 'parked', reason = ?, at = ? WHERE number IN (${placeholders(some.length)})`,
        params: [reason, now, ...some.map(({ number }) => number)],
      };
}

/** An engine's words may hold what a text column refuses. */
function storable(reason: string): string {
  return reason.replaceAll('\0', '').slice(0, 2_000);
}

async function viewOf(
  database: SqlDatabase,
  { isPassed, recordedAt }: OutboxDialect,
  now: number,
): Promise<OutboxView> {
  const { rows: fresh } = await database.run(
    `SELECT count(*) AS count, min(recorded_at) AS oldest FROM (
       SELECT ${recordedAt} AS recorded_at FROM outbox o, outbox_mark m WHERE NOT (${isPassed}) LIMIT ${COUNT_LIMIT}) AS fresh`,
  );
  const { rows: held } = await database.run(
    `SELECT state, count(*) AS count FROM outbox_held WHERE state IN ('waiting', 'parked') GROUP BY state`,
  );
  const countOf = (state: string): number => Number(held.find((row) => row.state === state)?.count ?? 0);
  const oldest = numberOf(fresh[0]?.oldest);
  return {
    unpublished: Number(fresh[0]?.count ?? 0),
    oldestAgeMs: oldest === undefined ? undefined : Math.max(0, now - oldest),
    waiting: countOf('waiting'),
    parked: countOf('parked'),
  };
}

async function parkedOf(
  database: SqlDatabase,
  { limit, after = 0 }: { readonly limit: number; readonly after?: number },
): Promise<readonly ParkedRow[]> {
  refuseBadNumbers('a page of parked rows', { limit, after }, { limit: COUNT, after: ORDINAL });
  const { rows } = await database.run(
    `SELECT h.number, o.channel, h.reason, h.at, o.body FROM outbox_held h JOIN outbox o ON o.number = h.number
     WHERE h.state = 'parked' AND h.number > ? ORDER BY h.number LIMIT ${limit}`,
    [after],
  );
  return rows.map((row) => ({
    number: Number(row.number),
    channel: String(row.channel),
    reason: String(row.reason),
    parkedAt: Number(row.at),
    body: String(row.body),
  }));
}

/** Only rows that are parked now; a person may have been quicker. */
async function decide(
  database: SqlDatabase,
  numbers: readonly number[],
  state: 'waiting' | 'discarded',
  now: number,
): Promise<number> {
  let decided = 0;
  for (const some of inRuns(numbers)) {
    const { changes } = await database.run(
      `UPDATE outbox_held SET state = ?, at = ? WHERE state = 'parked' AND number IN (${placeholders(some.length)})`,
      [state, now, ...some],
    );
    decided += changes;
  }
  return decided;
}
