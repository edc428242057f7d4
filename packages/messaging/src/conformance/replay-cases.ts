/** Looking without taking (`peek`) and going back (`rewind`). What a case compares are numbers of messages, never the engine's own offsets. */
import assert from 'node:assert/strict';
import type { Bus } from '../bus.ts';
import type { Channel } from '../channel.ts';
import { pause, systemClock } from '../clock.ts';
import type { Capabilities, DeadLetterRecord, ReplayPoint, SubscriptionName } from '../engine.ts';
import { ack, deadLetter, retry } from '../outcome.ts';
import { specOf } from '../specs.ts';
import { kept, plain } from './channels.ts';
import { Collector, type EngineFixture, eventually, numbers, settleIn, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const noReplay = ({ replay }: Capabilities): string | undefined =>
  replay === 'native' ? undefined : 'the engine keeps nothing that was settled';

type Numbered = typeof plain | typeof kept;

const publish = async (bus: Bus, channel: Numbered, from: number, to: number): Promise<void> =>
  void (await bus.publishBatch(
    channel as typeof plain,
    numbers(from, to).map((n) => ({ data: { n } })),
  ));

const leave = (bus: Bus, channel: Numbered): Promise<void> =>
  settleIn(bus.subscribe(channel as typeof plain, { name: 'one', handler: () => ack() }));

/** Handles what is there until `count` messages came, then leaves. */
async function consume(bus: Bus, channel: Numbered, count: number): Promise<readonly [number, number][]> {
  const got = new Collector<[number, number]>();
  const subscription = bus.subscribe(channel as typeof plain, {
    name: 'one',
    handler: ({ data }, { attempt }) => {
      got.add([data.n, attempt]);
      return ack();
    },
  });
  await subscription.started;
  await got.waitFor(count);
  await subscription.stop();
  return got.values;
}

const firstAttempts = (from: number, to: number): readonly [number, number][] =>
  numbers(from, to).map((n) => [n, 1]);

/** Publishes 1 to 5, settles them all, goes back to `from` and publishes 6; what then comes is returned. */
async function afterRewind(
  fixture: EngineFixture,
  from: ReplayPoint,
  count: number,
): Promise<readonly [number, number][]> {
  let got: readonly [number, number][] = [];
  await withBus({
    fixture,
    channels: [kept],
    async use(bus) {
      await leave(bus, kept);
      await publish(bus, kept, 1, 5);
      assert.deepEqual(await consume(bus, kept, 5), firstAttempts(1, 5));
      await bus.rewind(kept, 'one', from);
      await publish(bus, kept, 6, 6);
      got = await consume(bus, kept, count);
    },
  });
  return got;
}

/** Two letters, one redriven as it was and one edited, and then a rewind before anybody has consumed them; what then comes is returned. */
async function afterRedrives(fixture: EngineFixture, from: ReplayPoint): Promise<readonly number[]> {
  const came = new Collector<number>();
  await withBus({
    fixture,
    channels: [kept],
    async use(bus) {
      const failing = bus.subscribe(kept, { name: 'one', handler: () => deadLetter('broken') });
      await failing.started;
      await publish(bus, kept, 1, 2);
      const letters = await eventually(
        () => bus.deadLetters.list(),
        (found) => found.length === 2,
        'two dead letters',
      );
      await failing.stop();
      const first = letters.find(({ raw }) => (JSON.parse(raw) as { data: { n: number } }).data.n === 1);
      assert.ok(first && (await bus.deadLetters.redriveEdited(first, { n: 101 })));
      assert.deepEqual(await bus.deadLetters.redrive({}), { moved: 1, remaining: 0 });
      await bus.rewind(kept, 'one', from);
      await bus.subscribe(kept, {
        name: 'one',
        retries: { immediate: 0, delayed: [20] },
        // Each waits once more: a correction and its original must not take each other's place.
        handler: ({ data }, { attempt }) => {
          if (attempt === 1) return retry({ delayMs: 20 });
          came.add(data.n);
          return ack();
        },
      }).started;
      await publish(bus, kept, 3, 3);
      await came.waitFor(from === 'latest' ? 1 : 4);
      await eventually(
        async () => (await bus.view()).channels.find(({ name }) => name === kept.name)?.subscriptions[0],
        (view) => view !== undefined && view.ready + view.inFlight + view.delayed === 0,
        'everything settled',
      );
      assert.deepEqual(await bus.deadLetters.list(), []);
    },
  });
  return came.values.toSorted((a, b) => a - b);
}

/** Fails, is rewound and fails again: one message with two letters, which are all there are. */
async function twoLetters(bus: Bus, n: number): Promise<readonly DeadLetterRecord[]> {
  let letters: readonly DeadLetterRecord[] = [];
  for (const count of [1, 2]) {
    const failing = bus.subscribe(kept, { name: 'one', handler: () => deadLetter('broken') });
    await failing.started;
    if (count === 1) await publish(bus, kept, n, n);
    letters = await eventually(
      () => bus.deadLetters.list(),
      (found) => found.length === count,
      `letter ${count}`,
    );
    await failing.stop();
    if (count === 1) await bus.rewind(kept, 'one', 'earliest');
  }
  return letters;
}

/** Below the bus, where a dry run is: without consumers it would move, then with each reason not to. */
async function dryRuns(fixture: EngineFixture): Promise<void> {
  const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
  const [one, unkept] = [
    { channel: kept.name, name: 'one' },
    { channel: plain.name, name: 'one' },
  ];
  const dryRun = (place: SubscriptionName, from: ReplayPoint): Promise<void> =>
    connection.rewind(place, from, { dryRun: true });
  try {
    await connection.declare({ channels: [kept, plain].map(specOf), subscriptions: [one, unkept] });
    const points: readonly ReplayPoint[] = ['earliest', 'latest', { timeMs: 0 }];
    for (const from of points) await dryRun(one, from);
    await assert.rejects(dryRun(one, { offset: 'nowhere' }), { code: 'DB_MSG_INVALID_OPTIONS' });
    await assert.rejects(dryRun(unkept, 'earliest'), { code: 'DB_MSG_UNSUPPORTED_CAPABILITY' });
    const spec = { channel: kept.name, subscription: 'one', prefetch: 1, leaseMs: 30_000 };
    const consumer = await connection.subscribe(spec, () => {});
    await assert.rejects(dryRun(one, 'earliest'), { code: 'DB_MSG_SUBSCRIPTION_BUSY' });
    await consumer.close();
  } finally {
    await connection.close();
  }
}

/** It names what is not there, and that trying again will not help. */
function isUnknown(error: unknown): true {
  const { code, retryable, message } = error as { code: string; retryable: boolean; message: string };
  assert.equal(code, 'DB_MSG_UNKNOWN_CHANNEL');
  assert.equal(retryable, false);
  assert.match(message, /nobody/);
  return true;
}

export const replayCases: readonly ConformanceCase[] = [
  {
    name: 'peek into a subscription that nobody declared is refused by its name, and makes none',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await leave(bus, plain);
          await publish(bus, plain, 1, 2);
          for (const _ of [1, 2]) await assert.rejects(bus.peek(plain, 'nobody'), isUnknown);
          assert.equal((await bus.peek(plain, 'one')).length, 2);
          const { channels } = await bus.view();
          assert.deepEqual(
            channels.flatMap(({ subscriptions }) => subscriptions.map(({ name }) => name)),
            ['one'],
          );
        },
      }),
  },
  {
    name: 'a rewind of a subscription that nobody declared is refused by its name, and makes none',
    unless: noReplay,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          await leave(bus, kept);
          await publish(bus, kept, 1, 2);
          for (const _ of [1, 2]) await assert.rejects(bus.rewind(kept, 'nobody', 'earliest'), isUnknown);
          assert.deepEqual(await consume(bus, kept, 2), firstAttempts(1, 2));
        },
      }),
  },
  {
    name: 'peek shows what waits, oldest first, without taking it or counting a hand-out',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await leave(bus, plain);
          assert.deepEqual(await bus.peek(plain, 'one'), []);
          await publish(bus, plain, 1, 5);
          for (const _ of [1, 2]) {
            const seen = await bus.peek(plain, 'one', 3);
            assert.deepEqual(
              seen.map(({ message }) => message?.data),
              [{ n: 1 }, { n: 2 }, { n: 3 }],
            );
            assert.match(seen[0]?.message?.id ?? '', /^[0-9a-f-]{36}$/);
          }
          assert.equal((await bus.peek(plain, 'one')).length, 5);
          assert.deepEqual(await consume(bus, plain, 5), firstAttempts(1, 5));
          assert.deepEqual(await bus.peek(plain, 'one'), []);
        },
      }),
  },
  {
    name: 'peek shows a payload that is no CloudEvent as it is',
    unless: (_, { injectRaw }) =>
      injectRaw ? undefined : 'the fixture cannot store a payload that no publisher of the toolkit made',
    async run(fixture) {
      await withBus({ fixture, channels: [plain], use: (bus) => leave(bus, plain) });
      await fixture.injectRaw?.(plain.name, '{"half": ');
      await withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const [seen] = await bus.peek(plain, 'one');
          assert.equal(seen?.message, undefined);
          assert.equal(seen?.raw, '{"half": ');
        },
      });
    },
  },
  {
    name: 'rewind to the earliest hands out again what was settled, in order and as a first attempt',
    unless: noReplay,
    run: async (fixture) => assert.deepEqual(await afterRewind(fixture, 'earliest', 6), firstAttempts(1, 6)),
  },
  {
    name: 'rewind to a time before everything hands out all that is kept',
    unless: noReplay,
    run: async (fixture) =>
      assert.deepEqual(await afterRewind(fixture, { timeMs: 0 }, 6), firstAttempts(1, 6)),
  },
  {
    name: 'rewind to a time hands out what was published since',
    unless: noReplay,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          await leave(bus, kept);
          await publish(bus, kept, 1, 3);
          // Times have a grain of one millisecond, on a server whose clock is this machine's.
          await pause(systemClock, 20);
          const mark = systemClock.now();
          await pause(systemClock, 20);
          await publish(bus, kept, 4, 6);
          await consume(bus, kept, 6);
          await bus.rewind(kept, 'one', { timeMs: mark });
          assert.deepEqual(await consume(bus, kept, 3), firstAttempts(4, 6));
        },
      }),
  },
  {
    name: 'rewind to an offset that peek showed begins with that message',
    unless: noReplay,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          await leave(bus, kept);
          await publish(bus, kept, 1, 5);
          const third = (await bus.peek(kept, 'one'))[2];
          assert.deepEqual(third?.message?.data, { n: 3 });
          assert.ok(third.offset, 'an engine with replay shows offsets');
          await consume(bus, kept, 5);
          await bus.rewind(kept, 'one', { offset: third.offset });
          assert.deepEqual(await consume(bus, kept, 3), firstAttempts(3, 5));
        },
      }),
  },
  {
    name: 'rewind to the latest leaves what waits behind, and a rewind survives a restart',
    unless: noReplay,
    async run(fixture) {
      await withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          await leave(bus, kept);
          await publish(bus, kept, 1, 3);
          await bus.rewind(kept, 'one', 'latest');
        },
      });
      await withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          await publish(bus, kept, 4, 5);
          assert.deepEqual(await consume(bus, kept, 2), firstAttempts(4, 5));
        },
      });
    },
  },
  {
    name: 'what was settled stays for its time, also behind a long run of messages',
    unless: noReplay,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          await leave(bus, kept);
          for (let from = 1; from <= 3_000; from += 500) await publish(bus, kept, from, from + 499);
          const first = await consume(bus, kept, 3_000);
          await bus.rewind(kept, 'one', 'earliest');
          const again = await consume(bus, kept, 3_000);
          assert.deepEqual(
            again.map(([n]) => n),
            first.map(([n]) => n),
          );
        },
      }),
  },
  {
    name: 'two letters of one message are put back as two',
    unless: noReplay,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          await twoLetters(bus, 1);
          assert.deepEqual(await bus.deadLetters.redrive({}), { moved: 2, remaining: 0 });
          assert.deepEqual(await consume(bus, kept, 2), [...firstAttempts(1, 1), ...firstAttempts(1, 1)]);
        },
      }),
  },
  {
    name: 'two letters of one message, each corrected, are two messages',
    unless: noReplay,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          for (const [index, letter] of (await twoLetters(bus, 1)).entries())
            assert.ok(await bus.deadLetters.redriveEdited(letter, { n: 101 + index }));
          const came = (await consume(bus, kept, 2)).map(([n]) => n);
          assert.deepEqual(
            came.toSorted((a, b) => a - b),
            [101, 102],
          );
        },
      }),
  },
  {
    name: 'another subscription does not notice a rewind, and dead letters stay',
    unless: noReplay,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          const other = new Collector<number>();
          await bus.subscribe(kept, {
            name: 'other',
            handler: ({ data }) => {
              other.add(data.n);
              return ack();
            },
          }).started;
          const handled = new Collector<number>();
          const failing = bus.subscribe(kept, {
            name: 'one',
            handler: ({ data }) => {
              handled.add(data.n);
              return data.n === 2 ? deadLetter('two is broken') : ack();
            },
          });
          await failing.started;
          await publish(bus, kept, 1, 3);
          await handled.waitFor(3);
          await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
          await failing.stop();
          await bus.rewind(kept, 'one', 'earliest');
          assert.equal((await bus.deadLetters.list()).length, 1);
          await consume(bus, kept, 3);
          await publish(bus, kept, 4, 4);
          await other.waitFor(4);
          assert.deepEqual(other.values, [1, 2, 3, 4]);
        },
      }),
  },
  {
    name: 'a correction that waits is handed out after a rewind, and what waits beside the log comes once',
    unless: noReplay,
    async run(fixture) {
      // A correction is in no log, so there is nowhere else for it to come from.
      assert.deepEqual(await afterRedrives(fixture, 'earliest'), [1, 2, 3, 101]);
    },
  },
  {
    name: 'rewind to the latest leaves behind what was redriven too',
    unless: noReplay,
    run: async (fixture) => assert.deepEqual(await afterRedrives(fixture, 'latest'), [3]),
  },
  {
    name: 'rewind is refused while the subscription has consumers',
    unless: noReplay,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          const subscription = bus.subscribe(kept, { name: 'one', handler: () => ack() });
          await subscription.started;
          await assert.rejects(bus.rewind(kept, 'one', 'earliest'), { code: 'DB_MSG_SUBSCRIPTION_BUSY' });
          await subscription.stop();
          await bus.rewind(kept, 'one', 'earliest');
        },
      }),
  },
  {
    name: 'a dry run of a rewind is refused as the rewind would be, and moves nothing',
    unless: noReplay,
    async run(fixture) {
      await withBus({
        fixture,
        channels: [kept, plain],
        async use(bus) {
          await leave(bus, plain);
          await leave(bus, kept);
          await publish(bus, kept, 1, 5);
          await consume(bus, kept, 5);
        },
      });
      await dryRuns(fixture);
      await withBus({
        fixture,
        channels: [kept],
        async use(bus) {
          await publish(bus, kept, 6, 6);
          assert.deepEqual(await consume(bus, kept, 1), firstAttempts(6, 6));
        },
      });
    },
  },
  {
    name: 'rewind is refused by name where nothing is kept for it, and changes nothing',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await leave(bus, plain);
          await publish(bus, plain, 1, 3);
          await assert.rejects(bus.rewind(plain as Channel, 'one', 'latest'), {
            code: 'DB_MSG_UNSUPPORTED_CAPABILITY',
          });
          assert.deepEqual(await consume(bus, plain, 3), firstAttempts(1, 3));
        },
      }),
  },
];
