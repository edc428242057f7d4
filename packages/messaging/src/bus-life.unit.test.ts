/** How a bus begins and ends when its engine refuses a part of it: whoever waits is told, and nothing lives on. */
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { signal } from './conformance/fixture.ts';
import { MessagingError } from './errors.ts';
import { type Log, silentLog } from './log.ts';
import { ack } from './outcome.ts';
import { createCountingClock, createScriptedEngine, type Script } from './testing/scripted-engine.ts';

const schema = Type.Object({ n: Type.Integer() });
const orders = defineChannel({ name: 'orders', version: 1, schema });
const asked = defineChannel({ name: 'asked', version: 1, schema, reply: schema });
const handler = () => ack();
const down = new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the broker is away');
const denied = new MessagingError('DB_MSG_ENGINE_REFUSED', 'NOPERM');
const refusing = (error: Error) => (): Promise<never> => Promise.reject(error);

function busOn(script: Script = {}) {
  const engine = createScriptedEngine(script);
  const clock = createCountingClock();
  const fatal: Error[] = [];
  const logged: [string, object][] = [];
  const log: Log = { ...silentLog, error: (fields, what) => void logged.push([what, fields]) };
  const bus = createBus({ engine, source: '/t', clock, log, onFatal: (error) => fatal.push(error) });
  bus.declare([orders, asked]);
  return { bus, engine, clock, fatal, logged };
}

describe('a start that fails', () => {
  it.each<[string, Script]>([
    ['to connect', { connect: refusing(down) }],
    ['to declare', { declare: refusing(down) }],
    ['to subscribe', { subscribe: refusing(down) }],
    [
      'to subscribe one of two',
      {
        subscribe: async ({ subscription }) => {
          if (subscription === 'two') throw down;
        },
      },
    ],
    ['and whose close fails, too', { declare: refusing(down), close: refusing(denied) }],
  ])('%s is told to whoever waits, and leaves nothing behind', async (_, script) => {
    const { bus, clock, engine } = busOn(script);
    const one = bus.subscribe(orders, { name: 'one', handler });
    const two = bus.subscribe(orders, { name: 'two', handler });
    await expect(bus.start()).rejects.toBe(down);
    await expect(two.started).rejects.toBe(down);
    // It may have begun before the other one failed.
    await one.started.catch(() => {});
    expect(clock.waiting()).toBe(0);
    await one.stop();
    await two.stop();
    expect(engine.ended.filter((call) => call === 'close')).toHaveLength(script.connect ? 0 : 1);
    expect((await bus.view()).state).toBe('stopped');
    await bus.stop();
    expect(engine.ended.filter((call) => call === 'close')).toHaveLength(script.connect ? 0 : 1);
    await expect(bus.publish(orders, { n: 1 })).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
  });

  it('because the engine failed for good meanwhile does not end as running', async () => {
    const dead = new Error('dead');
    const { bus, engine, fatal } = busOn({ declare: async () => engine.fail(dead) });
    await expect(bus.start()).rejects.toBe(dead);
    expect(fatal).toEqual([dead]);
    expect((await bus.view()).state).toBe('stopped');
    expect(engine.ended).toEqual(['close']);
  });

  it('a bus that is stopped before its start tells who waits for it', async () => {
    const { bus } = busOn();
    const one = bus.subscribe(orders, { name: 'one', handler });
    await bus.stop();
    await expect(one.started).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
    await one.stop();
    await expect(bus.start()).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
  });
});

describe('what comes while the bus starts', () => {
  it('is declared before it is subscribed; a channel comes too late', async () => {
    const declaring = signal();
    const goOn = signal();
    const { bus, engine } = busOn({
      async declare() {
        declaring.fire();
        await goOn.fired;
      },
    });
    bus.subscribe(orders, { name: 'early', handler });
    const starting = bus.start();
    await declaring.fired;
    const late = bus.subscribe(orders, { name: 'late', handler });
    expect((await bus.view()).state).toBe('starting');
    expect(() => bus.declare([defineChannel({ name: 'later', version: 1, schema })])).toThrow(
      'before the bus is started',
    );
    goOn.fire();
    await starting;
    await late.started;
    expect(engine.declared.flatMap(({ subscriptions }) => subscriptions.map(({ name }) => name))).toEqual([
      'early',
      'late',
    ]);
    expect(engine.subscribed).toEqual(['early', 'late']);
    await bus.stop();
  });

  it('is told when the start fails', async () => {
    const declaring = signal();
    const goOn = signal();
    const { bus, clock } = busOn({
      async declare() {
        declaring.fire();
        await goOn.fired;
        throw down;
      },
    });
    const starting = bus.start();
    await declaring.fired;
    const late = bus.subscribe(orders, { name: 'late', handler });
    goOn.fire();
    await expect(starting).rejects.toBe(down);
    await expect(late.started).rejects.toBe(down);
    await late.stop();
    expect(clock.waiting()).toBe(0);
  });
});

