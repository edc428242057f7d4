/**
 * What a channel did not ask for, and what an engine is known not to have, does not compile. The proof is the compiler's: `npm run check` fails at an
 * `@ts-expect-error` under which nothing is wrong. What is here is never run but for the refusals of JavaScript and of widened types.
 */
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { type Channel, type ChannelDefinition, defineChannel } from './channel.ts';
import { systemClock } from './clock.ts';
import type { StandardSchema } from './contract.ts';
import type { Engine } from './engine.ts';
import { createEmbeddedEngine } from './engines/embedded/engine.ts';
import { createKafkaEngine } from './engines/kafka/engine.ts';
import { createRabbitEngine } from './engines/rabbitmq/engine.ts';
import { createRedisBroadcastEngine } from './engines/redis-pubsub/engine.ts';
import { createRedisListsEngine } from './engines/redis-lists/engine.ts';
import { createIds } from './ids.ts';
import { createOutboxWriter } from './outbox.ts';
import { ack } from './outcome.ts';

const schema = Type.Object({ n: Type.Integer() });
const base = { version: 1, schema } as const;
const plain = defineChannel({ ...base, name: 'plain' });
const keyed = defineChannel({ ...base, name: 'keyed', order: 'key' });
const delayed = defineChannel({ ...base, name: 'delayed', requires: { delay: { maxMs: 5 } } });
const ranked = defineChannel({ ...base, name: 'ranked', requires: { priority: { levels: 3 } } });
const expiring = defineChannel({ ...base, name: 'expiring', requires: { ttl: true } });
const direct = defineChannel({ ...base, name: 'direct', requires: { routing: 'direct' } });
const byHeaders = defineChannel({ ...base, name: 'headers', requires: { routing: 'headers' } });
const kept = defineChannel({ ...base, name: 'kept', requires: { replay: { keepMs: 1_000 } } });
const asked = defineChannel({ ...base, name: 'asked', reply: schema });
const askedInOrder = defineChannel({ ...base, name: 'asked.keyed', reply: schema, order: 'key' });
const notices = defineChannel({ ...base, name: 'notices', requires: { broadcast: true } });
const safe = defineChannel({ ...base, name: 'safe', requires: { deadLetters: true } });
const vouched = defineChannel({ ...base, name: 'vouched', requires: { confirm: 'disk' } });

/** For the compiler alone: what is in it is never run. */
const unrun = (...given: readonly unknown[]): boolean => given.length > 0;
const handler = () => ack();
const data = { n: 1 };

