/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** What can be given to a publish (a delay, a priority, an expiry, an id, a key, headers), many messages at once, and reading again what was settled. */
import { ack, createBus, defineChannel, systemClock } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import Type from 'typebox';
import { inFolder, until } from './stage.ts';

const reminderWanted = defineChannel({
  name: 'reminder.wanted',
  version: 1,
  schema: Type.Object({ text: Type.String() }),
  requires: { delay: { maxMs: 30 * 86_400_000 }, ttl: true },
});
const ticketOpened = defineChannel({
  name: 'ticket.opened',
  version: 1,
  schema: Type.Object({ title: Type.String() }),
  requires: { priority: { levels: 3 } },
});
const priceChanged = defineChannel({
  name: 'price.changed',
  version: 1,
  schema: Type.Object({ cents: Type.Integer() }),
  requires: { replay: { keepMs: 7 * 86_400_000 } },
});

const bus = createBus({ engine: await engineFromUrl(inFolder('bus.db')), source: '/shop' });
bus.declare([reminderWanted, ticketOpened, priceChanged]);

const told: string[] = [];
bus.subscribe(reminderWanted, {
  name: 'phone',
  handler: ({ data }) => {
    told.push(data.text);
    return ack();
  },
});
await bus.start();

const now = systemClock.now();
await bus.publish(reminderWanted, { text: 'wait here' }, { expiresAt: now + 60_000 });
await bus.publish(reminderWanted, { text: 'the doors are open' }, { delayMs: 60 });
await bus.publish(
  reminderWanted,
  { text: 'the doors open in a minute' },
  { delayMs: 20, expiresAt: now + 10 },
);
const expired = async () => {
  const { channels } = await bus.view();
  return channels.find(({ name }) => name === 'reminder.wanted')?.subscriptions[0]?.expired;
};
await until(async () => told.length === 2 && (await expired()) === 1);
console.log(`reminders: ${told.join(', then ')}; ${await expired()} expired`);

const confirmations = await bus.publishBatch(ticketOpened, [
  { data: { title: 'a typing error' } },
  { data: { title: 'slow search' }, options: { priority: 1 } },
  { data: { title: 'nobody can pay' }, options: { priority: 2, id: 'ticket-3' } },
]);
console.log(`${confirmations.length} stored, the last as ${confirmations[2]?.id}`);

bus.subscribe(ticketOpened, {
  name: 'desk',
  batch: { max: 50 },
  handler: (tickets) => {
    for (const { data } of tickets) told.push(data.title);
    return tickets.map(() => ack());
  },
});
await until(async () => told.length === 5);
console.log(`tickets: ${told.slice(2).join(', ')}`);

const seen: string[] = [];
const chart = () =>
  bus.subscribe(priceChanged, {
    name: 'chart',
    handler: ({ key, data, headers }) => {
      seen.push(`${key} ${data.cents} from ${headers['shop']}`);
      return ack();
    },
  });
const charting = chart();
await bus.publish(priceChanged, { cents: 120 }, { key: 'pen', headers: { shop: 'seoul' } });
await until(async () => seen.length === 1);

await charting.stop();
await bus.rewind(priceChanged, 'chart', 'earliest');
await chart().started;
await until(async () => seen.length === 2);
console.log(`prices: ${seen.join(', again ')}`);
await bus.stop();
