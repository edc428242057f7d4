/** Cases that belong to a capability: run where the engine has it, written out as not applicable where it has not. */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { type Bus, createBus } from '../bus.ts';
import { type Channel, type ChannelRequirements, defineChannel, type EmulatableFeature } from '../channel.ts';
import { systemClock } from '../clock.ts';
import type { Capabilities, Support } from '../engine.ts';
import { UnsupportedCapabilityError } from '../errors.ts';
import { ack, deadLetter, type Outcome, retry } from '../outcome.ts';
import { blocking, delayed, expiring, notices, ranked, sequenced, skipping } from './channels.ts';
import { Collector, eventually, signal, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const has = (support: 'native' | 'emulated' | 'none', feature: string): string | undefined =>
  support === 'none' ? `the engine has no ${feature}` : undefined;
const order = (can: Capabilities): string | undefined => has(can.orderPerKey, 'order per key');

type Keyed = typeof skipping | typeof blocking | typeof sequenced;

/** Publishes a1..a4 and b1..b4 on a keyed channel: n of key `a` is 1..4, of key `b` 11..14. */
async function publishKeys(bus: Bus, channel: Channel): Promise<void> {
  const keyed = channel as Keyed;
  await bus.publishBatch(
    keyed,
    [1, 2, 3, 4].flatMap((n) => [
      { data: { n }, options: { key: 'a' } },
      { data: { n: n + 10 }, options: { key: 'b' } },
    ]),
  );
}

function subscribeKeyed(
  bus: Bus,
  channel: Channel,
  handle: (n: number, attempt: number) => Outcome | Promise<Outcome>,
): void {
  bus.subscribe(channel as Keyed, {
    name: 'one',
    concurrency: 4,
    retries: { immediate: 0, delayed: [30] },
    handler: ({ data }, { attempt }) => handle((data as { n: number }).n, attempt),
  });
}

type Arrival = readonly [n: number, at: number];

/**
 * Publishes one that is to wait long, then one that is to wait a third of it, then one at once, and says in which order they came. The shorter delay is 100 ms unless a
 * message without a delay takes a good part of that: on a machine under load all three would be due before the last is published. Then it is three or nine
 * times as long (odd multiples of 100 ms, which a control counts on that loses one step of a ladder of delays).
 */
async function orderOfDelayed(bus: Bus, got: Collector<Arrival>): Promise<readonly number[]> {
  const trip = await slowestTrip(bus, got);
  const short = [100, 300].find((ms) => ms >= 4 * trip) ?? 900;
  const before = got.values.length;
  const start = systemClock.monotonic();
  await bus.publish(delayed, { n: 1 }, { delayMs: 3 * short });
  await bus.publish(delayed, { n: 2 }, { delayMs: short });
  await bus.publish(delayed, { n: 3 });
  const came = (await got.waitFor(before + 3)).slice(before);
  const after = (n: number): number => (came.find(([one]) => one === n)?.[1] ?? 0) - start;
  assert.ok(after(2) >= short - 1 && after(1) >= 3 * short - 1, JSON.stringify({ short, start, came }));
  return came.map(([n]) => n);
}

/** What a message without a delay takes, ms, from its publishing on; the first one does not count, it finds nothing open yet. */
async function slowestTrip(bus: Bus, got: Collector<Arrival>): Promise<number> {
  const trips: number[] = [];
  for (const n of [10, 11, 12]) {
    const [asked, before] = [systemClock.monotonic(), got.values.length];
    await bus.publish(delayed, { n });
    const [, at] = (await got.waitFor(before + 1))[before] ?? [n, Infinity];
    trips.push(at - asked);
  }
  return Math.max(...trips.slice(1));
}

export const capabilityCases: readonly ConformanceCase[] = [
  {
    name: 'a delayed message is not early, and does not hold up a later one with a shorter delay',
    unless: (can) => has(can.delay.support, 'delay'),
    async run(fixture) {
      const got = new Collector<Arrival>();
      const orders: (readonly number[])[] = [];
      await withBus({
        fixture,
        channels: [delayed],
        prepare: (bus) =>
          void bus.subscribe(delayed, {
            name: 'one',
            handler: ({ data }) => {
              got.add([data.n, systemClock.monotonic()]);
              return ack();
            },
          }),
        // A machine that stands still until both are due may hand them out in any order once; who holds up does so each time.
        async use(bus) {
          do orders.push(await orderOfDelayed(bus, got));
          while (!isDeepStrictEqual(orders.at(-1), [3, 2, 1]) && orders.length < 3);
        },
      });
      assert.deepEqual(orders.at(-1), [3, 2, 1], JSON.stringify(orders));
    },
  },
  {
    name: 'a delay survives a restart',
    unless: (can) => has(can.delay.support, 'delay'),
    async run(fixture) {
      await withBus({
        fixture,
        channels: [delayed],
        use: async (bus) => void (await bus.publish(delayed, { n: 1 }, { delayMs: 150 })),
      });
      const got = new Collector<number>();
      await withBus({
        fixture,
        channels: [delayed],
        prepare: (bus) =>
          void bus.subscribe(delayed, {
            name: 'one',
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          }),
        use: async () => void (await got.waitFor(1)),
      });
    },
  },
  {
    name: 'higher priorities first, oldest first within one',
    unless: (can) => has(can.priority.support, 'priority'),
    async run(fixture) {
      const got = new Collector<number>();
      await withBus({
        fixture,
        channels: [ranked],
        async use(bus) {
          for (const [n, priority] of [
            [1, 0],
            [2, 1],
            [3, 2],
            [4, 0],
            [5, 2],
            [6, 1],
          ] as const)
            await bus.publish(ranked, { n }, { priority });
          bus.subscribe(ranked, {
            name: 'one',
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          });
          await got.waitFor(6);
        },
      });
      assert.deepEqual(got.values, [3, 5, 2, 6, 1, 4]);
    },
  },
  {
    name: 'an expired message is dropped and counted, one that is not is handled',
    unless: (can) => has(can.ttl.support, 'ttl'),
    async run(fixture) {
      const got = new Collector<number>();
      await withBus({
        fixture,
        channels: [expiring],
        async use(bus) {
          const now = systemClock.now();
          await bus.publish(expiring, { n: 1 }, { expiresAt: now - 1 });
          await bus.publish(expiring, { n: 2 }, { expiresAt: now + 60_000 });
          await bus.publish(expiring, { n: 3 });
          bus.subscribe(expiring, {
            name: 'one',
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          });
          await got.waitFor(2);
          const view = await bus.view();
          assert.equal(view.channels[0]?.subscriptions[0]?.expired, 1);
        },
      });
      assert.deepEqual(got.values, [2, 3]);
    },
  },
  {
    name: 'order per key: one message of a key at a time and in order, keys side by side',
    unless: order,
    async run(fixture) {
      const got = new Collector<number>();
      const atOnce = new Map<string, number>();
      let keysAtOnce = 0;
      // The first of each key waits for the other: side by side means at the same time, however far apart they arrive.
      const together = signal();
      await withBus({
        fixture,
        channels: [sequenced],
        prepare: (bus) =>
          subscribeKeyed(bus, sequenced, async (n) => {
            const key = n > 10 ? 'b' : 'a';
            atOnce.set(key, (atOnce.get(key) ?? 0) + 1);
            assert.equal(atOnce.get(key), 1);
            keysAtOnce = Math.max(keysAtOnce, [...atOnce.values()].filter((count) => count > 0).length);
            if (keysAtOnce === 2) together.fire();
            await together.fired;
            atOnce.set(key, 0);
            got.add(n);
            return ack();
          }),
        async use(bus) {
          await publishKeys(bus, sequenced);
          await got.waitFor(8);
        },
      });
      assert.deepEqual(
        got.values.filter((n) => n < 10),
        [1, 2, 3, 4],
      );
      assert.deepEqual(
        got.values.filter((n) => n > 10),
        [11, 12, 13, 14],
      );
      assert.equal(keysAtOnce, 2);
    },
  },
  {
    name: 'order per key holds while a message is retried (blockKey, sequencedDlq); skip lets the others pass',
    unless: order,
    async run(fixture) {
      for (const channel of [blocking, sequenced, skipping] as readonly Channel[]) {
        const got = new Collector<number>();
        await withBus({
          fixture,
          channels: [channel],
          prepare: (bus) =>
            subscribeKeyed(bus, channel, (n, attempt) => {
              // Long enough for the others to pass on a machine that is busy.
              if (n === 2 && attempt === 1)
                return retry(channel.onFailure === 'skip' ? { delayMs: 1_500 } : {});
              got.add(n);
              return ack();
            }),
          async use(bus) {
            await publishKeys(bus, channel);
            await got.waitFor(8);
          },
        });
        const expected = channel === (skipping as Channel) ? [1, 3, 4, 2] : [1, 2, 3, 4];
        assert.deepEqual(
          got.values.filter((n) => n < 10),
          expected,
          channel.name,
        );
      }
    },
  },
  {
    name: 'sequencedDlq parks the head and all that follows it, across a restart; redrive replays the sequence in order',
    unless: order,
    async run(fixture) {
      const got = new Collector<number>();
      const failing = { on: true };
      const handle = (n: number): Outcome => {
        if (n === 2 && failing.on) return deadLetter('two is broken');
        got.add(n);
        return ack();
      };
      await withBus({
        fixture,
        channels: [sequenced],
        prepare: (bus) => subscribeKeyed(bus, sequenced, handle),
        async use(bus) {
          await publishKeys(bus, sequenced);
          await got.waitFor(5);
          await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 3,
            'three parked',
          );
        },
      });
      await withBus({
        fixture,
        channels: [sequenced],
        prepare: (bus) => subscribeKeyed(bus, sequenced, handle),
        async use(bus) {
          await bus.publish(sequenced, { n: 5 }, { key: 'a' });
          const parked = await eventually(
            () => bus.deadLetters.list({ key: 'a' }),
            (found) => found.length === 4,
            'the newcomer parked too',
          );
          assert.deepEqual(
            parked.map(({ raw }) => (JSON.parse(raw) as { data: { n: number } }).data.n),
            [2, 3, 4, 5],
          );
          failing.on = false;
          assert.deepEqual(await bus.deadLetters.redrive({ messageIds: [parked[2]?.messageId ?? ''] }), {
            moved: 4,
            remaining: 0,
          });
          await got.waitFor(9);
        },
      });
      assert.deepEqual(
        got.values.filter((n) => n < 10),
        [1, 2, 3, 4, 5],
      );
    },
  },
  {
    name: 'blockKey holds the key behind a dead letter until it is discarded',
    unless: order,
    async run(fixture) {
      const got = new Collector<number>();
      await withBus({
        fixture,
        channels: [blocking],
        prepare: (bus) =>
          subscribeKeyed(bus, blocking, (n) => {
            if (n === 2) return deadLetter('two is broken');
            got.add(n);
            return ack();
          }),
        async use(bus) {
          await publishKeys(bus, blocking);
          await got.waitFor(5);
          await eventually(
            () => bus.view(),
            ({ channels }) => {
              const view = channels[0]?.subscriptions[0];
              return view?.waitingForKey === 2 && view.inFlight === 0 && view.ready === 0;
            },
            'two waiting behind their key and nothing else',
          );
          assert.equal((await bus.deadLetters.discard({ key: 'a' })).moved, 1);
          await got.waitFor(7);
        },
      });
      assert.deepEqual(
        got.values.filter((n) => n < 10),
        [1, 3, 4],
      );
    },
  },
  {
    name: 'a key that fails does not stop another',
    unless: order,
    async run(fixture) {
      const got = new Collector<number>();
      const held = signal();
      await withBus({
        fixture,
        channels: [sequenced],
        prepare: (bus) =>
          subscribeKeyed(bus, sequenced, async (n) => {
            if (n === 1) await held.fired;
            got.add(n);
            return ack();
          }),
        async use(bus) {
          await publishKeys(bus, sequenced);
          await got.waitFor(4);
          assert.deepEqual(got.values, [11, 12, 13, 14]);
          held.fire();
          await got.waitFor(8);
        },
      });
    },
  },
  {
    name: 'broadcast: two consumers of one subscription both hear what is said, and who comes later only what is said then',
    unless: ({ broadcast }) => has(broadcast, 'broadcast'),
    async run(fixture) {
      const heard = [new Collector<number>(), new Collector<number>(), new Collector<number>()] as const;
      const listen = (bus: Bus, ear: Collector<number>): Promise<void> =>
        bus.subscribe(notices, {
          name: 'one',
          handler: ({ data }) => {
            ear.add(data.n);
            return ack();
          },
        }).started;
      await withBus({
        fixture,
        channels: [notices],
        async use(bus) {
          await listen(bus, heard[0]);
          await listen(bus, heard[1]);
          await bus.publish(notices, { n: 1 });
          await Promise.all([heard[0].waitFor(1), heard[1].waitFor(1)]);
          await listen(bus, heard[2]);
          await bus.publish(notices, { n: 2 });
          await Promise.all([heard[0].waitFor(2), heard[1].waitFor(2), heard[2].waitFor(1)]);
        },
      });
      assert.deepEqual(
        heard.map(({ values }) => values),
        [[1, 2], [1, 2], [2]],
      );
    },
  },
  {
    name: 'what the engine does not state is refused at the start, with what to do; what it states is not',
    async run(fixture) {
      let can: Capabilities | undefined;
      await withBus({
        fixture,
        channels: [],
        use: async (bus) => {
          can = (await bus.view()).capabilities;
        },
      });
      assert.ok(can);
      const asked = statedBy(can).map((question, index) => ({
        ...question,
        channel: askingFor(question, index),
      }));
      const start = async (isThere: boolean): Promise<unknown> => {
        const bus = createBus({ engine: fixture.open(), source: '/conformance' });
        bus.declare(asked.filter((one) => one.isThere === isThere).map(({ channel }) => channel));
        const error: unknown = await bus.start().catch((caught: unknown) => caught);
        await bus.stop();
        return error;
      };
      assert.equal(await start(true), undefined);
      const error = await start(false);
      assert.ok(error instanceof UnsupportedCapabilityError, `the start did not refuse it: ${String(error)}`);
      // Each by itself: one that is let through stands in nobody's shadow.
      assert.deepEqual(
        error.unmet.map(({ channel, feature, remedies }) => [channel, feature, remedies.length > 0]),
        asked.filter(({ isThere }) => !isThere).map(({ channel, feature }) => [channel.name, feature, true]),
      );
    },
  },
];