describe('options of publish that a channel did not ask for do not compile', () => {
  it('one by one', () => {
    expect(
      unrun((bus: Bus) => {
        void bus.publish(ranked, data, { priority: 2 });
        void bus.publish(expiring, data, { expiresAt: 1 });
        void bus.publish(direct, data, { routingKey: 'red' });
        void bus.publish(delayed, data, { delayMs: 1 });
        void bus.publish(keyed, data, { key: 'a' });
        // @ts-expect-error priority needs requires.priority
        void bus.publish(plain, data, { priority: 1 });
        // @ts-expect-error expiresAt needs requires.ttl
        void bus.publish(plain, data, { expiresAt: 1 });
        // @ts-expect-error routingKey needs requires.routing
        void bus.publish(plain, data, { routingKey: 'red' });
        // @ts-expect-error headers route by headers
        void bus.publish(byHeaders, data, { routingKey: 'red' });
        // @ts-expect-error direct routing needs a routing key
        void bus.publish(direct, data);
        // @ts-expect-error delayMs needs requires.delay
        void bus.publish(plain, data, { delayMs: 1 });
        // @ts-expect-error order per key needs a key
        void bus.publish(keyed, data);
        // @ts-expect-error a priority overtakes, so a keyed channel has none
        void bus.publish(keyed, data, { key: 'a', priority: 1 });
        // @ts-expect-error there is no such option
        void bus.publish(plain, data, { keep: true });
      }),
    ).toBe(true);
  });

  it('nor in a batch', () => {
    expect(
      unrun((bus: Bus) => {
        void bus.publishBatch(keyed, [{ data, options: { key: 'a' } }]);
        // @ts-expect-error each message of a keyed channel needs its key
        void bus.publishBatch(keyed, [{ data }]);
        // @ts-expect-error each message of a routed channel needs its routing key
        void bus.publishBatch(direct, [{ data }]);
        // @ts-expect-error priority needs requires.priority
        void bus.publishBatch(plain, [{ data, options: { priority: 1 } }]);
      }),
    ).toBe(true);
  });

  it('nor from a handler', () => {
    expect(
      unrun((bus: Bus) => {
        bus.subscribe(plain, {
          name: 'one',
          handler: async (_, { publish }) => {
            // @ts-expect-error order per key needs a key
            await publish(keyed, data);
            // @ts-expect-error delayMs needs requires.delay
            await publish(plain, data, { delayMs: 1 });
            return ack();
          },
        });
      }),
    ).toBe(true);
  });

  const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/t' });

  it('nor into an outbox, which refuses a widened one too', () => {
    expect(
      unrun(() => {
        write(delayed, data, { dueAt: 1 });
        write(ranked, data, { priority: 1 });
        // @ts-expect-error dueAt needs requires.delay
        write(plain, data, { dueAt: 1 });
        // @ts-expect-error priority needs requires.priority
        write(plain, data, { priority: 1 });
        // @ts-expect-error expiresAt needs requires.ttl
        write(plain, data, { expiresAt: 1 });
        // @ts-expect-error order per key needs a key
        write(keyed, data);
        // @ts-expect-error direct routing needs a routing key
        write(direct, data);
      }),
    ).toBe(true);
    const widened = write as unknown as (channel: Channel, given: unknown, options: object) => unknown;
    expect(() => widened(plain, data, { dueAt: 1 })).toThrow(/dueAt needs requires\.delay/);
    expect(widened(delayed, data, { dueAt: 1 })).toMatchObject({ dueAt: 1 });
  });
});

it('bindings that a channel does not route by do not compile', () => {
  expect(
    unrun((bus: Bus) => {
      bus.subscribe(direct, { name: 'one', bindings: ['red'], handler });
      bus.subscribe(byHeaders, { name: 'one', bindings: [{ match: 'all', headers: { a: 'b' } }], handler });
      // @ts-expect-error bindings need requires.routing
      bus.subscribe(plain, { name: 'one', bindings: ['red'], handler });
      // @ts-expect-error direct routing needs bindings
      bus.subscribe(direct, { name: 'one', handler });
      // @ts-expect-error direct routing goes by keys
      bus.subscribe(direct, { name: 'one', bindings: [{ match: 'all', headers: { a: 'b' } }], handler });
      // @ts-expect-error routing by headers does not go by keys
      bus.subscribe(byHeaders, { name: 'one', bindings: ['red'], handler });
    }),
  ).toBe(true);
});

it('going back where nothing is kept, and asking where nobody answers, do not compile', () => {
  expect(
    unrun((bus: Bus) => {
      void bus.rewind(kept, 'one', 'earliest');
      // @ts-expect-error the channel has no requires.replay
      void bus.rewind(plain, 'one', 'earliest');
      void bus.request(asked, data, { timeoutMs: 1 });
      void bus.request(askedInOrder, data, { timeoutMs: 1, key: 'a' });
      // @ts-expect-error the channel has no reply schema
      void bus.request(plain, data, { timeoutMs: 1 });
      // @ts-expect-error order per key needs a key, of a request too
      void bus.request(askedInOrder, data, { timeoutMs: 1 });
      // A channel of which nothing is known may have it; the engine and the bus are asked when it is tried.
      const known = plain as Channel;
      void bus.rewind(known, 'one', 'earliest');
      void bus.request(known, data, { timeoutMs: 1 });
    }),
  ).toBe(true);
});

