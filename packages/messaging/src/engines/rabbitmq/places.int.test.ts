/** Places of others, and ways through the broker that the suite does not know: existing queues and exchanges, late routing, headers, a look at partitions. */
import type { GetMessage } from 'amqplib';
import { afterAll, describe, expect, it } from 'vitest';
import Type from 'typebox';
import { createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, eventually, settleIn } from '../../conformance/fixture.ts';
import { ack, retry } from '../../outcome.ts';
import {
  onBroker,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
  inOrder,
  orders,
  withFixture,
  withBus,
} from './conformance-fixture.ts';
import { Publisher } from './publisher.ts';
import { once } from './testing/once.ts';
import { type Method, withDefect } from './wire-defects.ts';

const LADDER = 'places.';
const THEIR_QUEUE = 'their-queue';

const schema = Type.Object({ n: Type.Integer() });
const byTopic = defineChannel({
  name: 'by.topic',
  version: 1,
  schema,
  requires: { routing: 'topic', delay: { maxMs: 60_000 }, emulation: ['delay'] },
});
const byHeaders = defineChannel({
  name: 'by.headers',
  version: 1,
  schema,
  requires: { routing: 'headers', delay: { maxMs: 60_000 }, emulation: ['delay'] },
});

const onRabbit = (use: (fixture: RabbitFixture) => Promise<void>): Promise<void> =>
  withFixture({ ladderPrefix: LADDER }, use);

const EXISTING =
  'an existing queue is consumed with retries and dead letters, and published to; it is never declared or deleted';
const onExistingQueue = (): Promise<void> =>
  onRabbit(async (fixture) => {
    const queue = `${fixture.prefix}${THEIR_QUEUE}`;
    await onBroker((amqp) =>
      amqp.assertQueue(queue, { durable: true, arguments: { 'x-max-length': 1_000 } }),
    );
    const engine = fixture.engine({ existing: { orders: { queue } } });
    try {
      await withBus(engine, [orders], async (bus) => {
        const got = new Collector<string>();
        await bus.subscribe(orders, {
          name: 'one',
          retries: { immediate: 0, delayed: [20] },
          handler: ({ data, source }, { attempt }) => {
            got.add(`${source} ${data.n} attempt ${attempt}`);
            return data.n === 1 && attempt === 1 ? retry() : ack();
          },
        }).started;
        await onBroker(async (amqp) => {
          const event = { specversion: '1.0', id: 'f', type: 'orders', source: '/theirs', data: { n: 1 } };
          amqp.sendToQueue(queue, Buffer.from(JSON.stringify(event)), {
            contentType: 'application/cloudevents+json',
          });
          amqp.sendToQueue(queue, Buffer.from('no event'));
          await amqp.waitForConfirms();
        });
        await got.waitFor(2);
        await bus.publish(orders, { n: 2 });
        expect([...(await got.waitFor(3))].toSorted()).toEqual([
          '/rabbit 2 attempt 1',
          '/theirs 1 attempt 1',
          '/theirs 1 attempt 2',
        ]);
        const [letter] = await eventually(
          () => bus.deadLetters.list(),
          (found) => found.length === 1,
          'the dead letter of what is no event',
        );
        expect(letter?.raw).toBe('no event');
        await expect(
          bus.subscribe(orders, { name: 'two', handler: () => ack() }).started,
        ).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
      });
      expect((await onBroker((amqp) => amqp.checkQueue(queue))).messageCount).toBe(0);
    } finally {
      await onBroker((amqp) => amqp.deleteQueue(queue));
    }
  });
const onExistingQueueOnce = once(onExistingQueue);

const FORGOTTEN =
  'an existing queue is not forgotten under its consumers, and a retry comes back; without them it is, and what still waits goes to the lost of the ladder';
