/** What is written down about subscriptions, and what a process has forgotten of them, as cases: the tests run them as they are, the negative controls with a defect planted. */
import assert from 'node:assert/strict';
import { Producer, stringSerializers } from '@platformatic/kafka';
import { type Bus, createBus } from '../../bus.ts';
import type { Channel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { direct, plain } from '../../conformance/channels.ts';
import { Collector, type EngineFixture, eventually, settleIn, withBus } from '../../conformance/fixture.ts';
import type { ConformanceCase } from '../../conformance/suite.ts';
import type { EngineConnection } from '../../engine.ts';
import { ack, deadLetter } from '../../outcome.ts';
import { specOf } from '../../specs.ts';
import { clientOf, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import type { KafkaNotice } from './options.ts';

const own = (fixture: EngineFixture): KafkaFixture => fixture as KafkaFixture;
const ONE = { channel: direct.name, name: 'one' };

/** What somebody else puts where the bindings of `one` are. */
async function recordOver(fixture: EngineFixture, value: string): Promise<void> {
  const producer = new Producer({ ...clientOf(kafkaUrl ?? ''), serializers: stringSerializers });
  const key = JSON.stringify([ONE.channel, ONE.name]);
  try {
    await producer.send({ messages: [{ topic: `${own(fixture).prefix}-R`, key, value }], acks: -1 });
  } finally {
    await producer.close();
  }
}

/** A process that names the subscription without saying what it is bound to. */
async function onConnection(
  fixture: EngineFixture,
  work: (connection: EngineConnection) => Promise<void>,
): Promise<void> {
  const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
  try {
    await connection.declare({ channels: [specOf(direct)], subscriptions: [ONE] });
    await work(connection);
  } finally {
    await connection.close();
  }
}

const begin = async (fixture: EngineFixture, channel: Channel, forget: readonly string[] = []) => {
  const bus = createBus({ engine: fixture.open(), source: '/process' });
  bus.declare([channel]);
  await bus.start({ forget: forget.map((name) => ({ channel: channel.name, name })) });
  return bus;
};

async function parkOne(bus: Bus): Promise<void> {
  const parking = bus.subscribe(plain, { name: 'one', handler: () => deadLetter('broken') });
  await parking.started;
  await bus.publish(plain, { n: 1 });
  await eventually(
    () => bus.deadLetters.list(),
    ({ length }) => length === 1,
    'a dead letter',
  );
  await parking.stop();
}

const subscriptionsOf = async (bus: Bus): Promise<readonly string[]> =>
  (await bus.view()).channels.flatMap(({ subscriptions }) => subscriptions.map(({ name }) => name));

export const topologyCases: readonly ConformanceCase[] = [
  {
    name: 'what is no record of bindings leaves those in force that were known, and is told of',
    async run(fixture) {
      const notices: KafkaNotice[] = [];
      const bus = createBus({
        engine: own(fixture).engine({ onNotice: (notice) => notices.push(notice) }),
        source: '/known',
      });
      const got = new Collector<number>();
      bus.declare([direct]);
      bus.subscribe(direct, {
        name: ONE.name,
        bindings: ['red', 'end'],
        handler: ({ data }) => {
          got.add(data.n);
          return ack();
        },
      });
      await bus.start();
      try {
        await recordOver(fixture, '[5]');
        // Which reads on what is written down.
        await bus.peek(direct, ONE.name);
        for (const [n, routingKey] of ['red', 'blue', 'end'].entries())
          await bus.publish(direct, { n }, { routingKey });
        assert.deepEqual(await got.waitFor(2), [0, 2]);
        assert.deepEqual(
          notices.filter(({ kind }) => kind === 'unreadableBindings'),
          [{ kind: 'unreadableBindings', channel: direct.name, subscription: ONE.name, isKnown: true }],
        );
      } finally {
        await bus.stop();
      }
    },
  },
  {
    name: 'where what is on record is no bindings and none are known, nothing is settled as unwanted until they are declared',
    async run(fixture) {
      const quiet = { ...fixture, open: () => own(fixture).engine({ onNotice: () => {} }) };
      const spec = { channel: direct.name, subscription: ONE.name, prefetch: 10, leaseMs: 10_000 };
      await onConnection(quiet, async () => {});
      await recordOver(fixture, 'hello');
      await onConnection(quiet, async (connection) => {
        await assert.rejects(
          connection.subscribe(spec, () => {}),
          { code: 'DB_MSG_UNKNOWN_CHANNEL' },
        );
      });
      const got = new Collector<unknown>();
      await withBus({
        fixture: quiet,
        channels: [direct],
        async use(bus) {
          await bus.publish(direct, { n: 1 }, { routingKey: 'red' });
          assert.equal((await bus.peek(direct, ONE.name)).length, 1);
          const handler = () => ack();
          await settleIn(bus.subscribe(direct, { name: ONE.name, bindings: ['red'], handler }));
        },
      });
      // On record again, for whoever does not name them.
      await onConnection(quiet, async (connection) => {
        const consumer = await connection.subscribe(spec, (deliveries) => {
          for (const { message } of deliveries) got.add(message?.data);
        });
        assert.deepEqual(await got.waitFor(1), [{ n: 1 }]);
        await consumer.close();
      });
    },
  },
  {
    name: 'a subscription that was forgotten here and declared anew elsewhere is seen again, and its letters go back to it',
    async run(fixture) {
      const former = await begin(fixture, plain);
      await parkOne(former);
      await former.stop();
      const here = await begin(fixture, plain, ['one']);
      const elsewhere = await begin(fixture, plain);
      try {
        assert.deepEqual(await subscriptionsOf(here), []);
        assert.deepEqual(await here.deadLetters.redrive({}), { moved: 0, remaining: 0 });
        const got = new Collector<number>();
        await elsewhere.subscribe(plain, {
          name: 'one',
          handler: ({ data }) => {
            got.add(data.n);
            return ack();
          },
        }).started;
        // A new subscription begins with what is kept.
        await got.waitFor(1);
        await eventually(
          () => subscriptionsOf(here),
          (names) => names.includes('one'),
          'seen again',
        );
        assert.deepEqual(await here.deadLetters.redrive({}), { moved: 1, remaining: 0 });
        assert.deepEqual(await got.waitFor(2), [1, 1]);
      } finally {
        await Promise.all([here.stop(), elsewhere.stop()]);
      }
    },
  },
];
