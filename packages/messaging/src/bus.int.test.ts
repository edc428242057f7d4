/** The bus's own rules, on the in-process engine: what it refuses, what it shows, how it fails. */
import { createManualClock } from './conformance/manual-clock.ts';
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { type Channel, type ChannelRequirements, defineChannel } from './channel.ts';
import { Collector, eventually } from './conformance/fixture.ts';
import type { Capabilities, Engine, ChannelStanding } from './engine.ts';
import { createInProcessEngine, embeddedEngineOn, openInProcessWriter } from './engines/embedded/engine.ts';
import { errorCatalogue, type UnmetRequirement, UnsupportedCapabilityError } from './errors.ts';
import { ack, type Outcome, snooze } from './outcome.ts';

const schema = Type.Object({ n: Type.Integer() });
const plain = defineChannel({ name: 'plain', version: 1, schema });
const engine = (): Engine => createInProcessEngine(new DatabaseSync(':memory:'));

/** The real engine, stating less than it can. */
function poorEngine(change: Partial<Capabilities>, standing: ChannelStanding = {}): Engine {
  return {
    name: 'poor',
    async connect(context) {
      const real = await engine().connect(context);
      return {
        capabilities: { ...real.capabilities, ...change },
        deadLetters: real.deadLetters,
        standing: async (channels) => new Map(channels.map(({ name }) => [name, standing])),
        declare: (topology) => real.declare(topology),
        publish: (batch) => real.publish(batch),
        subscribe: (spec, receive) => real.subscribe(spec, receive),
        inspect: () => real.inspect(),
        peek: (subscription, limit) => real.peek(subscription, limit),
        rewind: (subscription, from, options) => real.rewind(subscription, from, options),
        close: () => real.close(),
      };
    },
  };
}

const none = { support: 'none', maxMs: 0, resolutionMs: 0 } as const;

/** The only requirement that is unmet, of an engine that states so much less; what the person reads has all of it. */
async function refusalOf(capabilities: Partial<Capabilities>, wants: Channel): Promise<UnmetRequirement> {
  const bus = createBus({ engine: poorEngine(capabilities), source: '/t' });
  bus.declare([plain, wants]);
  const error: unknown = await bus.start().catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(UnsupportedCapabilityError);
  const { code, engine: name, unmet, message } = error as UnsupportedCapabilityError;
  expect({ code, name }).toEqual({ code: 'DB_MSG_UNSUPPORTED_CAPABILITY', name: 'poor' });
  const [one, ...others] = unmet;
  if (!one || others.length > 0) throw new Error(`${unmet.length} requirements are unmet: ${message}`);
  expect(one.remedies.length).toBeGreaterThan(0);
  expect(message).toBe(
    `channel "wants" requires ${one.feature} (${one.asked}); engine "poor" offers ${one.available}. Remedies: ${one.remedies.join('; or ')}.`,
  );
  return one;
}

