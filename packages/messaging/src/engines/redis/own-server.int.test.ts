/** What depends on the settings or the life of the server, on servers of this file's own. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { plain } from '../../conformance/channels.ts';
import { Collector, eventually, numbers, signal } from '../../conformance/fixture.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { ack } from '../../outcome.ts';
import { redisFixture } from './conformance-fixture.ts';
import { createRedisEngine } from './engine.ts';
import { hasServerProgram, type OwnServer, startOwnServer } from '../../redis/testing/own-server.ts';

const context = { clock: systemClock, onFatal: () => {} };
const servers: OwnServer[] = [];

async function serve(...settings: readonly string[]): Promise<OwnServer> {
  const server = await startOwnServer(...settings);
  servers.push(server);
  return server;
}
afterEach(async () => {
  for (const server of servers.splice(0).toReversed()) await server.destroy();
});

const PUBLISHERS = 10;
const KILLS = 3;
/** That many are confirmed at least between one kill and the next. */
const A_LIFE = 200;

interface Run {
  /** Ids, in the order of their confirms. */
  readonly confirmed: readonly string[];
  /** How many of them the server had confirmed when it was killed for the last time. */
  readonly beforeLastKill: number;
  /** What was refused for good. */
  readonly faults: readonly unknown[];
  /** What was confirmed, and not handled by both subscriptions. */
  missing(): readonly string[];
  stop(): Promise<void>;
}

/**
 * Kills the server three times while messages are published and handled. One of the two subscriptions lets go of what it has in hand only after the last
 * kill: all that lies before it has to outlive them, or nobody would ever miss it.
 */
async function killedUnderLoad(...settings: readonly string[]): Promise<Run> {
  const server = await serve(...settings);
  const bus = createBus({ engine: createRedisEngine({ url: server.url }), source: '/test' });
  bus.declare([plain]);
  const isOver = signal();
  const handled = [new Set<string>(), new Set<string>()] as const;
  for (const [index, name] of ['one', 'held'].entries())
    bus.subscribe(plain, {
      name,
      concurrency: 10,
      leaseMs: 2_000,
      async handler({ id }) {
        if (name === 'held') await isOver.fired;
        handled[index]?.add(id);
        return ack();
      },
    });
  await bus.start();
  const confirmed = new Collector<string>();
  const faults: unknown[] = [];
  const publishing = new AbortController();
  const publishers = numbers(1, PUBLISHERS).map(async (lane) => {
    for (let n = 0; !publishing.signal.aborted; n += 1)
      if (await isConfirmed(bus, `${lane}-${n}`, faults)) confirmed.add(`${lane}-${n}`);
      else await new Promise((resolve) => setImmediate(resolve));
  });
  let beforeLastKill = 0;
  for (let life = 1; life <= KILLS; life += 1) {
    await confirmed.waitFor(confirmed.values.length + A_LIFE);
    await server.restart();
    beforeLastKill = confirmed.values.length;
  }
  await confirmed.waitFor(beforeLastKill + A_LIFE / 4);
  publishing.abort();
  isOver.fire();
  await Promise.all(publishers);
  return {
    confirmed: confirmed.values,
    beforeLastKill,
    faults,
    missing: () => confirmed.values.filter((id) => !handled.every((ids) => ids.has(id))),
    stop: () => bus.stop(),
  };
}

async function isConfirmed(bus: Bus, id: string, faults: unknown[]): Promise<boolean> {
  try {
    await bus.publish(plain, { n: 1 }, { id });
    return true;
  } catch (error) {
    if ((error as { retryable?: boolean }).retryable !== true) faults.push(error);
    return false;
  }
}