describe('what a definition does not know', () => {
  it('does not compile, and is refused by name', () => {
    // @ts-expect-error a word that is mistyped asks for nothing
    const ofChannel = () => defineChannel({ ...base, name: 'a', onFailiure: 'skip' });
    const ofRequires = () =>
      // @ts-expect-error replay is kept by replay.keepMs
      defineChannel({ ...base, name: 'a', requires: { ttl: true, keep: { ms: 5 } } });
    // @ts-expect-error an emulation that there is none of
    unrun(() => defineChannel({ ...base, name: 'a', requires: { emulation: ['replay'] } }));
    // @ts-expect-error replay says how long
    unrun(() => defineChannel({ ...base, name: 'a', requires: { replay: true } }));
    expect(ofChannel).toThrow(/there is no onFailiure; a definition has name, schema/);
    expect(ofRequires).toThrow(/there is no requires\.keep; .* requires has confirm, delay/);
  });
});

describe('an engine whose type says what it lacks', () => {
  it('takes no channel that requires it', () => {
    expect(
      unrun(() => {
        const rabbit = createBus({ engine: createRabbitEngine({ url: 'amqp://h' }), source: '/t' });
        rabbit.declare([plain, keyed, delayed, ranked, expiring, direct, byHeaders, safe, vouched, asked]);
        // @ts-expect-error RabbitMQ keeps nothing that was settled
        rabbit.declare([plain, kept]);
        // @ts-expect-error RabbitMQ has no broadcast
        rabbit.declare([notices]);

        const lists = createBus({ engine: createRedisListsEngine({ url: 'redis://h' }), source: '/t' });
        lists.declare([plain, expiring, safe, vouched]);
        // @ts-expect-error a list has no order per key
        lists.declare([keyed]);
        // @ts-expect-error a list has no delay
        lists.declare([delayed]);
        // @ts-expect-error a list has no priority
        lists.declare([ranked]);
        // @ts-expect-error a list does not route
        lists.declare([direct]);
        // @ts-expect-error a list keeps nothing that was settled
        lists.declare([kept]);

        const broadcast = createBus({
          engine: createRedisBroadcastEngine({ url: 'redis://h' }),
          source: '/t',
        });
        broadcast.declare([plain, notices]);
        // @ts-expect-error nothing is kept that could be redriven
        broadcast.declare([safe]);
        // @ts-expect-error nothing is kept that could be vouched for
        broadcast.declare([vouched]);
        // @ts-expect-error no order per key
        broadcast.declare([keyed]);
        // @ts-expect-error no delay
        broadcast.declare([delayed]);
        // @ts-expect-error no time to live
        broadcast.declare([expiring]);

        const embedded = createBus({ engine: createEmbeddedEngine({ path: 'a' }), source: '/t' });
        const kafka = createBus({ engine: createKafkaEngine({ url: 'kafka://h' }), source: '/t' });
        embedded.declare([keyed, delayed, ranked, expiring, direct, kept, safe]);
        kafka.declare([keyed, delayed, ranked, expiring, direct, kept, safe]);
        // @ts-expect-error one subscription competes
        embedded.declare([notices]);
        // @ts-expect-error one group competes
        kafka.declare([notices]);
        // A bus of any engine is a bus.
        const any: readonly Bus[] = [rabbit, lists, broadcast, embedded, kafka];
        unrun(any);
      }),
    ).toBe(true);
  });

  it('says nothing when it is known as any engine, nor a channel that is known as any channel: the start asks', () => {
    expect(
      unrun((engine: Engine, channels: readonly Channel[]) => {
        createBus({ engine, source: '/t' }).declare([kept, notices]);
        createBus({ engine: createRabbitEngine({ url: 'amqp://h' }), source: '/t' }).declare(channels);
      }),
    ).toBe(true);
  });
});

