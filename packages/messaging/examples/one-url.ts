/* oxlint-disable no-console -- an example speaks to the person who runs it */
/**
 * The same handler on a file, on RabbitMQ, Kafka or Redis: one URL chooses. `BUS_URL=amqp://localhost node examples/one-url.ts`; without it, a file.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ack, createBus, retry } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import { orderPlaced } from './channels.ts';

const folder = mkdtempSync(join(tmpdir(), 'one-url-'));
const done = Promise.withResolvers<void>();

const url = process.env['BUS_URL'] ?? `sqlite:${join(folder, 'bus.db')}`;
const bus = createBus({ engine: await engineFromUrl(url), source: '/shop' });
bus.declare([orderPlaced]);

bus.subscribe(orderPlaced, {
  name: 'mailer',
  retries: { immediate: 0, delayed: [50] },
  handler: (message, { attempt }) => {
    console.log(`attempt ${attempt}: order ${message.data.orderId}`);
    if (attempt === 1) return retry({ reason: 'the mail server is busy' });
    done.resolve();
    return ack();
  },
});

await bus.start();
const confirmation = await bus.publish(orderPlaced, { orderId: 'A-1', total: 12.5 });
console.log(`stored: ${confirmation.durability}`);
await done.promise;
await bus.stop();
rmSync(folder, { recursive: true });
