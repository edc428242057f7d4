/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** Contracts: refused at the publisher, upcast at the consumer, Avro on the wire, and the AsyncAPI document of it all. */
import { ack, asyncApiOf, createBus, defineChannel } from '@doorbuster/messaging';
import { avroEncoding } from '@doorbuster/messaging/encodings/avro';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import Type from 'typebox';
import { inFolder, until } from './stage.ts';

const old = defineChannel({
  name: 'order.placed',
  version: 1,
  schema: Type.Object({ orderId: Type.String() }),
});
const orderPlaced = defineChannel({
  name: 'order.placed',
  version: 2,
  schema: Type.Object({ orderId: Type.String(), currency: Type.String() }),
  upcasters: { 1: (data: { orderId: string }) => ({ ...data, currency: 'EUR' }) },
});
const orderPacked = defineChannel({
  name: 'order.packed',
  version: 1,
  schema: Type.Object({ orderId: Type.String(), boxes: Type.Integer({ minimum: 1 }) }),
  encoding: avroEncoding({
    type: 'record',
    name: 'OrderPacked',
    fields: [
      { name: 'orderId', type: 'string' },
      { name: 'boxes', type: 'int' },
    ],
  }),
});

const url = inFolder('bus.db');
const before = createBus({ engine: await engineFromUrl(url), source: '/shop/old' });
before.declare([old]);
await before.start();
await before.publish(old, { orderId: 'A-1' });
await before.stop();

const bus = createBus({ engine: await engineFromUrl(url), source: '/shop' });
bus.declare([orderPlaced, orderPacked]);
const seen: string[] = [];
bus.subscribe(orderPlaced, {
  name: 'mailer',
  handler: ({ data }) => {
    seen.push(`${data.orderId} in ${data.currency}`);
    return ack();
  },
});
bus.subscribe(orderPacked, {
  name: 'shipper',
  handler: ({ data }) => {
    seen.push(`${data.boxes} boxes of ${data.orderId}`);
    return ack();
  },
});
await bus.start();
await bus.publish(orderPacked, { orderId: 'A-1', boxes: 2 });
await until(async () => seen.length === 2);
for (const one of seen.toSorted()) console.log(one);

const refused = await bus.publish(orderPacked, { orderId: 'A-1', boxes: 0 }).catch((error) => error);
console.log(`${refused.code}: ${refused.message}`);
await bus.stop();

const document = asyncApiOf({
  title: 'Shop',
  version: '1.0.0',
  servers: { main: { url: 'kafka://broker:9092' } },
  publishes: [orderPacked],
  subscribes: [{ channel: orderPlaced, name: 'mailer' }],
});
console.log(`AsyncAPI ${document.asyncapi}: ${Object.keys(document.operations).join(', ')}`);
