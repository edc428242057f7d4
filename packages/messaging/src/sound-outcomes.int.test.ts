/** Whatever a handler does, its message is retried or parked, its neighbours are handled, and the process lives. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { Collector, eventually, signal } from './conformance/fixture.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { ack, deadLetter, type Outcome, reply, retry } from './outcome.ts';

const orders = defineChannel({ name: 'orders', version: 1, schema: Type.Object({ n: Type.Integer() }) });
const engine = () => createInProcessEngine(new DatabaseSync(':memory:'));
const handWritten = (outcome: unknown) => () => outcome as Outcome;
const throwing = (thrown: unknown) => (): never => {
  throw thrown;
};

const odd: readonly (readonly [name: string, handler: () => Outcome])[] = [
  ['snooze for NaN', handWritten({ kind: 'snooze', delayMs: Number.NaN })],
  ['retry in NaN', handWritten({ kind: 'retry', reason: 'x', delayMs: Number.NaN })],
  ['snooze without a time', handWritten({ kind: 'snooze' })],
  ['an outcome of another kind', handWritten({ kind: 'foo' })],
  ['a reply of undefined', () => reply(undefined)],
  ['a reply that is a function', handWritten({ kind: 'ack', reply: () => 1 })],
  ['nothing', handWritten(undefined)],
  ['null', handWritten(null)],
  ['a dead letter without a reason', handWritten(deadLetter(undefined as unknown as string))],
  ['an error as a reason', handWritten(retry({ reason: new Error('x') as unknown as string }))],
  ['a throw of null', throwing(null)],
  ['a throw of what has no text', throwing(Object.create(null))],
  [
    'an error whose message throws',
    throwing(Object.defineProperty(new Error('x'), 'message', { get: throwing(new Error('no')) })),
  ],
];

describe.each([
  ['at once', (handler: () => Outcome) => handler],
  ['later', (handler: () => Outcome) => async () => handler()],
])('a handler that answers %s', (_, as) => {
  it.each(odd)('with %s: the message is parked, the others are handled', async (_name, handler) => {
    const bus = createBus({ engine: engine(), source: '/t' });
    const got = new Collector<number>();
    bus.declare([orders]);
    const answer = as(handler);
    bus.subscribe(orders, {
      name: 'one',
      retries: { immediate: 0, delayed: [] },
      handler: ({ data }) => {
        if (data.n === 1) return answer();
        got.add(data.n);
        return ack();
      },
    });
    await bus.start();
    await bus.publishBatch(
      orders,
      [0, 1, 2, 3].map((n) => ({ data: { n } })),
    );
    await got.waitFor(3);
    await eventually(
      () => bus.deadLetters.list(),
      (letters) => letters.length === 1,
      'the odd one parked',
    );
    await bus.stop();
    expect(got.values).toEqual([0, 2, 3]);
  });
});

describe('retries', () => {
  it.each([{ immediate: Number.NaN }, { abandoned: 0 }, { jitter: Number.NaN }, { delayed: [-1] }])(
    'that would never end or have no time are refused: %o',
    (retries) => {
      const bus = createBus({ engine: engine(), source: '/t' });
      bus.declare([orders]);
      expect(() => bus.subscribe(orders, { name: 'one', retries, handler: () => ack() })).toThrow(/retries:/);
    },
  );

  it('that are undefined are the default', async () => {
    const bus = createBus({ engine: engine(), source: '/t' });
    const attempts = new Collector<number>();
    bus.declare([orders]);
    bus.subscribe(orders, {
      name: 'one',
      retries: { immediate: undefined, delayed: [] } as object,
      handler: (_message, { attempt }) => {
        attempts.add(attempt);
        return retry();
      },
    });
    await bus.start();
    await bus.publish(orders, { n: 1 });
    await eventually(
      () => bus.deadLetters.list(),
      (letters) => letters.length === 1,
      'parked',
    );
    await bus.stop();
    expect(attempts.values).toEqual([1, 2]);
  });
});

describe('starting and stopping', () => {
  it('a bus is started once, also at the same time', async () => {
    const bus = createBus({ engine: engine(), source: '/t' });
    const [first, second] = await Promise.allSettled([bus.start(), bus.start()]);
    expect(first).toMatchObject({ status: 'fulfilled' });
    expect(second).toMatchObject({ status: 'rejected', reason: { code: 'DB_MSG_INVALID_OPTIONS' } });
    await bus.stop();
  });

  it('a stop during the start leaves nothing that runs', async () => {
    const bus = createBus({ engine: engine(), source: '/t' });
    bus.declare([orders]);
    const starting = bus.start();
    await bus.stop();
    await starting;
    expect((await bus.view()).state).toBe('stopped');
    await expect(bus.publish(orders, { n: 1 })).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
  });

  it.each(['the bus twice', 'the subscription, then the bus'])(
    'stopping %s waits for the handler',
    async (how) => {
      const bus = createBus({ engine: engine(), source: '/t' });
      bus.declare([orders]);
      const entered = signal();
      const leave = signal();
      let ended = false;
      const subscription = bus.subscribe(orders, {
        name: 'one',
        handler: async () => {
          entered.fire();
          await leave.fired;
          ended = true;
          return ack();
        },
      });
      await bus.start();
      await bus.publish(orders, { n: 1 });
      await entered.fired;
      const first = how === 'the bus twice' ? bus.stop() : subscription.stop();
      const endedAtStop = bus.stop().then(() => ended);
      leave.fire();
      expect(await endedAtStop).toBe(true);
      await first;
    },
  );
});
