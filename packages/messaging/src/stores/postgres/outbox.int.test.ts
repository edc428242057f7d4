/** What is peculiar to PostgreSQL: the order inside a window, the doorbell, clients that are not `pg`, a restore onto another server. */
import { Client, Pool } from 'pg';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defineChannel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { eventually, signal } from '../../conformance/fixture.ts';
import type { OutgoingMessage } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { createOutboxWriter } from '../../outbox.ts';
import type { OwnedOutbox } from '../../outbox-store.ts';
import { type StoreFixture, storeChoices } from '../fixture.ts';
import {
  appendToPostgresOutbox,
  listenForPostgresOutbox,
  type PostgresClient,
  postgresOutbox,
  postgresOutboxAfterRestore,
} from './store.ts';

const steps = defineChannel({
  name: 'steps',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  order: 'key',
});
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/test' });
const step = (n: number): OutgoingMessage => write(steps, { n }, { key: 'a' });
const choice = storeChoices.find(({ kind }) => kind === 'postgres');

describe.skipIf(choice?.missing)(
  `outbox on postgres${choice?.missing ? ` (${choice.missing} is not set)` : ''}`,
  () => {
    let fixture: StoreFixture;
    let pool: Pool;
    const clients: Client[] = [];

    beforeEach(async () => {
      fixture = await (choice as (typeof storeChoices)[number]).create();
      pool = new Pool({ connectionString: fixture.address, max: 5 });
      pool.on('error', () => {});
      await pool.query('CREATE TABLE keys (key text PRIMARY KEY)');
      await pool.query(`INSERT INTO keys VALUES ('a')`);
    });
    afterEach(async () => {
      for (const client of clients.splice(0)) await client.end();
      await pool.end();
      await fixture.destroy();
    });

    async function connect(address = fixture.address): Promise<Client> {
      const client = new Client({ connectionString: address });
      client.on('error', () => {});
      await client.connect();
      clients.push(client);
      return client;
    }
    const numbersOf = (rows: readonly { readonly body: unknown }[]): number[] =>
      rows.map(({ body }) => (JSON.parse(String(body)) as { data: { n: number } }).data.n);

    /** A connection whose transaction has its number and has written nothing yet. */
    async function begun(address = fixture.address): Promise<Client> {
      const client = await connect(address);
      await client.query('BEGIN');
      await client.query('SELECT pg_current_xact_id()');
      return client;
    }

    /**
     * The first transaction has its xid early and changes the key late; the second one is in between. Both lock the key before they append. Another one, which has nothing to do with
     * the key, begins between the two. Gives it still open.
     */
    async function crossed(append = appendToPostgresOutbox): Promise<Client> {
      const first = await begun();
      const between = await begun();
      const second = await begun();
      for (const [client, n] of [
        [second, 1],
        [first, 2],
      ] as const) {
        await client.query(`UPDATE keys SET key = key WHERE key = 'a'`);
        await append(client, [step(n)]);
        await client.query('COMMIT');
      }
      return between;
    }
    /**
     * Reads on as a relay does, a window or a part of one at a time, until so many were read. Not with a single read, though nothing of this test is in the way: a transaction of
     * another database, of which this server has many, counts as one of this database for a moment when it begins or ends, and a row that could be read a moment ago waits again.
     */
    async function readAll(
      owned: OwnedOutbox | undefined,
      count: number,
      { page = 10 }: { readonly page?: number } = {},
    ): Promise<readonly number[]> {
      const read: number[] = [];
      const readOn = async (): Promise<number> => {
        const rows = (await owned?.readFresh(page)) ?? [];
        const upTo = rows.at(-1)?.number;
        const now = systemClock.now();
        if (upTo !== undefined) await owned?.record({ upTo, waiting: [], parked: [], published: [], now });
        return read.push(...numbersOf(rows));
      };
      await eventually(readOn, (length) => length >= count, 'the rows are read');
      return read;
    }
    /** What a relay reads while that one is open, of which so many let themselves be read, and then. */
    async function readAround(between: Client, readable: number): Promise<readonly number[]> {
      const owned = await postgresOutbox(pool).own();
      const read = await readAll(owned, readable);
      await between.query('COMMIT');
      const rest = await readAll(owned, 2 - read.length);
      await owned?.release();
      return [...read, ...rest];
    }

    it('keeps the order in which a key was changed, whatever began first and whatever is still open', async () => {
      expect(await readAround(await crossed(), 0)).toEqual([1, 2]);
    });

    it('control: by the transaction that wrote a row, an open one that began in between turns the key round', async () => {
      const between = await crossed(async (client, messages) => {
        await appendToPostgresOutbox(client, messages);
        await client.query(
          'UPDATE outbox SET xid = pg_current_xact_id() WHERE xmin = pg_current_xact_id()::xid',
        );
      });
      expect(await readAround(between, 1)).toEqual([2, 1]);
    });

    /** Why each recorded row is not published. */
    async function reasons(): Promise<readonly (string | undefined)[]> {
      const window = { from: 0, to: Number.MAX_SAFE_INTEGER };
      const { items } = await fixture.store.recorded('shop').page(window, { after: undefined, limit: 10 });
      return items.map(({ reason }) => reason);
    }
    const nothingHoldsItBack = () =>
      eventually(
        reasons,
        (all) => all.length === 1 && all[0] === undefined,
        'the row is held back by nothing',
      );

    it('reads on while a transaction of another database is open', async () => {
      const elsewhere = await begun(process.env.DATABASE_URL);
      const client = await begun();
      await appendToPostgresOutbox(client, [step(1)]);
      await client.query('COMMIT');
      const owned = await postgresOutbox(pool).own();
      await nothingHoldsItBack();
      expect(await readAll(owned, 1)).toEqual([1]);
      const { rows } = await pool.query<{ is_behind: boolean }>(
        'SELECT max(xid) >= pg_snapshot_xmin(pg_current_snapshot()) AS is_behind FROM outbox',
      );
      expect(rows, 'by the horizon of the whole server it would wait').toEqual([{ is_behind: true }]);
      await elsewhere.query('COMMIT');
      await owned?.release();
    });

    it('does not read past an open one of this database, which might still append, and a reconciliation tells it', async () => {
      const here = await begun();
      const client = await begun();
      await appendToPostgresOutbox(client, [step(1)]);
      await client.query('COMMIT');
      const owned = await postgresOutbox(pool).own();
      expect(await owned?.readFresh(10)).toEqual([]);
      expect(await reasons()).toEqual([expect.stringContaining('is still open')]);
      await here.query('COMMIT');
      await nothingHoldsItBack();
      expect(await readAll(owned, 1)).toEqual([1]);
      await owned?.release();
    });

    it('rings the doorbell at the commit, and not for what is rolled back', async () => {
      const rung = signal();
      let rings = 0;
      await listenForPostgresOutbox(await connect(), () => {
        rings += 1;
        rung.fire();
      });
      const client = await connect();
      await client.query('BEGIN');
      await appendToPostgresOutbox(client, [step(1)]);
      await client.query('ROLLBACK');
      await client.query('BEGIN');
      await appendToPostgresOutbox(client, [step(2)], { doorbell: false });
      await client.query('COMMIT');
      await client.query('BEGIN');
      await appendToPostgresOutbox(client, [step(3)]);
      await client.query('COMMIT');
      await rung.fired;
      expect(rings).toBe(1);
    });

    it('takes any client that runs a statement, and refuses it outside of a transaction', async () => {
      const real = await connect();
      const builder: PostgresClient = { query: (sql, values) => real.query(sql, values) };
      await expect(appendToPostgresOutbox(builder, [step(1)])).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
      await expect(appendToPostgresOutbox(pool, [step(1)])).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
      await real.query('BEGIN');
      await appendToPostgresOutbox(builder, [step(2)]);
      await real.query('COMMIT');
      expect((await pool.query('SELECT 1 FROM outbox')).rowCount).toBe(1);
    });

    it('refuses rows of another server until they are adopted, and publishes the rest in order', async () => {
      const client = await connect();
      for (const n of [1, 2, 3]) {
        await client.query('BEGIN');
        await appendToPostgresOutbox(client, [step(n)]);
        await client.query('COMMIT');
      }
      const owned = await postgresOutbox(pool).own();
      expect(await readAll(owned, 1, { page: 1 })).toEqual([1]);
      await owned?.release();
      // As a dump of a server that is far ahead would be.
      await pool.query(`UPDATE outbox SET xid = (xid::text::bigint + 1000000000)::text::xid8`);
      await pool.query(
        `UPDATE outbox_mark SET window_from = (window_from::text::bigint + 1000000000)::text::xid8,
         window_to = (window_to::text::bigint + 1000000000)::text::xid8`,
      );
      await expect(postgresOutbox(pool).own()).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNSAFE' });
      await pool.query(postgresOutboxAfterRestore);
      await client.query('BEGIN');
      await appendToPostgresOutbox(client, [step(4)]);
      await client.query('COMMIT');
      const adopted = await postgresOutbox(pool).own();
      expect(await readAll(adopted, 3)).toEqual([2, 3, 4]);
      await adopted?.release();
    });
  },
);