const onForgotten = (): Promise<void> =>
  onRabbit(async (fixture) => {
    const queue = `${fixture.prefix}${THEIR_QUEUE}`;
    await onBroker((amqp) => amqp.assertQueue(queue, { durable: true }));
    const engine = fixture.engine({ existing: { orders: { queue } } });
    const forget = async (): Promise<void> => {
      const bus = createBus({ engine, source: '/forgets' });
      bus.declare([orders]);
      try {
        await bus.start({ forget: [{ channel: 'orders', name: 'one' }] });
      } finally {
        await bus.stop();
      }
    };
    const lost = (): Promise<number> =>
      onBroker(async (amqp) => (await amqp.checkQueue(`${LADDER}delay/lost`)).messageCount);
    try {
      await withBus(engine, [orders], async (bus) => {
        const got = new Collector<string>();
        await bus.subscribe(orders, {
          name: 'one',
          retries: { immediate: 0, delayed: [300, 3_000] },
          handler: ({ data }, { attempt }) => {
            got.add(`${data.n} attempt ${attempt}`);
            return retry();
          },
        }).started;
        await bus.publish(orders, { n: 1 });
        await got.waitFor(1);
        await expect(forget()).rejects.toMatchObject({ code: 'DB_MSG_SUBSCRIPTION_BUSY', retryable: true });
        expect(await got.waitFor(2)).toEqual(['1 attempt 1', '1 attempt 2']);
        // The last retry is on its way when nothing of it is out.
        await eventually(
          async () => (await bus.view()).channels[0]?.subscriptions[0]?.inFlight,
          (count) => count === 0,
          'the second attempt settled',
        );
      });
      const before = await lost();
      await forget();
      await eventually(lost, (count) => count === before + 1, 'the second retry among what is lost');
      expect((await onBroker((amqp) => amqp.checkQueue(queue))).messageCount).toBe(0);
    } finally {
      await onBroker((amqp) => amqp.deleteQueue(queue));
    }
  });

/** No queue is said to have consumers. */
const withoutConsumers = (real: Method): Method =>
  async function checkQueue(this: unknown, ...args: unknown[]) {
    return { ...((await Reflect.apply(real, this, args)) as object), consumerCount: 0 };
  } as Method;

/** By the name of the channel, as into a channel of ours. */
async function toItsChannel(run: () => Promise<void>): Promise<void> {
  const { publish } = Publisher.prototype;
  Publisher.prototype.publish = function (exchange, routingKey, parcel) {
    const isTheirs = exchange === '' && routingKey.endsWith(THEIR_QUEUE);
    const key = isTheirs ? routingKey.replace(THEIR_QUEUE, orders.name) : routingKey;
    return publish.call(this, exchange, key, parcel);
  };
  try {
    await run();
  } finally {
    Publisher.prototype.publish = publish;
  }
}