describe.skipIf(!hasServerProgram())('Redis servers of our own (install redis-server to run it)', () => {
  it.each([
    ['no', 'always', 'memory'],
    ['yes', 'everysec', 'memory'],
    ['yes', 'no', 'memory'],
    ['yes', 'always', 'disk'],
  ])('appendonly %s with appendfsync %s is worth: %s', async (appendonly, appendfsync, confirm) => {
    const { url } = await serve('--appendonly', appendonly, '--appendfsync', appendfsync);
    const connection = await createRedisEngine({ url }).connect(context);
    expect(connection.capabilities.confirm).toBe(confirm);
    await connection.close();
  });

  it('states less as soon as an operator makes it less', async () => {
    const server = await serve('--appendonly', 'yes', '--appendfsync', 'always');
    const bus = createBus({ engine: createRedisEngine({ url: server.url }), source: '/test' });
    bus.declare([plain]);
    await bus.start();
    expect((await bus.publish(plain, { n: 1 })).durability).toBe('disk');
    await server.raw('CONFIG', 'SET', 'appendfsync', 'everysec');
    await eventually(
      () => bus.publish(plain, { n: 2 }),
      ({ durability }) => durability === 'memory',
      'the weaker confirmation',
    );
    await bus.stop();
  });

  it('works with an empty prefix', async () => {
    const { url } = await serve();
    const bus = createBus({ engine: createRedisEngine({ url, prefix: '' }), source: '/test' });
    bus.declare([plain]);
    const got = new Collector<number>();
    bus.subscribe(plain, {
      name: 'one',
      handler: ({ data }) => {
        got.add(data.n);
        return ack();
      },
    });
    await bus.start();
    await bus.publish(plain, { n: 1 });
    await got.waitFor(1);
    expect((await bus.view()).channels.map(({ name }) => name)).toEqual([plain.name]);
    await bus.stop();
  });

  it('refuses a server that evicts streams, and a replica', async () => {
    const evicting = await serve('--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru');
    await expect(createRedisEngine({ url: evicting.url }).connect(context)).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNSAFE',
      message: expect.stringContaining('allkeys-lru'),
    });
    const replica = await serve('--replicaof', '127.0.0.1', new URL(evicting.url).port);
    await expect(createRedisEngine({ url: replica.url }).connect(context)).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNSAFE',
      message: expect.stringContaining('replica'),
    });
  });

  it('a full memory refuses publishing as retryable and stores nothing of the batch; consumers still drain it', async () => {
    const server = await serve('--maxmemory', '12mb', '--maxmemory-policy', 'noeviction');
    const bus = createBus({ engine: createRedisEngine({ url: server.url }), source: '/test' });
    bus.declare([plain]);
    await bus.start();
    const confirmed = new Set<string>();
    const refused = await fill();
    expect(refused).toMatchObject({ code: 'DB_MSG_ENGINE_FULL', retryable: true });
    const stored = await server.raw('XLEN', `doorbuster:stream:${plain.name}`);
    expect(stored).toBe(confirmed.size);
    // Far over the limit, so that nothing but what may run with a full memory runs: consumers have to begin with that.
    await server.raw('CONFIG', 'SET', 'maxmemory', '4mb');
    const got = new Collector<string>();
    bus.subscribe(plain, {
      name: 'one',
      concurrency: 50,
      handler: ({ id }) => {
        got.add(id);
        return ack();
      },
    });
    await got.waitFor(confirmed.size);
    expect(new Set(got.values)).toEqual(confirmed);
    await server.raw('CONFIG', 'SET', 'maxmemory', '12mb');
    await eventually(
      () => bus.publish(plain, { n: 0 }).catch((error: { code: string }) => error),
      (answer) => 'durability' in answer,
      'room again after trimming',
    );
    await bus.stop();

    async function fill(): Promise<unknown> {
      const headers = { pad: 'x'.repeat(2_000) };
      for (;;) {
        try {
          const items = Array.from({ length: 100 }, (_, n) => ({ data: { n }, options: { headers } }));
          for (const { id } of await bus.publishBatch(plain, items)) confirmed.add(id);
        } catch (error) {
          return error;
        }
      }
    }
  });

  it.each([
    ['yes', 'everysec'],
    ['yes', 'no'],
    ['no', 'always'],
  ])(
    'killed with appendonly %s and appendfsync %s: no more than memory was claimed, and the bus goes on by itself',
    async (appendonly, appendfsync) => {
      const server = await serve('--appendonly', appendonly, '--appendfsync', appendfsync);
      const bus = createBus({ engine: createRedisEngine({ url: server.url }), source: '/test' });
      const got = new Collector<number>();
      bus.declare([plain]);
      bus.subscribe(plain, {
        name: 'one',
        handler: ({ data }) => {
          got.add(data.n);
          return ack();
        },
      });
      await bus.start();
      expect((await bus.publish(plain, { n: 1 })).durability).toBe('memory');
      await got.waitFor(1);
      await server.restart();
      await eventually(
        () => bus.publish(plain, { n: 2 }).catch((error: { retryable: boolean }) => error),
        (answer) => 'durability' in answer,
        'publishing again',
      );
      await eventually(
        async () => got.values,
        (values) => values.includes(2),
        'handling again',
      );
      await bus.stop();
    },
  );

  it('the case of the suite that kills the server passes on one that syncs every write', async () => {
    const server = await serve('--appendonly', 'yes', '--appendfsync', 'always');
    const fixture = { ...(await redisFixture(server.url)()), restartServer: () => server.restart() };
    const [found, ...more] = conformanceCases.filter(({ name }) =>
      name.startsWith('a server that is killed'),
    );
    expect(more).toEqual([]);
    await expect(found?.run(fixture)).resolves.toBeUndefined();
  });

  it('a policy that evicts only what expires is taken: nothing of ours expires, and a full memory refuses', async () => {
    const server = await serve('--maxmemory', '12mb', '--maxmemory-policy', 'volatile-lru');
    const bus = createBus({ engine: createRedisEngine({ url: server.url }), source: '/test' });
    bus.declare([plain]);
    await bus.start();
    const headers = { pad: 'x'.repeat(2_000) };
    const items = Array.from({ length: 100 }, (_, n) => ({ data: { n }, options: { headers } }));
    let stored = 0;
    const refused = await eventually(
      () =>
        bus.publishBatch(plain, items).then(
          () => void (stored += 100),
          (error: unknown) => error,
        ),
      (error) => error !== undefined,
      'a full memory',
    );
    expect(refused).toMatchObject({ code: 'DB_MSG_ENGINE_FULL', retryable: true });
    expect(await server.raw('XLEN', `doorbuster:stream:${plain.name}`)).toBe(stored);
    await bus.stop();
  });

  it('a server killed under load, its file synced at every write: every confirmed message is handled', async () => {
    const run = await killedUnderLoad('--appendonly', 'yes', '--appendfsync', 'always');
    await eventually(
      async () => run.missing().length,
      (count) => count === 0,
      'every confirmed message handled',
    );
    expect(run.faults).toEqual([]);
    await run.stop();
  });

  it('control: without a file the same kills lose what was confirmed, and this test sees it', async () => {
    const run = await killedUnderLoad('--appendonly', 'no');
    const lastLife = run.confirmed.slice(run.beforeLastKill);
    await eventually(
      async () => run.missing(),
      (missing) => lastLife.some((id) => !missing.includes(id)),
      'handling what came after the last kill',
    );
    // All that was confirmed but for what the handlers had in hand at the kills.
    expect(run.missing().length).toBeGreaterThan(run.beforeLastKill / 2);
    expect(run.faults).toEqual([]);
    await run.stop();
  });
});
