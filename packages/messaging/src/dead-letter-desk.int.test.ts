/** What people do with dead letters, on the embedded engine; what its store does is in the conformance suite. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { systemClock } from './clock.ts';
import { registerControls } from './conformance/controls.ts';
import { Collector, eventually } from './conformance/fixture.ts';
import { DeadLetterDesk } from './dead-letter-desk.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import type { DeadLetterRecord, DeadLetterStore, Engine } from './engine.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { createIds } from './ids.ts';
import { ack, deadLetter } from './outcome.ts';
import { specOf } from './specs.ts';

const orders = defineChannel({
  name: 'orders',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
});

const inMemory = (): Engine => createInProcessEngine(new DatabaseSync(':memory:'));

async function parked(
  count: number,
  handles: (n: number) => boolean,
  engine = inMemory(),
): Promise<{ bus: Bus; got: Collector<number> }> {
  const bus = createBus({ engine, source: '/t' });
  const got = new Collector<number>();
  bus.declare([orders]);
  bus.subscribe(orders, {
    name: 'one',
    handler: ({ data }) => {
      got.add(data.n);
      return handles(data.n) ? ack() : deadLetter(`order ${data.n} is refused`);
    },
  });
  await bus.start();
  await bus.publishBatch(
    orders,
    Array.from({ length: count }, (_, n) => ({ data: { n } })),
  );
  await eventually(
    () => bus.deadLetters.groups(),
    (groups) => groups[0]?.count === count,
    'all parked',
  );
  return { bus, got };
}

it('a rewind leaves dead letters: what fails again has a second one of its id, and a redrive takes both', async () => {
  const kept = defineChannel({
    name: 'kept',
    version: 1,
    schema: Type.Object({}),
    requires: { replay: { keepMs: 60_000 } },
  });
  const bus = createBus({ engine: inMemory(), source: '/t' });
  bus.declare([kept]);
  let isMended = false;
  const got = new Collector<string>();
  const consume = () =>
    bus.subscribe(kept, {
      name: 'one',
      handler: ({ id }) => {
        got.add(id);
        return isMended ? ack() : deadLetter('refused');
      },
    });
  const letters = (count: number) =>
    eventually(
      () => bus.deadLetters.list(),
      (list) => list.length === count,
      `${count} letters`,
    );
  const consuming = consume();
  await bus.start();
  await bus.publish(kept, {}, { id: 'a' });
  await letters(1);
  await consuming.stop();
  await bus.rewind(kept, 'one', 'earliest');
  await consume().started;
  await letters(2);
  isMended = true;
  expect(await bus.deadLetters.redrive({ messageIds: ['a'] })).toMatchObject({ moved: 2 });
  expect(await got.waitFor(4)).toEqual(['a', 'a', 'a', 'a']);
  await bus.stop();
});

/** The engine with another store of dead letters, made of its own. */
function withStore(
  real: Engine,
  change: (store: DeadLetterStore) => Partial<Pick<DeadLetterStore, 'redrive' | 'discard'>>,
): Engine {
  return {
    name: real.name,
    async connect(context) {
      const connection = await real.connect(context);
      const store = connection.deadLetters;
      const deadLetters: DeadLetterStore = {
        list: (...page) => store.list(...page),
        redrive: (...step) => store.redrive(...step),
        redriveEdited: (...edit) => store.redriveEdited(...edit),
        discard: (...step) => store.discard(...step),
        ...change(store),
      };
      return Object.defineProperty(connection, 'deadLetters', { value: deadLetters });
    },
  };
}

/** Something that happens after each step of a discard, before the next. */
const afterEachDiscard = (real: Engine, then: () => Promise<void>): Engine =>
  withStore(real, (store) => ({
    async discard(...step) {
      const done = await store.discard(...step);
      await then();
      return done;
    },
  }));

/** More letters than a step takes, all of them meant by one filter: the first call is stopped after a step, the second goes on. */
async function redrivenInSteps(engine = inMemory()): Promise<void> {
  let mended = false;
  const { bus, got } = await parked(450, () => mended, engine);
  mended = true;
  const abort = new AbortController();
  const options = { signal: abort.signal, onProgress: () => abort.abort() };
  try {
    expect(await bus.deadLetters.redrive({}, options)).toEqual({ moved: 200, remaining: 250 });
    expect(await bus.deadLetters.redrive({})).toEqual({ moved: 250, remaining: 0 });
    await got.waitFor(900);
    expect(new Set(got.values.slice(450)).size).toBe(450);
  } finally {
    await bus.stop();
  }
}

