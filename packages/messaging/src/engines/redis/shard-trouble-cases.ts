/**
 * Shards when answers are late or lost, when a stranger meddles, and when there is no room: schedules that broke the order, or stopped a key, before there were
 * defences. What is held here by the real consumer on the real server, key-order.unit.test.ts holds for the order alone.
 */
import assert from 'node:assert/strict';
import { type Clock, pause, systemClock } from '../../clock.ts';
import { eventually } from '../../conformance/fixture.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import type { Delivery, EngineConnection } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { RedisClient } from '../../redis/client.ts';
import { CallCount, turn } from '../../redis/testing/call-count.ts';
import type { RedisFixture } from './conformance-fixture.ts';
import { isCallOf, type RedisCase, shardOf, streamOf } from './redis-case-parts.ts';
import {
  channel,
  type Collecting,
  consume,
  declare,
  handleAll,
  idsOf,
  numbered,
  open,
  publish,
  withConnections,
} from './shard-case-parts.ts';

/** Between a consumer and the server: holds scripts from `shut` until `open`, as a slow network does. Calls and answers keep their order, and no two answers come at once. */
class Gate {
  /** What has come to it since it was shut. */
  readonly come: (readonly string[])[] = [];
  #opened: Promise<void> = Promise.resolve();
  #open = (): void => {};
  #answered: Promise<unknown> = Promise.resolve();

  shut(): void {
    this.come.length = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#opened = promise;
    this.#open = resolve;
  }

  open(): void {
    this.#open();
  }

  readonly wrap = (client: RedisClient): RedisClient => ({
    ...client,
    send: async (args) => {
      if (!args[0]?.startsWith('EVAL')) return client.send(args);
      this.come.push(args);
      await this.#opened;
      const reply = client.send(args);
      this.#answered = Promise.allSettled([this.#answered, reply]).then(turn);
      await this.#answered;
      return reply;
    },
  });
}

async function onBehind(
  fixture: RedisFixture,
  wrap: (client: RedisClient) => RedisClient,
  run: (connection: EngineConnection, other: EngineConnection) => Promise<void>,
  clock: Clock = systemClock,
): Promise<void> {
  const connection = await fixture.openBehind(wrap).connect({ clock, onFatal: () => {} });
  const other = await open(fixture);
  try {
    await declare(connection);
    await declare(other);
    await run(connection, other);
  } finally {
    await Promise.all([connection.close(), other.close()]);
  }
}

/** As a stranger does who has found the first pending entry of a shard. */
async function acknowledgeFirst({ raw }: RedisFixture, stream: string): Promise<void> {
  const [first] = (await raw('XPENDING', stream, 'one', '-', '+', '1')) as readonly (readonly [string])[];
  assert.equal(await raw('XACK', stream, 'one', first?.[0] ?? ''), 1);
}

/** As the tool of a stranger adds to the channel. */
async function addByHand({ raw }: RedisFixture, intake: string, ids: readonly string[]): Promise<void> {
  const rest = { specversion: '1.0', type: channel, source: '/s', data: { n: 1 } };
  for (const id of ids) {
    const event = { ...rest, id, partitionkey: id.replace(/\d+$/, '') };
    await raw('XADD', intake, '*', 'event', JSON.stringify(event));
  }
}

const takeByHand = ({ raw }: RedisFixture, intake: string): Promise<unknown> =>
  raw('XREADGROUP', 'GROUP', 'one', 'stranger', 'COUNT', '10', 'STREAMS', intake, '>');

const pendingOf = async ({ raw }: RedisFixture, stream: string): Promise<number> =>
  ((await raw('XPENDING', stream, 'one')) as readonly [number])[0];

/** k1 is out, k2 waits behind it in its consumer's memory. */
async function firstOfTwo(
  fixture: RedisFixture,
  { got }: Collecting,
  by: EngineConnection,
): Promise<Delivery> {
  await publish(by, ['k1', 'k2']);
  const [first] = (await got.waitFor(1)) as [Delivery];
  await eventually(
    () => pendingOf(fixture, shardOf(fixture, channel, 'k')),
    (count) => count === 2,
    'k2 behind it',
  );
  return first;
}

