/* oxlint-disable no-console -- an example speaks to the person who runs it */
/**
 * Outbox and inbox on PostgreSQL with `pg`: an order and its message in one transaction, a relay woken by the doorbell, a handler whose effect happens once. Run it
 * with `DATABASE_URL=postgres://... node examples/outbox-postgres.ts`; it works in a schema of its own and drops it.
 */
import { DatabaseSync } from 'node:sqlite';
import {
  createBus,
  createIds,
  createKeyedRelay,
  createOutboxWriter,
  defineChannel,
  handleOnce,
  systemClock,
} from '@doorbuster/messaging';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import {
  appendToPostgresOutbox,
  listenForPostgresOutbox,
  postgresInbox,
  postgresInboxSchema,
  postgresOutbox,
  postgresOutboxSchema,
} from '@doorbuster/messaging/stores/postgres';
import { Client, Pool } from 'pg';
import Type from 'typebox';
import { until } from './stage.ts';

if (!process.env.DATABASE_URL)
  throw new Error('set DATABASE_URL, for instance postgres://localhost/postgres');

const schema = `example_${createIds(systemClock).next().replaceAll('-', '')}`;
const settings = { connectionString: process.env.DATABASE_URL, options: `-c search_path=${schema}` };
const pool = new Pool(settings);
await pool.query(`CREATE SCHEMA ${schema}`);
await pool.query('CREATE TABLE orders (id text PRIMARY KEY, mails integer NOT NULL DEFAULT 0)');

const orderPlaced = defineChannel({
  name: 'order.placed',
  version: 1,
  schema: Type.Object({ orderId: Type.String() }),
});
const bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/shop' });
bus.declare([orderPlaced]);

await pool.query(postgresOutboxSchema);
await pool.query(postgresInboxSchema);

const inbox = postgresInbox(pool);
bus.subscribe(orderPlaced, {
  name: 'mailer',
  handler: (message) =>
    handleOnce({
      inbox,
      subscription: 'mailer',
      message,
      clock: systemClock,
      work: async (tx) => {
        await tx.query('UPDATE orders SET mails = mails + 1 WHERE id = $1', [message.data.orderId]);
      },
    }),
});
await bus.start();

const relay = createKeyedRelay({
  outbox: postgresOutbox(pool),
  bus,
  clock: systemClock,
  keepMs: 7 * 86_400_000,
});
const doorbell = new Client(settings);
await doorbell.connect();
await listenForPostgresOutbox(doorbell, () => relay.wake());
relay.start();

const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });
const client = await pool.connect();
await client.query('BEGIN');
await client.query('INSERT INTO orders (id) VALUES ($1)', ['A-1']);
await appendToPostgresOutbox(client, [write(orderPlaced, { orderId: 'A-1' }, { key: 'A-1' })]);
await client.query('COMMIT');
client.release();

const mails = async () => {
  const { rows } = await pool.query<{ mails: number }>('SELECT mails FROM orders');
  return rows[0]?.mails ?? 0;
};
await until(async () => (await mails()) > 0);
console.log(`mails: ${await mails()}`);

await relay.stop();
await bus.stop();
await doorbell.end();
await pool.query(`DROP SCHEMA ${schema} CASCADE`);
await pool.end();