describe('start', () => {
  it.each<[string, ChannelRequirements, Partial<Capabilities>, string, string]>([
    ['delay', { delay: { maxMs: 1_000 } }, { delay: none }, 'up to 1000 ms', 'none'],
    [
      'delay',
      { delay: { maxMs: 1_000 } },
      { delay: { support: 'native', maxMs: 500, resolutionMs: 1 } },
      'up to 1000 ms',
      'up to 500 ms',
    ],
    [
      'delay',
      { delay: { maxMs: 1_000 } },
      { delay: { support: 'emulated', maxMs: 5_000, resolutionMs: 1 } },
      'up to 1000 ms',
      'an emulation only',
    ],
    [
      'priority',
      { priority: { levels: 5 } },
      { priority: { support: 'native', levels: 4 } },
      '5 levels',
      '4 levels',
    ],
    [
      'priority',
      { priority: { levels: 5 } },
      { priority: { support: 'none', levels: 1 } },
      '5 levels',
      'none',
    ],
    ['ttl', { ttl: true }, { ttl: { support: 'none', granularity: 'message' } }, 'per message', 'none'],
    ['replay', { replay: { keepMs: 1_000 } }, { replay: 'none' }, 'yes', 'none'],
    [
      'routing',
      { routing: 'topic' },
      { routing: { direct: 'native', fanout: 'native', topic: 'none', headers: 'none' } },
      'topic',
      'none',
    ],
    ['confirm', { confirm: 'replicated' }, { confirm: 'memory' }, 'replicated', 'memory'],
    ['broadcast', { broadcast: true }, {}, 'every consumer hears every message', 'none'],
    ['deadLetters', { deadLetters: true }, { deadLetters: 'none' }, 'kept with their history', 'none'],
    [
      'size',
      { size: { maxBytes: 2_001 } },
      { maxMessageBytes: 2_000 },
      'up to 2001 bytes',
      'up to 2000 bytes',
    ],
  ])(
    'refuses an unmet %s, naming engine, feature, asked, available and remedies',
    async (feature, requires, capabilities, asked, available) => {
      const wants = defineChannel({ name: 'wants', version: 1, schema, requires });
      expect(await refusalOf(capabilities, wants)).toEqual({
        channel: 'wants',
        feature,
        asked,
        available,
        remedies: expect.arrayContaining([expect.any(String)]),
      });
    },
  );

  it('refuses order per key that is not there, and one that is emulated', async () => {
    const wants = defineChannel({ name: 'wants', version: 1, schema, order: 'key' });
    const unmet = { channel: 'wants', feature: 'order', asked: 'per key' };
    expect(await refusalOf({ orderPerKey: 'none' }, wants)).toMatchObject({ ...unmet, available: 'none' });
    expect(await refusalOf({ orderPerKey: 'emulated' }, wants)).toMatchObject({
      ...unmet,
      available: 'an emulation only',
    });
  });

  const place = { place: 'topic "old"', remedies: ['raise it there'] };
  it.each<[string, ChannelRequirements, ChannelStanding, string]>([
    [
      'confirm',
      { confirm: 'disk' },
      { confirm: { durability: 'memory', ...place } },
      'memory at topic "old". Remedies: ask for confirm: \'memory\' if that is enough; or raise it there.',
    ],
    [
      'size',
      { size: { maxBytes: 2_001 } },
      { size: { maxMessageBytes: 2_000, ...place } },
      'up to 2000 bytes at topic "old". Remedies: ask for size.maxBytes of at most 2000; or raise it there',
    ],
  ])('refuses a %s that a place of the channel cannot give, whatever the engine can', async (...given) => {
    const [feature, requires, standing, words] = given;
    const wants = defineChannel({ name: 'wants', version: 1, schema, requires });
    const bus = createBus({ engine: poorEngine({}, standing), source: '/t' });
    bus.declare([plain, wants]);
    await expect(bus.start()).rejects.toMatchObject({
      unmet: [{ channel: 'wants', feature }],
      message: expect.stringContaining(words),
    });
  });

  it('accepts what a place of the channel gives, though the engine would make a weaker one', async () => {
    const bus = createBus({
      engine: poorEngine({ confirm: 'memory' }, { confirm: { durability: 'disk', ...place } }),
      source: '/t',
    });
    bus.declare([defineChannel({ name: 'wants', version: 1, schema, requires: { confirm: 'disk' } })]);
    await expect(bus.start()).resolves.toBeUndefined();
    await bus.stop();
  });

  it('accepts an emulation that was opted into by name', async () => {
    const bus = createBus({
      engine: poorEngine({ delay: { support: 'emulated', maxMs: 5_000, resolutionMs: 1 } }),
      source: '/t',
    });
    bus.declare([
      defineChannel({
        name: 'wants',
        version: 1,
        schema,
        requires: { delay: { maxMs: 1_000 }, emulation: ['delay'] },
      }),
    ]);
    await expect(bus.start()).resolves.toBeUndefined();
    await bus.stop();
  });
});