describe.skipIf(rabbitUrl === undefined)(
  'places and ways on RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it.each([EXISTING])('%s', async () => {
      await expect(onExistingQueueOnce()).resolves.toBeUndefined();
    });

    registerControls(it, 'rabbitmq', [
      {
        defect: 'publishes to an existing queue by the name of its channel',
        caughtBy: EXISTING,
        healthy: onExistingQueueOnce,
        defective: () => toItsChannel(onExistingQueue),
      },
      {
        defect: 'does not ask who consumes an existing queue',
        caughtBy: FORGOTTEN,
        healthy: onForgotten,
        defective: () => withDefect('checkQueue', withoutConsumers, onForgotten),
      },
    ]);

    it('an existing topic exchange is published to and bound to; one that is not there is refused by name', () =>
      onRabbit(async (fixture) => {
        const exchange = `${fixture.prefix}their.topic`;
        const engine = () => fixture.engine({ existing: { 'by.topic': { exchange } } });
        await expect(withBus(engine(), [byTopic], async () => {})).rejects.toMatchObject({
          code: 'DB_MSG_INVALID_OPTIONS',
        });
        await onBroker((amqp) => amqp.assertExchange(exchange, 'topic', { durable: true }));
        await withBus(engine(), [byTopic], async (bus) => {
          const got = new Collector<number>();
          await bus.subscribe(byTopic, {
            name: 'one',
            bindings: ['order.#'],
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          }).started;
          await onBroker(async (amqp) => {
            const event = {
              specversion: '1.0',
              id: 'f',
              type: 'by.topic',
              source: '/theirs',
              data: { n: 1 },
            };
            amqp.publish(exchange, 'order.paid', Buffer.from(JSON.stringify(event)));
            await amqp.waitForConfirms();
          });
          await bus.publish(byTopic, { n: 2 }, { routingKey: 'order.sent.late' });
          await expect(bus.publish(byTopic, { n: 3 }, { routingKey: 'bill' })).rejects.toMatchObject({
            code: 'DB_MSG_UNROUTABLE',
          });
          expect(new Set(await got.waitFor(2))).toEqual(new Set([1, 2]));
        });
        await onBroker((amqp) => amqp.deleteExchange(exchange));
      }));

    it('a delayed message is routed by its key or headers when it is due', () =>
      onRabbit(async (fixture) => {
        await withBus(fixture.open(), [byTopic, byHeaders], async (bus) => {
          const got = new Collector<string>();
          const handler =
            (name: string) =>
            ({ data }: { data: { n: number } }) => {
              got.add(`${name} ${data.n}`);
              return ack();
            };
          await bus.subscribe(byTopic, { name: 'orders', bindings: ['order.*'], handler: handler('orders') })
            .started;
          await bus.subscribe(byTopic, {
            name: 'bills',
            bindings: ['bill.*', 'end'],
            handler: handler('bills'),
          }).started;
          const north = { match: 'all', headers: { region: 'north' } } as const;
          await bus.subscribe(byHeaders, { name: 'north', bindings: [north], handler: handler('north') })
            .started;
          await bus.publish(byTopic, { n: 1 }, { routingKey: 'order.paid', delayMs: 60 });
          await bus.publish(byTopic, { n: 2 }, { routingKey: 'bill.paid', delayMs: 30 });
          await bus.publish(byHeaders, { n: 3 }, { headers: { region: 'north' }, delayMs: 30 });
          await bus.publish(byHeaders, { n: 4 }, { headers: { region: 'south' }, delayMs: 10 });
          await got.waitFor(3);
          await bus.publish(byTopic, { n: 5 }, { routingKey: 'end', delayMs: 60 });
          await got.waitFor(4);
          expect(got.values.toSorted()).toEqual(['bills 2', 'bills 5', 'north 3', 'orders 1']);
        });
      }));

    it('headers that are too large for a table are refused by name where the broker routes by them', () =>
      onRabbit(async (fixture) => {
        await withBus(fixture.open(), [byHeaders], async (bus) => {
          const headers = { region: 'north', long: 'y'.repeat(70_000) };
          await expect(bus.publish(byHeaders, { n: 1 }, { headers })).rejects.toMatchObject({
            code: 'DB_MSG_MESSAGE_TOO_LARGE',
          });
        });
      }));

    it('a look at the partitions of a keyed subscription neither takes nor counts', () =>
      onRabbit(async (fixture) => {
        await withBus(fixture.open(), [inOrder], async (bus) => {
          await settleIn(bus.subscribe(inOrder, { name: 'one', handler: () => ack() }));
          for (let n = 0; n < 6; n += 1) await bus.publish(inOrder, { n }, { key: `k${n % 3}` });
          const seen = async (): Promise<unknown> =>
            new Set((await bus.peek(inOrder, 'one')).map(({ message }) => JSON.stringify(message?.data)));
          const all = new Set([0, 1, 2, 3, 4, 5].map((n) => JSON.stringify({ n })));
          expect(await seen()).toEqual(all);
          expect(await seen()).toEqual(all);
          const got = new Collector<string>();
          await bus.subscribe(inOrder, {
            name: 'one',
            handler: ({ key, data }, { attempt }) => {
              got.add(`${key} ${data.n} attempt ${attempt}`);
              return ack();
            },
          }).started;
          expect([...(await got.waitFor(6))].toSorted()).toEqual(
            [0, 1, 2, 3, 4, 5].map((n) => `k${n % 3} ${n} attempt 1`).toSorted(),
          );
        });
      }));

    it('bytes of another encoding keep their media type for a foreign client', () =>
      onRabbit(async (fixture) => {
        const encoded = defineChannel({
          name: 'encoded',
          version: 1,
          schema,
          encoding: {
            contentType: 'application/x-test',
            encode: (data) => Buffer.from(`n=${(data as { n: number }).n}`),
            decode: (bytes) => ({ n: Number(Buffer.from(bytes).toString().slice(2)) }),
          },
        });
        await withBus(fixture.open(), [encoded], async (bus) => {
          const got = new Collector<number>();
          await bus.subscribe(encoded, {
            name: 'one',
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          }).started;
          await onBroker(async (amqp) => {
            const { queue } = await amqp.assertQueue('', { exclusive: true });
            await amqp.bindQueue(queue, `${fixture.prefix}encoded`, '');
            await bus.publish(encoded, { n: 7 });
            const message = (await amqp.get(queue)) as GetMessage;
            expect(message.properties.contentType).toBe('application/x-test');
            expect(message.content.toString()).toBe('n=7');
            const { headers } = message.properties;
            amqp.publish(`${fixture.prefix}encoded`, '', Buffer.from('n=8'), {
              contentType: 'application/x-test',
              headers: { ...headers, cloudEvents_id: 'foreign' },
            });
            await amqp.waitForConfirms();
          });
          expect(await got.waitFor(2)).toEqual([7, 8]);
        });
      }));
  },
);
