/** What is peculiar to lists, as cases: run against the engine, where they have to pass, and against planted defects, where each has to be caught. */
import assert from 'node:assert/strict';
import { type Bus, createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import { systemClock } from '../../clock.ts';
import { Collector, eventually, settleIn, withBus } from '../../conformance/fixture.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import type { Delivery, EngineConnection } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { ack, deadLetter } from '../../outcome.ts';
import type { RedisClient } from '../../redis/client.ts';
import { CallCount } from '../../redis/testing/call-count.ts';
import type { ListsFixture } from './conformance-fixture.ts';

export interface ListsCase {
  readonly name: string;
  readonly run: (fixture: ListsFixture) => Promise<void>;
}

const listOf = ({ prefix }: ListsFixture): string => `${prefix}:list:${plain.name}`;
const base = ({ prefix }: ListsFixture): string => `${prefix}:lists:${plain.name}`;

async function collect(bus: Bus): Promise<Collector<[number, number]>> {
  const got = new Collector<[number, number]>();
  await bus.subscribe(plain, {
    name: 'one',
    handler: ({ data }, { attempt }) => {
      got.add([data.n, attempt]);
      return ack();
    },
  }).started;
  return got;
}

const eventOf = (n: number, more: object = {}): string =>
  JSON.stringify({
    specversion: '1.0',
    id: `s${n}`,
    type: plain.name,
    source: '/shop',
    data: { n },
    ...more,
  });

interface Asker {
  readonly connection: EngineConnection;
  /** As by SIGKILL: its connections are closed, and nothing is said. */
  readonly vanish: () => void;
}

/** Who made a channel of replies, with one reply on hand and one that waits. */
async function asking(fixture: ListsFixture, channel: string): Promise<Asker> {
  const clients: RedisClient[] = [];
  const engine = fixture.openBehind((client) => {
    clients.push(client);
    return client;
  });
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  const { name: type } = plain;
  const kind = { order: 'none', onFailure: 'skip', priorityLevels: 1, routing: 'fanout' } as const;
  await connection.declare({
    channels: [{ ...kind, name: channel, ephemeral: true, keepMs: undefined }],
    subscriptions: [{ channel, name: 'replies' }],
  });
  const got = new Collector<Delivery>();
  await connection.subscribe(
    { channel, subscription: 'replies', prefetch: 1, leaseMs: 30_000 },
    (deliveries) => deliveries.forEach((one) => got.add(one)),
  );
  await connection.publish(
    ['m1', 'm2'].map((id) => ({
      channel,
      message: { id, type, version: 1, source: '/lists', time: '', data: {}, headers: {} },
    })),
  );
  await got.waitFor(1);
  return { connection, vanish: () => clients.forEach((client) => client.end()) };
}

/** Its last sign of life was two days ago. */
async function age({ prefix, raw }: ListsFixture, channel: string): Promise<void> {
  const key = `${prefix}:lists:${channel}`;
  const [seconds] = (await raw('TIME')) as readonly string[];
  const then = String((Number(seconds) - 2 * 86_400) * 1_000);
  await raw('HSET', key, 'at', then);
  for (const consumer of (await raw('ZRANGE', `${key}:consumers`, '0', '-1')) as readonly string[])
    await raw('ZADD', `${key}:consumers`, then, consumer);
}

const keysOf = ({ prefix, raw }: ListsFixture, channel: string): Promise<readonly string[]> =>
  raw('KEYS', `${prefix}:*${channel}*`) as Promise<readonly string[]>;

export const listsCases: readonly ListsCase[] = [
  {
    name: 'a second subscription of a list is refused by name, and nothing changes for the first',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const got = await collect(bus);
          await assert.rejects(bus.subscribe(plain, { name: 'two', handler: () => ack() }).started, {
            code: 'DB_MSG_UNSUPPORTED_CAPABILITY',
            message: /belongs to subscription "one"/,
          });
          await bus.publish(plain, { n: 1 });
          await got.waitFor(1);
        },
      }),
  },
  {
    name: 'what redis-cli pushed is handled oldest first, and what we push it reads as a CloudEvent',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await settleIn(bus.subscribe(plain, { name: 'one', handler: () => ack() }));
          for (const n of [1, 2, 3]) await fixture.raw('LPUSH', listOf(fixture), eventOf(n));
          const got = await collect(bus);
          await got.waitFor(3);
          assert.deepEqual(got.values, [
            [1, 1],
            [2, 1],
            [3, 1],
          ]);
          await fixture.raw('LPUSH', listOf(fixture), eventOf(4));
          await got.waitFor(4);
        },
      }),
  },
  {
    name: 'a stranger takes ours from the right and finds a CloudEvent',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const { id } = await bus.publish(plain, { n: 7 }, { correlationId: 'c' });
          const text = String(await fixture.raw('RPOP', listOf(fixture)));
          const { specversion, data, correlationid, ...event } = JSON.parse(text) as Record<string, unknown>;
          assert.deepEqual([specversion, event['id'], data, correlationid], ['1.0', id, { n: 7 }, 'c']);
        },
      }),
  },
  {
    name: 'what a consumer took whose process died before it knew is handed out, and not counted as an attempt',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await settleIn(bus.subscribe(plain, { name: 'one', handler: () => ack() }));
          await bus.publishBatch(plain, [{ data: { n: 1 } }, { data: { n: 2 } }]);
          // A consumer that has moved a text and died at that moment: its beat is old, and no record tells of the text.
          await fixture.raw('ZADD', `${base(fixture)}:consumers`, '1', 'gone');
          await fixture.raw('LMOVE', listOf(fixture), `${base(fixture)}:taken:gone`, 'RIGHT', 'LEFT');
          const got = await collect(bus);
          await got.waitFor(2);
          assert.deepEqual(got.values, [
            [1, 1],
            [2, 1],
          ]);
          assert.equal(await fixture.raw('EXISTS', `${base(fixture)}:taken:gone`), 0);
        },
      }),
  },
  {
    name: 'what is on hand lies in the list of its consumer, and nowhere once it is settled',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const open = Promise.withResolvers<void>();
          const began = new Collector<number>();
          await settleIn(bus.subscribe(plain, { name: 'one', handler: () => ack() }));
          await bus.publish(plain, { n: 1 });
          const subscription = bus.subscribe(plain, {
            name: 'one',
            handler: async ({ data }) => {
              began.add(data.n);
              await open.promise;
              return ack();
            },
          });
          await subscription.started;
          await began.waitFor(1);
          const taken = async (): Promise<number> => {
            const keys = (await fixture.raw('KEYS', `${base(fixture)}:taken:*`)) as readonly string[];
            const lengths = await Promise.all(keys.map((key) => fixture.raw('LLEN', key)));
            return (lengths as readonly number[]).reduce((sum, one) => sum + one, 0);
          };
          assert.equal(await taken(), 1);
          assert.equal(await fixture.raw('LLEN', listOf(fixture)), 0);
          open.resolve();
          await eventually(taken, (count) => count === 0, 'nothing on hand');
        },
      }),
  },
  {
    name: 'a dead letter lies in a list of its own, with its history, its text and its reason',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        prepare: (bus) => void bus.subscribe(plain, { name: 'one', handler: () => deadLetter('of no use') }),
        async use(bus) {
          const { id } = await bus.publish(plain, { n: 1 });
          const dead = (): Promise<readonly string[]> =>
            fixture.raw('LRANGE', `${fixture.prefix}:lists:dead`, '0', '-1') as Promise<readonly string[]>;
          const [text = ''] = await eventually(dead, (found) => found.length === 1, 'the dead letter');
          const letter = JSON.parse(text) as { reason: string; body: string; history: string };
          assert.equal(letter.reason, 'of no use');
          assert.equal((JSON.parse(letter.body) as { id: string }).id, id);
          assert.equal((JSON.parse(letter.history) as unknown[]).length, 1);
        },
      }),
  },

  {
    name: 'a consumer whose move is refused, though the scripts are not, asks the server now and then',
    async run(fixture) {
      const clock = createManualClock(systemClock.now());
      const moves = new CallCount(([command]) => command === 'BLMOVE');
      const server = { isFull: true };
      const engine = fixture.openBehind((client) =>
        moves.wrap({
          ...client,
          send: async (args) => {
            // As with a full memory: a move may need some, and those of the scripts that free some may run.
            if (server.isFull && args[0] === 'BLMOVE')
              throw new MessagingError('DB_MSG_ENGINE_FULL', 'OOM, as the server says it');
            return client.send(args);
          },
        }),
      );
      const bus = createBus({ engine, source: '/lists', clock });
      bus.declare([plain]);
      await bus.start();
      try {
        const got = await collect(bus);
        const asked = await moves.inOneSecond(clock);
        assert.ok(asked >= 1, 'it did not ask at all');
        assert.ok(asked <= 10, `${asked} moves in a second, all refused`);
        server.isFull = false;
        clock.advance(1_000);
        await bus.publish(plain, { n: 1 });
        await got.waitFor(1);
      } finally {
        await bus.stop();
      }
    },
  },

  {
    name: 'what a killed asker left is taken away when it has shown no sign of life for a day, and not before',
    async run(fixture) {
      const askers = new Map<string, Asker>();
      const ask = async (channel: string): Promise<void> =>
        void askers.set(channel, await asking(fixture, channel));
      try {
        for (const channel of ['replies.killed', 'replies.lately', 'replies.there']) await ask(channel);
        for (const channel of ['replies.killed', 'replies.lately']) askers.get(channel)?.vanish();
        await age(fixture, 'replies.killed');
        const left = await keysOf(fixture, 'replies.killed');
        assert.ok(left.length >= 7, `it left only ${left.join(', ')}`);
        // Declared long ago; its consumer says that it is there.
        await fixture.raw('HSET', `${fixture.prefix}:lists:replies.there`, 'at', '1');
        await ask('replies.next');
        assert.deepEqual(await keysOf(fixture, 'replies.killed'), []);
        const names = (await fixture.raw('SMEMBERS', `${fixture.prefix}:lists`)) as readonly string[];
        assert.deepEqual(names.toSorted(), ['replies.lately', 'replies.next', 'replies.there']);
      } finally {
        for (const { connection } of askers.values()) await connection.close();
      }
    },
  },
];