/** What a channel may ask for, and whether the start has to agree. */
interface Question {
  readonly feature: string;
  readonly requires: ChannelRequirements;
  readonly order?: 'key';
  readonly isThere: boolean;
}

function askingFor({ requires, order }: Question, index: number): Channel {
  return defineChannel({
    name: `conformance.asking.${index}`,
    version: 1,
    schema: notices.definition.schema,
    requires,
    ...(order && { order }),
  });
}

function statedBy(can: Capabilities): readonly Question[] {
  const { maxMs } = can.delay;
  return [
    { feature: 'broadcast', requires: { broadcast: true }, isThere: can.broadcast === 'native' },
    { feature: 'deadLetters', requires: { deadLetters: true }, isThere: can.deadLetters === 'native' },
    { feature: 'replay', requires: { replay: { keepMs: 600_000 } }, isThere: can.replay === 'native' },
    { feature: 'size', requires: { size: { maxBytes: can.maxMessageBytes } }, isThere: true },
    { feature: 'size', requires: { size: { maxBytes: can.maxMessageBytes + 1 } }, isThere: false },
    { feature: 'confirm', requires: { confirm: can.confirm }, isThere: true },
    ...withAndWithoutEmulation('delay', can.delay.support, { delay: { maxMs: Math.max(maxMs, 1) } }),
    ...withAndWithoutEmulation('priority', can.priority.support, {
      priority: { levels: Math.max(can.priority.levels, 2) },
    }),
    ...withAndWithoutEmulation('ttl', can.ttl.support, { ttl: true }),
    ...withAndWithoutEmulation('order', can.orderPerKey, {}),
    ...(['direct', 'topic', 'headers'] as const).flatMap((routing) =>
      withAndWithoutEmulation('routing', can.routing[routing], { routing }),
    ),
  ];
}

/** An emulation is there for who accepts it, and for nobody else; to accept one makes nothing of what is not there. */
function withAndWithoutEmulation(
  feature: EmulatableFeature,
  support: Support,
  requires: ChannelRequirements,
): readonly Question[] {
  const order = feature === 'order' ? ({ order: 'key' } as const) : {};
  return [
    { feature, requires, ...order, isThere: support === 'native' },
    { feature, requires: { ...requires, emulation: [feature] }, ...order, isThere: support !== 'none' },
  ];
}
