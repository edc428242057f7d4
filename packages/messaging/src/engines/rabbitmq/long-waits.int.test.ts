/** A wait that is longer than the delay ladder. The test plays the ladder's part: it moves the copy from the rung to the subscription's queue. */
import { afterAll, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../clock.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import type { ChannelSpec, Delivery } from '../../engine.ts';
import { createRabbitFixture, onBroker, rabbitUrl, removeLadder } from './conformance-fixture.ts';

const LADDER = 'long-waits.';
const HOUR_MS = 3_600_000;
const LONGEST_RUNG = `${LADDER}delay/23`;
const spec: ChannelSpec = {
  name: 'orders',
  order: 'none',
  onFailure: 'skip',
  priorityLevels: 1,
  ephemeral: false,
  routing: 'fanout',
  keepMs: undefined,
};

/** What is on the longest rung, to the queue; as the last rung would. */
const moveFromLadder = (queue: string): Promise<void> =>
  onBroker(async (amqp) => {
    const message = await eventually(
      () => amqp.get(LONGEST_RUNG, { noAck: true }),
      (found) => found !== false,
      'the copy on the ladder',
    );
    if (message === false) return;
    amqp.sendToQueue(queue, message.content, { ...message.properties });
    await amqp.waitForConfirms();
  });

const isOnLadder = (): Promise<unknown> =>
  onBroker((amqp) =>
    eventually(
      () => amqp.checkQueue(LONGEST_RUNG),
      ({ messageCount }) => messageCount === 1,
      'the copy on the ladder again',
    ),
  );

describe.skipIf(rabbitUrl === undefined)(
  'waits beyond the ladder of RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it.each(['none', 'key'] as const)(
      'a retry in three days goes round the ladder until it is due (order: %s)',
      async (order) => {
        const fixture = await createRabbitFixture({ ladderPrefix: LADDER });
        let passedMs = 0;
        const clock: Clock = { ...systemClock, now: () => systemClock.now() + passedMs };
        const engine = fixture.engine({ partitions: 1 });
        const connection = await engine.connect({ clock, onFatal: () => {} });
        const queue = `${fixture.prefix}orders/s/one${order === 'key' ? '/0' : ''}`;
        try {
          const subscriptions = [{ channel: 'orders', name: 'one' }];
          await connection.declare({ channels: [{ ...spec, order }], subscriptions });
          const got = new Collector<Delivery>();
          const consumer = await connection.subscribe(
            { channel: 'orders', subscription: 'one', prefetch: 10, leaseMs: 30_000 },
            (deliveries) => deliveries.forEach((one) => got.add(one)),
          );
          const message = {
            id: 'm',
            type: 'orders',
            version: 1,
            source: '/long',
            time: '2026-01-01T00:00:00.000Z',
            data: { n: 1 },
            headers: {},
            ...(order === 'key' ? { key: 'k' } : {}),
          };
          await connection.publish([{ channel: 'orders', message }]);
          const [first] = await got.waitFor(1);
          const dueAt = clock.now() + 72 * HOUR_MS;
          const token = (first as Delivery).token;
          await consumer.settle([{ token, kind: 'retry', dueAt, state: 'state' }]);

          // Nobody is given it, or it would not be on the ladder again; the third round is the last and takes 42 hours.
          await moveFromLadder(queue);
          await isOnLadder();
          passedMs = 30 * HOUR_MS;
          await moveFromLadder(queue);
          await isOnLadder();
          expect(got.values).toHaveLength(1);
          passedMs = 73 * HOUR_MS;
          await moveFromLadder(queue);
          const [, second] = await got.waitFor(2);
          expect(second).toMatchObject({
            message: { id: 'm', data: { n: 1 } },
            state: 'state',
            abandoned: 0,
          });
          await consumer.settle([{ token: (second as Delivery).token, kind: 'ack' }]);
        } finally {
          await connection.close();
          await fixture.destroy();
        }
      },
    );
  },
);
