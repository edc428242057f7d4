/**
 * The outbox on PostgreSQL.
 *
 * Why not `number > last`: a row's number is drawn when it is written, and a transaction that drew an earlier one may commit later. A reader that goes by
 * numbers then passes the row before it exists, and it is lost. So rows are read in windows of transactions: `[from, to)` with `to` =
 * `pg_snapshot_xmin`, below which every transaction has ended. Nothing can still appear in such a window.
 *
 * Why by number inside a window, and not by `(xid, number)` as is often told: a transaction gets its xid at its first write, which may be
 * long before it locks the key whose change it tells of; its number is drawn under that lock. By xid two changes of one key can be turned round. For the same reason a row is not
 * kept under its transaction's xid but under the last one that had ended when it was appended, if that is later (`append.ts`): a change that waited for a lock is then never in an
 * earlier window than the one it waited for.
 *
 * The price: a transaction that has written anything in this database holds back what was committed after it began until it ends. One of another database does so only
 * until it is asked for (`horizon.ts`), which the reader does when rows are there and the whole server's horizon lets none through.
 */
import { MessagingError } from '../../errors.ts';
import type { OutboxStore } from '../../outbox-store.ts';
import { type FreshReader, type OutboxDialect, ROW_COLUMNS, storedRowOf } from '../outbox-dialect.ts';
import type { SqlConnection } from '../../sql.ts';
import { type PostgresPool, postgresSql } from '../../sql/postgres.ts';
import { sqlOutbox } from '../sql-outbox.ts';
import { DOORBELL } from './append.ts';
import { LOCAL_XMIN } from './horizon.ts';

export const postgresDialect: OutboxDialect = {
  messageId: 'o.message_id',
  recordedAt: 'o.recorded_at',
  messageIdIn: (list) => `o.message_id IN (${list})`,
  isPassed: '(o.xid < m.window_from OR (o.xid < m.window_to AND o.number <= m.number))',
  isInRun: 'o.xid < r.up_to',
  heldBack: {
    sql: `o.xid >= ${LOCAL_XMIN}`,
    why: 'a transaction of its database that is older than its commit is still open (pg_stat_activity.backend_xid, pg_prepared_xacts), and until it ends nothing is published past it',
  },
  async lock(connection) {
    const { rows } = await connection.run(`SELECT pg_try_advisory_lock(${LOCK}) AS taken`);
    return rows[0]?.taken === true;
  },
  async unlock(connection) {
    await connection.run(`SELECT pg_advisory_unlock(${LOCK})`);
  },
  openReader,
};

/** Of this outbox's schema in this database. */
const LOCK = `hashtext('doorbuster outbox'), hashtext(coalesce(current_schema(), ''))`;

/** The outbox in the pool's database. The relay takes one connection out of the pool and keeps it. */
export function postgresOutbox(pool: PostgresPool): OutboxStore {
  return sqlOutbox(postgresSql(pool), postgresDialect);
}

interface Window {
  readonly from: string;
  readonly to: string;
  /** Rows up to this number are read. */
  readonly number: number;
}

async function openReader(connection: SqlConnection): Promise<FreshReader> {
  const { rows } = await connection.run(
    `SELECT window_from::text AS window_from, window_to::text AS window_to, number,
            window_to > pg_snapshot_xmax(pg_current_snapshot()) AS is_foreign FROM outbox_mark`,
  );
  const [mark] = rows;
  if (!mark || mark.is_foreign === true)
    throw new MessagingError(
      'DB_MSG_ENGINE_UNSAFE',
      mark
        ? 'the outbox was copied from another server, whose transactions it names: run postgresOutboxAfterRestore once'
        : 'outbox_mark has no row: run postgresOutboxSchema',
    );
  return new WindowReader(connection, {
    from: String(mark.window_from),
    to: String(mark.window_to),
    number: Number(mark.number),
  });
}

class WindowReader implements FreshReader {
  readonly #connection: SqlConnection;
  /** As stored, or opened since and not stored before something of it is published. */
  #window: Window;
  /** The last read found nothing more in the window. */
  #isDrained = false;
  /** Everything below this xid is published, and a run says so. */
  #told = '0';

  constructor(connection: SqlConnection, window: Window) {
    this.#connection = connection;
    this.#window = window;
  }

