/** What is done to a broker of the test's own: killed under load, connections closed by its operator, an alarm, a short patience with consumers. */
import { expect, it } from 'vitest';
import type { ConsumeMessage } from 'amqplib';
import { type Clock, systemClock } from '../../clock.ts';

import { registerControls } from '../../conformance/controls.ts';
import {
  Collector,
  eventually,
  limitPatience,
  patience,
  settleIn,
  signal,
} from '../../conformance/fixture.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { ack, deadLetter } from '../../outcome.ts';
import {
  blocking,
  inOrder,
  onBroker,
  orders,
  type RabbitFixture,
  withBus,
  withFixture as withFixtureAt,
} from './conformance-fixture.ts';
import { LONGEST_ANSWER_MS } from './answered.ts';
import { RabbitConsumer } from './consumer.ts';
import { countOf, NOTHING, patientCountOf } from './counting.ts';
import type { RabbitNotice } from './options.ts';
import { closeAllConnections, restart, setAlarm, setConsumerTimeout } from './own-broker.ts';
import { describeOnOwnBroker } from './testing/on-own-broker.ts';
import { once } from './testing/once.ts';
import { type Method, withDefect } from './wire-defects.ts';

/** `consumer_timeout` of the broker where a case shortens it, and how often a channel then looks at its time. */
const LIMIT_MS = 2_000;
const TICK_MS = 250;
/** What is lost waits for others that are lost in the same moment. */
const REOPENED_MS = 1_000;
const PATIENCE_MS = patience();
const VAIN_MS = 2_000;

const OUTLASTED =
  'a handler longer than consumer_timeout: what its consumer has comes again and is counted once, and the rest goes on';
const WILL_OUTLASTED = 'a last will that is lent for longer than consumer_timeout is left anew';
/** Who wants to be lent another is refused. */
const onlyTheFirstWill = (real: Method): Method => {
  let wills = 0;
  return function consume(this: unknown, queue: string, ...others: readonly unknown[]) {
    if (queue.includes('/will/') && wills++ > 0) return Promise.reject(new Error('one will is enough'));
    return Reflect.apply(real, this, [queue, ...others]);
  } as Method;
};

const abortOf = (lostLease: AbortSignal): Promise<void> =>
  new Promise((resolve) => lostLease.addEventListener('abort', () => resolve()));

