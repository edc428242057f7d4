/** Places in the logs of a channel, and what becomes of what lies there, as cases in the manner of the suite. */
import assert from 'node:assert/strict';
import { Admin, ConfigResourceTypes } from '@platformatic/kafka';
import Type from 'typebox';
import { type Bus, createBus, type Subscription } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { pause, systemClock } from '../../clock.ts';
import { kept, plain, sequenced } from '../../conformance/channels.ts';
import {
  Collector,
  type EngineFixture,
  eventually,
  numbers,
  settleIn,
  signal,
  withBus,
} from '../../conformance/fixture.ts';
import { rewindAfterTrim } from '../../testing/rewind-after-trim.ts';
import type { ConformanceCase } from '../../conformance/suite.ts';
import { ack, retry } from '../../outcome.ts';
import { clientOf, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { Link } from './link.ts';
import { Logs } from './logs.ts';
import { settingsOf } from './options.ts';

const own = (fixture: EngineFixture): KafkaFixture => fixture as KafkaFixture;
const keptByPriority = defineChannel({
  name: 'kafka.kept.ranked',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  requires: { replay: { keepMs: 600_000 }, priority: { levels: 3 }, emulation: ['priority'] },
});

/** Its name is last, and nothing of it stays once it is settled. */
const nothingKept = defineChannel({
  name: 'kafka.zz.beside',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
});
const orderedLaterSchema = Type.Object({ n: Type.Integer() });
/** One channel before and after somebody gave it an order. */
const unordered = defineChannel({
  name: 'kafka.ordered-later',
  version: 1,
  schema: orderedLaterSchema,
  requires: { delay: { maxMs: 60_000 }, emulation: ['delay'] },
});
const orderedLater = defineChannel({
  name: unordered.name,
  version: 1,
  schema: orderedLaterSchema,
  order: 'key',
  onFailure: 'blockKey',
  requires: { emulation: ['order'] },
});
const ending = defineChannel({
  name: 'kafka.ending',
  version: 1,
  schema: Type.Union([Type.Object({ n: Type.Integer() }), Type.Null()]),
});

export const logCases: readonly ConformanceCase[] = [
  {
    name: 'a rewind to a place that no partition has is refused with the places there are, and moves nothing',
    run: async (fixture) => {
      const bus = createBus({
        engine: own(fixture).engine({ partitions: 2, trimEveryMs: 0 }),
        source: '/rewind',
      });
      const got = new Collector<string>();
      bus.declare([kept, keptByPriority]);
      await bus.start();
      const consume = async (channel: typeof kept, count: number): Promise<void> => {
        const before = got.values.length;
        const subscription = bus.subscribe(channel, {
          name: 'one',
          handler: ({ data }) => {
            got.add(String(data.n));
            return ack();
          },
        });
        await subscription.started;
        await got.waitFor(before + count);
        await subscription.stop();
      };
      try {
        for (const channel of [kept, keptByPriority])
          await settleIn(bus.subscribe(channel as typeof kept, { name: 'one', handler: () => ack() }));
        // Without keys they go to the partitions in turn.
        for (const n of numbers(1, 6)) await bus.publish(kept, { n });
        await consume(kept, 6);
        const refusals = {
          '2/0': /partitions are 0 to 1/,
          '0/99': /partition 0 begins at 0 and ends at 3/,
          '1/999999999999999': /ends at 3/,
          '0/0@1': /priorities are 0 to 0/,
          '0': /written "partition\/offset"/,
          '-1/0': /written/,
        };
        for (const [offset, message] of Object.entries(refusals))
          await assert.rejects(bus.rewind(kept, 'one', { offset }), {
            code: 'DB_MSG_INVALID_OPTIONS',
            message,
          });
        await bus.publish(kept, { n: 7 });
        await consume(kept, 1);
        assert.equal(got.values.at(-1), '7');

        // An offset of one priority is none of another.
        for (const n of numbers(1, 4)) await bus.publish(keptByPriority, { n }, { key: 'a' });
        // The logs of other priorities go to its time, which has a grain of a millisecond.
        await pause(systemClock, 5);
        await bus.publish(keptByPriority, { n: 5 }, { priority: 1, key: 'a' });
        const urgent = (await bus.peek(keptByPriority, 'one')).find(({ offset }) => offset?.endsWith('@1'));
        assert.deepEqual(urgent?.message?.data, { n: 5 });
        await consume(keptByPriority as unknown as typeof kept, 5);
        await bus.rewind(keptByPriority, 'one', { offset: urgent?.offset ?? '' });
        await consume(keptByPriority as unknown as typeof kept, 1);
        assert.equal(got.values.at(-1), '5');
      } finally {
        await bus.stop({ drainMs: 0 });
      }
    },
  },
  {
    name: 'what waits beside a log that was trimmed under it is handed out after a rewind',
    run: async (fixture) => {
      const admin = new Admin(clientOf(kafkaUrl ?? ''));
      const partitions = [{ partition: 0, offset: 3n }];
      try {
        await rewindAfterTrim(fixture, () =>
          admin.deleteRecords({ topics: [{ name: `${own(fixture).prefix}${kept.name}`, partitions }] }),
        );
      } finally {
        await admin.close();
      }
    },
  },
  {
    name: 'a retry that is due soon is not held up by one that was put off for an hour before it',
    run: async (fixture) => {
      const got = new Collector<number>();
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            handler: ({ data }, { attempt }) => {
              got.add(data.n);
              return attempt > 1 ? ack() : retry({ delayMs: data.n === 1 ? 3_600_000 : 20 });
            },
          }),
        async use(bus) {
          await bus.publish(plain, { n: 1 });
          await eventually(
            async () => (await bus.view()).channels[0]?.subscriptions[0]?.delayed,
            (delayed) => delayed === 1,
            'the first is put off',
          );
          await bus.publish(plain, { n: 2 });
          await got.waitFor(3);
        },
      });
      assert.deepEqual(got.values, [1, 2, 2]);
    },
  },
  {
    name: 'a slow subscription finds everything, however often a faster one has the log looked through',
    run: async (fixture) => {
      const trimmed = new Collector<string>();
      const { engine, prefix } = own(fixture);
      const bus = createBus({
        engine: engine({
          trimEveryMs: 50,
          onNotice: (notice) => {
            if (notice.kind === 'trimmed') trimmed.add(notice.topic);
          },
        }),
        source: '/trim',
      });
      // Looked at after the other: when something of it is deleted, a pass has been at both.
      bus.declare([plain, nothingKept]);
      await bus.start();
      try {
        const [fast, beside, late] = [
          new Collector<number>(),
          new Collector<number>(),
          new Collector<number>(),
        ];
        await settleIn(bus.subscribe(plain, { name: 'slow', handler: () => ack() }));
        await collect(bus, plain, 'fast', fast);
        await collect(bus, nothingKept, 'one', beside);
        await bus.publishBatch(plain, numbered(10));
        await fast.waitFor(10);
        for (const pass of [1, 2, 3]) {
          await bus.publish(nothingKept, { n: pass });
          await trimmed.waitFor(pass, 'passes');
        }
        assert.deepEqual(new Set(trimmed.values), new Set([`${prefix}${nothingKept.name}`]));
        await collect(bus, plain, 'slow', late);
        await late.waitFor(10);
        assert.deepEqual(late.values, numbers(1, 10));
      } finally {
        await bus.stop({ drainMs: 0 });
      }
    },
  },
  {
    name: 'what somebody deleted before it was read is passed over, and told with how many at most',
    run: async (fixture) => {
      const gaps = new Collector<readonly [from: number, to: number, lost: number]>();
      const { engine, prefix } = own(fixture);
      const bus = createBus({
        engine: engine({
          trimEveryMs: 0,
          onNotice: (notice) => {
            if (notice.kind === 'gap') gaps.add([notice.from, notice.to, notice.lost]);
          },
        }),
        source: '/gap',
      });
      bus.declare([plain]);
      await bus.start();
      const admin = new Admin(clientOf(kafkaUrl ?? ''));
      try {
        const got = new Collector<number>();
        await settleIn(bus.subscribe(plain, { name: 'one', handler: () => ack() }));
        // Who has never come far begins with what there is, and has lost nothing.
        await bus.publishBatch(plain, numbered(2));
        const subscription = await collect(bus, plain, 'one', got);
        await got.waitFor(2);
        await subscription.stop();
        await bus.publishBatch(plain, numbered(8));
        const topics = [{ name: `${prefix}${plain.name}`, partitions: [{ partition: 0, offset: 7n }] }];
        await admin.deleteRecords({ topics });
        await collect(bus, plain, 'one', got);
        await got.waitFor(5);
        assert.deepEqual(got.values, [1, 2, 6, 7, 8]);
        assert.deepEqual(gaps.values, [[2, 7, 5]]);
      } finally {
        await admin.close();
        await bus.stop({ drainMs: 0 });
      }
    },
  },
  {
    name: "messages that wait for their time when its channel gets an order take nobody's place in it: all are handled",
    run: async (fixture) => {
      const { engine, prefix } = own(fixture);
      const options = { partitions: 1, trimEveryMs: 0 };
      const got = new Collector<number>();
      const held = signal();
      const before = createBus({ engine: engine(options), source: '/before' });
      before.declare([unordered]);
      before.subscribe(unordered, {
        name: 'one',
        handler: async () => {
          held.fire();
          return new Promise<never>(() => {});
        },
      });
      await before.start();
      // The second lies at 1 in the channel's log, and so does the copy of the third in the subscription's own.
      await before.publish(unordered, { n: 1 }, { key: 'a', delayMs: 60_000 });
      await before.publish(unordered, { n: 2 }, { key: 'a' });
      await before.publish(unordered, { n: 3 }, { key: 'a', delayMs: 60_000 });
      await held.fired;
      await endOf(`${prefix}${unordered.name}-S-one-L`, 2);
      await before.stop({ drainMs: 0 });
      // By its clock they are due.
      const ahead = { ...systemClock, now: () => systemClock.now() + 120_000 };
      const after = createBus({ engine: engine(options), source: '/after', clock: ahead });
      after.declare([orderedLater]);
      after.subscribe(orderedLater, {
        name: 'one',
        handler: ({ data }) => {
          got.add(data.n);
          return ack();
        },
      });
      await after.start();
      try {
        await eventually(
          async () => new Set(got.values).size,
          (size) => size === 3,
          'all three handled',
        );
        assert.equal(got.values[0], 2, 'what waits for a time is overtaken');
      } finally {
        await after.stop({ drainMs: 0 });
      }
    },
  },
  {
    name: 'on a compacted channel the end of a key is a record without a value, and the broker is to compact',
    run: async (fixture) => {
      const { engine, prefix } = own(fixture);
      const topic = `${prefix}${ending.name}`;
      const bus = createBus({ engine: engine({ compacted: [ending.name] }), source: '/compacted' });
      bus.declare([ending]);
      await bus.start();
      const admin = new Admin(clientOf(kafkaUrl ?? ''));
      const link = new Link(settingsOf({ url: kafkaUrl ?? '' }), systemClock);
      try {
        await bus.publish(ending, { n: 1 }, { key: 'a' });
        await bus.publish(ending, null, { key: 'a' });
        const values: (string | undefined)[] = [];
        await new Logs(admin, link).read(topic, 0, 0, 2, (records) =>
          values.push(...records.map(({ value }) => value?.toString())),
        );
        assert.deepEqual(values, ['{"n":1}', undefined]);
        const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }];
        const [described] = await admin.describeConfigs({ resources });
        assert.equal(described?.configs.find(({ name }) => name === 'cleanup.policy')?.value, 'compact');
      } finally {
        await link.close();
        await admin.close();
        await bus.stop({ drainMs: 0 });
      }
    },
  },
  {
    name: 'a key is handled by one process at a time and in order while its partition goes to another',
    run: async (fixture) => {
      const KEYS = 8;
      const busy = new Set<string>();
      const overlaps: string[] = [];
      const began = new Collector<readonly [who: string, key: string, n: number]>();
      const buses = ['a', 'b'].map((who) => {
        // Longer than any handler: what is out when the other comes is waited for.
        const bus = createBus({
          engine: own(fixture).engine({ partitions: 4, sessionTimeoutMs: 6_000, revokeGraceMs: 4_000 }),
          source: `/${who}`,
        });
        bus.declare([sequenced]);
        bus.subscribe(sequenced, {
          name: 'one',
          concurrency: KEYS,
          handler: async ({ key = '', data }) => {
            if (busy.has(key)) overlaps.push(`${who} ${key} ${data.n}`);
            busy.add(key);
            began.add([who, key, data.n]);
            await pause(systemClock, 400);
            busy.delete(key);
            return ack();
          },
        });
        return bus;
      });
      const [first, second] = buses as [Bus, Bus];
      await first.start();
      try {
        await first.publishBatch(
          sequenced,
          numbers(1, 5).flatMap((n) =>
            numbers(1, KEYS).map((key) => ({ data: { n }, options: { key: `key-${key}` } })),
          ),
        );
        await began.waitFor(KEYS);
        await second.start();
        await eventually(
          async () => new Set(began.values.map(([, key, n]) => `${key} ${n}`)).size,
          (seen) => seen === 5 * KEYS,
          'all of all keys',
        );
        assert.equal(new Set(began.values.map(([who]) => who)).size, 2, 'no partition went to the other');
        assert.deepEqual(overlaps, []);
        for (const key of numbers(1, KEYS)) {
          const ofKey = began.values.filter((one) => one[1] === `key-${key}`).map(([, , n]) => n);
          assert.deepEqual(ofKey, numbers(1, 5), `key-${key}`);
        }
      } finally {
        await Promise.all(buses.map((bus) => bus.stop({ drainMs: 1_000 })));
      }
    },
  },
];

const numbered = (count: number) => numbers(1, count).map((n) => ({ data: { n } }));

/** Waits until the first partition of a log ends there. */
async function endOf(topic: string, offset: number): Promise<void> {
  const admin = new Admin(clientOf(kafkaUrl ?? ''));
  const link = new Link(settingsOf({ url: kafkaUrl ?? '' }), systemClock);
  const logs = new Logs(admin, link);
  try {
    await eventually(
      () => logs.ends(topic),
      ([end]) => end === offset,
      `the end of ${topic}`,
    );
  } finally {
    await Promise.all([link.close(), admin.close()]);
  }
}

async function collect(
  bus: Bus,
  channel: typeof plain | typeof nothingKept,
  name: string,
  into: Collector<number>,
): Promise<Subscription> {
  const subscription = bus.subscribe(channel as typeof plain, {
    name,
    handler: ({ data }) => {
      into.add(data.n);
      return ack();
    },
  });
  await subscription.started;
  return subscription;
}
