/**
 * Projections: tables made from streams. The checkpoint is committed in the transaction of the projection's own changes, so what a killed process had not
 * committed is done again and what it had is not: once in effect, whatever happens in between.
 *
 *   idle --wake or sweep--> reading --events--> one transaction: lock the checkpoint, compare, handle, move it --> reading
 *   reading --none--> idle       anything --failed--> backing off --> reading
 *
 * Several processes may run the same projection; the locked checkpoint lets one batch through and the others look again. A projection is never skipped past an
 * event that it cannot handle: it stays there, and says so in its view.
 *
 * A rebuild is another version beside the live one: it has its own checkpoint, from zero, and writes where its version tells it; `promote` makes it the live one once
 * it has caught up, and `forget` clears the former away. Checkpoint and tables lie in one database; the streams may lie in another.
 */
import { type Clock, systemClock } from '../clock.ts';
import { MessagingError } from '../errors.ts';
import { type Log, safeLog } from '../log.ts';
import { COUNT, DRAIN_MS, refuseBadNumbers, SPAN_MS } from '../sound-numbers.ts';
import { refuseBadNames } from '../sound-text.ts';
import { again, createTables, type SqlDialect, type SqlDatabase, type SqlTransaction } from '../sql.ts';
import { withDefaults } from '../with-defaults.ts';
import { Turns } from '../turns.ts';
import { endsWithin, WorkLoop } from '../work-loop.ts';
import type { RecordedEvent, StreamStore } from './stream-store.ts';

export interface ProjectionOptions<Native = unknown> {
  /** Lower-case, at most 120 characters. */
  readonly name: string;
  /** Of its form: count it up to rebuild beside the live one. */
  readonly version: number;
  readonly streams: Pick<StreamStore, 'readAll'>;
  /** Where its tables and its checkpoint are. */
  readonly sql: SqlDatabase<Native>;
  /** Changes the tables of this version, only through `tx`. In order. May run again after a failure, whose changes are then undone. */
  readonly handle: (tx: SqlTransaction<Native>, events: readonly RecordedEvent[]) => Promise<void>;
  /** Events per transaction. Default 500. */
  readonly batchSize?: number;
  /** Looks by itself this often, ms. Default 1,000. */
  readonly sweepMs?: number;
  /** First wait after a failure, ms; doubled up to 30 times it. Default 200. */
  readonly backOffMs?: number;
  readonly clock?: Clock;
  readonly log?: Log;
}

export interface ProjectionView {
  readonly state: 'new' | 'running' | 'stopped';
  readonly handled: number;
  readonly failures: number;
  /** What it stands at; undefined while it gets on. */
  readonly lastError: string | undefined;
}

export interface Projection {
  /** Creates its checkpoint (and the table of checkpoints) where it is missing. */
  prepare(): Promise<void>;
  /** Handles what is there now; how many that were. Rejects with what `handle` threw; nothing of that batch is stored. */
  catchUp(): Promise<number>;
  /** Follows in the background, through failures. */
  start(): void;
  /** Doorbell: something was appended. */
  wake(): void;
  /**
   * Begins no batch any more and waits for the one that is under way, at most `drainMs` (default 10,000). One that the database does not answer is logged and goes on by itself; it
   * commits with its checkpoint or not at all.
   */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  /** Undefined: from the first event. */
  checkpoint(): Promise<string | undefined>;
  /** Catches up and makes this version the live one; the former goes on until it is stopped. */
  promote(): Promise<void>;
  view(): ProjectionView;
}

const SCHEMA: Readonly<Record<SqlDialect, readonly string[]>> = {
  sqlite: [
    'CREATE TABLE IF NOT EXISTS projections (name TEXT NOT NULL, version INTEGER NOT NULL, checkpoint TEXT NOT NULL, live INTEGER NOT NULL, PRIMARY KEY (name, version)) STRICT',
  ],
  postgres: [
    'CREATE TABLE IF NOT EXISTS projections (name text NOT NULL, version integer NOT NULL, checkpoint text NOT NULL, live integer NOT NULL, PRIMARY KEY (name, version))',
  ],
  mariadb: [
    'CREATE TABLE IF NOT EXISTS projections (name VARCHAR(120) CHARACTER SET ascii NOT NULL, version INT NOT NULL, checkpoint VARCHAR(60) NOT NULL, live INT NOT NULL, PRIMARY KEY (name, version)) ENGINE = InnoDB',
  ],
};
const CREATE: Readonly<Record<SqlDialect, string>> = {
  sqlite: 'INSERT OR IGNORE INTO projections (name, version, checkpoint, live) VALUES (?, ?, ?, 0)',
  postgres:
    'INSERT INTO projections (name, version, checkpoint, live) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING',
  mariadb:
    'INSERT INTO projections (name, version, checkpoint, live) VALUES (?, ?, ?, 0) ON DUPLICATE KEY UPDATE name = name',
};
const SELECT = 'SELECT checkpoint FROM projections WHERE name = ? AND version = ?';
const MOVE = 'UPDATE projections SET checkpoint = ? WHERE name = ? AND version = ?';
/** Before the first: no checkpoint of a store is empty. */
const NONE = '';

const NAME = /^[a-z0-9][a-z0-9._-]{0,119}$/;

/** A page of a store has at most so many. */
const DEFAULT_DRAIN_MS = 10_000;
const RULES = { batchSize: { ...COUNT, to: 10_000 }, sweepMs: SPAN_MS, backOffMs: SPAN_MS } as const;

