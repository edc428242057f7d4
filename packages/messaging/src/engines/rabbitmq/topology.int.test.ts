/** What the broker has already when a channel is declared: marks made before, other arguments; and what it could never carry. */
import { afterAll, describe, expect, it } from 'vitest';
import type { Channel } from '../../channel.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, eventually, limitPatience } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { ack } from '../../outcome.ts';
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
import type { RabbitNotice } from './options.ts';
import { TopologyBook } from './topology.ts';

const LADDER = 'topology.';

const onRabbit = (use: (fixture: RabbitFixture) => Promise<void>): Promise<void> =>
  withFixture({ ladderPrefix: LADDER }, use);

const startAndStop = (engine: Engine, channel: Channel): Promise<void> =>
  withBus(engine, [channel], async () => {});

/** The words of a refusal to declare the queue so, or undefined. */
const refusalOf = (queue: string, arguments_: Record<string, unknown>): Promise<string | undefined> =>
  onBroker((amqp) =>
    amqp.assertQueue(queue, { durable: true, arguments: arguments_ }).then(
      () => undefined,
      (error: Error) => error.message,
    ),
  );

const REFUSED =
  'a subscription that was refused is not tried again with the others when the connection comes back';
const refusedBesideAnother = (): Promise<void> =>
  onRabbit(async (fixture) => {
    const other = `${fixture.prefix}orders/s/two`;
    const refusals: unknown[] = [];
    const onNotice = (notice: RabbitNotice): void => {
      if (notice.kind !== 'trouble') return;
      if ((notice.error as { code?: unknown }).code === 'DB_MSG_INVALID_OPTIONS') refusals.push(notice.error);
    };
    await withBus(fixture.engine({ onNotice }), [orders], async (bus) => {
      const got = new Collector<number>();
      const handler = ({ data }: { data: { n: number } }) => {
        got.add(data.n);
        return ack();
      };
      await bus.subscribe(orders, { name: 'one', handler }).started;
      expect(await refusalOf(other, { 'x-queue-type': 'classic' })).toBeUndefined();
      await expect(bus.subscribe(orders, { name: 'two', handler }).started).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
      expect(await fixture.breakConnections?.()).toBeGreaterThan(0);
      await eventually(
        async () => {
          await bus.publish(orders, { n: 1 }).catch(() => {});
          // Seen when it is told: what it keeps away would only be waited for in vain.
          expect(refusals).toEqual([]);
          return got.values;
        },
        ({ length }) => length > 0,
        'a message handled by the other subscription',
      );
    });
    await onBroker((amqp) => amqp.deleteQueue(other));
  });

// A healthy engine needs a tenth of it.
limitPatience(10_000);

