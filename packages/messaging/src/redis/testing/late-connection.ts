/** For tests: a consumer's own connection that comes only when its engine has been closed. */
import assert from 'node:assert/strict';
import { systemClock } from '../../clock.ts';
import { plain } from '../../conformance/channels.ts';
import { signal } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { type OpenClient, openClient, type RedisClient } from '../client.ts';

/** Makes each connection for commands that block at once, and lends it only when it is told to. */
export class LateConnections {
  readonly made = signal();
  readonly come = signal();
  /** Those that nobody has ended. */
  readonly open = new Set<RedisClient>();

  readonly openClient: OpenClient = async (options, onReady) =>
    this.#watched(await openClient(options, onReady));

  #watched(client: RedisClient): RedisClient {
    const one: RedisClient = {
      ...client,
      another: async (blockMs) => {
        const further = this.#watched(await client.another(blockMs));
        if (blockMs > 0) {
          this.made.fire();
          await this.come.fired;
        }
        return further;
      },
      end: () => {
        this.open.delete(one);
        client.end();
      },
    };
    this.open.add(one);
    return one;
  }
}

/** Nobody would ever end what was made of it then: the engine has ended all that it knew. */
export async function endsWhatComesTooLate(engine: Engine, connections: LateConnections): Promise<void> {
  const connection = await engine.connect({ clock: systemClock, onFatal: () => {} });
  const { name: channel } = plain;
  const order = { order: 'none', onFailure: 'skip', priorityLevels: 1, routing: 'fanout' } as const;
  await connection.declare({
    channels: [{ ...order, name: channel, ephemeral: false, keepMs: undefined }],
    subscriptions: [{ channel, name: 'one' }],
  });
  const spec = { channel, subscription: 'one', prefetch: 1, leaseMs: 30_000 };
  const subscribing = connection.subscribe(spec, () => {});
  await connections.made.fired;
  await connection.close();
  connections.come.fire();
  try {
    await assert.rejects(subscribing, { code: 'DB_MSG_STOPPED' });
    assert.equal(connections.open.size, 0, 'connections that nobody ends');
  } finally {
    await subscribing.then(
      (consumer) => consumer.close(),
      () => {},
    );
  }
}