/** Throws DB_MSG_INVALID_OPTIONS for a bad name, version or number. */
export function createProjection<Native>(options: ProjectionOptions<Native>): Projection {
  if (!NAME.test(options.name) || !Number.isInteger(options.version) || options.version < 1)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `projection "${options.name}" ${options.version}: a name of lower-case letters, digits, dots and dashes, and a version from 1`,
    );
  const defaults = { batchSize: 500, sweepMs: 1_000, backOffMs: 200, clock: systemClock };
  const settings = withDefaults({ ...options, log: safeLog(options.log) }, defaults);
  refuseBadNumbers(`projection "${options.name}"`, settings, RULES);
  return new SqlProjection(settings);
}

/** The version that readers use; undefined before the first `promote`. */
export async function liveProjection(sql: SqlDatabase, name: string): Promise<number | undefined> {
  refuseBadNames('a projection', { 'its name': name });
  const { rows } = await sql.run('SELECT version FROM projections WHERE name = ? AND live = 1', [name]);
  return rows[0] && Number(rows[0]['version']);
}

/** Forgets the checkpoint of a version that is not live any more; its tables are the caller's to drop. Rejects for the live one. */
export async function forgetProjection(sql: SqlDatabase, name: string, version: number): Promise<void> {
  refuseBadNames('a projection', { 'its name': name });
  const text = 'DELETE FROM projections WHERE name = ? AND version = ? AND live = 0';
  if ((await sql.run(text, [name, version])).changes === 0 && (await liveProjection(sql, name)) === version)
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `version ${version} of "${name}" is the live one`);
}

class SqlProjection<Native> implements Projection {
  readonly #options: Required<ProjectionOptions<Native>>;
  readonly #id: readonly [string, number];
  readonly #loop: WorkLoop;
  #handled = 0;

  constructor(options: Required<ProjectionOptions<Native>>) {
    this.#options = options;
    this.#id = [options.name, options.version];
    this.#loop = new WorkLoop({
      ...options,
      step: () => this.#step(),
      onFailure: (error) =>
        options.log.error({ projection: this.#id.join('@'), error }, 'a projection failed'),
    });
  }

  async prepare(): Promise<void> {
    const { sql } = this.#options;
    await createTables(sql, SCHEMA[sql.dialect]);
    await sql.run(CREATE[sql.dialect], [...this.#id, NONE]);
  }

  async checkpoint(): Promise<string | undefined> {
    const stored = await this.#read();
    return stored === NONE ? undefined : stored;
  }

  async catchUp(): Promise<number> {
    const turns = new Turns(this.#options.clock);
    let handled = 0;
    for (;;) {
      const turn = turns.due();
      if (turn) await turn;
      const count = await again(() => this.#batch());
      if (count === 0) return handled;
      handled += count;
      this.#handled += count;
    }
  }

  start(): void {
    this.#loop.start();
  }

  wake(): void {
    this.#loop.wake();
  }

  async stop({ drainMs = DEFAULT_DRAIN_MS }: { readonly drainMs?: number } = {}): Promise<void> {
    refuseBadNumbers('the stop of a projection', { drainMs }, { drainMs: DRAIN_MS });
    const { clock, log } = this.#options;
    if (!(await endsWithin(clock, this.#loop.end(), drainMs)))
      log.warn({ projection: this.#id.join('@') }, 'a projection stops while its last batch is under way');
  }

  async promote(): Promise<void> {
    await this.catchUp();
    const [name, version] = this.#id;
    await again(() =>
      this.#options.sql.transaction(async (tx) => {
        await tx.run('UPDATE projections SET live = 0 WHERE name = ? AND version <> ?', [name, version]);
        await tx.run('UPDATE projections SET live = 1 WHERE name = ? AND version = ?', [name, version]);
      }),
    );
  }

  view(): ProjectionView {
    const { state, failures, isFailing, lastError } = this.#loop;
    return { state, handled: this.#handled, failures, lastError: isFailing ? lastError : undefined };
  }

  async #step(): Promise<boolean> {
    const count = await this.#batch();
    this.#handled += count;
    return count > 0;
  }

  /** How many events; 0 when there is nothing more. A batch that another process did meanwhile is read again. */
  async #batch(): Promise<number> {
    const { sql, streams, batchSize, handle } = this.#options;
    for (;;) {
      const from = await this.#read();
      const events = await streams.readAll(from === NONE ? undefined : from, batchSize);
      const last = events.at(-1);
      if (!last) return 0;
      const done = await sql.transaction(async (tx) => {
        if ((await this.#read(tx)) !== from) return false;
        await handle(tx, events);
        await tx.run(MOVE, [last.checkpoint, ...this.#id]);
        return true;
      });
      if (done) return events.length;
    }
  }

  /** In a transaction it is locked to the commit. */
  async #read(tx?: SqlTransaction<Native>): Promise<string> {
    const { sql } = this.#options;
    const lock = tx && sql.dialect !== 'sqlite' ? ' FOR UPDATE' : '';
    const { rows } = await (tx ?? sql).run(`${SELECT}${lock}`, [...this.#id]);
    const stored = rows[0]?.['checkpoint'];
    if (typeof stored === 'string') return stored;
    throw new MessagingError('DB_MSG_NOT_STARTED', `projection "${this.#id.join('@')}" was never prepared`);
  }
}
