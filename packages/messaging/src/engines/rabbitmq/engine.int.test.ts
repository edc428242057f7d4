/** What is peculiar to RabbitMQ, each promise beside the broker's own behaviour without it. */
import { afterAll, describe, expect, it } from 'vitest';
import type { Channel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { expiring, ranked } from '../../conformance/channels.ts';
import { Collector, eventually, signal } from '../../conformance/fixture.ts';
import type { Delivery, Engine, EngineConnection } from '../../engine.ts';
import type { Message } from '../../message.ts';
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
import { createCutter } from './cutter.ts';
import { createRabbitEngine } from './engine.ts';
import type { QueueType } from './names.ts';
import type { RabbitNotice } from './options.ts';

const LADDER = 'facts.';

const onRabbit = (use: (fixture: RabbitFixture) => Promise<void>): Promise<void> =>
  withFixture({ ladderPrefix: LADDER }, use);

async function withConnection(
  engine: Engine,
  use: (connection: EngineConnection) => Promise<void>,
): Promise<void> {
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  try {
    await use(connection);
  } finally {
    await connection.close();
  }
}

const messageOf = (id: string, extra: Partial<Message> = {}): Message => ({
  id,
  type: orders.name,
  version: 1,
  source: '/facts',
  time: '2026-01-01T00:00:00.000Z',
  data: { n: 1 },
  headers: {},
  ...extra,
});

/** As the broker tells in refusing another type beside the same `others`; a queue that is not there is not made. */
async function typeOf(queue: string, others: object): Promise<string | undefined> {
  await onBroker((amqp) => amqp.checkQueue(queue));
  const other = { durable: true, arguments: { ...others, 'x-queue-type': 'stream' } };
  const refusal: unknown = await onBroker((amqp) => amqp.assertQueue(queue, other)).catch(
    (one: unknown) => one,
  );
  return /'x-queue-type' .*current is '(\w+)'/.exec(String(refusal))?.[1];
}

const plainSpec = {
  name: orders.name,
  order: 'none',
  onFailure: 'skip',
  priorityLevels: 1,
  ephemeral: false,
  routing: 'fanout',
  keepMs: undefined,
} as const;

describe.skipIf(rabbitUrl === undefined)(
  'facts of RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it('a publish that no queue takes is confirmed by the broker and rejected by the engine', () =>
      onRabbit(async (fixture) => {
        await withConnection(fixture.engine({ keepUnsubscribedMs: 0 }), async (connection) => {
          await connection.declare({ channels: [plainSpec], subscriptions: [] });
          await onBroker(async (amqp) => {
            amqp.publish(`${fixture.prefix}orders`, '', Buffer.from('{}'));
            await expect(amqp.waitForConfirms()).resolves.toEqual([undefined]);
          });
          await expect(
            connection.publish([{ channel: 'orders', message: messageOf('a') }]),
          ).rejects.toMatchObject({
            code: 'DB_MSG_UNROUTABLE',
            retryable: true,
          });
        });
      }));

    it('a queue with mixed TTLs holds the short delay behind the long one; the ladder does not', () =>
      onRabbit(async (fixture) => {
        const queue = `${fixture.prefix}mixed`;
        const mixed = await onBroker(async (amqp) => {
          const order = new Collector<string>();
          await amqp.assertQueue(`${queue}.out`);
          await amqp.assertQueue(queue, { deadLetterExchange: '', deadLetterRoutingKey: `${queue}.out` });
          await amqp.consume(`${queue}.out`, (message) => order.add(message?.content.toString() ?? ''));
          amqp.sendToQueue(queue, Buffer.from('long'), { expiration: 600 });
          amqp.sendToQueue(queue, Buffer.from('short'), { expiration: 50 });
          const arrived = [...(await order.waitFor(2))];
          await amqp.deleteQueue(queue);
          await amqp.deleteQueue(`${queue}.out`);
          return arrived;
        });
        expect(mixed).toEqual(['long', 'short']);

        await withConnection(fixture.open(), async (connection) => {
          await connection.declare({
            channels: [plainSpec],
            subscriptions: [{ channel: 'orders', name: 'one' }],
          });
          const got = new Collector<string>();
          await connection.subscribe(
            { channel: 'orders', subscription: 'one', prefetch: 10, leaseMs: 30_000 },
            (deliveries) => deliveries.forEach(({ message }) => got.add(message?.id ?? '')),
          );
          const now = systemClock.now();
          // Far enough apart for a busy machine to publish both before the first is due.
          await connection.publish([{ channel: 'orders', message: messageOf('long'), dueAt: now + 1_500 }]);
          await connection.publish([{ channel: 'orders', message: messageOf('short'), dueAt: now + 50 }]);
          expect(await got.waitFor(2)).toEqual(['short', 'long']);
        });
      }));

    it('the same rung may be waited on again and again', () =>
      onRabbit(async (fixture) => {
        await withBus(fixture.open(), [orders], async (bus) => {
          const attempts = new Collector<number>();
          await bus.subscribe(orders, {
            name: 'one',
            retries: { immediate: 0, delayed: [20, 20, 20, 20, 20] },
            handler: (_, { attempt }) => {
              attempts.add(attempt);
              return attempt < 6 ? retry() : ack();
            },
          }).started;
          await bus.publish(orders, { n: 1 });
          expect(await attempts.waitFor(6)).toEqual([1, 2, 3, 4, 5, 6]);
        });
      }));

    it('what is given back keeps its place; a quorum queue without a delivery limit puts it at the end', () =>
      onRabbit(async (fixture) => {
        const givenBack = (extra: Record<string, unknown>): Promise<readonly string[]> =>
          onBroker(async (amqp) => {
            const queue = `${fixture.prefix}back`;
            await amqp.assertQueue(queue, { arguments: { 'x-queue-type': 'quorum', ...extra } });
            for (const text of ['1', '2', '3']) amqp.sendToQueue(queue, Buffer.from(text));
            await amqp.waitForConfirms();
            const seen = new Collector<string>();
            await amqp.prefetch(1);
            await amqp.consume(queue, (message) => {
              if (!message) return;
              seen.add(message.content.toString());
              if (seen.values.length === 1) amqp.nack(message);
              else amqp.ack(message);
            });
            const order = [...(await seen.waitFor(4))];
            await amqp.deleteQueue(queue);
            return order;
          });
        expect(await givenBack({})).toEqual(['1', '2', '3', '1']);
        expect(await givenBack({ 'x-delivery-limit': 1_000_000 })).toEqual(['1', '1', '2', '3']);
      }));

    it('a slammed connection rejects what is in flight as retryable, comes back with its topology, and loses nothing', () =>
      onRabbit(async (fixture) => {
        const cutter = await createCutter(rabbitUrl ?? '');
        const notices = new Collector<RabbitNotice>();
        const engine = fixture.engine({ url: cutter.url, onNotice: (notice) => notices.add(notice) });
        const connectedCount = (): number => notices.values.filter(({ kind }) => kind === 'connected').length;
        try {
          await withBus(engine, [orders], async (bus) => {
            const got = new Map<string, number>();
            await bus.subscribe(orders, {
              name: 'one',
              concurrency: 8,
              handler: ({ id }) => {
                got.set(id, (got.get(id) ?? 0) + 1);
                return ack();
              },
            }).started;
            const confirmed: string[] = [];
            const rejected: unknown[] = [];
            for (let n = 0; n < 300; n += 1) {
              if (n % 100 === 50) {
                cutter.slam();
                await eventually(
                  async () => connectedCount(),
                  (count) => count >= 2 + ((n - 50) / 100 + 1) * 2,
                  'both connections back',
                );
              }
              // Half of them are in flight when the door is slammed.
              const publishing = Promise.allSettled(
                Array.from({ length: 4 }, () => bus.publish(orders, { n })),
              );
              if (n % 100 === 75) cutter.slam();
              for (const one of await publishing) {
                if (one.status === 'fulfilled') confirmed.push(one.value.id);
                else {
                  rejected.push(one.reason);
                }
              }
              if (n % 100 === 75)
                await eventually(
                  async () =>
                    bus.publish(orders, { n }).then(
                      ({ id }) => confirmed.push(id),
                      () => 0,
                    ),
                  (done) => done > 0,
                  'a publish after the slam',
                );
            }
            expect(rejected.length).toBeGreaterThan(0);
            expect(rejected.filter((one) => (one as { retryable?: boolean }).retryable !== true)).toEqual([]);
            await eventually(
              async () => confirmed.filter((id) => !got.has(id)).length,
              (missing) => missing === 0,
              'every confirmed message handled',
            );
          });
        } finally {
          await cutter.close();
        }
      }));

    it('a queue deleted by mistake is declared again and consumed; what was in it is gone', () =>
      onRabbit(async (fixture) => {
        const notices = new Collector<RabbitNotice>();
        await withBus(
          fixture.engine({ onNotice: (notice) => notice.kind === 'consumerLost' && notices.add(notice) }),
          [orders],
          async (bus) => {
            const got = new Collector<number>();
            const held = signal();
            await bus.subscribe(orders, {
              name: 'one',
              handler: async ({ data }) => {
                got.add(data.n);
                if (data.n === 0) await held.fired;
                return ack();
              },
            }).started;
            for (const n of [0, 1, 2, 3]) await bus.publish(orders, { n });
            await got.waitFor(1);
            await onBroker((amqp) => amqp.deleteQueue(`${fixture.prefix}orders/s/one`));
            await notices.waitFor(1);
            held.fire();
            await eventually(
              async () => {
                await bus.publish(orders, { n: 9 });
                return got.values;
              },
              (values) => values.includes(9),
              'a later message handled',
            );
            expect(got.values).not.toContain(2);
            expect(got.values).not.toContain(3);
          },
        );
      }));

    it('CloudEvents: a foreign client reads ours, and ours reads three foreign dialects', () =>
      onRabbit(async (fixture) => {
        await withBus(fixture.open(), [orders], async (bus) => {
          const got = new Collector<Message>();
          await onBroker(async (amqp) => {
            const { queue } = await amqp.assertQueue('', { exclusive: true });
            await amqp.bindQueue(queue, `${fixture.prefix}orders`, '');
            const seen = new Collector<{
              headers: Record<string, unknown>;
              id: unknown;
              type: unknown;
              text: string;
            }>();
            await amqp.consume(queue, (message) => {
              const { headers = {}, messageId, contentType } = message?.properties ?? {};
              seen.add({
                headers,
                id: messageId,
                type: contentType,
                text: message?.content.toString() ?? '',
              });
            });
            const { id } = await bus.publish(
              orders,
              { n: 7 },
              { correlationId: 'c', headers: { tenant: 't' } },
            );
            const [one] = await seen.waitFor(1);
            expect(one).toMatchObject({
              id,
              type: 'application/json',
              text: '{"n":7}',
              headers: {
                cloudEvents_specversion: '1.0',
                cloudEvents_id: id,
                cloudEvents_type: 'orders',
                cloudEvents_source: '/rabbit',
                cloudEvents_correlationid: 'c',
                cloudEvents_tenant: 't',
              },
            });
            await bus.subscribe(orders, {
              name: 'one',
              handler: (message) => {
                got.add(message);
                return ack();
              },
            }).started;
            for (const prefix of ['cloudEvents_', 'cloudEvents:'])
              amqp.publish(`${fixture.prefix}orders`, '', Buffer.from('{"n":8}'), {
                contentType: 'application/json',
                headers: {
                  [`${prefix}specversion`]: '1.0',
                  [`${prefix}id`]: `foreign ${prefix}`,
                  [`${prefix}type`]: 'orders',
                  [`${prefix}source`]: '/else',
                },
              });
            const structured = {
              specversion: '1.0',
              id: 'structured',
              type: 'orders',
              source: '/else',
              data: { n: 8 },
            };
            amqp.publish(`${fixture.prefix}orders`, '', Buffer.from(JSON.stringify(structured)), {
              contentType: 'application/cloudevents+json',
            });
            await got.waitFor(4 - (got.values.some((message) => message.id === id) ? 0 : 1));
          });
          expect(got.values.map(({ id }) => id)).toEqual(
            expect.arrayContaining(['foreign cloudEvents_', 'foreign cloudEvents:', 'structured']),
          );
          const foreign = got.values.filter(({ id }) => /foreign|structured/.test(id));
          expect(foreign.map(({ data }) => data)).toEqual(foreign.map(() => ({ n: 8 })));
        });
      }));

    it('headers and histories beyond 64 KiB travel in the body', () =>
      onRabbit(async (fixture) => {
        await withBus(fixture.open(), [orders], async (bus) => {
          const got = new Collector<[number, number]>();
          await bus.subscribe(orders, {
            name: 'one',
            retries: { immediate: 0, delayed: Array.from({ length: 30 }, () => 0) },
            handler: ({ headers }, { attempt }) => {
              got.add([attempt, headers.long?.length ?? 0]);
              return attempt < 30 ? retry({ reason: 'x'.repeat(2_000) }) : ack();
            },
          }).started;
          await bus.publish(orders, { n: 1 }, { headers: { long: 'y'.repeat(100_000) } });
          const all = await got.waitFor(30);
          expect(all.at(-1)).toEqual([30, 100_000]);
        });
      }));

    it('a message above the limit is refused before it is sent', () =>
      onRabbit(async (fixture) => {
        await withConnection(fixture.engine({ maxMessageBytes: 100 }), async (connection) => {
          await connection.declare({ channels: [plainSpec], subscriptions: [] });
          const message = messageOf('big', { data: 'x'.repeat(200) });
          await expect(connection.publish([{ channel: 'orders', message }])).rejects.toMatchObject({
            code: 'DB_MSG_MESSAGE_TOO_LARGE',
          });
        });
      }));

    it('another number of partitions is refused, because two would disagree where a key goes', () =>
      onRabbit(async (fixture) => {
        await withBus(fixture.engine({ partitions: 4 }), [inOrder], async () => {});
        await expect(
          withBus(fixture.engine({ partitions: 8 }), [inOrder], async () => {}),
        ).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
      }));

    it('order per key holds when the process that had the partitions leaves in the middle', () =>
      onRabbit(async (fixture) => {
        const got = new Collector<string>();
        const handler = ({ data, key }: { data: { n: number }; key?: string }): ReturnType<typeof ack> => {
          got.add(`${key}:${data.n}`);
          return ack();
        };
        await withBus(fixture.open(), [inOrder], async (second) => {
          await withBus(fixture.open(), [inOrder], async (first) => {
            await first.subscribe(inOrder, { name: 'one', concurrency: 4, handler }).started;
            await second.subscribe(inOrder, { name: 'one', concurrency: 4, handler }).started;
            for (let n = 0; n < 60; n += 1)
              for (const key of ['a', 'b', 'c']) await second.publish(inOrder, { n }, { key });
            await got.waitFor(20);
          });
          for (const key of ['a', 'b', 'c']) await second.publish(inOrder, { n: 60 }, { key });
          await eventually(
            async () => new Set(got.values).size,
            (count) => count === 183,
            'all handled by the one that stayed',
          );
        });
        for (const key of ['a', 'b', 'c']) {
          const mine = got.values.filter((one) => one.startsWith(key));
          expect(mine.filter((one, index) => mine.indexOf(one) === index)).toEqual(
            Array.from({ length: 61 }, (_, n) => `${key}:${n}`),
          );
        }
      }));

    it('a retry that keeps its lane keeps its state when the process is gone before it is due', () =>
      onRabbit(async (fixture) => {
        const attempts = new Collector<number>();
        const failed = signal();
        await withBus(fixture.open(), [inOrder], async (bus) => {
          await bus.subscribe(inOrder, {
            name: 'one',
            // Long enough to be seen before it is due.
            retries: { immediate: 0, delayed: [1_500] },
            handler: (_, { attempt }) => {
              attempts.add(attempt);
              failed.fire();
              return retry();
            },
          }).started;
          await bus.publish(inOrder, { n: 1 }, { key: 'a' });
          await failed.fired;
          await eventually(
            () => bus.view(),
            ({ channels }) => channels[0]?.subscriptions[0]?.delayed === 1,
            'the retry put off',
          );
        });
        await withBus(fixture.open(), [inOrder], async (bus) => {
          bus.subscribe(inOrder, {
            name: 'one',
            handler: (_, { attempt }) => {
              attempts.add(attempt);
              return ack();
            },
          });
          expect(await attempts.waitFor(2)).toEqual([1, 2]);
        });
      }));

    it('a classic queue cannot count hand-outs, and says so', () =>
      onRabbit(async (fixture) => {
        await withConnection(fixture.engine({ queueType: 'classic' }), async (connection) => {
          await connection.declare({
            channels: [plainSpec],
            subscriptions: [{ channel: 'orders', name: 'one' }],
          });
          const got = new Collector<Delivery>();
          await connection.subscribe(
            { channel: 'orders', subscription: 'one', prefetch: 1, leaseMs: 50 },
            (deliveries) => deliveries.forEach((one) => got.add(one)),
          );
          await connection.publish([{ channel: 'orders', message: messageOf('a') }]);
          const seen = await got.waitFor(2);
          expect(seen.map(({ abandoned }) => abandoned).slice(0, 2)).toEqual([undefined, undefined]);
        });
      }));

    it('queues are quorum queues, classic where that is asked for and on channels with priorities', () =>
      onRabbit(async (fixture) => {
        const madeFor = async (
          channel: Channel,
          {
            ending = '',
            others = {},
            ...options
          }: { ending?: string; others?: object; queueType?: QueueType },
        ) => {
          await withBus(fixture.engine(options), [channel], async (bus) => {
            await bus.subscribe(channel, { name: 'one', handler: () => ack() }).started;
          });
          return typeOf(`${fixture.prefix}${channel.name}/s/one${ending}`, others);
        };
        const keyed = { ending: '/0', others: { 'x-single-active-consumer': true } };
        const byPriority = { others: { 'x-max-priority': 2 } };
        expect(await madeFor(orders, {})).toBe('quorum');
        expect(await madeFor(inOrder, keyed)).toBe('quorum');
        expect(await madeFor(ranked, byPriority)).toBe('classic');
        expect(await madeFor(ranked, { ...byPriority, queueType: 'quorum' })).toBe('classic');
        expect(await madeFor(expiring, { queueType: 'classic' })).toBe('classic');
      }));

    it('quorum queues of this version refuse priorities', () =>
      onRabbit(async (fixture) => {
        await expect(
          onBroker((amqp) =>
            amqp.assertQueue(`${fixture.prefix}ranked`, {
              arguments: { 'x-queue-type': 'quorum', 'x-max-priority': 3 },
            }),
          ),
        ).rejects.toThrow(/x-max-priority/);
      }));

    it('leads the messages of a topic and of a headers exchange of others into a channel', () =>
      onRabbit(async (fixture) => {
        const topic = `${fixture.prefix}their.topic`;
        const headers = `${fixture.prefix}their.headers`;
        const engine = fixture.engine({
          routes: [
            { channel: 'orders', exchange: topic, type: 'topic', pattern: 'order.*' },
            {
              channel: 'orders',
              exchange: headers,
              type: 'headers',
              arguments: { 'x-match': 'all', region: 'north' },
            },
          ],
        });
        await withBus(engine, [orders], async (bus) => {
          const got = new Collector<string>();
          await bus.subscribe(orders, {
            name: 'one',
            handler: ({ id }) => {
              got.add(id);
              return ack();
            },
          }).started;
          await onBroker(async (amqp) => {
            const event = (id: string): Buffer =>
              Buffer.from(
                JSON.stringify({ specversion: '1.0', id, type: 'orders', source: '/t', data: { n: 1 } }),
              );
            amqp.publish(topic, 'invoice.paid', event('no'));
            amqp.publish(topic, 'order.paid', event('by topic'));
            amqp.publish(headers, '', event('no'), { headers: { region: 'south' } });
            amqp.publish(headers, '', event('by headers'), { headers: { region: 'north' } });
            await amqp.waitForConfirms();
          });
          expect([...(await got.waitFor(2))].sort()).toEqual(['by headers', 'by topic']);
        });
      }));
  },
);

describe.skipIf(!rabbitUrl)('a broker that refuses (set RABBITMQ_URL to run it)', () => {
  const connectTo = (change: (url: URL) => void): Promise<EngineConnection> => {
    const url = new URL(rabbitUrl ?? '');
    change(url);
    return createRabbitEngine({ url: url.toString() }).connect({ clock: systemClock, onFatal: () => {} });
  };

  it('the credentials: that is no broker out of reach', async () => {
    await expect(connectTo((url) => void (url.password = 'wrong'))).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_REFUSED',
      retryable: false,
      message: expect.stringContaining('refuses the credentials'),
    });
  });

  it('the virtual host, which is named', async () => {
    await expect(connectTo((url) => void (url.pathname = '/no-such-host'))).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_REFUSED',
      message: expect.stringContaining('virtual host "no-such-host"'),
    });
  });
});
