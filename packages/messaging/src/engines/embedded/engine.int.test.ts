/** What is particular to the embedded engine: the one process, the full disk, the bounded file, the clock it is given. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { ack, retry } from '../../outcome.ts';
import { createEmbeddedEngine, createInProcessEngine } from './engine.ts';

const numbers = defineChannel({
  name: 'numbers',
  version: 1,
  schema: Type.Object({ n: Type.Integer(), pad: Type.Optional(Type.String()) }),
});
let folder: string;
const buses: Bus[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'embedded-'));
});
afterEach(async () => {
  for (const bus of buses.splice(0)) await bus.stop({ drainMs: 100 });
  rmSync(folder, { recursive: true, force: true });
});

function busOn(engine: Engine, options: Partial<Parameters<typeof createBus>[0]> = {}): Bus {
  const bus = createBus({ engine, source: '/test', ...options });
  bus.declare([numbers]);
  buses.push(bus);
  return bus;
}

describe('one holder of the file', () => {
  it('refuses a second engine and a second process, and lets the next in after a stop', async () => {
    const path = join(folder, 'bus.db');
    const first = busOn(createEmbeddedEngine({ path }));
    await first.start();
    await expect(busOn(createEmbeddedEngine({ path })).start()).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_LOCKED',
    });
    const script = `import { createEmbeddedEngine } from ${JSON.stringify(new URL('./engine.ts', import.meta.url).href)};
      const clock = { now: Date.now, monotonic: () => performance.now(), setTimer: () => () => {} };
      await createEmbeddedEngine({ path: ${JSON.stringify(path)} }).connect({ clock, onFatal() {} }).catch((error) => { console.log(error.code); process.exit(3); });`;
    const other = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    expect(other.stdout.trim()).toBe('DB_MSG_ENGINE_LOCKED');
    await first.stop();
    await busOn(createEmbeddedEngine({ path })).start();
  });

  it('refuses a file that is no database, and leaves it alone', async () => {
    const path = join(folder, 'bus.db');
    writeFileSync(path, 'a letter to my aunt, and quite long enough to look like a file of something');
    await expect(busOn(createEmbeddedEngine({ path })).start()).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNSAFE',
    });
    expect(statSync(path).size).toBe(75);
  });
});

describe('a thread that ends before it has the file', () => {
  it.each([false, true])('is told to who starts the bus, and to nobody else (shared: %s)', async (share) => {
    const fatal: Error[] = [];
    // It has not run a line by then.
    process.once('worker', (thread) => void thread.terminate());
    const engine = createEmbeddedEngine({ path: join(folder, 'bus.db'), share });
    const bus = busOn(engine, { onFatal: (error) => fatal.push(error) });
    await expect(bus.start()).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_FAILED' });
    expect(fatal).toEqual([]);
  });
});

describe('a stop', () => {
  it('answers every publish that was under way: stored if it says so, refused by name otherwise', async () => {
    const path = join(folder, 'bus.db');
    const bus = busOn(createEmbeddedEngine({ path }));
    bus.subscribe(numbers, { name: 'all', handler: () => ack() });
    await bus.start();
    const sent: Promise<string>[] = [];
    const publishOne = (n: number): void => {
      sent.push(
        bus.publish(numbers, { n }).then(
          () => 'stored',
          ({ code }: { code: string }) => code,
        ),
      );
    };
    let isStopped = false;
    const publishing = (async () => {
      for (let n = 0; !isStopped; n += 1) {
        for (let burst = 0; burst < 10; burst += 1) publishOne(n);
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    await eventually(
      async () => sent.length,
      (count) => count > 1_000,
      'publishes are under way',
    );
    await bus.stop();
    isStopped = true;
    await publishing;
    const answers = await Promise.all(sent);
    expect([...new Set(answers)].filter((one) => one !== 'DB_MSG_STOPPED')).toEqual(['stored']);
  });
});

describe('a full disk', () => {
  it('rejects the publish as retryable, loses nothing that was confirmed, and goes on when there is room', async () => {
    const database = new DatabaseSync(':memory:');
    const bus = busOn(createInProcessEngine(database));
    await bus.start();
    const confirmed = new Set<string>();
    // SQLite itself says SQLITE_FULL at this limit, as it does when the disk has no room.
    database.exec('PRAGMA max_page_count = 60');
    const refused = await fill(bus, confirmed);
    expect(refused).toMatchObject({ code: 'DB_MSG_DISK_FULL', retryable: true });
    await expect(bus.publish(numbers, { n: 0, pad: 'x'.repeat(9_000) })).rejects.toMatchObject({
      code: 'DB_MSG_DISK_FULL',
    });
    database.exec('PRAGMA max_page_count = 100000');
    confirmed.add((await bus.publish(numbers, { n: -1 })).id);
    const got = new Collector<string>();
    bus.subscribe(numbers, {
      name: 'all',
      concurrency: 10,
      handler: ({ id }) => {
        got.add(id);
        return ack();
      },
    });
    await got.waitFor(confirmed.size);
    expect(new Set(got.values)).toEqual(confirmed);
  });

  it('keeps what is handed out: settling succeeds once there is room', async () => {
    const database = new DatabaseSync(':memory:');
    const bus = busOn(createInProcessEngine(database));
    await bus.start();
    const attempts = new Collector<number>();
    await bus.publishBatch(
      numbers,
      Array.from({ length: 20 }, (_, n) => ({ data: { n, pad: 'x'.repeat(3_000) } })),
    );
    const { page_count: pages } = database.prepare('PRAGMA page_count').get() as { page_count: number };
    bus.subscribe(numbers, {
      name: 'all',
      concurrency: 20,
      retries: { immediate: 0, delayed: [1, 1] },
      handler: (_, { attempt }) => {
        // Each retry copies its message: there is no room for twenty.
        if (attempts.values.length === 0) database.exec(`PRAGMA max_page_count = ${pages + 4}`);
        attempts.add(attempt);
        return attempt === 1 ? retry() : ack();
      },
    });
    await attempts.waitFor(20);
    await eventually(
      () => Promise.resolve(database.isTransaction),
      (open) => !open,
      'the end of the turn',
    );
    database.exec('PRAGMA max_page_count = 100000');
    await attempts.waitFor(40);
    expect(attempts.values.filter((attempt) => attempt === 2)).toHaveLength(20);
  });

  async function fill(bus: Bus, confirmed: Set<string>): Promise<unknown> {
    for (let n = 0; n < 10_000; n += 1) {
      try {
        confirmed.add((await bus.publish(numbers, { n, pad: 'x'.repeat(500) })).id);
      } catch (error) {
        return error;
      }
    }
    return undefined;
  }
});

describe('the file', () => {
  it('does not grow with what is settled', async () => {
    const path = join(folder, 'bus.db');
    const bus = busOn(createEmbeddedEngine({ path }));
    const got = new Collector<number>();
    bus.subscribe(numbers, {
      name: 'all',
      batch: { max: 500 },
      handler: (messages) =>
        messages.map(({ data }) => {
          got.add(data.n);
          return ack();
        }),
    });
    await bus.start();
    const sizes: number[] = [];
    for (let round = 0; round < 8; round += 1) {
      await bus.publishBatch(
        numbers,
        Array.from({ length: 3_000 }, (_, n) => ({ data: { n, pad: 'x'.repeat(300) } })),
      );
      await got.waitFor((round + 1) * 3_000);
      sizes.push((await bus.view()).storedBytes ?? 0);
    }
    expect(Math.max(...sizes)).toBeLessThan(6_000_000);
    expect(sizes.at(-1)).toBeLessThanOrEqual((sizes[2] ?? 0) * 1.5);
  });

  it('keeps the numbering after everything was settled and purged, and restarts', async () => {
    const path = join(folder, 'bus.db');
    for (let life = 0; life < 3; life += 1) {
      const got = new Collector<number>();
      const bus = busOn(createEmbeddedEngine({ path }));
      bus.subscribe(numbers, {
        name: 'all',
        batch: { max: 500 },
        handler: (messages) =>
          messages.map(({ data }) => {
            got.add(data.n);
            return ack();
          }),
      });
      await bus.start();
      await bus.publishBatch(
        numbers,
        Array.from({ length: 2_500 }, (_, n) => ({ data: { n } })),
      );
      await got.waitFor(2_500);
      await bus.stop();
      expect(got.values).toHaveLength(2_500);
    }
  });

  it('forgets a subscription by name, and what nobody subscribed to after its time', async () => {
    const clock = createManualClock();
    const database = new DatabaseSync(':memory:');
    const bus = busOn(createInProcessEngine(database), { clock });
    bus.subscribe(numbers, { name: 'old', handler: () => ack() });
    await bus.start();
    await bus.stop();
    const next = busOn(createInProcessEngine(database), { clock });
    await next.start({ forget: [{ channel: 'numbers', name: 'old' }] });
    await next.publishBatch(
      numbers,
      Array.from({ length: 10 }, (_, n) => ({ data: { n } })),
    );
    clock.advance(8 * 86_400_000);
    await next.publish(numbers, { n: 10 });
    await next.publish(numbers, { n: 11 });
    expect(
      (database.prepare('SELECT count(*) AS count FROM messages').get() as { count: number }).count,
    ).toBe(2);
  });
});

describe('the clock', () => {
  it('is the only source of time: a retry comes when the given clock says so', async () => {
    const clock = createManualClock();
    const bus = busOn(createInProcessEngine(new DatabaseSync(':memory:')), { clock });
    const attempts = new Collector<number>();
    bus.subscribe(numbers, {
      name: 'all',
      retries: { immediate: 0, delayed: [3_600_000], jitter: 0 },
      handler: (_, { attempt }) => {
        attempts.add(attempt);
        return attempt === 1 ? retry() : ack();
      },
    });
    await bus.start();
    await bus.publish(numbers, { n: 1 });
    await attempts.waitFor(1);
    const delayed = async (): Promise<number | undefined> =>
      (await bus.view()).channels[0]?.subscriptions[0]?.delayed;
    await eventually(delayed, (count) => count === 1, 'the retry waiting');
    clock.advance(3_599_000);
    expect(await delayed()).toBe(1);
    clock.advance(1_000);
    await attempts.waitFor(2);
  });

  it('may be wrong for a while: a retry that was put off meanwhile waits for its delay, not for the length of the step', async () => {
    const clock = createManualClock();
    const bus = busOn(createInProcessEngine(new DatabaseSync(':memory:')), { clock });
    const attempts = new Collector<number>();
    bus.subscribe(numbers, {
      name: 'all',
      retries: { immediate: 0, delayed: [1_000], jitter: 0 },
      handler: (_, { attempt }) => {
        attempts.add(attempt);
        return attempt === 1 ? retry() : ack();
      },
    });
    await bus.start();
    clock.step(86_400_000);
    await bus.publish(numbers, { n: 1 });
    await attempts.waitFor(1);
    const delayed = async (): Promise<number | undefined> =>
      (await bus.view()).channels[0]?.subscriptions[0]?.delayed;
    await eventually(delayed, (count) => count === 1, 'the retry waiting');
    clock.step(-86_400_000);
    clock.advance(999);
    expect(await delayed()).toBe(1);
    clock.advance(1);
    await attempts.waitFor(2);
  });
});
