/** What is done to a broker of the test's own: killed under load, connections closed by its operator, an alarm, a short patience with consumers. */
import { expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { Collector, eventually, signal } from '../../conformance/fixture.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { ack } from '../../outcome.ts';
import {
  inOrder,
  orders,
  type RabbitFixture,
  withBus,
  withFixture as withFixtureAt,
} from './conformance-fixture.ts';
import type { RabbitNotice } from './options.ts';
import { closeAllConnections, restart, setAlarm } from './own-broker.ts';
import { describeOnOwnBroker } from './testing/on-own-broker.ts';

/** `consumer_timeout` of the broker where a case shortens it. */
const PATIENCE_MS = 3_000;

describeOnOwnBroker('a RabbitMQ of its own', (own) => {
  const withFixture = (use: (fixture: RabbitFixture) => Promise<void>): Promise<void> =>
    withFixtureAt({ url: own.url, restartServer: () => restart(own.broker) }, use);

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

  it('a handler longer than consumer_timeout: its message comes again and is counted, and the others go on', () =>
    withFixture(async (fixture) => {
      await own.broker.evaluate(`application:set_env(rabbit, consumer_timeout, ${PATIENCE_MS}).`);
      await own.broker.evaluate('application:set_env(rabbit, channel_tick_interval, 500).');
      try {
        const lost = new Collector<RabbitNotice>();
        const onNotice = (notice: RabbitNotice): void =>
          notice.kind === 'consumerLost' ? lost.add(notice) : undefined;
        await withBus(fixture.engine({ url: own.url, onNotice }), [orders], async (bus) => {
          const told = new Collector<string>();
          const tooLong = signal();
          const aborted = signal();
          await bus.subscribe(orders, {
            name: 'one',
            leaseMs: 900,
            handler: async ({ data }, { attempt, signal: lostLease }) => {
              told.add(`${data.n} attempt ${attempt}`);
              if (data.n === 1 && attempt === 1) {
                lostLease.addEventListener('abort', aborted.fire);
                await tooLong.fired;
              }
              return ack();
            },
          }).started;
          await bus.publish(orders, { n: 1 });
          await lost.waitFor(1);
          await aborted.fired;
          tooLong.fire();
          await bus.publish(orders, { n: 2 });
          await told.waitFor(3);
          expect([...told.values].sort()).toEqual(['1 attempt 1', '1 attempt 2', '2 attempt 1']);
          expect(await bus.deadLetters.list()).toEqual([]);
        });
      } finally {
        await own.broker.evaluate('application:set_env(rabbit, consumer_timeout, 1800000).');
        await own.broker.evaluate('application:set_env(rabbit, channel_tick_interval, 60000).');
      }
    }));

  it('with its usual patience the same broker lets a handler of that length finish (control)', () =>
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
                (ms) => ms > PATIENCE_MS * 2,
                'the time that the shorter patience would have taken',
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
