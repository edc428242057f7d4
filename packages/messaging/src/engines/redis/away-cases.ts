/** A server that goes away while it owes a consumer something: what is refused at once must not be asked again at once, or the process would do nothing else. */
import assert from 'node:assert/strict';
import { systemClock } from '../../clock.ts';
import { plain } from '../../conformance/channels.ts';
import { Collector } from '../../conformance/fixture.ts';
import type { Delivery } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { RedisClient } from '../../redis/client.ts';
import { bare, type RedisCase, specOf } from './redis-case-parts.ts';
import { digestOf } from './scripts.ts';

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
      const isClaim = args[1] === digestOf('claim');
      if (isClaim && this.#state === 'armed') this.#state = 'away';
      if (this.#state !== 'away') return client.send(args);
      this.refused += 1;
      if (this.refused === MOST_REFUSED) this.back();
      throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the server is away');
    },
  });
}

export const awayCases: readonly RedisCase[] = [
  {
    name: 'a consumer whose server goes away while more is due rests before it asks again',
    async run(fixture) {
      const { name: channel } = plain;
      const away = new Away();
      const connection = await fixture
        .openBehind(away.wrap)
        .connect({ clock: systemClock, onFatal: () => {} });
      try {
        await connection.declare({
          channels: [specOf(channel, 'none')],
          subscriptions: [{ channel, name: 'one' }],
        });
        const got = new Collector<Delivery>();
        const consumer = await connection.subscribe(
          { channel, subscription: 'one', prefetch: 1, leaseMs: 30_000 },
          (all) => all.forEach((delivery) => got.add(delivery)),
        );
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
        for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        assert.ok(away.refused >= 1, 'it did not ask at all');
        assert.ok(away.refused <= 5, `${away.refused} commands in 20 turns of the event loop`);
        away.back();
        await nth(4);
      } finally {
        away.back();
        await connection.close();
      }
    },
  },
];