describe('publish', () => {
  it('refuses what breaks the contract, the options or the state, and stores nothing', async () => {
    const bus = createBus({ engine: engine(), source: '/t' });
    const keyed = defineChannel({ name: 'keyed', version: 1, schema, order: 'key' });
    bus.declare([plain, keyed]);
    await expect(bus.publish(plain, { n: 1 })).rejects.toMatchObject({ code: 'DB_MSG_NOT_STARTED' });
    await bus.start();
    const widened = bus.publish as (channel: unknown, data: unknown, options?: unknown) => Promise<unknown>;
    const tries: [unknown, unknown, unknown, string][] = [
      [plain, { n: 'x' }, {}, 'DB_MSG_INVALID_DATA'],
      [plain, { n: 1 }, { delayMs: 5 }, 'DB_MSG_INVALID_OPTIONS'],
      [plain, { n: 1 }, { priority: 1 }, 'DB_MSG_INVALID_OPTIONS'],
      [plain, { n: 1 }, { expiresAt: 1 }, 'DB_MSG_INVALID_OPTIONS'],
      [plain, { n: 1 }, { headers: { 'Bad-Name': 'x' } }, 'DB_MSG_INVALID_OPTIONS'],
      [plain, { n: 1 }, { headers: { big: 'x'.repeat(2 ** 20) } }, 'DB_MSG_MESSAGE_TOO_LARGE'],
      [keyed, { n: 1 }, {}, 'DB_MSG_INVALID_OPTIONS'],
      [defineChannel({ name: 'other', version: 1, schema }), { n: 1 }, {}, 'DB_MSG_UNKNOWN_CHANNEL'],
    ];
    for (const [channel, data, options, code] of tries)
      await expect(widened.call(bus, channel, data, options)).rejects.toMatchObject({ code });
    await bus.stop();
    await expect(bus.publish(plain, { n: 1 })).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
  });

  it('shows backlog and subscriptions as JSON', async () => {
    const bus = createBus({ engine: engine(), source: '/t' });
    bus.declare([plain]);
    bus.subscribe(plain, { name: 'idle', handler: () => ack() });
    await bus.start();
    const done = new Collector<number>();
    bus.subscribe(plain, {
      name: 'busy',
      handler: ({ data }) => {
        done.add(data.n);
        return new Promise(() => {});
      },
    });
    await bus.publishBatch(
      plain,
      [1, 2, 3, 4, 5].map((n) => ({ data: { n } })),
    );
    await done.waitFor(1);
    const view = JSON.parse(JSON.stringify(await bus.view())) as Awaited<ReturnType<typeof bus.view>>;
    const busy = view.channels[0]?.subscriptions.find(({ name }) => name === 'busy');
    expect(busy).toMatchObject({ ready: 3, inFlight: 2, delayed: 0, consumers: 1, deadLetters: [] });
    expect(busy?.oldestAgeMs).toBeGreaterThanOrEqual(0);
    expect(view).toMatchObject({ engine: 'embedded', state: 'running' });
    await bus.stop({ drainMs: 10 });
  });
});

describe('a store that fails for good', () => {
  it('rejects what is under way and later, and tells the owner once', async () => {
    const database = new DatabaseSync(':memory:');
    const fatal: Error[] = [];
    let broken = false;
    const failing = embeddedEngineOn(async () => {
      const writer = openInProcessWriter(database);
      return {
        ...writer,
        run: (turn) => (broken ? Promise.reject(new Error('disk I/O error')) : writer.run(turn)),
      };
    });
    const bus = createBus({ engine: failing, source: '/t', onFatal: (error) => fatal.push(error) });
    bus.declare([plain]);
    await bus.start();
    broken = true;
    await expect(
      Promise.allSettled([bus.publish(plain, { n: 1 }), bus.publish(plain, { n: 2 })]),
    ).resolves.toMatchObject([
      { reason: { code: 'DB_MSG_ENGINE_FAILED', retryable: false } },
      { reason: { code: 'DB_MSG_ENGINE_FAILED' } },
    ]);
    expect(fatal).toHaveLength(1);
    await expect(bus.publish(plain, { n: 3 })).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
    await bus.stop();
  });
});

