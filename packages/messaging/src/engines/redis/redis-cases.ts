/**
 * What is peculiar to Redis, as cases in the form of the conformance suite: run against the engine, where they have to pass, and against planted
 * defects, where each has to be caught.
 */
import assert from 'node:assert/strict';
import { createBus } from '../../bus.ts';
import { pause, systemClock } from '../../clock.ts';
import { kept, plain, sequenced } from '../../conformance/channels.ts';
import { Collector, eventually, signal, withBus } from '../../conformance/fixture.ts';
import { rewindAfterTrim } from '../../testing/rewind-after-trim.ts';
import type { Consumer, Delivery } from '../../engine.ts';
import { ack, retry } from '../../outcome.ts';
import { deleteAll } from '../../redis/testing/keys.ts';
import { killConnections } from './conformance-fixture.ts';

import {
  shardOf,
  streamOf,
  busOn,
  publishNumbers,
  publishUntilDone,
  OrderWatch,
  subscribeWatched,
  losing,
  keyedConsumer,
  plainConsumer,
  bare,
  specOf,
  type RedisCase,
} from './redis-case-parts.ts';

export const redisCases: readonly RedisCase[] = [
  {
    name: 'what is published is a CloudEvent that any client can read',
    async run(fixture) {
      const bus = await busOn(fixture);
      try {
        const { id } = await bus.publish(sequenced, { n: 7 }, { key: 'a', correlationId: 'c' });
        const [entry] = (await fixture.raw(
          'XRANGE',
          shardOf(fixture, sequenced.name, 'a'),
          '-',
          '+',
        )) as readonly (readonly [string, readonly string[]])[];
        const fields = entry?.[1] ?? [];
        assert.equal(fields[0], 'event');
        const event = JSON.parse(fields[1] ?? '') as Record<string, unknown>;
        const { specversion, type, data, partitionkey, correlationid } = event;
        assert.deepEqual(
          { specversion, id: event['id'], type, data, partitionkey, correlationid },
          {
            specversion: '1.0',
            id,
            type: sequenced.name,
            data: { n: 7 },
            partitionkey: 'a',
            correlationid: 'c',
          },
        );
      } finally {
        await bus.stop();
      }
    },
  },

  {
    name: 'a CloudEvent that a stranger added is handled at once, with its key in order and its expiry kept',
    async run(fixture) {
      const got = new Collector<number>();
      const held = signal();
      const bus = await busOn(fixture, (one) =>
        one.subscribe(sequenced, {
          name: 'one',
          concurrency: 4,
          handler: async ({ data }) => {
            got.add(data.n);
            if (data.n === 1) await held.fired;
            return ack();
          },
        }),
      );
      const add = (n: number, more: object): Promise<unknown> =>
        fixture.raw(
          'XADD',
          streamOf(fixture, sequenced.name),
          '*',
          'event',
          JSON.stringify({
            specversion: '1.0',
            id: `s${n}`,
            type: sequenced.name,
            source: '/shop',
            data: { n },
            ...more,
          }),
        );
      try {
        await add(1, { partitionkey: 'a' });
        await add(2, { partitionkey: 'a' });
        await add(3, { partitionkey: 'b', expirytime: '2001-01-01T01:00:00.5+01:00' });
        await add(4, { partitionkey: 'b', expirytime: '2100-01-01T00:00:00Z' });
        await got.waitFor(2);
        assert.deepEqual(got.values, [1, 4], 'one of key a is out, one of key b has expired');
        held.fire();
        await got.waitFor(3);
        assert.equal((await bus.view()).channels[1]?.subscriptions[0]?.expired, 1);
      } finally {
        held.fire();
        await bus.stop();
      }
    },
  },

  {
    name: 'the heartbeat keeps the idle clock of the pending entry alive as well as the lease',
    async run(fixture) {
      const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
      try {
        const consumer = await keyedConsumer(connection, 60_000);
        const [delivery] = await consumer.got.waitFor(1);
        const idle = async (): Promise<number> => {
          const [pending] = (await fixture.raw(
            'XPENDING',
            shardOf(fixture, sequenced.name, 'a'),
            'one',
            '-',
            '+',
            '10',
          )) as readonly (readonly [string, string, number, number])[];
          return pending?.[2] ?? -1;
        };
        // Long against the time an answer takes on a busy machine.
        await eventually(idle, (ms) => ms >= 500, 'an idle time of 500 ms');
        const began = systemClock.monotonic();
        assert.deepEqual(await consumer.extend([delivery?.token ?? '']), ['settled']);
        const ms = await idle();
        assert.ok(ms <= systemClock.monotonic() - began + 5, `idle for ${ms} ms right after a heartbeat`);
      } finally {
        await connection.close();
      }
    },
  },

  {
    name: 'trimming follows the slowest group, and a group of a stranger is one',
    async run(fixture) {
      const { raw } = fixture;
      const fast = new Collector<string>();
      const bus = await busOn(fixture, (one) => {
        for (const channel of [plain, sequenced])
          one.subscribe(channel, {
            name: 'fast',
            concurrency: 10,
            handler: ({ id }) => {
              fast.add(id);
              return ack();
            },
          });
      });
      const length = (channel: string): Promise<number> =>
        raw(
          'XLEN',
          channel === sequenced.name ? shardOf(fixture, channel, 'a') : streamOf(fixture, channel),
        ) as Promise<number>;
      try {
        await raw('XGROUP', 'CREATE', streamOf(fixture, plain.name), 'stranger', '0');
        await publishNumbers(bus, 1, 50);
        await fast.waitFor(50);
        // Trimmed in the same round or later, so that the other stream has had its turn when this one is short.
        await bus.publish(sequenced, { n: 1 }, { key: 'a' });
        await fast.waitFor(51);
        await eventually(
          () => length(sequenced.name),
          (count) => count === 0,
          'the stream without laggards trimmed',
        );
        assert.equal(await length(plain.name), 50, 'entries that the stranger has not read');
        await raw(
          'XREADGROUP',
          'GROUP',
          'stranger',
          's',
          'COUNT',
          '20',
          'STREAMS',
          streamOf(fixture, plain.name),
          '>',
        );
        await raw('XGROUP', 'SETID', streamOf(fixture, plain.name), 'stranger', '$');
        await publishNumbers(bus, 51, 51);
        await fast.waitFor(52);
        await bus.publish(sequenced, { n: 2 }, { key: 'a' });
        await eventually(
          () => length(sequenced.name),
          (count) => count === 0,
          'another round of trimming',
        );
        assert.equal(await length(plain.name), 51, 'entries that the stranger has read and not acknowledged');
        await raw('XGROUP', 'DESTROY', streamOf(fixture, plain.name), 'stranger');
        await publishNumbers(bus, 52, 52);
        await eventually(
          () => length(plain.name),
          (count) => count === 0,
          'everything trimmed without the stranger',
        );
      } finally {
        await bus.stop();
      }
    },
  },

  {
    name: 'what somebody trims by length while it is in flight becomes a dead letter that says so',
    async run(fixture) {
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            retries: { immediate: 0, delayed: [1] },
            handler: async () => {
              await fixture.raw('XTRIM', streamOf(fixture, plain.name), 'MAXLEN', '0');
              return retry();
            },
          }),
        async use(bus) {
          await bus.publish(plain, { n: 1 });
          const [letter] = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
          assert.equal(letter?.group, 'trimmed while it was in flight');
          assert.match(letter?.reason ?? '', /MAXLEN/);
        },
      });
    },
  },

  {
    name: 'what a stranger read in a group of ours and left idle is handed out, counted as abandoned',
    async run(fixture) {
      const got = new Collector<number>();
      await withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await bus.subscribe(plain, { name: 'one', handler: () => ack() }).stop();
          await publishNumbers(bus, 1, 1);
          await fixture.raw(
            'XREADGROUP',
            'GROUP',
            'one',
            'stranger',
            'COUNT',
            '1',
            'STREAMS',
            streamOf(fixture, plain.name),
            '>',
          );
          await bus.subscribe(plain, {
            name: 'one',
            handler: (_, { attempt }) => {
              got.add(attempt);
              return ack();
            },
          }).started;
          await publishNumbers(bus, 2, 2);
          await got.waitFor(2);
        },
      });
      assert.deepEqual(
        got.values.toSorted((a, b) => a - b),
        [1, 2],
      );
    },
  },

  {
    name: 'order per key holds across processes: one of a key at a time, none left out',
    async run(fixture) {
      const watch = new OrderWatch();
      const buses = [
        await busOn(fixture, (bus) => subscribeWatched(bus, watch)),
        await busOn(fixture, (bus) => subscribeWatched(bus, watch)),
      ];
      try {
        for (let n = 1; n <= 30; n += 1)
          await buses[n % 2]?.publishBatch(
            sequenced,
            ['a', 'b', 'c', 'd', 'e'].map((key) => ({ data: { n }, options: { key } })),
          );
        await watch.seen.waitFor(150);
        assert.deepEqual(watch.faults, []);
      } finally {
        for (const bus of buses) await bus.stop();
      }
    },
  },

  {
    name: 'every connection closed by force, several times: nothing is lost and no key is out of order',
    async run(fixture) {
      const watch = new OrderWatch();
      const publisher = await busOn(fixture);
      const bus = await busOn(fixture, (one) => subscribeWatched(one, watch));
      try {
        for (let n = 1; n <= 40; n += 1) {
          for (const key of ['a', 'b', 'c']) await publishUntilDone(publisher, key, n);
          if (n % 10 === 5)
            assert.ok((await killConnections({ send: (args) => fixture.raw(...args) }, fixture.prefix)) >= 2);
        }
        await watch.seen.waitFor(120);
        assert.deepEqual(watch.faults, []);
      } finally {
        await publisher.stop();
        await bus.stop();
      }
    },
  },

  {
    name: 'an answer lost with the connection gives its messages back, not counted as an attempt',
    async run(fixture) {
      const got = new Collector<[number, number]>();
      const lost = { entries: 0 };
      const bus = createBus({ engine: fixture.openBehind(losing(lost, 'XREADGROUP')), source: '/redis' });
      bus.declare([plain]);
      await bus.start();
      try {
        await publishNumbers(bus, 1, 3);
        bus.subscribe(plain, {
          name: 'one',
          handler: ({ data }, { attempt }) => {
            got.add([data.n, attempt]);
            return ack();
          },
        });
        await got.waitFor(3);
        assert.ok(lost.entries > 0, 'no answer was lost');
        assert.deepEqual(got.values, [
          [1, 1],
          [2, 1],
          [3, 1],
        ]);
      } finally {
        await bus.stop();
      }
    },
  },

  {
    name: 'a lost answer of a claim gives its messages of a key back in order, not counted as an attempt',
    async run(fixture) {
      const got = new Collector<[number, number]>();
      const lost = { entries: 0 };
      const bus = createBus({ engine: fixture.openBehind(losing(lost, 'EVAL')), source: '/redis' });
      bus.declare([sequenced]);
      await bus.start();
      try {
        await bus.publishBatch(
          sequenced,
          [1, 2, 3].map((n) => ({ data: { n }, options: { key: 'a' } })),
        );
        bus.subscribe(sequenced, {
          name: 'one',
          handler: ({ data }, { attempt }) => {
            got.add([data.n, attempt]);
            return ack();
          },
        });
        await got.waitFor(3);
        assert.ok(lost.entries > 0, 'no answer was lost');
        assert.deepEqual(got.values, [
          [1, 1],
          [2, 1],
          [3, 1],
        ]);
      } finally {
        await bus.stop();
      }
    },
  },

  {
    name: 'a keyed message keeps its lease while its handler works, and a late settlement of a lost one changes nothing',
    async run(fixture) {
      const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
      try {
        // Long against what a busy machine may take between two beats.
        const leaseMs = 800;
        const consumer = await keyedConsumer(connection, leaseMs);
        const [first] = (await consumer.got.waitFor(1)) as [Delivery];
        const end = systemClock.monotonic() + 2 * leaseMs;
        while (systemClock.monotonic() < end) {
          await pause(systemClock, 50);
          assert.deepEqual(await consumer.extend([first.token]), ['settled']);
        }
        assert.equal(consumer.got.values.length, 1, 'handed out again under a heartbeat');
        const [, second] = (await consumer.got.waitFor(2, 'hand-outs')) as [Delivery, Delivery];
        assert.equal(second.abandoned, 1);
        assert.deepEqual(await consumer.settle([{ kind: 'ack', token: first.token }]), ['lost']);
        assert.deepEqual(await consumer.settle([{ kind: 'ack', token: second.token }]), ['settled']);
      } finally {
        await connection.close();
      }
    },
  },

  {
    name: 'a late acknowledgement is told from one in time in the same call, though nobody told its consumer that a lease had ended',
    async run(fixture) {
      const here = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
      const elsewhere = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
      try {
        const first = await plainConsumer(here, 1_000);
        await here.publish(
          ['late', 'kept'].map((id) => ({ channel: plain.name, message: { ...bare(plain.name), id } })),
        );
        const [late, kept] = (await first.got.waitFor(2)) as [Delivery, Delivery];
        // Its own claims would end the lease, and tell it.
        await first.pause();
        const second = await plainConsumer(elsewhere, 1_000);
        while (second.got.values.length === 0) {
          await pause(systemClock, 50);
          assert.deepEqual(await first.extend([kept.token]), ['settled']);
        }
        const acks = [late, kept].map(({ token }) => ({ kind: 'ack' as const, token }));
        assert.deepEqual(await first.settle(acks), ['lost', 'settled']);
        assert.deepEqual(await first.settle(acks), ['lost', 'lost']);
        const again = second.got.values.map(({ message, abandoned }) => [message?.id, abandoned]);
        assert.deepEqual(again, [['late', 1]]);
        const [{ token }] = second.got.values as [Delivery];
        assert.deepEqual(await second.settle([{ kind: 'ack', token }]), ['settled']);
      } finally {
        await Promise.all([here.close(), elsewhere.close()]);
      }
    },
  },

  {
    name: 'what somebody else acknowledged is never said to be settled',
    async run(fixture) {
      const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
      try {
        const consumer = await plainConsumer(connection, 60_000);
        await connection.publish([{ channel: plain.name, message: bare(plain.name) }]);
        const [{ token }] = (await consumer.got.waitFor(1)) as [Delivery];
        const stream = streamOf(fixture, plain.name);
        const [, id] = (await fixture.raw('XPENDING', stream, 'one')) as [number, string];
        await fixture.raw('XACK', stream, 'one', id);
        assert.deepEqual(await consumer.settle([{ kind: 'ack', token }]), ['lost']);
      } finally {
        await connection.close();
      }
    },
  },

  {
    name: 'settled messages stay as long as their channel says, and are trimmed after that',
    async run(fixture) {
      const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
      try {
        const { name: channel } = plain;
        await connection.declare({
          channels: [{ ...specOf(channel, 'none'), keepMs: 2_500 }, specOf('other', 'none')],
          subscriptions: [
            { channel, name: 'one' },
            { channel: 'other', name: 'one' },
          ],
        });
        const length = (name: string): Promise<number> =>
          fixture.raw('XLEN', streamOf(fixture, name)) as Promise<number>;
        const began = systemClock.monotonic();
        for (const name of [channel, 'other']) {
          const got = new Collector<Delivery>();
          const consumer = await connection.subscribe(
            { channel: name, subscription: 'one', prefetch: 10, leaseMs: 60_000 },
            (deliveries) => deliveries.forEach((one) => got.add(one)),
          );
          await connection.publish([{ channel: name, message: bare(name) }]);
          const [{ token }] = (await got.waitFor(1)) as [Delivery];
          await consumer.settle([{ kind: 'ack', token }]);
        }
        await eventually(
          () => length('other'),
          (count) => count === 0,
          'the other channel trimmed',
        );
        if (systemClock.monotonic() - began < 2_000) assert.equal(await length(channel), 1, 'kept');
        await eventually(
          () => length(channel),
          (count) => count === 0,
          'what is old enough trimmed',
        );
        assert.ok(systemClock.monotonic() - began >= 2_400, 'trimmed before its time');
      } finally {
        await connection.close();
      }
    },
  },

  {
    name: 'an acknowledgement from before a rewind settles nothing after it',
    async run(fixture) {
      const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
      try {
        const { name: channel } = plain;
        await connection.declare({
          channels: [{ ...specOf(channel, 'none'), keepMs: 60_000 }],
          subscriptions: [{ channel, name: 'one' }],
        });
        await connection.publish([{ channel, message: bare(channel) }]);
        const take = async (): Promise<readonly [Consumer, Delivery]> => {
          const got = new Collector<Delivery>();
          const spec = { channel, subscription: 'one', prefetch: 10, leaseMs: 60_000 };
          const consumer = await connection.subscribe(spec, (all) => all.forEach((one) => got.add(one)));
          return [consumer, (await got.waitFor(1))[0] as Delivery];
        };
        const [zombie, before] = await take();
        await zombie.pause();
        // As one that stood still so long that the engine sees it no more.
        await fixture.raw('DEL', `${fixture.prefix}:sub:${channel}:one:consumers`);
        await connection.rewind({ channel, name: 'one' }, 'earliest');
        const [consumer, again] = await take();
        assert.deepEqual(await zombie.settle([{ kind: 'ack', token: before.token }]), ['lost']);
        assert.deepEqual(await zombie.extend([before.token]), ['lost']);
        assert.deepEqual(await consumer.settle([{ kind: 'ack', token: again.token }]), ['settled']);
      } finally {
        await connection.close();
      }
    },
  },

  {
    name: 'what waits beside a stream that was trimmed under it is handed out after a rewind',
    run: (fixture) =>
      rewindAfterTrim(fixture, () => fixture.raw('XTRIM', streamOf(fixture, kept.name), 'MAXLEN', '0')),
  },

  {
    name: 'a server that lost everything gets its channels and groups again, and goes on',
    async run(fixture) {
      const got = new Collector<number>();
      const bus = await busOn(fixture, (one) =>
        one.subscribe(plain, {
          name: 'one',
          handler: ({ data }) => {
            got.add(data.n);
            return ack();
          },
        }),
      );
      try {
        await publishNumbers(bus, 1, 1);
        await got.waitFor(1);
        await deleteAll({ send: (args) => fixture.raw(...args) }, fixture.prefix);
        await publishNumbers(bus, 2, 3);
        await got.waitFor(3);
        assert.deepEqual(got.values, [1, 2, 3]);
      } finally {
        await bus.stop();
      }
    },
  },
];