describe('dead letters', () => {
  it('are counted by cause', async () => {
    const { bus } = await parked(3, () => false);
    expect(await bus.deadLetters.groups()).toEqual([
      { channel: 'orders', subscription: 'one', group: 'deadLetter: order # is refused', count: 3 },
    ]);
    await bus.stop();
  });

  it('that fail again while they are redriven are not redriven for ever', async () => {
    const { bus, got } = await parked(450, () => false);
    const steps: number[] = [];
    const done = await bus.deadLetters.redrive({}, { onProgress: ({ moved }) => steps.push(moved) });
    expect(done).toEqual({ moved: 450, remaining: 0 });
    expect(steps).toEqual([200, 400, 450]);
    await got.waitFor(900);
    await eventually(
      () => bus.deadLetters.groups(),
      (groups) => groups[0]?.count === 450,
      'all parked again',
    );
    expect(got.values).toHaveLength(900);
    await bus.stop();
  });

  it('27: are redriven in steps by filter: an abort ends after the step under way, and the next call goes on', async () => {
    await expect(redrivenInSteps()).resolves.toBeUndefined();
  });

  registerControls(it, 'dead letters', [
    {
      defect: 'a redrive reaches what one page shows',
      caughtBy: 'are redriven in steps by filter',
      healthy: () => redrivenInSteps(),
      defective: () =>
        redrivenInSteps(
          withStore(inMemory(), (store) => ({
            async redrive(filter, limit) {
              const page = await store.list(filter, { limit });
              const messageIds = page.map(({ messageId }) => messageId);
              return store.redrive({ ...filter, messageIds }, limit);
            },
          })),
        ),
    },
  ]);

  it('that come between two steps of a discard stay, also those of the same cause', async () => {
    const clock = createManualClock();
    let between = async (): Promise<void> => {};
    const engine = afterEachDiscard(createInProcessEngine(new DatabaseSync(':memory:')), () => between());
    const bus = createBus({ engine, source: '/t', clock });
    bus.declare([orders]);
    bus.subscribe(orders, { name: 'one', handler: ({ data }) => deadLetter(`order ${data.n} is refused`) });
    await bus.start();
    const parkedAre = (count: number) =>
      eventually(
        async () => (await bus.deadLetters.groups())[0]?.count ?? 0,
        (now) => now === count,
        `${count} parked`,
      );
    await bus.publishBatch(
      orders,
      Array.from({ length: 250 }, (_, n) => ({ data: { n } })),
    );
    await parkedAre(250);
    const publishedBetween: number[] = [];
    between = async () => {
      between = async () => {};
      clock.advance(10);
      publishedBetween.push(await parkedAre(50));
      await bus.publish(orders, { n: 999 });
      await parkedAre(51);
    };
    const steps: number[] = [];
    const done = await bus.deadLetters.discard({}, { onProgress: ({ remaining }) => steps.push(remaining) });
    expect(publishedBetween).toEqual([50]);
    expect([done, steps]).toEqual([{ moved: 250, remaining: 0 }, [50, 0]]);
    expect((await bus.deadLetters.list()).map(({ reason }) => reason)).toEqual(['order 999 is refused']);
    // A bound of one's own counts instead.
    clock.advance(10);
    expect(await bus.deadLetters.discard({ before: clock.now() - 5 })).toEqual({ moved: 1, remaining: 0 });
    await bus.stop();
  });

  it('that are redriven when their time is over are dropped and counted, the others are handled', async () => {
    const clock = createManualClock();
    const bus = createBus({
      engine: createInProcessEngine(new DatabaseSync(':memory:')),
      source: '/t',
      clock,
    });
    const offers = defineChannel({ ...orders.definition, name: 'offers', requires: { ttl: true } });
    bus.declare([offers]);
    const got = new Collector<number>();
    bus.subscribe(offers, {
      name: 'one',
      handler: ({ data }, { redrive }) => {
        if (redrive) got.add(data.n);
        return redrive ? ack() : deadLetter('refused');
      },
    });
    await bus.start();
    await bus.publish(offers, { n: 1 }, { expiresAt: clock.now() + 100 });
    await bus.publish(offers, { n: 2 }, { expiresAt: clock.now() + 10_000 });
    await eventually(
      () => bus.deadLetters.list(),
      ({ length }) => length === 2,
      'both parked',
    );
    clock.advance(1_000);
    expect(await bus.deadLetters.redrive({})).toEqual({ moved: 2, remaining: 0 });
    await got.waitFor(1);
    const { channels } = await bus.view();
    expect(channels[0]?.subscriptions[0]).toMatchObject({ expired: 1, deadLetters: [] });
    expect(got.values).toEqual([2]);
    await bus.stop();
  });

  it('edited twice the same way have one id, and another edit has another', async () => {
    const { bus } = await parked(1, () => false);
    const [letter] = await bus.deadLetters.list();
    await bus.stop();
    const idOf = async (n: number): Promise<string | undefined> => {
      const desk = new DeadLetterDesk({
        // A store that still has the letter: what a second process meets that edits at once.
        store: () => ({ redriveEdited: async () => true }) as unknown as DeadLetterStore,
        view: async () => [],
        channel: () => orders,
        message: { clock: systemClock, ids: createIds(systemClock), source: '/other' },
        now: () => 0,
        decisions: async () => undefined,
      });
      return desk.redriveEdited(letter as DeadLetterRecord, { n });
    };
    const first = await idOf(7);
    expect(first).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(await idOf(7)).toBe(first);
    expect(await idOf(8)).not.toBe(first);
  });

  it('are not looked for with what no store can compare, and the bus goes on', async () => {
    const { bus } = await parked(1, () => false);
    const refusal = { code: 'DB_MSG_INVALID_OPTIONS' };
    const { deadLetters } = bus;
    const filters = [
      { before: new Date() },
      { key: {} },
      { messageIds: 'abc' },
      { before: Number.NaN },
      null,
    ];
    for (const filter of filters as never[]) {
      await expect(deadLetters.list(filter)).rejects.toMatchObject(refusal);
      await expect(deadLetters.redrive(filter)).rejects.toMatchObject(refusal);
      await expect(deadLetters.discard(filter)).rejects.toMatchObject(refusal);
    }
    for (const limit of [Number.NaN, -1, 1.5, '5' as unknown as number]) {
      await expect(deadLetters.list({}, { limit })).rejects.toMatchObject(refusal);
      await expect(deadLetters.redrive({}, { limit })).rejects.toMatchObject(refusal);
      await expect(bus.peek(orders, 'one', limit)).rejects.toMatchObject(refusal);
    }
    await expect(bus.peek(orders, {} as never)).rejects.toMatchObject(refusal);
    for (const wrong of [{ name: 5 }, { concurrency: 1.5 }, { leaseMs: '500' }])
      expect(() => bus.subscribe(orders, { name: 'x', handler: () => ack(), ...(wrong as object) })).toThrow(
        expect.objectContaining(refusal),
      );
    expect(await deadLetters.list()).toHaveLength(1);
    await bus.stop();
  });
});