describe('a handler that returns nothing', () => {
  it('makes a dead letter whose reason says what to return', async () => {
    const bus = createBus({ engine: engine(), source: '/t' });
    bus.declare([plain]);
    const forgetful = (() => undefined) as unknown as () => Outcome;
    bus.subscribe(plain, { name: 'one', retries: { immediate: 0, delayed: [] }, handler: forgetful });
    await bus.start();
    await bus.publish(plain, { n: 1 });
    const letters = await eventually(
      () => bus.deadLetters.list({ channel: 'plain' }),
      (list) => list.length === 1,
      'the dead letter',
    );
    expect(letters[0]?.reason).toContain('has to return ack(), retry()');
    await bus.stop();
  });
});

describe('a delay that a handler asks for', () => {
  it('may be a fraction of a millisecond; an impossible one is a failed attempt, and the engine lives on', async () => {
    const bus = createBus({ engine: engine(), source: '/t' });
    bus.declare([plain]);
    const attempts = new Collector<number>();
    const delays = [1.5, 0.25, Number.NaN, -1, Number.POSITIVE_INFINITY];
    bus.subscribe(plain, {
      name: 'one',
      retries: { immediate: 0, delayed: [1, 1, 1] },
      handler: (_message, { attempt }) => {
        attempts.add(attempt);
        const delayMs = delays.shift();
        return delayMs === undefined ? ack() : snooze(delayMs);
      },
    });
    await bus.start();
    await bus.publish(plain, { n: 1 });
    await attempts.waitFor(6);
    expect(attempts.values).toEqual([1, 1, 1, 2, 3, 4]);
    await bus.stop();
  });
});

describe('a forward', () => {
  const message = { id: 'a', type: 'plain', version: 1, source: '/t', time: '', data: { n: 1 }, headers: {} };
  it.each([null, {}, { channel: 'plain' }, { channel: 'plain', message: { ...message, id: undefined } }])(
    'of %j is refused as a whole before the engine; one that is sound goes (the control)',
    async (bad) => {
      const bus = createBus({ engine: engine(), source: '/t' });
      bus.declare([plain]);
      await bus.start();
      const sound = { channel: 'plain', message };
      await expect(bus.forward([sound, bad as never])).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
      await expect(bus.forward([sound])).resolves.toMatchObject([{ id: 'a' }]);
      await bus.stop();
    },
  );
});

describe('a rewind to a time', () => {
  const kept = defineChannel({
    name: 'kept',
    version: 1,
    schema: Type.Object({ n: Type.Integer() }),
    requires: { replay: { keepMs: 60_000 } },
  });

  it('that is none is refused, and nothing comes again; to one that is, everything does (the control)', async () => {
    const bus = createBus({ engine: engine(), source: '/t' });
    bus.declare([kept]);
    await bus.start();
    const handled = async (count: number): Promise<void> => {
      const got = new Collector<number>();
      const one = bus.subscribe(kept, {
        name: 'one',
        handler: ({ data }) => {
          got.add(data.n);
          return ack();
        },
      });
      await got.waitFor(count);
      await one.stop();
      expect(got.values).toHaveLength(count);
    };
    await bus.publishBatch(kept, [{ data: { n: 1 } }, { data: { n: 2 } }]);
    await handled(2);
    for (const timeMs of [Number.NaN, Number.POSITIVE_INFINITY, '1' as never, new Date(0) as never])
      await expect(bus.rewind(kept, 'one', { timeMs })).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
    await expect(bus.peek(kept, 'one')).resolves.toEqual([]);
    await bus.rewind(kept, 'one', { timeMs: 0 });
    await handled(2);
    // What waits stays where a mistyped time would go past it; two clocks may differ a little.
    await bus.publish(kept, { n: 3 });
    await expect(bus.rewind(kept, 'one', { timeMs: Date.now() + 3_600_000 })).rejects.toMatchObject({
      code: 'DB_MSG_INVALID_OPTIONS',
      message: expect.stringContaining("'latest'"),
    });
    await expect(bus.peek(kept, 'one')).resolves.toHaveLength(1);
    await bus.rewind(kept, 'one', { timeMs: Date.now() + 1_000 });
    await expect(bus.peek(kept, 'one')).resolves.toEqual([]);
    await bus.stop();
  });
});

