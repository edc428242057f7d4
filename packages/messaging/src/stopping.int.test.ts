/** A server that stays away must not keep a process from ending. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { expect, it } from 'vitest';
import { createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { Collector, signal } from './conformance/fixture.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import type { Engine } from './engine.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { MessagingError } from './errors.ts';
import { ack } from './outcome.ts';

const orders = defineChannel({ name: 'orders', version: 1, schema: Type.Object({ n: Type.Integer() }) });

/** Takes and hands out as ever, and is out of reach for every settlement. */
function withoutSettling(real: Engine, refused: () => void): Engine {
  return {
    name: real.name,
    async connect(context) {
      const connection = await real.connect(context);
      const subscribe = connection.subscribe.bind(connection);
      return Object.assign(connection, {
        async subscribe(...[spec, receive]: Parameters<typeof subscribe>) {
          return Object.assign(await subscribe(spec, receive), {
            async settle() {
              refused();
              throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'out of reach');
            },
          });
        },
      });
    },
  };
}

it('stopping ends when the drain time is over, though no settlement is taken', async () => {
  const clock = createManualClock();
  const refused = new Collector<true>();
  const engine = withoutSettling(createInProcessEngine(new DatabaseSync(':memory:')), () =>
    refused.add(true),
  );
  const bus = createBus({ engine, source: '/t', clock });
  bus.declare([orders]);
  const handled = signal();
  bus.subscribe(orders, {
    name: 'one',
    handler: () => {
      handled.fire();
      return ack();
    },
  });
  await bus.start();
  await bus.publish(orders, { n: 1 });
  await handled.fired;
  await refused.waitFor(1);
  let stopped = false;
  const stopping = bus.stop({ drainMs: 5_000 }).then(() => {
    stopped = true;
  });
  // Each advance lets one more retry of the settlement go by.
  let passedMs = 0;
  while (!stopped && passedMs < 20_000) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(500);
    passedMs += 500;
  }
  await stopping;
  expect(passedMs).toBeGreaterThanOrEqual(5_000);
  expect(passedMs).toBeLessThan(20_000);
  expect(refused.values.length).toBeGreaterThan(1);
});
