/**
 * Routing within a channel: bindings decide what a subscription gets, they are kept, and what no binding takes is refused by an engine that
 * routes natively. Emulations are accepted: the cases look at what arrives, and each "nothing arrived" is read at a marker behind it.
 */
import assert from 'node:assert/strict';
import type { Bus } from '../bus.ts';
import { systemClock } from '../clock.ts';
import type { Capabilities, Engine } from '../engine.ts';
import type { Message } from '../message.ts';
import { ack } from '../outcome.ts';
import type { HeadersBinding, RoutingKind } from '../routing.ts';
import { byHeaders, direct, topic } from './channels.ts';
import { Collector, settleIn, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const without =
  (kind: RoutingKind) =>
  ({ routing }: Capabilities): string | undefined =>
    routing[kind] === 'none' ? `the engine has no ${kind} routing` : undefined;

const notNative = ({ routing }: Capabilities): string | undefined =>
  routing.direct === 'native'
    ? undefined
    : 'consumers drop what is not theirs, so nobody knows at publishing';

type Keyed = typeof direct | typeof topic;

/** Runs a subscription that collects the numbers it gets; resolves once it is bound. */
async function collect(
  bus: Bus,
  channel: Keyed,
  name: string,
  bindings: readonly string[],
): Promise<Collector<number>> {
  const got = new Collector<number>();
  const handler = ({ data }: Message<{ n: number }>) => {
    got.add(data.n);
    return ack();
  };
  await bus.subscribe(channel as typeof direct, { name, bindings, handler }).started;
  return got;
}

async function bindOnly(bus: Bus, name: string, bindings: readonly string[]): Promise<void> {
  await settleIn(bus.subscribe(direct, { name, bindings, handler: () => ack() }));
}

/** Publishes one message a key, numbered from `first`. */
async function publishKeys(bus: Bus, channel: Keyed, keys: readonly string[], first = 1): Promise<void> {
  for (const [index, routingKey] of keys.entries())
    await bus.publish(channel as typeof direct, { n: first + index }, { routingKey });
}

export const routingCases: readonly ConformanceCase[] = [
  {
    name: 'direct routing: a subscription gets what one of its bindings names, once',
    unless: without('direct'),
    run: (fixture) =>
      withBus({
        fixture,
        channels: [direct],
        async use(bus) {
          const several = await collect(bus, direct, 'several', ['red', 'blue', 'end']);
          const one = await collect(bus, direct, 'one', ['blue', 'end']);
          const all = await collect(bus, direct, 'all', ['red', 'blue', 'green', 'end']);
          await publishKeys(bus, direct, ['red', 'blue', 'green', 'red', 'end']);
          await all.waitFor(5);
          await several.waitFor(4);
          await one.waitFor(2);
          assert.deepEqual(
            [all.values, several.values, one.values],
            [
              [1, 2, 3, 4, 5],
              [1, 2, 4, 5],
              [2, 5],
            ],
          );
        },
      }),
  },
  {
    name: 'topic routing: * is one word and # any number, and two bindings that both take a message make it one',
    unless: without('topic'),
    run: (fixture) =>
      withBus({
        fixture,
        channels: [topic],
        async use(bus) {
          const all = await collect(bus, topic, 'all', ['#']);
          const oneWord = await collect(bus, topic, 'one-word', ['order.*', 'end']);
          const tail = await collect(bus, topic, 'tail', ['order.#', '*.paid.#', 'end']);
          await publishKeys(bus, topic, ['order', 'order.paid', 'order.paid.late', 'bill', 'end']);
          await all.waitFor(5);
          await oneWord.waitFor(2);
          await tail.waitFor(4);
          assert.deepEqual(
            [all.values, oneWord.values, tail.values],
            [
              [1, 2, 3, 4, 5],
              [2, 5],
              [1, 2, 3, 5],
            ],
          );
        },
      }),
  },
  {
    name: 'headers routing: all of the headers, or any of them',
    unless: without('headers'),
    run: (fixture) =>
      withBus({
        fixture,
        channels: [byHeaders],
        async use(bus) {
          const end: HeadersBinding = { match: 'all', headers: { end: 'yes' } };
          const subscribe = async (name: string, binding: HeadersBinding): Promise<Collector<number>> => {
            const got = new Collector<number>();
            const handler = ({ data }: Message<{ n: number }>) => {
              got.add(data.n);
              return ack();
            };
            await bus.subscribe(byHeaders, { name, bindings: [binding, end], handler }).started;
            return got;
          };
          const headers = { country: 'kr', kind: 'gift' };
          const all = await subscribe('all', { match: 'all', headers });
          const any = await subscribe('any', { match: 'any', headers });
          const every = await subscribe('every', { match: 'any', headers: { seen: 'yes' } });
          for (const [index, one] of [
            { country: 'kr', kind: 'gift' },
            { country: 'kr' },
            { kind: 'sale' },
            { kind: 'gift', country: 'de' },
            { end: 'yes' },
          ].entries())
            await bus.publish(
              byHeaders,
              { n: index + 1 },
              { headers: { ...one, seen: 'yes' } as Record<string, string> },
            );
          await every.waitFor(5);
          await all.waitFor(2);
          await any.waitFor(4);
          assert.deepEqual(
            [every.values, all.values, any.values],
            [
              [1, 2, 3, 4, 5],
              [1, 5],
              [1, 2, 4, 5],
            ],
          );
        },
      }),
  },
  {
    name: 'fan-out on a channel with routing: two subscriptions with one binding get every message each',
    unless: without('direct'),
    run: (fixture) =>
      withBus({
        fixture,
        channels: [direct],
        async use(bus) {
          const first = await collect(bus, direct, 'first', ['red']);
          const second = await collect(bus, direct, 'second', ['red']);
          await publishKeys(bus, direct, ['red', 'red', 'red']);
          await first.waitFor(3);
          await second.waitFor(3);
          assert.deepEqual(
            [first.values, second.values],
            [
              [1, 2, 3],
              [1, 2, 3],
            ],
          );
        },
      }),
  },
  {
    name: 'what a binding took waits for its subscription across a restart, without the others',
    unless: without('direct'),
    async run(fixture) {
      await withBus({
        fixture,
        channels: [direct],
        async use(bus) {
          await bindOnly(bus, 'red', ['red']);
          await bindOnly(bus, 'both', ['red', 'blue']);
          await publishKeys(bus, direct, ['red', 'blue', 'red', 'blue']);
        },
      });
      await withBus({
        fixture,
        channels: [direct],
        async use(bus) {
          const red = await collect(bus, direct, 'red', ['red']);
          const both = await collect(bus, direct, 'both', ['red', 'blue']);
          await both.waitFor(4);
          await publishKeys(bus, direct, ['red'], 5);
          await red.waitFor(3);
          await both.waitFor(5);
          assert.deepEqual(
            [red.values, both.values],
            [
              [1, 3, 5],
              [1, 2, 3, 4, 5],
            ],
          );
        },
      });
    },
  },
  {
    name: 'bindings that are given again replace the former ones',
    unless: without('direct'),
    async run(fixture) {
      await withBus({
        fixture,
        channels: [direct],
        use: (bus) => bindOnly(bus, 'one', ['red', 'end']),
      });
      await withBus({
        fixture,
        channels: [direct],
        async use(bus) {
          const one = await collect(bus, direct, 'one', ['blue', 'end']);
          const all = await collect(bus, direct, 'all', ['red', 'blue', 'end']);
          await publishKeys(bus, direct, ['red', 'blue', 'end']);
          await one.waitFor(2);
          await all.waitFor(3);
          assert.deepEqual(
            [one.values, all.values],
            [
              [2, 3],
              [1, 2, 3],
            ],
          );
        },
      });
    },
  },
  {
    name: 'bindings that are not given again stay as they are on record',
    unless: without('direct'),
    async run(fixture) {
      await withBus({
        fixture,
        channels: [direct],
        use: (bus) => bindOnly(bus, 'one', ['red']),
      });
      await redeclareOne(fixture.open());
      await withBus({
        fixture,
        channels: [direct],
        async use(bus) {
          const all = await collect(bus, direct, 'all', ['red', 'blue']);
          await publishKeys(bus, direct, ['blue', 'red']);
          await all.waitFor(2);
          const one = await collect(bus, direct, 'one', ['red']);
          await one.waitFor(1);
          await publishKeys(bus, direct, ['red'], 3);
          await one.waitFor(2);
          assert.deepEqual(one.values, [2, 3]);
        },
      });
    },
  },
  {
    name: 'what waits keeps the bindings under which it was published',
    unless: (can) => without('direct')(can) ?? notNative(can),
    run: (fixture) =>
      withBus({
        fixture,
        channels: [direct],
        async use(bus) {
          await bindOnly(bus, 'one', ['red']);
          await publishKeys(bus, direct, ['red']);
          const one = await collect(bus, direct, 'one', ['blue']);
          await publishKeys(bus, direct, ['blue'], 2);
          await one.waitFor(2);
          assert.deepEqual(one.values, [1, 2]);
        },
      }),
  },
  {
    name: 'a message that no binding takes is refused by name, and arrives nowhere, not even later',
    unless: (can) => without('direct')(can) ?? notNative(can),
    run: (fixture) =>
      withBus({
        fixture,
        channels: [direct],
        async use(bus) {
          const unroutable = { code: 'DB_MSG_UNROUTABLE', retryable: true };
          await assert.rejects(bus.publish(direct, { n: 1 }, { routingKey: 'green' }), unroutable);
          const red = await collect(bus, direct, 'red', ['red']);
          await assert.rejects(bus.publish(direct, { n: 2 }, { routingKey: 'green' }), unroutable);
          const green = await collect(bus, direct, 'green', ['green']);
          await publishKeys(bus, direct, ['green', 'red'], 3);
          await green.waitFor(1);
          await red.waitFor(1);
          assert.deepEqual([green.values, red.values], [[3], [4]]);
        },
      }),
  },
];

/** Names the subscription as a process does that only manages it: without bindings. */
async function redeclareOne(engine: Engine): Promise<void> {
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  try {
    await connection.declare({
      channels: [
        {
          name: direct.name,
          order: 'none',
          onFailure: 'skip',
          priorityLevels: 1,
          ephemeral: false,
          routing: 'direct',
          keepMs: undefined,
        },
      ],
      subscriptions: [{ channel: direct.name, name: 'one' }],
    });
  } finally {
    await connection.close();
  }
}