describe('a message that kills its process', () => {
  it('ends as a dead letter, and none of its neighbours does', async () => {
    let bytes: Uint8Array | undefined;
    const handled = new Set<number>();
    const killed = new Collector<number>();

    const start = async (): Promise<{ bus: Bus; database: DatabaseSync }> => {
      const database = new DatabaseSync(':memory:');
      if (bytes) database.deserialize(bytes);
      const bus = createBus({ engine: createInProcessEngine(database), source: '/t' });
      bus.declare([plain]);
      bus.subscribe(plain, {
        name: 'one',
        concurrency: 4,
        retries: { immediate: 0, delayed: [], abandoned: 5 },
        handler: async ({ data }) => {
          (data.n === 0 ? killed : handled).add(data.n);
          return data.n === 0 ? new Promise<never>(() => {}) : ack();
        },
      });
      await bus.start();
      return { bus, database };
    };

    for (let life = 0; life < 5; life += 1) {
      const { bus, database } = await start();
      if (life === 0)
        await bus.publishBatch(
          plain,
          Array.from({ length: 8 }, (_, n) => ({ data: { n } })),
        );
      await killed.waitFor(life + 1);
      // The process ends here: what is stored at this moment is what the next one finds.
      bytes = database.serialize();
      await bus.stop({ drainMs: 0 });
    }
    const { bus } = await start();
    const letters = await eventually(
      () => bus.deadLetters.list(),
      (found) => found.length > 0,
      'the dead letter',
    );
    await eventually(
      async () => handled.size,
      (size) => size === 7,
      'the neighbours',
    );
    await bus.stop();
    expect(letters.map(({ raw }) => (JSON.parse(raw) as { data: { n: number } }).data.n)).toEqual([0]);
  });

  it('innocents that were out at several kills do not wait for each other one by one', async () => {
    const count = 200;
    let bytes: Uint8Array | undefined;
    const clock = createManualClock();
    const life = async (
      handles: boolean,
      until: (got: Collector<number>) => Promise<unknown>,
    ): Promise<void> => {
      const database = new DatabaseSync(':memory:');
      if (bytes) database.deserialize(bytes);
      const bus = createBus({ engine: createInProcessEngine(database), source: '/t', clock });
      const got = new Collector<number>();
      bus.declare([plain]);
      bus.subscribe(plain, {
        name: 'one',
        concurrency: count,
        retries: { abandoned: 50 },
        handler: ({ data }) => {
          got.add(data.n);
          return handles ? ack() : new Promise<never>(() => {});
        },
      });
      await bus.start();
      if (!bytes)
        await bus.publishBatch(
          plain,
          Array.from({ length: count }, (_, n) => ({ data: { n } })),
        );
      await until(got);
      bytes = database.serialize();
      let stopped = false;
      const stopping = bus.stop({ drainMs: 0 }).then(() => {
        stopped = true;
      });
      while (!stopped) {
        await new Promise((resolve) => setImmediate(resolve));
        clock.advance(100);
      }
      await stopping;
    };
    for (let kill = 0; kill < 2; kill += 1) await life(false, (got) => got.waitFor(count));
    let passedMs = 0;
    await life(true, async (got) => {
      while (got.values.length < count && passedMs < 60_000) {
        await new Promise((resolve) => setImmediate(resolve));
        clock.advance(50);
        passedMs += 50;
      }
      expect(new Set(got.values).size).toBe(count);
    });
    // One by one it would be 250 ms for each.
    expect(passedMs).toBeLessThan(10_000);
  });
});

it('the error catalogue says of each code whether trying again helps', () => {
  for (const [code, entry] of Object.entries(errorCatalogue)) {
    expect(code).toMatch(/^DB_MSG_[A-Z_]+$/);
    expect(typeof entry.retryable).toBe('boolean');
    expect(entry.meaning.endsWith('.')).toBe(true);
  }
});
