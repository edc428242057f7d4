/** What is peculiar to channels with shards, in the form of the other cases of Redis. */
import assert from 'node:assert/strict';
import { pause, systemClock } from '../../clock.ts';
import { eventually } from '../../conformance/fixture.ts';
import type { Delivery, EngineConnection, OutgoingMessage } from '../../engine.ts';
import type { RedisFixture } from './conformance-fixture.ts';
import { createRedisEngine } from './engine.ts';
import { bare, shardOf, specOf, streamOf, type RedisCase } from './redis-case-parts.ts';
import {
  channel,
  consume,
  handleAll,
  idsOf,
  keysOfAllShards,
  numbered,
  ownersOf,
  publish,
  withConnections,
} from './shard-case-parts.ts';

/** How many shards each consumer has, the fewest first. */
async function shares(fixture: RedisFixture): Promise<readonly number[]> {
  const owners = [...(await ownersOf(fixture)).values()];
  return [...Map.groupBy(owners, (owner) => owner).values()]
    .map(({ length }) => length)
    .sort((a, b) => a - b);
}

export const shardCases: readonly RedisCase[] = [
  {
    name: 'every shard has one consumer, all have about as many, and who leaves or joins changes that',
    run: (fixture) =>
      withConnections(fixture, 3, async (a, b, c) => {
        const [first, second] = [await consume(a as EngineConnection), await consume(b as EngineConnection)];
        const become = (wanted: readonly number[]): Promise<unknown> =>
          eventually(
            () => shares(fixture),
            (found) => found.join() === wanted.join(),
            `shares of ${wanted.join(', ')}`,
          );
        await become([8, 8]);
        const third = await consume(c as EngineConnection);
        await become([5, 5, 6]);
        await second.consumer.close();
        await become([8, 8]);
        await first.consumer.pause();
        await become([16]);
        assert.equal((await ownersOf(fixture)).size, 16);
        await third.consumer.close();
      }),
  },

  {
    name: 'what waited behind a message goes behind it when both are given back, and one after the other to the next consumer',
    run: (fixture) =>
      withConnections(fixture, 2, async (a, b) => {
        const first = await consume(a as EngineConnection);
        await publish(a as EngineConnection, [...numbered('k', 6), 'a1']);
        const out = await first.got.waitFor(2);
        await first.consumer.pause();
        const second = await consume(b as EngineConnection);
        // What waited is given back, and nothing of the shards is anybody else's while a message of them is out.
        await publish(a as EngineConnection, ['a2']);
        await pause(systemClock, 300);
        assert.deepEqual(idsOf(second), []);
        await first.consumer.settle(out.map(({ token }) => ({ kind: 'release', token })));
        await handleAll(second, 0, 8);
        assert.deepEqual(idsOf(first).toSorted(), ['a1', 'k1']);
        const of = (key: string): readonly string[] => idsOf(second).filter((id) => id.startsWith(key));
        assert.deepEqual([of('a'), of('k')], [numbered('a', 2), numbered('k', 6)]);
      }),
  },

  {
    name: 'one busy key stops no other one, though more of it lies in front than there is room for',
    run: (fixture) =>
      withConnections(fixture, 1, async (connection) => {
        const consuming = await consume(connection as EngineConnection, 4);
        await publish(connection as EngineConnection, numbered('k', 30));
        await consuming.got.waitFor(1);
        await publish(connection as EngineConnection, ['a1', 'b1', 'c1']);
        await eventually(
          async () => idsOf(consuming).toSorted().join(),
          (found) => found === 'a1,b1,c1,k1',
          'the other keys',
        );
        const of = (key: string): readonly Delivery[] =>
          consuming.got.values.filter(({ message }) => message?.key === key);
        for (let n = 0; n < 30; n += 1) {
          const { token } = (await eventually(
            async () => of('k')[n],
            (found) => found !== undefined,
            `k${n + 1}`,
          )) as Delivery;
          assert.equal(of('k').length, n + 1, 'two of a key are out');
          assert.deepEqual(await consuming.consumer.settle([{ kind: 'ack', token }]), ['settled']);
        }
        assert.deepEqual(
          of('k').map(({ message }) => message?.id),
          numbered('k', 30),
        );
      }),
  },

  {
    name: 'what waits behind a message that is tried again comes after it, also what was published meanwhile',
    run: (fixture) =>
      withConnections(fixture, 1, async (connection) => {
        const consuming = await consume(connection as EngineConnection);
        await publish(connection as EngineConnection, numbered('k', 3));
        const [{ token }] = (await consuming.got.waitFor(1)) as [Delivery];
        const dueAt = systemClock.now() + 300;
        assert.deepEqual(await consuming.consumer.settle([{ kind: 'retry', token, dueAt, state: 's' }]), [
          'settled',
        ]);
        await publish(connection as EngineConnection, ['k4', 'a1']);
        await handleAll(consuming, 1, 6);
        // Where a1 comes among them is a matter of how fast the machine is.
        const ids = idsOf(consuming);
        assert.ok(ids.includes('a1'));
        assert.deepEqual(
          ids.filter((id) => id !== 'a1'),
          ['k1', 'k1', 'k2', 'k3', 'k4'],
        );
      }),
  },

  {
    name: 'every shard has its turn, however little room there is',
    run: (fixture) =>
      withConnections(fixture, 1, async (connection) => {
        const keys = keysOfAllShards(fixture);
        await publish(
          connection as EngineConnection,
          numbered('', 6).flatMap((n) => keys.map((key) => `${key}${n}`)),
        );
        const consuming = await consume(connection as EngineConnection, 2);
        await handleAll(consuming, 0, 48);
        const seen = new Set(consuming.got.values.slice(0, 48).map(({ message }) => message?.key));
        assert.equal(seen.size, 16);
      }),
  },

  {
    name: 'leases end in shards that are being left, also while others are worked on',
    run: (fixture) =>
      withConnections(fixture, 2, async (a, b) => {
        const [keys, leaseMs] = [keysOfAllShards(fixture), 2_000];
        const first = await consume(a as EngineConnection, 100, leaseMs);
        await publish(
          a as EngineConnection,
          keys.map((key) => `${key}1`),
        );
        const out = await first.got.waitFor(16);
        const second = await consume(b as EngineConnection, 100, leaseMs);
        // Those behind the first eight are to be the second one's, once nothing of them is out.
        const isLeft = ({ message }: Delivery): boolean =>
          Number(
            shardOf(fixture, channel, message?.key ?? '')
              .split(':')
              .at(-1),
          ) > 8;
        const worked = out.filter((one) => !isLeft(one)).map(({ token }) => token);
        await eventually(
          async () => {
            await first.consumer.extend(worked);
            return new Set(idsOf(second)).size;
          },
          (count) => count === 8,
          'each of them again',
        );
        assert.ok(second.got.values.every((one) => isLeft(one) && (one.abandoned ?? 0) > 0));
      }),
  },

  {
    name: 'what expires while it waits behind its key is counted and not handed out',
    run: (fixture) =>
      withConnections(fixture, 1, async (connection) => {
        const consuming = await consume(connection as EngineConnection);
        const expiresAt = systemClock.now() + 400;
        const message = (id: string, more: object = {}): OutgoingMessage => ({
          channel,
          message: { ...bare(channel), id, key: 'k', ...more },
        });
        const shortly = { expiresAt: new Date(expiresAt).toISOString() };
        await connection?.publish([message('k1'), message('k2', shortly), message('k3')]);
        const [{ token }] = (await consuming.got.waitFor(1)) as [Delivery];
        await pause(systemClock, expiresAt - systemClock.now() + 20);
        await consuming.consumer.settle([{ kind: 'ack', token }]);
        await handleAll(consuming, 1, 2);
        assert.deepEqual(idsOf(consuming), ['k1', 'k3']);
        await eventually(
          async () => (await connection?.inspect())?.channels[0]?.subscriptions[0]?.expired,
          (count) => count === 1,
          'one that expired',
        );
      }),
  },

  {
    name: 'shards of a consumer that is silent are taken when its leases are over, and what it settles then is lost',
    run: (fixture) =>
      withConnections(fixture, 2, async (a, b) => {
        // The other one looks at once, and then in 5 s.
        const first = await consume(a as EngineConnection, 10, 2_000);
        await publish(a as EngineConnection, numbered('k', 2));
        const [{ token }] = (await first.got.waitFor(1)) as [Delivery];
        // It asks for nothing any more, and prolongs nothing.
        await first.consumer.pause();
        const second = await consume(b as EngineConnection);
        const [again] = (await second.got.waitFor(1)) as [Delivery];
        assert.deepEqual([again.message?.id, again.abandoned], ['k1', 1]);
        assert.deepEqual(await first.consumer.settle([{ kind: 'ack', token }]), ['lost']);
        await handleAll(second, 0, 2);
        assert.deepEqual(idsOf(second), ['k1', 'k2']);
      }),
  },

  {
    name: 'who joins gets nothing of a shard of which something is out, also what is published then',
    run: (fixture) =>
      withConnections(fixture, 2, async (a, b) => {
        const keys = Array.from({ length: 40 }, (_, n) =>
          String.fromCodePoint(97 + (n % 26)).repeat(1 + Math.floor(n / 26)),
        );
        const first = await consume(a as EngineConnection, 100);
        await publish(
          a as EngineConnection,
          keys.map((key) => `${key}1`),
        );
        const out = await first.got.waitFor(40);
        const second = await consume(b as EngineConnection, 100);
        const readers = `${fixture.prefix}:sub:${channel}:one:readers`;
        await eventually(
          () => fixture.raw('ZCARD', readers) as Promise<number>,
          (count) => count === 2,
          'the second reader',
        );
        await publish(
          a as EngineConnection,
          keys.map((key) => `${key}2`),
        );
        await pause(systemClock, 300);
        assert.deepEqual(idsOf(second), []);
        await first.consumer.settle(out.map(({ token }) => ({ kind: 'ack', token })));
        await eventually(
          async () => [...idsOf(first), ...idsOf(second)].filter((id) => id.endsWith('2')).length,
          (count) => count === 40,
          'the second of each key',
        );
      }),
  },

  {
    name: 'a channel keeps the shards that it was made with, and one that was made without has none',
    async run(fixture) {
      const { url, prefix } = fixture;
      const context = { clock: systemClock, onFatal: () => {} };
      const record = (name: string): Promise<unknown> =>
        fixture.raw('HMGET', `${prefix}:channel:${name}`, 'shards', 'levels');
      const declared = async (shards: number, names: readonly string[]): Promise<void> => {
        const connection = await createRedisEngine({ url, prefix, shards }).connect(context);
        await connection.declare({ channels: names.map((name) => specOf(name, 'key')), subscriptions: [] });
        await connection.close();
      };
      await declared(4, ['four']);
      await declared(0, ['none']);
      await declared(8, ['four', 'none', 'eight']);
      assert.deepEqual(await record('four'), ['4', '5']);
      assert.deepEqual(await record('none'), [null, '1']);
      assert.deepEqual(await record('eight'), ['8', '9']);
      const connection = await createRedisEngine({ url, prefix }).connect(context);
      try {
        await assert.rejects(
          connection.declare({
            channels: [{ ...specOf('four', 'key'), priorityLevels: 3 }],
            subscriptions: [],
          }),
          { code: 'DB_MSG_CHANNEL_CONTRADICTION' },
        );
        await connection.declare({
          channels: [{ ...specOf('urgent', 'key'), priorityLevels: 3 }],
          subscriptions: [],
        });
        assert.deepEqual(await record('urgent'), [null, '3']);
      } finally {
        await connection.close();
      }
    },
  },

  {
    name: 'what a stranger writes moves to the shard of its key',
    run: (fixture) =>
      withConnections(fixture, 1, async (connection) => {
        const event = {
          specversion: '1.0',
          id: 's1',
          type: channel,
          source: '/s',
          data: { n: 1 },
          partitionkey: 'k',
        };
        await fixture.raw('XADD', streamOf(fixture, channel), '*', 'event', JSON.stringify(event));
        const consuming = await consume(connection as EngineConnection);
        await publish(connection as EngineConnection, ['k2']);
        const [{ token }] = (await consuming.got.waitFor(1)) as [Delivery];
        assert.deepEqual(idsOf(consuming), ['s1']);
        const [first] = (await fixture.raw(
          'XRANGE',
          shardOf(fixture, channel, 'k'),
          '-',
          '+',
        )) as readonly (readonly [string, readonly string[]])[];
        assert.equal((JSON.parse(first?.[1][1] ?? '{}') as { id?: string }).id, 's1');
        await consuming.consumer.settle([{ kind: 'ack', token }]);
        await handleAll(consuming, 1, 2);
      }),
  },
];
