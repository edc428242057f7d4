/** What is particular to routing and replay in SQLite: counts of what waits, delays, batches, purging by age, and what a rewind leaves. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { type Channel, defineChannel } from '../../channel.ts';
import { Collector, eventually, numbers } from '../../conformance/fixture.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { ack, deadLetter, retry } from '../../outcome.ts';
import { createInProcessEngine } from './engine.ts';

const schema = Type.Object({ n: Type.Integer() });
const colours = defineChannel({
  name: 'colours',
  version: 1,
  schema,
  requires: { routing: 'direct', delay: { maxMs: 1e9 }, replay: { keepMs: 60_000 } },
});
const kept = defineChannel({
  name: 'kept',
  version: 1,
  schema,
  order: 'key',
  requires: { replay: { keepMs: 60_000 } },
});
const buses: Bus[] = [];

afterEach(async () => {
  for (const bus of buses.splice(0)) await bus.stop({ drainMs: 100 });
});

async function startBus(database: DatabaseSync, clock = createManualClock()): Promise<Bus> {
  const bus = createBus({ engine: createInProcessEngine(database), source: '/test', clock });
  bus.declare([colours, kept]);
  await bus.start();
  buses.push(bus);
  return bus;
}

async function bindOnly(bus: Bus, name: string, bindings: readonly string[]): Promise<void> {
  const subscription = bus.subscribe(colours, { name, bindings, handler: () => ack() });
  await subscription.started;
  await subscription.stop({ drainMs: 0 });
}

async function readyOf(bus: Bus, channel: Channel): Promise<Readonly<Record<string, number>>> {
  const view = (await bus.view()).channels.find(({ name }) => name === channel.name);
  return Object.fromEntries(view?.subscriptions.map(({ name, ready }) => [name, ready]) ?? []);
}

const stored = (database: DatabaseSync): number =>
  (database.prepare('SELECT count(*) AS count FROM messages').get() as { count: number }).count;

describe('routing', () => {
  it('counts what waits without what a subscription does not take, also after a restart', async () => {
    const database = new DatabaseSync(':memory:');
    const bus = await startBus(database);
    await bindOnly(bus, 'red', ['red']);
    await bindOnly(bus, 'all', ['red', 'blue']);
    for (const [index, routingKey] of ['blue', 'red', 'blue', 'blue', 'red'].entries())
      await bus.publish(colours, { n: index }, { routingKey });
    expect(await readyOf(bus, colours)).toEqual({ red: 2, all: 5 });
    await bus.stop();
    const again = await startBus(database);
    expect(await readyOf(again, colours)).toEqual({ red: 2, all: 5 });
    expect((await again.peek(colours, 'red')).map(({ message }) => message?.data)).toEqual([
      { n: 1 },
      { n: 4 },
    ]);
  });

  it('refuses a whole publish when one of its messages is unroutable, a delayed one too', async () => {
    const database = new DatabaseSync(':memory:');
    const bus = await startBus(database);
    await bindOnly(bus, 'red', ['red']);
    const items = ['red', 'green'].map((routingKey, n) => ({ data: { n }, options: { routingKey } }));
    await expect(bus.publishBatch(colours, items)).rejects.toMatchObject({ code: 'DB_MSG_UNROUTABLE' });
    await expect(bus.publish(colours, { n: 2 }, { routingKey: 'green', delayMs: 5 })).rejects.toMatchObject({
      code: 'DB_MSG_UNROUTABLE',
    });
    expect(stored(database)).toBe(0);
  });

  it('reads a delayed message by the bindings of the time at which it enters', async () => {
    const clock = createManualClock();
    const bus = await startBus(new DatabaseSync(':memory:'), clock);
    await bindOnly(bus, 'one', ['red']);
    await bus.publish(colours, { n: 1 }, { routingKey: 'red', delayMs: 1_000.5 });
    await bindOnly(bus, 'one', ['blue']);
    await bindOnly(bus, 'two', ['red']);
    clock.advance(1_001);
    // Any turn brings in what is due.
    await bus.publish(colours, { n: 2 }, { routingKey: 'blue' });
    expect(await readyOf(bus, colours)).toEqual({ one: 1, two: 1 });
  });
});

describe('replay', () => {
  it('keeps what is settled for its time and purges it after', async () => {
    const clock = createManualClock();
    const database = new DatabaseSync(':memory:');
    const bus = await startBus(database, clock);
    const got = new Collector<number>();
    const handler = ({ data }: { data: { n: number } }) => {
      got.add(data.n);
      return ack();
    };
    const one = bus.subscribe(kept, { name: 'one', concurrency: 500, handler });
    await one.started;
    const publish = (from: number, to: number): Promise<unknown> =>
      bus.publishBatch(
        kept,
        numbers(from, to).map((n) => ({ data: { n }, options: { key: `${n % 50}` } })),
      );
    await publish(1, 2_500);
    await got.waitFor(2_500);
    expect(stored(database)).toBe(2_500);
    clock.advance(59_000);
    await publish(2_501, 2_600);
    await got.waitFor(2_600);
    expect(stored(database)).toBe(2_600);
    clock.advance(2_000);
    await publish(2_601, 2_601);
    await eventually(
      async () => stored(database),
      (count) => count <= 101,
      'what is older than a minute purged',
    );
    await one.stop();
    await bus.rewind(kept, 'one', 'earliest');
    const left = await bus.peek(kept, 'one', 1_000);
    expect(left.map(({ message }) => message?.data)).toEqual(numbers(2_501, 2_601).map((n) => ({ n })));
  });

  it('hands a retried message out once after a rewind, as a first attempt, and leaves an edited one', async () => {
    const clock = createManualClock();
    const bus = await startBus(new DatabaseSync(':memory:'), clock);
    const handled = new Collector<string>();
    const first = bus.subscribe(colours, {
      name: 'one',
      bindings: ['red'],
      retries: { immediate: 0, delayed: [3_600_000] },
      handler: ({ data }) => {
        handled.add(`${data.n}`);
        return data.n === 1 ? retry() : data.n === 2 ? deadLetter('two') : ack();
      },
    });
    await first.started;
    for (const n of [1, 2, 3]) await bus.publish(colours, { n }, { routingKey: 'red' });
    await handled.waitFor(3);
    const [letter] = await eventually(
      () => bus.deadLetters.list(),
      (letters) => letters.length === 1,
      'the dead letter',
    );
    await first.stop();
    await bus.deadLetters.redriveEdited(letter as NonNullable<typeof letter>, { n: 20 });
    await bus.rewind(colours, 'one', 'earliest');
    const again = new Collector<[number, number]>();
    const second = bus.subscribe(colours, {
      name: 'one',
      bindings: ['red'],
      handler: ({ data }, { attempt }) => {
        again.add([data.n, attempt]);
        return ack();
      },
    });
    await second.started;
    await again.waitFor(4);
    expect(again.values.toSorted(([a], [b]) => a - b)).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
      [20, 1],
    ]);
    await bus.publish(colours, { n: 4 }, { routingKey: 'red' });
    await again.waitFor(5);
  });

  it('finds a parked key as it left it: nothing is parked twice, and a redrive gives the order of the key', async () => {
    const bus = await startBus(new DatabaseSync(':memory:'));
    const parked = (): Promise<number> => bus.deadLetters.list({ key: 'a' }).then(({ length }) => length);
    const first = bus.subscribe(kept, {
      name: 'one',
      handler: ({ data }) => (data.n === 2 ? deadLetter('two') : ack()),
    });
    await first.started;
    for (const n of [1, 2, 3]) await bus.publish(kept, { n }, { key: 'a' });
    await eventually(parked, (count) => count === 2, 'head and follower parked');
    await first.stop();
    await bus.rewind(kept, 'one', 'earliest');
    const again = new Collector<number>();
    const second = bus.subscribe(kept, {
      name: 'one',
      handler: ({ data }) => {
        again.add(data.n);
        return ack();
      },
    });
    await second.started;
    await bus.publish(kept, { n: 4 }, { key: 'a' });
    // The key is still parked, so the first one waits with the newcomer; two and three were there already.
    await eventually(parked, (count) => count === 4, 'all four parked');
    expect((await bus.deadLetters.redrive({ key: 'a' })).moved).toBe(4);
    await again.waitFor(4);
    expect(again.values).toEqual([1, 2, 3, 4]);
  });

  it('refuses what is no offset of the channel', async () => {
    const bus = await startBus(new DatabaseSync(':memory:'));
    const subscription = bus.subscribe(kept, { name: 'one', handler: () => ack() });
    await subscription.started;
    await subscription.stop();
    for (const offset of ['', 'first', '-1', '1.5', '99999999999999999999'])
      await expect(bus.rewind(kept, 'one', { offset })).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
  });
});

describe('bindings on file that cannot be read', () => {
  const bindings = (database: DatabaseSync, text: string): void =>
    void database.prepare('UPDATE bindings SET bindings = ?').run(text);

  it.each(['[null]', '[{"region":"north"}]', '[7]', '"red"', '{}', 'no json'])(
    'take nothing and harm nobody: %s',
    async (text) => {
      const database = new DatabaseSync(':memory:');
      const first = await startBus(database);
      await bindOnly(first, 'bad', ['red']);
      await first.stop();
      bindings(database, text);
      const bus = await startBus(database);
      await bindOnly(bus, 'good', ['red']);
      await bus.publish(colours, { n: 1 }, { routingKey: 'red' });
      expect(await readyOf(bus, colours)).toEqual({ bad: 0, good: 1 });
      // Good ones, given again, hold from then on.
      await bindOnly(bus, 'bad', ['blue']);
      await bus.publish(colours, { n: 2 }, { routingKey: 'blue' });
      expect(await readyOf(bus, colours)).toEqual({ bad: 1, good: 1 });
    },
  );
});
