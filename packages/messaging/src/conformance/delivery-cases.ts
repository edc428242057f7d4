/** Cases every durable engine passes: delivery, settling, retries, dead letters, leases, drain. */
import assert from 'node:assert/strict';
import type { Bus } from '../bus.ts';
import { systemClock, pause } from '../clock.ts';
import type { Delivery } from '../engine.ts';
import type { Message } from '../message.ts';
import { ack, deadLetter, reply, retry } from '../outcome.ts';
import { asked, plain } from './channels.ts';
import { Collector, type EngineFixture, eventually, patience, signal, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const noRetries = { immediate: 0, delayed: [] };
const once = (name: string, run: ConformanceCase['run']): ConformanceCase => ({ name, run });

async function publishNumbers(bus: Bus, from: number, to: number): Promise<void> {
  const items = Array.from({ length: to - from + 1 }, (_, index) => ({ data: { n: from + index } }));
  await bus.publishBatch(plain, items);
}

/** How often a message is begun whose handler takes four leases, while another consumer is there to take it. */
async function timesBegun(fixture: EngineFixture, leaseMs: number): Promise<number> {
  const began = new Collector<number>();
  const again = new AbortController();
  await withBus({
    fixture,
    channels: [plain],
    async use(bus) {
      for (const _ of [1, 2]) {
        await bus.subscribe(plain, {
          name: 'one',
          leaseMs,
          handler: async ({ data }) => {
            if (data.n !== leaseMs) return ack();
            began.add(data.n);
            if (began.values.length > 1) again.abort();
            await pause(systemClock, 4 * leaseMs, again.signal);
            return ack();
          },
        }).started;
      }
      await bus.publish(plain, { n: leaseMs });
      await began.waitFor(1);
      await pause(systemClock, 5 * leaseMs, again.signal);
    },
  });
  return began.values.length;
}

export const deliveryCases: readonly ConformanceCase[] = [
  once('a confirmation states the durability of the connected engine', (fixture) =>
    withBus({
      fixture,
      channels: [plain],
      async use(bus) {
        const confirmation = await bus.publish(plain, { n: 1 });
        assert.equal(confirmation.durability, (await bus.view()).capabilities?.confirm);
        assert.match(confirmation.id, /^[0-9a-f-]{36}$/);
      },
    }),
  ),

  once('messages arrive once, oldest first, with everything they were published with', async (fixture) => {
    const got = new Collector<Message>();
    await withBus({
      fixture,
      channels: [plain],
      prepare: (bus) =>
        void bus.subscribe(plain, {
          name: 'one',
          handler: (message) => {
            got.add(message);
            return ack();
          },
        }),
      async use(bus) {
        await publishNumbers(bus, 1, 50);
        await bus.publish(
          plain,
          { n: 51 },
          {
            correlationId: 'c',
            causationId: 'b',
            key: 'k',
            headers: { tenant: 'a' },
            traceparent: '00-0-0-00',
          },
        );
        await got.waitFor(51);
      },
    });
    assert.deepEqual(
      got.values.map(({ data }) => (data as { n: number }).n),
      Array.from({ length: 51 }, (_, index) => index + 1),
    );
    const { correlationId, causationId, key, headers, traceparent, source, type, version } = got
      .values[50] as Message;
    assert.deepEqual(
      { correlationId, causationId, key, headers, traceparent, source, type, version },
      {
        correlationId: 'c',
        causationId: 'b',
        key: 'k',
        headers: { tenant: 'a' },
        traceparent: '00-0-0-00',
        source: '/conformance',
        type: plain.name,
        version: 1,
      },
    );
  }),

  once('each named subscription gets every message, also one that joins later', async (fixture) => {
    const first = new Collector<number>();
    const second = new Collector<number>();
    await withBus({
      fixture,
      channels: [plain],
      prepare: (bus) =>
        void bus.subscribe(plain, {
          name: 'first',
          handler: ({ data }) => {
            first.add(data.n);
            return ack();
          },
        }),
      async use(bus) {
        await publishNumbers(bus, 1, 10);
        await first.waitFor(10);
        await bus.subscribe(plain, {
          name: 'second',
          handler: ({ data }) => {
            second.add(data.n);
            return ack();
          },
        }).started;
        await publishNumbers(bus, 11, 20);
        await first.waitFor(20);
        await eventually(
          async () => second.values,
          (values) => values.includes(20),
          'the later subscription reaching the end',
        );
      },
    });
    assert.equal(new Set(first.values).size, 20);
    for (let n = 11; n <= 20; n += 1) assert.ok(second.values.includes(n));
  }),

  once(
    'competing consumers share a subscription; one that leaves gives back what it had',
    async (fixture) => {
      const got = new Collector<number>();
      const stuck = signal();
      await withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const holding = signal();
          const leaver = bus.subscribe(plain, {
            name: 'one',
            handler: async () => {
              holding.fire();
              await stuck.fired;
              return ack();
            },
          });
          await leaver.started;
          await publishNumbers(bus, 1, 20);
          await holding.fired;
          await bus.subscribe(plain, {
            name: 'one',
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          }).started;
          await got.waitFor(18, 'messages at the other consumer');
          await leaver.stop({ drainMs: 20 });
          await got.waitFor(20, 'messages after one left');
          stuck.fire();
        },
      });
      assert.deepEqual(
        [...new Set(got.values)].sort((a, b) => a - b),
        Array.from({ length: 20 }, (_, index) => index + 1),
      );
    },
  ),

  once('never more unsettled deliveries than prefetch', async (fixture) => {
    const running = new Collector<number>();
    const open = signal();
    await withBus({
      fixture,
      channels: [plain],
      async use(bus) {
        const engine = bus.subscribe(plain, {
          name: 'one',
          concurrency: 3,
          handler: async ({ data }) => {
            running.add(data.n);
            await open.fired;
            return ack();
          },
        });
        await engine.started;
        await publishNumbers(bus, 1, 30);
        await running.waitFor(3);
        // What is handed out may arrive one by one: only a count that stays is the whole of it.
        const counts: number[] = [];
        await eventually(
          async () => {
            counts.push((await bus.view()).channels[0]?.subscriptions[0]?.inFlight ?? 0);
            return counts.slice(-4);
          },
          (last) => last.length === 4 && last[0] !== 0 && new Set(last).size === 1,
          'a number in flight that stays',
        );
        assert.ok(Math.max(...counts) <= 6, `prefetch is twice the concurrency; in flight: ${counts}`);
        open.fire();
        await running.waitFor(30);
      },
    });
    assert.equal(running.values.length, 30);
  }),

  once('a handler longer than its lease keeps the message by heartbeat', async (fixture) => {
    // A machine that stands still for a part of the short lease loses it once; who does not beat loses the long one too.
    const begun: number[] = [];
    do begun.push(await timesBegun(fixture, [150, 1_500][begun.length] as number));
    while (begun.at(-1) !== 1 && begun.length < 2);
    assert.equal(begun.at(-1), 1, `begun ${begun.join(', then ')} times`);
  }),

  once(
    'a lost lease is handed out again, counted, and the late settlement of the first holder changes nothing',
    async (fixture) => {
      const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
      try {
        await connection.declare({
          channels: [
            {
              name: plain.name,
              order: 'none',
              onFailure: 'skip',
              priorityLevels: 1,
              ephemeral: false,
              routing: 'fanout',
              keepMs: undefined,
            },
          ],
          subscriptions: [{ channel: plain.name, name: 'one' }],
        });
        const got = new Collector<Delivery>();
        const consumer = await connection.subscribe(
          { channel: plain.name, subscription: 'one', prefetch: 10, leaseMs: 60 },
          (deliveries) => deliveries.forEach((one) => got.add(one)),
        );
        const message: Message = {
          id: 'm1',
          type: plain.name,
          version: 1,
          source: '/s',
          time: '',
          data: { n: 1 },
          headers: {},
        };
        await connection.publish([{ channel: plain.name, message }]);
        const [first, second] = (await got.waitFor(2, 'hand-outs')) as [Delivery, Delivery];
        assert.notEqual(second.token, first.token);
        if (second.abandoned !== undefined) assert.equal(second.abandoned, 1);
        assert.deepEqual(await consumer.settle([{ kind: 'ack', token: first.token }]), ['lost']);
        await got.waitFor(3, 'hand-outs after a late ack');
        // One that comes too late for a lease as short as this is followed by another hand-out.
        await eventually(
          () => consumer.settle([{ kind: 'ack', token: (got.values.at(-1) as Delivery).token }]),
          ([result]) => result === 'settled',
          'an acknowledgement in time',
        );
      } finally {
        await connection.close();
      }
    },
  ),

  once('a batch handler gets what is there in order and settles each by itself', async (fixture) => {
    const sizes: number[] = [];
    const got = new Collector<number>();
    await withBus({
      fixture,
      channels: [plain],
      async use(bus) {
        await publishNumbers(bus, 1, 100);
        bus.subscribe(plain, {
          name: 'one',
          batch: { max: 40 },
          retries: noRetries,
          handler: (messages) => {
            sizes.push(messages.length);
            for (const { data } of messages) got.add(data.n);
            return messages.map(({ data }) => (data.n === 50 ? deadLetter('fifty') : ack()));
          },
        });
        await got.waitFor(100);
        await eventually(
          () => bus.deadLetters.list(),
          (found) => found.length === 1,
          'one dead letter',
        );
      },
    });
    assert.deepEqual(
      got.values,
      Array.from({ length: 100 }, (_, index) => index + 1),
    );
    assert.ok(Math.max(...sizes) <= 40 && Math.max(...sizes) > 1, `sizes ${sizes}`);
  }),

  once('request and reply, a reply that breaks its contract, and a time-out', (fixture) =>
    withBus({
      fixture,
      channels: [asked],
      prepare: (bus) =>
        void bus.subscribe(asked, {
          name: 'answers',
          retries: noRetries,
          handler: ({ data }) =>
            data.n === 3 ? ack() : reply(data.n === 2 ? { doubled: 'text' } : { doubled: data.n * 2 }),
        }),
      async use(bus) {
        assert.deepEqual(await bus.request(asked, { n: 21 }, { timeoutMs: patience() }), { doubled: 42 });
        await assert.rejects(bus.request(asked, { n: 2 }, { timeoutMs: 2_000 }), {
          code: 'DB_MSG_REQUEST_TIMEOUT',
        });
        await assert.rejects(bus.request(asked, { n: 3 }, { timeoutMs: 50 }), {
          code: 'DB_MSG_REQUEST_TIMEOUT',
        });
        await eventually(
          () => bus.deadLetters.list(),
          (found) => found.length === 1,
          'the bad reply as a dead letter',
        );
      },
    }),
  ),

  once(
    'a graceful stop lets handlers finish, and what was not begun is there after a restart',
    async (fixture) => {
      const handled = new Collector<number>();
      const began = signal();
      const open = signal();
      const bus = await startHeld();
      await publishNumbers(bus, 1, 20);
      await began.fired;
      const stopped = bus.stop({ drainMs: 5_000 });
      open.fire();
      await stopped;
      const before = handled.values.length;
      assert.ok(before >= 1 && before < 20, `${before} handled before the stop`);
      await withBus({
        fixture,
        channels: [plain],
        prepare: (next) =>
          void next.subscribe(plain, {
            name: 'one',
            handler: ({ data }, { attempt }) => {
              assert.equal(attempt, 1);
              handled.add(data.n);
              return ack();
            },
          }),
        use: async () => void (await handled.waitFor(20)),
      });
      assert.deepEqual(
        handled.values,
        Array.from({ length: 20 }, (_, index) => index + 1),
      );

      async function startHeld(): Promise<Bus> {
        const { createBus } = await import('../bus.ts');
        const held = createBus({ engine: fixture.open(), source: '/conformance' });
        held.declare([plain]);
        held.subscribe(plain, {
          name: 'one',
          handler: async ({ data }) => {
            began.fire();
            await open.fired;
            handled.add(data.n);
            return ack();
          },
        });
        await held.start();
        return held;
      }
    },
  ),

  once(
    'everything survives a restart: backlog, retries with their attempts, dead letters',
    async (fixture) => {
      const failed = new Collector<number>();
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            retries: { immediate: 0, delayed: Array.from({ length: 50 }, () => 200) },
            handler: ({ data }) => {
              failed.add(data.n);
              return data.n === 1 ? retry() : deadLetter('two');
            },
          }),
        async use(bus) {
          await publishNumbers(bus, 1, 2);
          await failed.waitFor(2);
          await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
        },
      });
      const after = new Collector<[number, number]>();
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            retries: { immediate: 0, delayed: Array.from({ length: 50 }, () => 200) },
            handler: ({ data }, { attempt }) => {
              after.add([data.n, attempt]);
              return ack();
            },
          }),
        async use(bus) {
          await publishNumbers(bus, 3, 3);
          await after.waitFor(2);
          assert.equal((await bus.deadLetters.list()).length, 1);
        },
      });
      assert.deepEqual(
        [...after.values].sort(([a], [b]) => a - b),
        [
          // On a slow machine the first life sees more than one attempt; none of them is forgotten.
          [1, failed.values.filter((n) => n === 1).length + 1],
          [3, 1],
        ],
      );
    },
  ),
];