describe.skipIf(rabbitUrl === undefined)(
  'what is declared on RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it('the number of partitions is on a quorum queue, and one that was made before as a classic queue is replaced', () =>
      onRabbit(async (fixture) => {
        const mark = `${fixture.prefix}in.order/partitions`;
        const quorum = { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000, 'x-max-length': 4 };
        expect(await refusalOf(mark, { 'x-max-length': 4 })).toBeUndefined();
        // The control: as it is, it is no quorum queue.
        expect(await refusalOf(mark, quorum)).toContain('PRECONDITION');
        await startAndStop(fixture.open(), inOrder);
        expect(await refusalOf(mark, quorum)).toBeUndefined();
        await startAndStop(fixture.open(), inOrder);
      }));

    it.each([
      ['a mark made before', { 'x-max-length': 8 }],
      ['a mark of today', { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000, 'x-max-length': 8 }],
    ])('%s with another number of partitions is refused and stays', (_, arguments_) =>
      onRabbit(async (fixture) => {
        const mark = `${fixture.prefix}in.order/partitions`;
        expect(await refusalOf(mark, arguments_)).toBeUndefined();
        await expect(startAndStop(fixture.open(), inOrder)).rejects.toMatchObject({
          code: 'DB_MSG_INVALID_OPTIONS',
          retryable: false,
        });
        expect(await refusalOf(mark, arguments_)).toBeUndefined();
        await onBroker((amqp) => amqp.deleteQueue(mark));
      }),
    );

    it('a queue that comes back with other arguments: told, asked for less and less often, and read when it is put right', () =>
      onRabbit(async (fixture) => {
        const notices = new Collector<RabbitNotice>();
        const troubles = (): readonly RabbitNotice[] =>
          notices.values.filter(({ kind }) => kind === 'trouble');
        const queue = `${fixture.prefix}orders/s/one`;
        const engine = fixture.engine({ onNotice: (notice) => notices.add(notice) });
        await withBus(engine, [orders], async (bus) => {
          const got = new Collector<number>();
          const handler = ({ data }: { data: { n: number } }) => {
            got.add(data.n);
            return ack();
          };
          await bus.subscribe(orders, { name: 'one', handler }).started;
          expect(troubles()).toEqual([]);
          // The engine makes it again after 50 ms, which may be before it is made here.
          await eventually(
            () =>
              onBroker(async (amqp) => {
                await amqp.deleteQueue(queue);
                await amqp.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'classic' } });
              }).then(
                () => true,
                () => false,
              ),
            (isMade) => isMade,
            'a queue with other arguments',
          );
          await eventually(
            async () => troubles().length,
            (count) => count >= 5,
            'five troubles',
          );
          expect(troubles()[0]).toMatchObject({ error: { code: 'DB_MSG_INVALID_OPTIONS' } });
          await onBroker((amqp) => amqp.deleteQueue(queue));
          await eventually(
            async () => {
              await bus.publish(orders, { n: 1 }).catch(() => {});
              return got.values;
            },
            ({ length }) => length > 0,
            'a message handled',
          );
          // 50, 100, 200, 400, 800 ms ...: as many as fit into the longest of these waits would be hundreds.
          expect(troubles().length).toBeLessThan(20);
        });
      }));

    it.each([REFUSED])('%s', async () => {
      await expect(refusedBesideAnother()).resolves.toBeUndefined();
    });

    registerControls(it, 'rabbitmq', [
      {
        defect: 'what was refused stays remembered',
        caughtBy: REFUSED,
        healthy: refusedBesideAnother,
        async defective() {
          const { remember } = TopologyBook.prototype;
          TopologyBook.prototype.remember = function (topology) {
            remember.call(this, topology);
            return () => {};
          };
          try {
            await refusedBesideAnother();
          } finally {
            TopologyBook.prototype.remember = remember;
          }
        },
      },
    ]);

    it('takes a subscription with more in its hands than AMQP can say', () =>
      onRabbit(async (fixture) => {
        await withBus(fixture.open(), [orders], async (bus) => {
          const got = new Collector<number>();
          await bus.subscribe(orders, {
            name: 'one',
            concurrency: 100,
            batch: { max: 2_000 },
            handler: (messages) => {
              for (const { data } of messages) got.add(data.n);
              return messages.map(() => ack());
            },
          }).started;
          await bus.publish(orders, { n: 1 });
          expect(await got.waitFor(1)).toEqual([1]);
        });
      }));

    it('refuses a name whose queue fits and whose way over the delay ladder does not, before anything is made', () =>
      onRabbit(async (fixture) => {
        const longest =
          255 - 48 - encodeURIComponent(`${fixture.prefix}orders/s/`).replaceAll('.', '%2E').length;
        const subscribe = (name: string): Promise<void> =>
          withBus(fixture.open(), [orders], async (bus) => {
            await bus.subscribe(orders, { name, handler: () => ack() }).started;
          });
        await subscribe('n'.repeat(longest));
        await expect(subscribe('n'.repeat(longest + 1))).rejects.toMatchObject({
          code: 'DB_MSG_INVALID_OPTIONS',
        });
      }));
  },
);