/** With `foreign: 'wrap'`. */
export const wrappingCase: ListsCase = {
  name: 'plain JSON of a team is wrapped, keeps one id through its attempts, and what is no JSON is a dead letter',
  async run(fixture) {
    const bus = createBus({ engine: fixture.open(), source: '/lists' });
    bus.declare([plain]);
    const seen = new Collector<[string, number, number]>();
    bus.subscribe(plain, {
      name: 'one',
      retries: { immediate: 0, delayed: [1] },
      handler: ({ id, data }, { attempt }) => {
        seen.add([id, data.n, attempt]);
        if (attempt === 1) throw new Error('not yet');
        return ack();
      },
    });
    await bus.start();
    try {
      await fixture.raw('LPUSH', listOf(fixture), '{"n":5}');
      await seen.waitFor(2);
      assert.deepEqual(
        seen.values.map(([, n, attempt]) => [n, attempt]),
        [
          [5, 1],
          [5, 2],
        ],
      );
      assert.equal(seen.values[0]?.[0], seen.values[1]?.[0]);
      await fixture.raw('LPUSH', listOf(fixture), 'no json');
      const [letter] = await eventually(
        () => bus.deadLetters.list(),
        (found) => found.length === 1,
        'the dead letter',
      );
      assert.equal(letter?.raw, 'no json');
    } finally {
      await bus.stop();
    }
  },
};