/** The claim that is under way meanwhile is answered: what was lost must not be forgotten by that. */
function goesOnAfterReturn(what: string, isRefused: boolean): RedisCase {
  return {
    name: `a key goes on when what was given back of it ${what}`,
    async run(fixture) {
      let isLost = false;
      const losing = (client: RedisClient): RedisClient => ({
        ...client,
        async send(args) {
          if (isLost || !isCallOf('settle', args) || args[9] !== 'w') return client.send(args);
          isLost = true;
          if (!isRefused) await client.send(args);
          throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the answer was lost');
        },
      });
      await onBehind(fixture, losing, async (connection, other) => {
        const consuming = await consume(connection);
        const { token } = await firstOfTwo(fixture, consuming, other);
        await acknowledgeFirst(fixture, shardOf(fixture, channel, 'k'));
        const settling = consuming.consumer.settle([{ kind: 'ack', token }]);
        await publish(other, ['k3']);
        assert.deepEqual(await settling, ['lost']);
        await handleAll(consuming, 1, 3);
        assert.deepEqual(idsOf(consuming), ['k1', 'k2', 'k3']);
        assert.ok(isLost);
      });
    },
  };
}

export const shardTroubleCases: readonly RedisCase[] = [
  {
    name: 'what an answer that was lost had carried comes behind what is here of its key',
    async run(fixture) {
      let carried = 0;
      const engine = fixture.openBehind((client) => ({
        ...client,
        async send(args) {
          const reply = await client.send(args);
          const read = Array.isArray(reply) ? (reply as readonly unknown[])[11] : undefined;
          if (!Array.isArray(read) || read.length === 0) return reply;
          carried += 1;
          if (carried === 2) throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the answer was lost');
          return reply;
        },
      }));
      const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
      try {
        await declare(connection);
        const consuming = await consume(connection);
        await publish(connection, ['k1', 'k2']);
        await consuming.got.waitFor(1);
        await publish(connection, ['k3']);
        await eventually(
          async () => carried,
          (count) => count >= 2,
          'the answer that is lost',
        );
        await publish(connection, ['a1']);
        await consuming.got.waitFor(2);
        await handleAll(consuming, 0, 4);
        assert.deepEqual(idsOf(consuming), ['k1', 'a1', 'k2', 'k3']);
      } finally {
        await connection.close();
      }
    },
  },

  {
    name: 'what comes before the server has what was given back goes behind it',
    async run(fixture) {
      const gate = new Gate();
      await onBehind(fixture, gate.wrap, async (connection, other) => {
        const consuming = await consume(connection);
        const { token } = await firstOfTwo(fixture, consuming, other);
        await acknowledgeFirst(fixture, shardOf(fixture, channel, 'k'));
        gate.shut();
        const settling = consuming.consumer.settle([{ kind: 'ack', token }]);
        // Asked for before it is known that k1 was lost, for which k2 goes back.
        await publish(other, ['k3']);
        await eventually(
          async () => gate.come.some((args) => isCallOf('claim', args)),
          (has) => has,
          'the claim that brings k3',
        );
        gate.open();
        assert.deepEqual(await settling, ['lost']);
        await handleAll(consuming, 1, 3);
        assert.deepEqual(idsOf(consuming), ['k1', 'k2', 'k3']);
      });
    },
  },

  goesOnAfterReturn('was refused', true),
  goesOnAfterReturn('may have come to the server', false),

  {
    name: 'what waits for long behind a handler goes back before its lease ends, uncounted',
    async run(fixture) {
      const [leaseMs, stepMs] = [30_000, 100];
      const clock = createManualClock(systemClock.now());
      const calls = new CallCount((args) => isCallOf('claim', args));
      await onBehind(
        fixture,
        calls.wrap,
        async (connection, other) => {
          const consuming = await consume(connection, 10, leaseMs);
          const { token } = await firstOfTwo(fixture, consuming, other);
          await calls.rest();
          // On the server, which ends leases, next to no time passes: however slow the machine is, what goes back here goes back in time.
          for (let passed = 0; passed < (2 * leaseMs) / 3; passed += stepMs) {
            clock.advance(stepMs);
            await calls.rest();
          }
          await eventually(
            () => pendingOf(fixture, shardOf(fixture, channel, 'k')),
            (count) => count === 1,
            'k2 given back',
          );
          assert.deepEqual(await consuming.consumer.extend([token]), ['settled']);
          await handleAll(consuming, 0, 2);
          assert.deepEqual(
            consuming.got.values.map(({ message, abandoned }) => [message?.id, abandoned]),
            [
              ['k1', 0],
              ['k2', 0],
            ],
          );
        },
        clock,
      );
    },
  },

  {
    name: 'a key goes on that was busy with what a stranger ended, and whose consumer is gone',
    run: (fixture) =>
      withConnections(fixture, 2, async (a, b) => {
        const first = await consume(a as EngineConnection, 4);
        await publish(a as EngineConnection, numbered('k', 6));
        await first.got.waitFor(1);
        await eventually(
          () => fixture.raw('HEXISTS', `${fixture.prefix}:sub:${channel}:one:busy`, 'k'),
          (is) => is === 1,
          'the others behind it',
        );
        await acknowledgeFirst(fixture, shardOf(fixture, channel, 'k'));
        await first.consumer.close();
        const second = await consume(b as EngineConnection);
        await publish(b as EngineConnection, ['k7']);
        await handleAll(second, 0, 6);
        assert.deepEqual(idsOf(second), numbered('k', 7).slice(1));
      }),
  },

  {
    name: 'what a stranger has taken of the intake is moved like the rest, and is no dead letter',
    run: (fixture) =>
      withConnections(fixture, 1, async (connection) => {
        const intake = streamOf(fixture, channel);
        await addByHand(fixture, intake, numbered('k', 3));
        await takeByHand(fixture, intake);
        assert.equal(await pendingOf(fixture, intake), 3);
        const consuming = await consume(connection as EngineConnection);
        await publish(connection as EngineConnection, ['k4']);
        await handleAll(consuming, 0, 4);
        assert.deepEqual(idsOf(consuming), numbered('k', 4));
        await eventually(
          () => pendingOf(fixture, intake),
          (count) => count === 0,
          'nothing pending with the stranger',
        );
        assert.deepEqual(await connection?.deadLetters.list({}, { limit: 10 }), []);
      }),
  },

  {
    name: 'what a stranger took of the intake while no consumer was there comes out in order when he is gone',
    async run(fixture) {
      const intake = streamOf(fixture, channel);
      const clock = createManualClock(systemClock.now());
      await onBehind(
        fixture,
        (client) => client,
        async (housekeeper, other) => {
          await addByHand(fixture, intake, [...numbered('k', 3), 'a1']);
          await takeByHand(fixture, intake);
          // Lies in another stream: within a millisecond the two have no order.
          await pause(systemClock, 3);
          await publish(other, ['k4']);
          await eventually(
            async () => {
              clock.advance(1_000);
              return pendingOf(fixture, intake);
            },
            (count) => count === 0,
            'taken from the stranger',
          );
          const consuming = await consume(other);
          await handleAll(consuming, 0, 5);
          const ofKey = idsOf(consuming).filter((id) => id.startsWith('k'));
          assert.deepEqual(ofKey, numbered('k', 4));
          assert.deepEqual(await housekeeper.deadLetters.list({}, { limit: 10 }), []);
        },
        clock,
      );
    },
  },

  {
    name: 'a consumer without room asks the server now and then, though something is due',
    async run(fixture) {
      const clock = createManualClock(systemClock.now());
      const calls = new CallCount((args) => isCallOf('claim', args));
      await onBehind(
        fixture,
        calls.wrap,
        async (connection, other) => {
          const consuming = await consume(connection, 1);
          await publish(other, ['a1', 'b1']);
          const [{ token }] = (await consuming.got.waitFor(1)) as [Delivery];
          await calls.rest();
          // 300 ms from when the server has it: the engine sends how far off the time is on the clock of the consumer, which stands still. The claim for b1 goes out right behind it, because none is under way.
          await consuming.consumer.settle([{ kind: 'retry', token, dueAt: clock.now() + 300, state: 's' }]);
          // Takes the only room; what is tried again falls due behind it, on the server's clock.
          await consuming.got.waitFor(2);
          assert.deepEqual(idsOf(consuming), ['a1', 'b1']);
          await pause(systemClock, 350);
          const claims = await calls.inOneSecond(clock);
          assert.ok(claims >= 1, 'it did not ask at all');
          assert.ok(claims <= 10, `${claims} claims in a second without room`);
          await handleAll(consuming, 1, 3);
        },
        clock,
      );
    },
  },

  {
    name: 'a consumer that may not give up its shards rejects its close, and leaves all the same',
    async run(fixture) {
      const connected = new Set<RedisClient>();
      const refusing = (client: RedisClient): RedisClient => {
        connected.add(client);
        return {
          ...client,
          end() {
            connected.delete(client);
            client.end();
          },
          async send(args) {
            if (isCallOf('giveUpShards', args))
              throw new MessagingError('DB_MSG_ENGINE_REFUSED', 'NOPERM, as an ACL says it');
            return client.send(args);
          },
        };
      };
      await onBehind(fixture, refusing, async (connection, other) => {
        const before = connected.size;
        const { consumer, got } = await consume(connection);
        await publish(other, ['a1']);
        await got.waitFor(1);
        assert.equal(connected.size, before + 1);
        await assert.rejects(consumer.close(), { code: 'DB_MSG_ENGINE_REFUSED' });
        assert.equal(connected.size, before, 'its own connection stays');
        // What it had in hand is another's at once, long before its lease ends.
        await handleAll(await consume(other), 0, 1);
      }).finally(() => {
        for (const client of connected) client.end();
      });
    },
  },
];
