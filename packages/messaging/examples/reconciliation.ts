/* oxlint-disable no-console -- an example speaks to the person who runs it */
/**
 * A broker confirms five orders and loses two of them; reconciliation finds the two and brings them back. The broker is the embedded engine, whose file is
 * deleted; producer and consumer are two SQLite databases. Run it with `node examples/reconciliation.ts`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import {
  type Bus,
  createBus,
  createIds,
  createKeyedRelay,
  createOutboxWriter,
  createSqlDecisions,
  defineChannel,
  handleOnce,
  reconcile,
  systemClock,
} from '@doorbuster/messaging';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
import { sqliteStore } from '@doorbuster/messaging/stores/sqlite';
import Type from 'typebox';

const orderPlaced = defineChannel({
  name: 'order.placed',
  version: 1,
  schema: Type.Object({ orderId: Type.String() }),
});
const folder = mkdtempSync(join(tmpdir(), 'reconciliation-'));
const shop = sqliteStore(new DatabaseSync(join(folder, 'shop.db')));
const mailer = sqliteStore(new DatabaseSync(join(folder, 'mailer.db')));
await shop.prepare();
await mailer.prepare();
await mailer.inbox.transaction(async (db) => db.exec('CREATE TABLE mails (order_id TEXT NOT NULL) STRICT'));

const decisions = createSqlDecisions({ sql: shop.sql });
await decisions.prepare();

const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });
/** Here the order itself would be stored, in the same transaction. */
const order = (orderId: string): Promise<void> =>
  shop.inbox.transaction((db) => shop.append(db, [write(orderPlaced, { orderId }, { key: orderId })]));

let mails = 0;
let mailed = Promise.withResolvers<void>();

async function openBus(consumes: boolean): Promise<Bus> {
  const engine = createEmbeddedEngine({ path: join(folder, 'bus.db') });
  const bus = createBus({ engine, source: '/shop', decisions });
  bus.declare([orderPlaced]);
  if (consumes)
    bus.subscribe(orderPlaced, {
      name: 'mailer',
      handler: async (message) => {
        const outcome = await handleOnce({
          inbox: mailer.inbox,
          subscription: 'mailer',
          message,
          clock: systemClock,
          work: async (db) =>
            void db.prepare('INSERT INTO mails (order_id) VALUES (?)').run(message.data.orderId),
        });
        mails += 1;
        if (mails === 3 || mails === 5) mailed.resolve();
        return outcome;
      },
    });
  await bus.start();
  return bus;
}

async function publish(bus: Bus): Promise<void> {
  const relay = createKeyedRelay({ outbox: shop.outbox, bus, clock: systemClock, keepMs: 86_400_000 });
  relay.start();
  await relay.stop();
  console.log(`confirmed: ${relay.view().published}`);
}

const sources = {
  recorded: [shop.recorded('shop')],
  settled: [mailer.settled({ subscription: 'mailer', channels: [orderPlaced.name] })],
  clock: systemClock,
  graceMs: 0,
  decisions: [decisions],
};

// Three orders arrive.
let bus = await openBus(true);
for (const orderId of ['A-1', 'A-2', 'A-3']) await order(orderId);
await publish(bus);
await mailed.promise;
await bus.stop();

// Two more are confirmed while the mailer is away, and the broker's disk is wiped.
bus = await openBus(false);
for (const orderId of ['A-4', 'A-5']) await order(orderId);
await publish(bus);
await bus.stop();
for (const file of ['bus.db', 'bus.db-wal', 'bus.db-shm']) rmSync(join(folder, file), { force: true });

// The mailer is back, and nothing comes.
mailed = Promise.withResolvers<void>();
bus = await openBus(true);
const found = await reconcile({ ...sources, engine: bus });
console.log(`settled: ${found.counts.settled}, lost: ${found.counts.lost}`);
const lost = found.keys.map(({ key, findings }) => `${key} is ${findings[0]?.kind}`);
console.log(lost.join(', '));

const repaired = await reconcile({ ...sources, engine: bus, repair: { bus } });
console.log(`published again: ${repaired.repair.republished}`);
await mailed.promise;
const after = await reconcile({ ...sources, engine: bus });
console.log(`settled: ${after.counts.settled}, clean: ${after.clean}`);

await bus.stop();
rmSync(folder, { recursive: true });