describe('a subscription that cannot begin', () => {
  const nobodyLooks = async (): Promise<void> => {
    for (let turns = 0; turns < 3; turns += 1) await new Promise((resolve) => setImmediate(resolve));
  };

  it('because the bus has been stopped is told to who waits, and ends no process where nobody does', async () => {
    const { bus, clock, logged } = busOn();
    await bus.start();
    await bus.stop();
    const unhandled: unknown[] = [];
    const note = (error: unknown): unknown => unhandled.push(error);
    process.on('unhandledRejection', note);
    const late = bus.subscribe(orders, { name: 'late', handler });
    await nobodyLooks();
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
    await expect(late.started).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
    expect(logged).toEqual([
      ['a subscription could not start', expect.objectContaining({ subscription: 'late' })],
    ]);
    expect((await bus.view()).subscriptions).toEqual([]);
    await late.stop();
    expect(clock.waiting()).toBe(0);
  });

  it.each<[string, (script: Script) => void]>([
    ['declare', (script) => void (script.declare = refusing(denied))],
    ['subscribe', (script) => void (script.subscribe = refusing(denied))],
  ])('because the engine refuses to %s is not shown, however often it is tried again', async (_, refuse) => {
    const script: Script = {};
    const { bus, clock } = busOn(script);
    await bus.start();
    refuse(script);
    for (let tries = 0; tries < 3; tries += 1)
      await expect(bus.subscribe(orders, { name: 'one', handler }).started).rejects.toBe(denied);
    expect((await bus.view()).subscriptions).toEqual([]);
    delete script.declare;
    delete script.subscribe;
    await bus.subscribe(orders, { name: 'one', handler }).started;
    expect((await bus.view()).subscriptions.map(({ name }) => name)).toEqual(['one']);
    await bus.stop();
    expect(clock.waiting()).toBe(0);
  });
});

describe('stop', () => {
  it.each<[string, Script]>([
    ['pause', { pause: refusing(denied) }],
    ['leave', { leave: refusing(denied) }],
    ['close', { close: refusing(denied) }],
  ])('lets go of everything although the engine refuses to %s, and says so', async (_, script) => {
    const { bus, engine, clock } = busOn(script);
    bus.subscribe(orders, { name: 'one', handler });
    await bus.start();
    expect(clock.waiting()).toBe(1);
    await expect(bus.stop()).rejects.toBe(denied);
    expect(engine.ended).toEqual(['pause', 'leave', 'close']);
    expect(clock.waiting()).toBe(0);
    expect((await bus.view()).state).toBe('stopped');
  });

  it('of one subscription that the engine refuses leaves none behind either', async () => {
    const { bus, clock } = busOn({ pause: refusing(denied) });
    const one = bus.subscribe(orders, { name: 'one', handler });
    await bus.start();
    await expect(one.stop()).rejects.toBe(denied);
    expect(clock.waiting()).toBe(0);
    expect((await bus.view()).subscriptions).toEqual([]);
    await bus.stop();
  });

  it('closes what was being subscribed meanwhile', async () => {
    const subscribing = signal();
    const goOn = signal();
    const { bus, engine, clock } = busOn({
      async subscribe() {
        subscribing.fire();
        await goOn.fired;
      },
    });
    await bus.start();
    const late = bus.subscribe(orders, { name: 'late', handler });
    await subscribing.fired;
    await bus.stop({ drainMs: 0 });
    goOn.fire();
    await late.started;
    expect(engine.ended.filter((call) => call === 'leave')).toHaveLength(1);
    expect(clock.waiting()).toBe(0);
  });
});

describe('after the engine failed for good', () => {
  it('who asked is told at once, and stop lets go of everything without a complaint', async () => {
    const { bus, engine, clock, fatal } = busOn({
      pause: refusing(denied),
      leave: refusing(denied),
      close: refusing(denied),
    });
    bus.subscribe(orders, { name: 'one', handler });
    await bus.start();
    const answer = bus.request(asked, { n: 1 }, { timeoutMs: 60_000 });
    await expect.poll(() => engine.published.length).toBe(1);
    engine.fail(new Error('dead'));
    await expect(answer).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
    await expect(bus.publish(orders, { n: 1 })).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
    await bus.stop();
    expect(fatal).toHaveLength(1);
    expect(engine.ended).toEqual(['pause', 'leave', 'close']);
    expect(clock.waiting()).toBe(0);
  });
});
