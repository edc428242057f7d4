/* oxlint-disable no-console -- an example speaks to the person who runs it */
/**
 * A bus without a server: publish, handle, fail once, try again. Run it with `node examples/quickstart.ts`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ack, createBus, defineChannel, retry } from '@doorbuster/messaging';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
import Type from 'typebox';

const orderPlaced = defineChannel({
  name: 'order.placed',
  version: 1,
  schema: Type.Object({ orderId: Type.String(), total: Type.Number({ minimum: 0 }) }),
});

const folder = mkdtempSync(join(tmpdir(), 'quickstart-'));
const bus = createBus({ engine: createEmbeddedEngine({ path: join(folder, 'bus.db') }), source: '/shop' });
bus.declare([orderPlaced]);

const done = Promise.withResolvers<void>();
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