it('the embedded engine refuses what it cannot bind without harm to its neighbours, and keeps durable channels', async () => {
  const failures: Error[] = [];
  const context = { clock: systemClock, onFatal: (error: Error) => failures.push(error) };
  const connection = await createInProcessEngine(new DatabaseSync(':memory:')).connect(context);
  const refusal = { code: 'DB_MSG_INVALID_OPTIONS' };
  const durable = { ...specOf(orders), name: 'orders' };
  await connection.declare({ channels: [durable], subscriptions: [{ channel: 'orders', name: 's' }] });
  const message = { id: 'm', type: 'orders', version: 1, source: '/t', time: '', data: 1, headers: {} };
  const bad = { ...message, id: 'bad', key: {} as string };
  const [fine, refused] = await Promise.allSettled([
    connection.publish([{ channel: 'orders', message }]),
    connection.publish([{ channel: 'orders', message: bad }]),
  ]);
  expect(fine.status).toBe('fulfilled');
  expect(refused).toMatchObject({ status: 'rejected', reason: refusal });
  await expect(connection.peek({ channel: 'orders', name: {} as string }, 5)).rejects.toMatchObject(refusal);
  const ephemeral = { channels: [{ ...durable, ephemeral: true }], subscriptions: [] };
  await expect(connection.declare(ephemeral)).rejects.toMatchObject(refusal);
  expect(await connection.peek({ channel: 'orders', name: 's' }, 5)).toHaveLength(1);
  expect(failures).toEqual([]);
  await connection.close();
});