it('an upcaster that gives a promise does not compile', () => {
  interface Old {
    readonly n: number;
  }
  const next = { name: 'next', version: 2, schema } as const;
  expect(
    unrun(() => {
      defineChannel({ ...next, upcasters: { 1: (old: Old) => old } });
      defineChannel({ ...next, upcasters: { 1: (old: Old) => [old.n] } });
      // @ts-expect-error it is not waited for
      defineChannel({ ...next, upcasters: { 1: async (old: Old) => old } });
      // @ts-expect-error nor where it is one only sometimes
      defineChannel({ ...next, upcasters: { 1: (old: Old) => (old.n > 1 ? old : Promise.resolve(old)) } });
    }),
  ).toBe(true);
});

it('a request with an id of its own is refused: a reply finds its request by it', async () => {
  const bus = createBus({ engine: createEmbeddedEngine({ path: 'never-opened' }), source: '/t' });
  bus.declare([asked]);
  const options = { timeoutMs: 1, id: 'mine' };
  await expect(bus.request(asked, data, options)).rejects.toMatchObject({
    code: 'DB_MSG_INVALID_OPTIONS',
    message: expect.stringContaining('a request has no id of its own'),
  });
  // Left out, it comes as far as the bus that was never started (the control).
  const without = { timeoutMs: 1, id: undefined };
  await expect(bus.request(asked, data, without)).rejects.toMatchObject({ code: 'DB_MSG_NOT_STARTED' });
});

it('a request on a channel without a reply is refused for JavaScript too', async () => {
  const bus = createBus({ engine: createEmbeddedEngine({ path: 'never-opened' }), source: '/t' });
  bus.declare([plain]);
  await expect(bus.request(plain as Channel, data, { timeoutMs: 1 })).rejects.toMatchObject({
    code: 'DB_MSG_INVALID_OPTIONS',
    message: expect.stringContaining('a reply schema'),
  });
});

describe('broadcast and what rests on keeping', () => {
  it.each<[string, Partial<ChannelDefinition>]>([
    ['dead letters', { requires: { broadcast: true, deadLetters: true } }],
    ['order per key', { order: 'key', requires: { broadcast: true } }],
    ['delay', { requires: { broadcast: true, delay: { maxMs: 5 } } }],
    ['priority', { requires: { broadcast: true, priority: { levels: 2 } } }],
    ['replay', { requires: { broadcast: true, replay: { keepMs: 5 } } }],
    ['routing', { requires: { broadcast: true, routing: 'topic' } }],
    ["confirm: 'memory'", { requires: { broadcast: true, confirm: 'memory' } }],
  ])('exclude each other: %s, said with what to do', (what, part) => {
    expect(() => defineChannel({ ...base, name: 'a', ...part } as ChannelDefinition)).toThrow(
      expect.objectContaining({
        code: 'DB_MSG_CHANNEL_CONTRADICTION',
        message: expect.stringMatching(
          new RegExp(`broadcast and ${what} exclude each other: .+ Drop one .*subscription name`),
        ),
      }),
    );
  });

  it('goes with expiry and with a confirmation that promises nothing', () => {
    const requires = { broadcast: true, confirm: 'none' } as const;
    expect(defineChannel({ ...base, name: 'a', requires }).requires).toEqual(requires);
  });
});

describe('a Standard Schema that makes something else of the data', () => {
  const schema = {} as StandardSchema<{ readonly n: number }, { readonly n: string }>;
  const counted = () => defineChannel({ name: 'counted', version: 1, schema });

  it('is published as its input, and handled as its output', () => {
    expect(
      unrun((bus: Bus) => {
        const channel = counted();
        void bus.publish(channel, { n: '5' });
        // @ts-expect-error the output is not what is published
        void bus.publish(channel, { n: 5 });
        bus.subscribe(channel, {
          name: 'one',
          handler: ({ data }) => {
            const n: number = data.n;
            // @ts-expect-error the input is not what is handled
            const text: string = data.n;
            return unrun(n, text) ? ack() : ack();
          },
        });
      }),
    ).toBe(true);
  });
});
