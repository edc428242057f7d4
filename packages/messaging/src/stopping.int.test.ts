/** A server that stays away must not keep a process from ending. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { expect, it } from 'vitest';
import { createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { Collector, signal } from './conformance/fixture.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import type { Consumer, Engine } from './engine.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { MessagingError } from './errors.ts';
import { ack } from './outcome.ts';

const orders = defineChannel({ name: 'orders', version: 1, schema: Type.Object({ n: Type.Integer() }) });

/** The same engine, whose consumers are what is made of them. */
function consumersOf(real: Engine, make: (consumer: Consumer) => Consumer | Promise<Consumer>): Engine {
  return {
    name: real.name,
    async connect(context) {
      const connection = await real.connect(context);
      const subscribe = connection.subscribe.bind(connection);
      return Object.assign(connection, {
        subscribe: async (...asked: Parameters<typeof subscribe>) => make(await subscribe(...asked)),
      });
    },
  };
}

/** Takes and hands out as ever, and is out of reach for every settlement. */
const withoutSettling = (real: Engine, refused: () => void): Engine =>
  consumersOf(real, (consumer) =>
    Object.assign(consumer, {
      async settle() {
        refused();
        throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'out of reach');
      },
    }),
  );

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

const MOST_SETTLED = 1_000;

/** Answers that there is a consumer only when it is told to, and would go round with one that gives back what it is handed: it refuses at last. */
const askedFor = (real: Engine, asked: () => void, told: Promise<void>, settled: { count: number }): Engine =>
  consumersOf(real, async (consumer) => {
    const settle = consumer.settle.bind(consumer);
    consumer.settle = async (settlements) => {
      settled.count += 1;
      if (settled.count > MOST_SETTLED) throw new MessagingError('DB_MSG_STOPPED', 'too often');
      return settle(settlements);
    };
    asked();
    await told;
    return consumer;
  });

/** How often was settled, when the engine answers so many microtasks after the stop has begun. */
async function settledByStop(microtasks: number): Promise<number> {
  const [asked, told] = [signal(), signal()];
  const settled = { count: 0 };
  const real = createInProcessEngine(new DatabaseSync(':memory:'));
  const bus = createBus({
    engine: askedFor(real, () => asked.fire(), told.fired, settled),
    source: '/t',
  });
  bus.declare([orders]);
  await bus.start();
  const { started } = bus.subscribe(orders, { name: 'one', handler: () => ack() });
  await asked.fired;
  // Handed out already, to whom nobody has taken for a consumer yet.
  await bus.publish(orders, { n: 1 });
  const stopped = bus.stop({ drainMs: 10 });
  for (let passed = 0; passed < microtasks; passed += 1) await Promise.resolve();
  told.fire();
  await Promise.allSettled([started, stopped]);
  return settled.count;
}

it('a stop while the engine is being asked for a consumer ends, and nothing goes round between them', async () => {
  for (let microtasks = 0; microtasks < 30; microtasks += 1)
    expect(await settledByStop(microtasks), `after ${microtasks} microtasks`).toBeLessThan(10);
});