describeOnOwnBroker('a RabbitMQ of its own', (own) => {
  const withFixture = (use: (fixture: RabbitFixture) => Promise<void>): Promise<void> =>
    withFixtureAt({ url: own.url, restartServer: () => restart(own.broker) }, use);

  async function withLimit(limitMs: number, run: () => Promise<void>): Promise<void> {
    await setConsumerTimeout(own.broker, { limitMs, tickMs: Math.min(TICK_MS, limitMs / 4) });
    try {
      await run();
    } finally {
      await setConsumerTimeout(own.broker, { limitMs: 1_800_000, tickMs: 60_000 });
    }
  }

  it('a server that is killed under load loses nothing (case of the suite)', async () => {
    const found = conformanceCases.filter(({ name }) =>
      name.startsWith('a server that is killed under load'),
    );
    expect(found).toHaveLength(1);
    await withFixture(async (fixture) => found[0]?.run(fixture));
  });

  it('connections that the operator closes under load come back, and nothing confirmed is lost', () =>
    withFixture((fixture) =>
      withBus(fixture.engine({ url: own.url }), [orders, inOrder], async (bus) => {
        const got = new Collector<string>();
        const handler = ({ id }: { id: string }) => {
          got.add(id);
          return ack();
        };
        await bus.subscribe(orders, { name: 'one', concurrency: 8, handler }).started;
        await bus.subscribe(inOrder, { name: 'one', concurrency: 8, handler }).started;
        const confirmed: string[] = [];
        const rejected: unknown[] = [];
        const closing = closeAllConnections(own.broker);
        let isClosed = false;
        void closing.finally(() => {
          isClosed = true;
        });
        for (let n = 0; n < 200 || !isClosed; n += 1) {
          const key = `k${n % 5}`;
          const both = [bus.publish(orders, { n }), bus.publish(inOrder, { n }, { key })];
          for (const one of await Promise.allSettled(both)) {
            if (one.status === 'fulfilled') confirmed.push(one.value.id);
            else rejected.push(one.reason);
          }
          await eventually(
            () =>
              bus.publish(orders, { n }).then(
                ({ id }) => confirmed.push(id),
                // It is the one that the closing met as often as the two above.
                (error: unknown) => {
                  rejected.push(error);
                  return 0;
                },
              ),
            (count) => count > 0,
            'a publish',
          );
        }
        await closing;
        expect(rejected.length).toBeGreaterThan(0);
        expect(rejected.filter((one) => (one as { retryable?: boolean }).retryable !== true)).toEqual([]);
        await eventually(
          async () => {
            const seen = new Set(got.values);
            return confirmed.filter((id) => !seen.has(id)).length;
          },
          (missing) => missing === 0,
          'every confirmed message handled',
        );
      }),
    ));

  it('an alarm rejects what is published at once, consumers go on, and publishing is back when it is over', () =>
    withFixture(async (fixture) => {
      const notices = new Collector<RabbitNotice['kind']>();
      const engine = fixture.engine({ url: own.url, onNotice: ({ kind }) => notices.add(kind) });
      await withBus(engine, [orders], async (bus) => {
        const got = new Collector<number>();
        const goOn = signal();
        await bus.subscribe(orders, {
          name: 'one',
          handler: async ({ data }) => {
            await goOn.fired;
            got.add(data.n);
            return ack();
          },
        }).started;
        await bus.publish(orders, { n: 1 });
        await setAlarm(own.broker, true);
        try {
          // The broker tells a connection when it next sends.
          const refused = await eventually(
            () =>
              bus.publish(orders, { n: 2 }).then(
                () => undefined,
                (error: unknown) => error,
              ),
            (error) => error !== undefined,
            'a publish refused',
          );
          expect(refused).toMatchObject({ code: 'DB_MSG_ENGINE_BLOCKED', retryable: true });
          goOn.fire();
          await got.waitFor(1);
        } finally {
          await setAlarm(own.broker, false);
        }
        await eventually(
          async () => notices.values,
          (kinds) => kinds.includes('unblocked'),
          'the end of the alarm',
        );
        await bus.publish(orders, { n: 3 });
        await eventually(
          async () => got.values,
          (values) => values.includes(3),
          'the message after the alarm',
        );
      });
    }));

  /** Two ends by the broker's limit, in the time of one: of a consumer without order and of one whose key is blocked. */
  const outlasted = (limitMs: number, { isVain = false } = {}): Promise<void> =>
    withLimit(limitMs, () =>
      withFixture(async (fixture) => {
        const ends = new Collector<string>();
        const blockedEnds = new Collector<string>();
        const onNotice = (notice: RabbitNotice): void => {
          if (notice.kind === 'consumerLost')
            (notice.channel === orders.name ? ends : blockedEnds).add(notice.subscription);
        };
        const engine = fixture.engine({ url: own.url, onNotice });
        await withBus(engine, [orders, blocking], async (bus) => {
          const told = new Collector<string>();
          const tell = (n: number, attempt: number): void => told.add(`${n} attempt ${attempt}`);
          await bus.subscribe(orders, {
            name: 'one',
            leaseMs: 900,
            // The third is lent and in no hands.
            concurrency: 2,
            retries: { abandoned: 2 },
            handler: async ({ data }, { attempt, signal: lostLease }) => {
              tell(data.n, attempt);
              if (data.n === 1 || (data.n === 2 && attempt === 1)) await abortOf(lostLease);
              return ack();
            },
          }).started;
          const behind = new Collector<string>();
          await bus.subscribe(blocking, {
            name: 'one',
            handler: ({ data }, { attempt }) => {
              if (data.n === 0) return deadLetter('stops its key');
              behind.add(`${data.n} attempt ${attempt}`);
              return ack();
            },
          }).started;
          for (const n of [0, 1, 2]) await bus.publish(blocking, { n }, { key: 'k' });
          for (const n of [1, 2, 3]) await bus.publish(orders, { n }, { id: `orders ${n}` });

          await ends.waitFor(1, 'ends');
          if (isVain) limitPatience(VAIN_MS);
          await told.waitFor(5);
          await bus.publish(orders, { n: 4 });
          await told.waitFor(6);
          expect([...told.values].sort()).toEqual([
            '1 attempt 1',
            '1 attempt 2',
            '2 attempt 1',
            '2 attempt 2',
            '3 attempt 2',
            '4 attempt 1',
          ]);

          await Promise.all([ends.waitFor(2, 'ends'), blockedEnds.waitFor(2, 'ends of what waits')]);
          const letters = await eventually(
            () => bus.deadLetters.list({ channel: orders.name }),
            ({ length }) => length > 0,
            'a dead letter',
          );
          expect(letters).toMatchObject([
            { messageId: 'orders 1', reason: expect.stringContaining('never settled') },
          ]);
          expect(told.values).toHaveLength(6);
          expect(behind.values).toEqual([]);
          expect(await bus.deadLetters.discard({ channel: blocking.name })).toMatchObject({ moved: 1 });
          // Each was out of the queue at both ends, and in no hands: it is counted once.
          expect(await behind.waitFor(2)).toEqual(['1 attempt 2', '2 attempt 2']);
        });
      }),
    );
  const outlastedOnce = once(() => outlasted(LIMIT_MS));

  // By itself too: a control brings nobody into a situation (scripts/engines/count.ts).
  it.each([OUTLASTED])('%s', async () => {
    await expect(outlastedOnce()).resolves.toBeUndefined();
  });

  it('a queue whose leader is busy is counted by the broker as empty and without consumers (control), and not here', () =>
    onBroker(async (channel) => {
      const { queue } = await channel.assertQueue('busy', { arguments: { 'x-queue-type': 'quorum' } });
      channel.sendToQueue(queue, Buffer.from('one'));
      channel.sendToQueue(queue, Buffer.from('two'));
      await channel.waitForConfirms();
      await channel.prefetch(1);
      await channel.consume(queue, () => {});
      const counting = { clock: systemClock, channel, queue };
      const held = { messageCount: 1, consumerCount: 1 };
      expect(await countOf(counting)).toEqual(held);
      await own.broker.evaluate(`sys:suspend(whereis('%2F_${queue}')).`);
      expect(await channel.checkQueue(queue)).toMatchObject(NOTHING);
      expect(await countOf(counting)).toBeUndefined();
      const counted = patientCountOf(counting, PATIENCE_MS);
      await own.broker.evaluate(`sys:resume(whereis('%2F_${queue}')).`);
      expect(await counted).toEqual(held);
    }, own.url));

  it('in an alarm a consumer with order per key begins, and works off what is there', () =>
    withFixture(async (fixture) => {
      await withBus(fixture.engine({ url: own.url }), [inOrder], async (bus) => {
        await settleIn(bus.subscribe(inOrder, { name: 'one', handler: () => ack() }));
        for (const n of [1, 2]) await bus.publish(inOrder, { n }, { key: 'k' });
      });
      await setAlarm(own.broker, true);
      try {
        await withBus(fixture.engine({ url: own.url }), [inOrder], async (bus) => {
          const got = new Collector<number>();
          await bus.subscribe(inOrder, {
            name: 'one',
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          }).started;
          expect(await got.waitFor(2)).toEqual([1, 2]);
          await eventually(
            async () => (await bus.view()).channels[0]?.subscriptions[0],
            (seen) => seen?.ready === 0 && seen.inFlight === 0,
            'the acknowledgements',
          );
        });
      } finally {
        await setAlarm(own.broker, false);
      }
    }));

  it('a queue that is lost while its new connection still waits for another one is brought back', () =>
    withFixture(async (fixture) => {
      const notices = new Collector<string>();
      const onNotice = (notice: RabbitNotice): void => {
        if (notice.kind === 'consumerLost') notices.add(`lost ${notice.channel}`);
        if (notice.kind === 'connected') notices.add(`connected to ${notice.connection}`);
      };
      const isBack = (): boolean =>
        notices.values.filter((one) => one === 'connected to consume').length === 2;
      // The new connection waits for the silent queue for as long as the test wants it to.
      const held = new Set<() => void>();
      const clock: Clock = {
        ...systemClock,
        setTimer: (ms, fire) => {
          if (ms !== LONGEST_ANSWER_MS) return systemClock.setTimer(ms, fire);
          held.add(fire);
          return () => held.delete(fire);
        },
      };
      const engine = fixture.engine({ url: own.url, onNotice });
      await withBus(
        engine,
        [orders, blocking],
        async (bus) => {
          const got = new Collector<number>();
          const handler = ({ data }: { readonly data: { readonly n: number } }) => {
            got.add(data.n);
            return ack();
          };
          await bus.subscribe(orders, { name: 'one', handler }).started;
          await bus.subscribe(blocking, { name: 'one', handler: () => ack() }).started;
          const leader = `whereis('%2F_${fixture.prefix}blocking/s/one/0')`;
          const publish = (n: number): Promise<boolean> =>
            bus.publish(orders, { n }).then(
              () => true,
              () => false,
            );
          await own.broker.evaluate(`sys:suspend(${leader}).`);
          try {
            await closeAllConnections(own.broker);
            await eventually(
              () => publish(1),
              (isConfirmed) => isConfirmed,
              'a publish on the new connection',
            );
            await got.waitFor(1);
            const lostBefore = notices.values.filter((one) => one === 'lost orders').length;
            await onBroker((amqp) => amqp.deleteQueue(`${fixture.prefix}orders/s/one`), own.url);
            await eventually(
              async () => notices.values.filter((one) => one === 'lost orders').length,
              (count) => count > lostBefore,
              'its loss',
            );
            const since = systemClock.monotonic();
            await eventually(
              async () => systemClock.monotonic() - since,
              (ms) => ms > REOPENED_MS,
              'the time in which it would be opened again on a connection that is up',
            );
            // Lost on a connection that is up it would be another case.
            expect(isBack()).toBe(false);
          } finally {
            await own.broker.evaluate(`sys:resume(${leader}).`);
            for (const fire of held) fire();
          }
          await eventually(
            () => publish(2),
            (isConfirmed) => isConfirmed,
            'a publish to the queue, which is there again',
          );
          expect(await got.waitFor(2)).toEqual([1, 2]);
        },
        clock,
      );
    }));

  it('what a view could not count is told as partial', () =>
    withFixture((fixture) =>
      withBus(fixture.engine({ url: own.url }), [orders], async (bus) => {
        await bus.subscribe(orders, { name: 'one', handler: () => ack() }).started;
        const partial = async () => (await bus.view()).channels[0]?.subscriptions[0]?.partial;
        expect(await partial()).not.toContain('ready');
        const leader = `whereis('%2F_${fixture.prefix}orders/s/one')`;
        await own.broker.evaluate(`sys:suspend(${leader}).`);
        try {
          expect(await partial()).toContain('ready');
        } finally {
          await own.broker.evaluate(`sys:resume(${leader}).`);
        }
        expect(await partial()).not.toContain('ready');
      }),
    ));

  /** It is lent and never settled. What is carried out a second time has been left a second time. */
  const willOutlasted = (): Promise<void> =>
    withLimit(LIMIT_MS / 4, () =>
      withFixture((fixture) =>
        withBus(fixture.engine({ url: own.url }), [inOrder], async (bus) => {
          await onBroker(async (amqp) => {
            const ended = new Collector<string>();
            const { queue } = await amqp.assertQueue('', { exclusive: true });
            await amqp.bindQueue(queue, `${fixture.prefix}/hints`, '');
            const onHint = (hint: ConsumeMessage | null): void => {
              const text = hint?.content.toString() ?? '';
              if (text.includes('"ended"')) ended.add(text);
            };
            await amqp.consume(queue, onHint, { noAck: true });
            await bus.subscribe(inOrder, { name: 'one', handler: () => ack() }).started;
            await ended.waitFor(2, 'last wills');
          }, own.url);
        }),
      ),
    );
  const willOutlastedOnce = once(willOutlasted);

  it.each([WILL_OUTLASTED])('%s', async () => {
    await expect(willOutlastedOnce()).resolves.toBeUndefined();
  });

  registerControls(it, 'rabbitmq', [
    {
      defect: 'it is left once for each connection',
      caughtBy: WILL_OUTLASTED,
      healthy: willOutlastedOnce,
      async defective() {
        limitPatience(VAIN_MS);
        try {
          await withDefect('consume', onlyTheFirstWill, willOutlasted, own.url);
        } finally {
          limitPatience(PATIENCE_MS);
        }
      },
    },
    {
      defect: 'a channel that the broker closed is not opened anew',
      caughtBy: OUTLASTED,
      healthy: outlastedOnce,
      async defective() {
        const { open } = RabbitConsumer.prototype;
        const opened = new WeakSet<RabbitConsumer>();
        RabbitConsumer.prototype.open = async function (model, hintQueue) {
          if (opened.has(this)) return;
          opened.add(this);
          await open.call(this, model, hintQueue);
        };
        try {
          await outlasted(LIMIT_MS / 4, { isVain: true });
        } finally {
          RabbitConsumer.prototype.open = open;
          limitPatience(PATIENCE_MS);
        }
      },
    },
  ]);

  it('with its usual limit the same broker lets a handler of that length finish (control)', () =>
    withFixture((fixture) =>
      withBus(fixture.engine({ url: own.url }), [orders], async (bus) => {
        const attempts = new Collector<number>();
        const settled = new Collector<number>();
        const since = systemClock.monotonic();
        await bus.subscribe(orders, {
          name: 'one',
          leaseMs: 900,
          handler: async ({ data }, { attempt }) => {
            attempts.add(attempt);
            if (data.n === 1)
              await eventually(
                async () => systemClock.monotonic() - since,
                (ms) => ms > LIMIT_MS + 4 * TICK_MS,
                'the time that the shorter limit would have taken',
              );
            settled.add(data.n);
            return ack();
          },
        }).started;
        await bus.publish(orders, { n: 1 });
        await bus.publish(orders, { n: 2 });
        expect(await settled.waitFor(2)).toEqual([1, 2]);
        expect(attempts.values).toEqual([1, 1]);
      }),
    ));
});
