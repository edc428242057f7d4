/** A server that goes away while it owes a consumer something, or that refuses: what is refused at once must not be asked again at once, or the process would do nothing else. */
import assert from 'node:assert/strict';
import { type Clock, pause, systemClock } from '../../clock.ts';
import { plain, ranked } from '../../conformance/channels.ts';
import { Collector } from '../../conformance/fixture.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import type { ChannelSpec, Consumer, Delivery, Engine, EngineConnection } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { RedisClient } from '../../redis/client.ts';
import type { Binding } from '../../routing.ts';
import { CallCount, turn } from '../../redis/testing/call-count.ts';
import { bare, isCallOf, type RedisCase, specOf } from './redis-case-parts.ts';

/** A consumer that never rests would keep the process from ever seeing the server again: here it is back after so many commands. */
const MOST_REFUSED = 1_000;

/** Goes away with the next claim once it is `armed`; until it is `back`, everything rejects at once, as on a connection that is down. */
class Away {
  refused = 0;
  #state: 'there' | 'armed' | 'away' = 'there';

  arm(): void {
    this.#state = 'armed';
  }

  back(): void {
    this.#state = 'there';
  }

  readonly wrap = (client: RedisClient): RedisClient => ({
    ...client,
    send: async (args) => {
      const isClaim = isCallOf('claim', args);
      if (isClaim && this.#state === 'armed') this.#state = 'away';
      if (this.#state !== 'away') return client.send(args);
      this.refused += 1;
      if (this.refused === MOST_REFUSED) this.back();
      throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the server is away');
    },
  });
}

/** A connection with one channel and one subscription, `one`, of it. */
async function withDeclared(
  engine: Engine,
  clock: Clock,
  { bindings, ...channel }: ChannelSpec & { readonly bindings?: readonly Binding[] },
  use: (connection: EngineConnection) => Promise<void>,
): Promise<void> {
  const connection = await engine.connect({ clock, onFatal: () => {} });
  try {
    const one = { channel: channel.name, name: 'one' };
    await connection.declare({
      channels: [channel],
      subscriptions: [bindings === undefined ? one : { ...one, bindings }],
    });
    await use(connection);
  } finally {
    await connection.close();
  }
}

type Collecting = { readonly consumer: Consumer; readonly got: Collector<Delivery> };

async function collecting(
  connection: EngineConnection,
  channel: string,
  prefetch: number,
): Promise<Collecting> {
  const got = new Collector<Delivery>();
  const spec = { channel, subscription: 'one', prefetch, leaseMs: 30_000 };
  const consumer = await connection.subscribe(spec, (all) => all.forEach((delivery) => got.add(delivery)));
  return { consumer, got };
}

/** UNBLOCK is refused until it is `allowed`. */
const withoutUnblock =
  (permission: { allowed: boolean }) =>
  (client: RedisClient): RedisClient => ({
    ...client,
    send: async (args) => {
      if (args[1] === 'UNBLOCK' && !permission.allowed)
        throw new MessagingError('DB_MSG_ENGINE_REFUSED', 'NOPERM, as an ACL says it');
      return client.send(args);
    },
  });

export const awayCases: readonly RedisCase[] = [
  {
    name: 'a consumer whose server goes away while more is due rests before it asks again',
    async run(fixture) {
      const { name: channel } = plain;
      const away = new Away();
      const engine = fixture.openBehind(away.wrap);
      await withDeclared(engine, systemClock, specOf(channel, 'none'), async (connection) => {
        const { consumer, got } = await collecting(connection, channel, 1);
        const nth = async (n: number): Promise<Delivery> => (await got.waitFor(n))[n - 1] as Delivery;
        await connection.publish(['a', 'b'].map((id) => ({ channel, message: { ...bare(channel), id } })));
        // Both are due from here on and there is room for one: the claim that hands it out says that more is due.
        for (const n of [1, 2]) {
          const { token } = await nth(n);
          await consumer.settle([{ kind: 'retry', token, dueAt: systemClock.now(), state: 's' }]);
        }
        const { token } = await nth(3);
        away.arm();
        await consumer.settle([{ kind: 'ack', token }]);
        for (let turns = 0; turns < 20; turns += 1) await turn();
        assert.ok(away.refused >= 1, 'it did not ask at all');
        assert.ok(away.refused <= 5, `${away.refused} commands in 20 turns of the event loop`);
        away.back();
        await nth(4);
      }).finally(() => away.back());
    },
  },

  {
    name: 'a consumer that may not end its own read asks the server now and then, though something is due',
    async run(fixture) {
      const { name: channel } = plain;
      const clock = createManualClock(systemClock.now());
      const calls = new CallCount((args) => isCallOf('claim', args));
      const unblock = { allowed: false };
      const engine = fixture.openBehind((client) => withoutUnblock(unblock)(calls.wrap(client)));
      await withDeclared(engine, clock, specOf(channel, 'none'), async (connection) => {
        const { consumer, got } = await collecting(connection, channel, 1);
        await connection.publish([{ channel, message: bare(channel) }]);
        const [{ token }] = (await got.waitFor(1)) as [Delivery];
        await consumer.settle([{ kind: 'retry', token, dueAt: clock.now() + 100, state: 's' }]);
        // A read blocks by then and has the only room; what is tried again falls due behind it, on the server's clock.
        await pause(systemClock, 150);
        const claims = await calls.inOneSecond(clock);
        assert.ok(claims >= 1, 'it did not ask at all');
        assert.ok(claims <= 10, `${claims} claims in a second without room`);
        unblock.allowed = true;
        clock.advance(1_000);
        await got.waitFor(2);
      });
    },
  },

  {
    name: 'a claim that brings nothing but what a subscription does not want is followed by the next',
    async run(fixture) {
      const { name: channel } = ranked;
      // It stands still: nothing is found by a look that is planned.
      const clock = createManualClock(systemClock.now());
      const spec = {
        ...specOf(channel, 'none'),
        priorityLevels: 3,
        routing: 'direct',
        bindings: ['wanted'],
      } as const;
      await withDeclared(fixture.open(), clock, spec, async (connection) => {
        const routes = ['b', 'b', 'b', 'b', 'wanted'];
        await connection.publish(
          routes.map((routingKey, n) => ({
            channel,
            message: { ...bare(channel), id: `m${n}`, routingKey },
          })),
        );
        const { got } = await collecting(connection, channel, 2);
        const [{ message }] = (await got.waitFor(1)) as [Delivery];
        assert.equal(message?.id, 'm4');
      });
    },
  },
];
