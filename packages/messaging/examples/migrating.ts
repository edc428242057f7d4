/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** What amqplib, kafkajs, BullMQ and NestJS microservices do, with this toolkit: the right-hand side of the migration guide. */
import { ack, createBus, defineChannel, reply } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import Type from 'typebox';
import { inFolder, until } from './stage.ts';

const did: string[] = [];
const book = async (account: string, cents: number): Promise<void> =>
  void did.push(`booked ${account}:${cents}`);
const resize = async (path: string): Promise<void> => void did.push(`resized ${path}`);

const imageUploaded = defineChannel({
  name: 'image.uploaded',
  version: 1,
  schema: Type.Object({ path: Type.String() }),
  requires: { delay: { maxMs: 86_400_000 }, emulation: ['delay'] },
});
const accountMoved = defineChannel({
  name: 'account.moved',
  version: 1,
  schema: Type.Object({ cents: Type.Integer() }),
  order: 'key',
  requires: { emulation: ['order'] },
});
const sumWanted = defineChannel({
  name: 'sum.wanted',
  version: 1,
  schema: Type.Array(Type.Number()),
  reply: Type.Number(),
});
const logWritten = defineChannel({
  name: 'log.written',
  version: 1,
  schema: Type.Object({ line: Type.String() }),
  requires: { routing: 'topic' },
});

const bus = createBus({
  engine: await engineFromUrl(process.env['BUS_URL'] ?? inFolder('bus.db')),
  source: '/app',
});
bus.declare([imageUploaded, accountMoved, sumWanted]);

bus.subscribe(imageUploaded, {
  name: 'thumbnails',
  concurrency: 10,
  retries: { immediate: 0, delayed: [1_000, 5_000, 30_000] },
  handler: async ({ data }) => {
    await resize(data.path);
    return ack();
  },
});

bus.subscribe(accountMoved, {
  name: 'ledger',
  batch: { max: 100 },
  handler: async (messages) => {
    for (const { key, data } of messages) await book(key ?? '', data.cents);
    return messages.map(() => ack());
  },
});

bus.subscribe(sumWanted, {
  name: 'calculator',
  handler: ({ data }) => reply(data.reduce((sum, one) => sum + one, 0)),
});

await bus.start();
await bus.publish(imageUploaded, { path: 'a.png' }, { delayMs: 20 });
await bus.publish(accountMoved, { cents: 5 }, { key: 'ada' });
const sum = await bus.request(sumWanted, [1, 2, 3], { timeoutMs: 5_000 });
await until(async () => did.length === 2);
for (const one of did.toSorted()) console.log(one);
console.log(`the sum is ${sum}; ${logWritten.name} is routed by ${logWritten.requires.routing}`);
await bus.stop();
