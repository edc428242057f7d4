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

    async function connect(): Promise<Client> {
      const client = new Client({ connectionString: fixture.address });
      client.on('error', () => {});
      await client.connect();
      clients.push(client);
      return client;
    }
    const numbersOf = (rows: readonly { readonly body: unknown }[]): number[] =>
      rows.map(({ body }) => (JSON.parse(String(body)) as { data: { n: number } }).data.n);

    /** Whatever else writes on this server holds rows back until it has ended. */
    const readable = () =>
      eventually(
        async () => {
          const text = `SELECT coalesce(max(xid) < pg_snapshot_xmin(pg_current_snapshot()), true) AS is_readable
            FROM outbox`;
          return (await pool.query<{ is_readable: boolean }>(text)).rows[0]?.is_readable;
        },
        (isReadable) => isReadable === true,
        'the rows can be read',
      );

    /** The first transaction has its xid early and changes the key late; the second one is in between. Both lock the key before they append. */
    async function crossed(): Promise<void> {
      const first = await connect();
      const second = await connect();
      await first.query('BEGIN');
      await first.query('SELECT pg_current_xact_id()');
      await second.query('BEGIN');
      await second.query(`UPDATE keys SET key = key WHERE key = 'a'`);
      await appendToPostgresOutbox(second, [step(1)]);
      await second.query('COMMIT');
      await first.query(`UPDATE keys SET key = key WHERE key = 'a'`);
      await appendToPostgresOutbox(first, [step(2)]);
      await first.query('COMMIT');
      await readable();
    }

    it('keeps the order in which a key was changed, whatever began first', async () => {
      await crossed();
      const owned = await postgresOutbox(pool).own();
      expect(numbersOf((await owned?.readFresh(10)) ?? [])).toEqual([1, 2]);
      await owned?.release();
    });

    it('control: the order by transaction turns the key round', async () => {
      await crossed();
      const { rows } = await pool.query<{ body: string }>('SELECT body FROM outbox ORDER BY xid, number');
      expect(numbersOf(rows)).toEqual([2, 1]);
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
      await readable();
      const owned = await postgresOutbox(pool).own();
      const [row] = (await owned?.readFresh(1)) ?? [];
      await owned?.record({
        upTo: row?.number,
        waiting: [],
        parked: [],
        published: [],
        now: systemClock.now(),
      });
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
      await readable();
      const adopted = await postgresOutbox(pool).own();
      expect(numbersOf((await adopted?.readFresh(10)) ?? [])).toEqual([2, 3, 4]);
      await adopted?.release();
    });
  },
);