  async read(limit: number) {
    const rows = await this.#page(limit);
    this.#isDrained = rows.length === 0;
    if (!this.#isDrained || !(await this.#openNext())) return rows;
    this.#isDrained = false;
    return this.#page(limit);
  }

  advance(upTo: number) {
    const { from, to } = this.#window;
    return [
      {
        text: 'UPDATE outbox_mark SET window_from = ?::xid8, window_to = ?::xid8, number = ?',
        params: [from, to, upTo],
      },
    ];
  }

  runEnd() {
    const value = this.#publishedBelow();
    return value === this.#told ? undefined : { sql: '?::xid8', value };
  }

  committed(upTo: number | undefined): void {
    this.#told = this.#publishedBelow();
    if (upTo !== undefined) this.#window = { ...this.#window, number: upTo };
  }

  /** Windows before this one are through; this one is when a read found nothing more in it. */
  #publishedBelow(): string {
    return this.#isDrained ? this.#window.to : this.#window.from;
  }

  async #page(limit: number) {
    const { from, to, number } = this.#window;
    if (from === to) return [];
    // `coalesce` keeps the planner from sorting the whole window by the index on xid for each page; the primary key is in order already.
    const { rows } = await this.#connection.run(
      `SELECT ${ROW_COLUMNS} FROM outbox o
       WHERE o.number > ? AND coalesce(o.xid, '0'::xid8) >= ?::xid8 AND coalesce(o.xid, '0'::xid8) < ?::xid8
       ORDER BY o.number LIMIT ${limit}`,
      [number, from, to],
    );
    return rows.map(storedRowOf);
  }

  /** The next window begins where this one ends and reaches to the oldest transaction that has not ended. False when nothing is in it. */
  async #openNext(): Promise<boolean> {
    const { next, heldBack } = await this.#lookFor('pg_snapshot_xmin(pg_current_snapshot())');
    const found = next ?? (heldBack ? (await this.#lookFor(LOCAL_XMIN)).next : undefined);
    if (!found) return false;
    this.#window = found;
    return true;
  }

  /** The window up to this transaction, undefined when nothing is in it; and whether anything lies behind it. */
  async #lookFor(xmin: string): Promise<{ readonly next: Window | undefined; readonly heldBack: boolean }> {
    // OFFSET 0: asked once, whatever the planner makes of it. A second answer may be another one, and a window whose end and first row do not belong together passes over rows.
    const { rows } = await this.#connection.run(
      `SELECT b.xmin::text AS xmin, (SELECT min(o.number) FROM outbox o WHERE o.xid >= ?::xid8 AND o.xid < b.xmin) AS first,
              EXISTS (SELECT 1 FROM outbox o WHERE o.xid >= b.xmin) AS held_back
       FROM (SELECT ${xmin} AS xmin OFFSET 0) b`,
      [this.#window.to],
    );
    const [found] = rows;
    if (!found) return { next: undefined, heldBack: false };
    const { first } = found;
    return {
      next:
        first === null
          ? undefined
          : { from: this.#window.to, to: String(found.xmin), number: Number(first) - 1 },
      heldBack: found.held_back === true,
    };
  }
}

/**
 * For a database that was restored from a dump onto another server: its rows name transactions of the old one. Run it once, in a transaction, before a relay
 * or a producer starts there. What was published stays published, the rest is published in the order of its numbers.
 */
export const postgresOutboxAfterRestore = `
UPDATE outbox o SET xid = CASE WHEN (o.xid < m.window_from OR (o.xid < m.window_to AND o.number <= m.number))
  THEN '0'::xid8 ELSE '1'::xid8 END FROM outbox_mark m;
UPDATE outbox_runs SET up_to = '1';
UPDATE outbox_mark SET window_from = '1', window_to = '1', number = 0;
`;

interface ListeningClient {
  query(sql: string): Promise<unknown>;
  on(name: 'notification', listener: (notification: { readonly channel: string }) => void): unknown;
}

/**
 * Calls `ring` when a transaction that appended has committed anywhere. The client is a connection of its own (not one of a transaction-pooling proxy) and stays
 * yours: reconnect it and call this again when it ends. A doorbell may be missed; the sweep of the relay is what finds every row.
 */
export async function listenForPostgresOutbox(client: ListeningClient, ring: () => void): Promise<void> {
  client.on('notification', ({ channel }) => {
    if (channel === DOORBELL) ring();
  });
  await client.query(`LISTEN ${DOORBELL}`);
}
