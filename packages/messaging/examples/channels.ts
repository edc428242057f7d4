/**
 * The contracts of a small shop, in a module of their own: its services import them, `doorbuster-bus --channels` reads them, and
 * `doorbuster-bus asyncapi` writes the document of it. `subscriptions` is what exists on the engine, which RabbitMQ cannot list itself.
 */
import { defineChannel } from '@doorbuster/messaging';
import Type from 'typebox';

export const orderPlaced = defineChannel({
  name: 'order.placed',
  version: 1,
  schema: Type.Object({ orderId: Type.String(), total: Type.Number({ minimum: 0 }) }),
});

export const subscriptions = [{ channel: orderPlaced, name: 'mailer' }];

export const mailWanted = defineChannel({
  name: 'mail.wanted',
  version: 1,
  schema: Type.Object({ to: Type.String(), text: Type.String() }),
});

/** Asked with `bus.request`, answered with `reply(...)`. */
export const priceAsked = defineChannel({
  name: 'price.asked',
  version: 1,
  schema: Type.Object({ sku: Type.String() }),
  reply: Type.Object({ cents: Type.Integer({ minimum: 0 }) }),
});

export const publishes = [orderPlaced, mailWanted, priceAsked];

export const service = { title: 'Shop', version: '1.0.0', servers: { main: { url: 'amqp://broker:5672' } } };
