/** A file that processes share: the host killed under load, clients that mean no good, what stands in the way, and who may connect. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, type BusOptions, createBus } from '../../../bus.ts';
import { type Clock, systemClock } from '../../../clock.ts';
import { asked, plain, sequenced, wide } from '../../../conformance/channels.ts';
import { Collector, eventually, numbers, signal } from '../../../conformance/fixture.ts';
import { ack, reply } from '../../../outcome.ts';
import { Keeper } from '../conformance-fixture.ts';
import { createEmbeddedEngine, type EmbeddedEngineOptions } from '../engine.ts';
import { encodeFrame, FrameReader } from './frames.ts';
import { ANSWER_MS } from './link.ts';
import { PATIENCE_MS } from './shared-writer.ts';

let folder: string;
let path: string;
const buses: Bus[] = [];
const children: ChildProcess[] = [];
const keepers: Keeper[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shared-'));
  path = join(folder, 'bus.db');
});
afterEach(async () => {
  for (const bus of buses.splice(0)) await bus.stop({ drainMs: 100 });
  for (const child of children.splice(0)) await killed(child);
  for (const keeper of keepers.splice(0)) await keeper.kill();
  rmSync(folder, { recursive: true, force: true });
});

async function startBus(
  prepare: (bus: Bus) => void = () => {},
  options: Partial<EmbeddedEngineOptions> & Pick<Partial<BusOptions>, 'clock'> = {},
): Promise<Bus> {
  const { clock, ...rest } = options;
  const engine = createEmbeddedEngine({ path, share: true, ...rest });
  const bus = createBus({ engine, source: '/test', ...(clock && { clock }) });
  bus.declare([plain, sequenced, asked, wide]);
  prepare(bus);
  await bus.start();
  buses.push(bus);
  return bus;
}

async function startKeeper(): Promise<Keeper> {
  const keeper = new Keeper();
  keepers.push(keeper);
  await keeper.tell('keep', path);
  return keeper;
}

async function startWorker(lines: string): Promise<ChildProcess> {
  const entry = new URL('./worker.ts', import.meta.url);
  const worker = spawn(process.execPath, ['--conditions=doorbuster-source', entry.pathname, path, lines], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(worker);
  await new Promise((resolve) => worker.stdout.once('data', resolve));
  return worker;
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGKILL');
  await ended;
}

/** What an outbox does: the same id again, for as long as the engine says that it may. */
async function publishSurely(bus: Bus, key: string, n: number): Promise<void> {
  const id = `${key}-${n}`;
  await eventually(
    () =>
      bus.publish(sequenced, { n }, { key, id }).then(
        () => true,
        (error: { retryable?: boolean }) => {
          if (error.retryable !== true) throw error;
          return false;
        },
      ),
    (stored) => stored,
    `${id} stored`,
  );
}

describe('a host that is killed under load', { timeout: 90_000 }, () => {
  it('is followed by another: three workers go on, nothing confirmed is lost, every key keeps its order', async () => {
    const keeper = await startKeeper();
    const lines = join(folder, 'lines');
    writeFileSync(lines, '');
    const workers = await Promise.all([startWorker(lines), startWorker(lines), startWorker(lines)]);
    const bus = await startBus();
    const keys = ['a', 'b', 'c', 'd', 'e', 'f'];
    const each = 60;
    const publishAll = Promise.all(
      keys.map(async (key) => {
        for (const n of numbers(1, each)) await publishSurely(bus, key, n);
      }),
    );
    const handled = async (): Promise<readonly string[]> =>
      readFileSync(lines, 'utf8').split('\n').slice(0, -1);
    const distinct = async (): Promise<number> => new Set(await handled()).size;
    await eventually(distinct, (count) => count > 60, 'a sixth handled');
    await keeper.kill();
    await eventually(distinct, (count) => count > 180, 'half handled by a new host');
    // Who hosts now is one of the workers or this process; killing a worker is a kill of the host in some runs, of a client in others.
    await killed(workers[0] as ChildProcess);
    await publishAll;
    await eventually(distinct, (count) => count === keys.length * each, 'everything handled');
    const order = await handled();
    for (const key of keys) {
      const seen = order.filter((line) => line.startsWith(`${key} `)).map((line) => Number(line.slice(2)));
      expect([...new Set(seen)], `key ${key}`).toEqual(numbers(1, each));
    }
  });

  it('leaves nobody without an answer: what was under way is unknown and may be asked again', async () => {
    const keeper = await startKeeper();
    const bus = await startBus();
    await bus.publish(plain, { n: 0 });
    const answers = Promise.allSettled(numbers(1, 50).map((n) => bus.publish(plain, { n })));
    await keeper.kill();
    const reasons = (await answers).flatMap((one) =>
      one.status === 'rejected' ? [one.reason as object] : [],
    );
    expect(reasons).toEqual(
      reasons.map(() => expect.objectContaining({ code: 'DB_MSG_ENGINE_UNREACHABLE', retryable: true })),
    );
    expect((await bus.publish(plain, { n: 51 })).durability).toBe('disk');
  });

  it('takes no consumer and no reply channel with it', async () => {
    const keeper = await startKeeper();
    await startBus((bus) => {
      bus.subscribe(asked, { name: 'answers', handler: ({ data }) => reply({ doubled: data.n * 2 }) });
    });
    const asking = await startBus();
    expect(await asking.request(asked, { n: 4 }, { timeoutMs: 20_000 })).toEqual({ doubled: 8 });
    await keeper.kill();
    const answer = await eventually(
      () => asking.request(asked, { n: 5 }, { timeoutMs: 20_000 }).catch(() => undefined),
      (found) => found !== undefined,
      'an answer over the new host',
    );
    expect(answer).toEqual({ doubled: 10 });
  });
});

describe('a host that stops', () => {
  it('hands over: what others held is given back uncounted, and they go on', async () => {
    const host = await startBus();
    const open = signal();
    const began = signal();
    const attempts = new Collector<number>();
    await startBus((bus) => {
      bus.subscribe(plain, {
        name: 'one',
        handler: async (_, { attempt }) => {
          attempts.add(attempt);
          if (attempts.values.length === 1) {
            began.fire();
            await open.fired;
          }
          return ack();
        },
      });
    });
    await host.publish(plain, { n: 1 });
    await began.fired;
    await host.stop();
    open.fire();
    await attempts.waitFor(2);
    expect(attempts.values).toEqual([1, 1]);
    const [bus] = buses.slice(-1);
    expect((await bus?.publish(plain, { n: 2 }))?.durability).toBe('disk');
    await attempts.waitFor(3);
  });
});

describe('who may connect', () => {
  /** Its patience is over after 50 ms. */
  const impatient = { ...systemClock, monotonic: () => systemClock.monotonic() * 200 };

  it('is the owner of the file', async () => {
    await startBus();
    expect(statSync(`${path}.sock`).mode & 0o777).toBe(0o600);
  });

  it('is nobody who does not share: refused both ways, by name', async () => {
    const host = await startBus();
    const alone = createBus({ engine: createEmbeddedEngine({ path }), source: '/alone' });
    await expect(alone.start()).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_LOCKED' });
    await host.stop();
    const holder = createBus({ engine: createEmbeddedEngine({ path }), source: '/alone' });
    await holder.start();
    buses.push(holder);
    await expect(startBus(undefined, { clock: impatient })).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_LOCKED',
    });
  });

  it('leaves the machine to who holds the file: it looks for a host often, and tries for the file rarely', async () => {
    const holder = createBus({ engine: createEmbeddedEngine({ path }), source: '/alone' });
    await holder.start();
    buses.push(holder);
    let passedMs = 0;
    let looks = 0;
    const bySteps: Clock = {
      now: () => systemClock.now(),
      monotonic: () => passedMs,
      setTimer(ms, fn) {
        if (ms === ANSWER_MS) return () => {};
        looks += 1;
        passedMs += ms;
        const due = setImmediate(fn);
        return () => clearImmediate(due);
      },
    };
    let tries = 0;
    const count = (): void => void (tries += 1);
    process.on('worker', count);
    try {
      await expect(startBus(undefined, { clock: bySteps })).rejects.toMatchObject({
        code: 'DB_MSG_ENGINE_LOCKED',
      });
    } finally {
      process.off('worker', count);
    }
    expect(looks).toBe(PATIENCE_MS / 25);
    // At once, 25, 50, 100 and 200 ms after each other, then each 400 ms.
    expect(tries).toBe(29);
  }, 60_000);

  it('tells a host that listens and is slow from a file that nobody shares', async () => {
    const holder = createBus({ engine: createEmbeddedEngine({ path }), source: '/alone' });
    await holder.start();
    buses.push(holder);
    const sockets: Socket[] = [];
    const giveUps: (() => void)[] = [];
    let passedMs = 0;
    const slow = createServer((socket) => {
      sockets.push(socket.on('error', () => {}));
      // It has asked. Only now its time is over, however long that took here.
      socket.once('data', () => {
        passedMs += PATIENCE_MS;
        for (const giveUp of giveUps.splice(0)) giveUp();
      });
    });
    await new Promise<void>((resolve) => slow.listen(`${path}.sock`, resolve));
    const byHand: Clock = {
      now: () => systemClock.now(),
      monotonic: () => systemClock.monotonic() + passedMs,
      setTimer(ms, fn) {
        if (ms !== ANSWER_MS) return systemClock.setTimer(ms, fn);
        giveUps.push(fn);
        return () => {};
      },
    };
    try {
      await expect(startBus(undefined, { clock: byHand })).rejects.toMatchObject({
        code: 'DB_MSG_ENGINE_UNREACHABLE',
        retryable: true,
        message: expect.not.stringContaining('share: true'),
      });
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => slow.close(resolve));
    }
    await expect(startBus(undefined, { clock: impatient })).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_LOCKED',
      message: expect.stringContaining('share: true'),
    });
  });

  it('finds the socket of a dead host, or anything else there, no hindrance', async () => {
    writeFileSync(`${path}.sock`, 'left over');
    const bus = await startBus();
    await bus.publish(plain, { n: 1 });
    const second = await startBus();
    expect((await second.view()).capabilities?.processes).toBe('many');
  });

  it('meets the same socket through a link to the folder, and a refusal where its path is too long', async () => {
    const { symlinkSync } = await import('node:fs');
    await startBus();
    symlinkSync(folder, `${folder}-link`);
    const linked = createBus({
      engine: createEmbeddedEngine({ path: join(`${folder}-link`, 'bus.db'), share: true }),
      source: '/linked',
    });
    await linked.start();
    await linked.stop();
    rmSync(`${folder}-link`);
    const deep = join(folder, 'x'.repeat(60), 'y'.repeat(60), 'bus.db');
    const refused = createBus({ engine: createEmbeddedEngine({ path: deep, share: true }), source: '/deep' });
    await expect(refused.start()).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
  });
});

describe('what a client may say', () => {
  const hello = encodeFrame({ hello: { protocol: 1 } });
  const endless = Buffer.from([0xff, 0xff, 0xff, 0xff]);

  /** Says it all and returns what the host answered before it ended the connection. */
  async function say(...frames: readonly Uint8Array[]): Promise<readonly unknown[]> {
    const socket = createConnection(`${path}.sock`);
    const heard: unknown[] = [];
    const reader = new FrameReader(2 ** 20);
    socket.on('data', (chunk: Buffer) => heard.push(...reader.read(chunk)));
    socket.on('error', () => {});
    for (const frame of frames) socket.write(frame);
    await new Promise((resolve) => socket.once('close', resolve));
    return heard;
  }

  it.each([
    ['bytes of no meaning', [Buffer.from('GET / HTTP/1.1\r\n\r\n')]],
    ['a frame without end', [hello, endless]],
    ['a frame that is not JSON', [hello, Buffer.from([0, 0, 0, 1, 0x7b])]],
    ['an operation before the hello', [encodeFrame({ turn: 1, operations: [{ op: 'inspect' }] })]],
    ['an operation that is not known', [hello, encodeFrame({ turn: 1, operations: [{ op: 'format' }] })]],
    ['values of other types', [hello, encodeFrame({ turn: 1, operations: [{ op: 'publish', rows: [5] }] })]],
    ['two hellos', [hello, hello]],
  ])('and is refused for %s; the host and the others go on', async (_, frames) => {
    const bus = await startBus();
    const heard = await say(...frames);
    expect(heard.at(-1)).toMatchObject({ refused: { code: 'DB_MSG_MALFORMED' } });
    expect((await bus.publish(plain, { n: 1 })).durability).toBe('disk');
  });

  it('of another version, is told which one the host speaks', async () => {
    await startBus();
    const [answer] = await say(encodeFrame({ hello: { protocol: 99 } }));
    expect(answer).toMatchObject({
      refused: { code: 'DB_MSG_ENGINE_LOCKED', message: expect.stringContaining('protocol 99') as string },
    });
  });

  it('cannot end the store with values it made up', async () => {
    const bus = await startBus();
    const delivered = new Collector<string>();
    bus.subscribe(plain, {
      name: 'one',
      handler: ({ id }) => {
        delivered.add(id);
        return ack();
      },
    });
    const letter = { id: 'same', reason: '', group: '', at: 0, history: [], stateOnRedrive: '{}' };
    const row = { channel: plain.name, level: 9, key: null, expiresAt: null, dueAt: null, body: 'no event' };
    const consumer = 7;
    const socket = createConnection(`${path}.sock`);
    const heard = new Collector<{ handOuts?: { items: { token: number }[] }[] }>();
    const reader = new FrameReader(2 ** 20);
    socket.on('data', (chunk: Buffer) => {
      for (const one of reader.read(chunk)) heard.add(one as object);
    });
    socket.write(hello);
    let turn = 0;
    const ask = (operation: object): void =>
      void socket.write(encodeFrame({ turn: (turn += 1), operations: [operation] }));
    ask({
      op: 'declare',
      topology: { channels: [], subscriptions: [{ channel: plain.name, name: 'bad' }] },
    });
    ask({ op: 'publish', rows: [row, { ...row, dueAt: -5 }, { ...row, channel: 'nowhere' }] });
    ask({ op: 'publish', rows: [row, row] });
    ask({ op: 'subscribe', consumer, channel: plain.name, subscription: 'bad', prefetch: 9, leaseMs: 1e9 });
    ask({ op: 'subscribe', consumer, channel: plain.name, subscription: 'bad', prefetch: 9, leaseMs: 1e9 });
    ask({ op: 'settle', consumer: 99, settlements: [{ kind: 'ack', token: 1 }] });
    ask({ op: 'peek', channel: plain.name, subscription: 'none', limit: 1 });
    ask({ op: 'rewind', channel: plain.name, subscription: 'bad', from: { offset: '-1' } });
    const handedOut = await eventually(
      async () => heard.values.flatMap(({ handOuts }) => handOuts ?? []).flatMap(({ items }) => items),
      (items) => items.length === 2,
      'the hand-outs',
    );
    // Two dead letters with one id: the second gets another, none is lost.
    ask({
      op: 'settle',
      consumer,
      settlements: handedOut.map(({ token }) => ({ kind: 'deadLetter', token, letter })),
    });
    await eventually(
      () => bus.deadLetters.list({ subscription: 'bad' }),
      (letters) => letters.length === 2,
      'both dead letters',
    );
    socket.destroy();
    const { id } = await bus.publish(plain, { n: 1 });
    await eventually(
      async () => delivered.values,
      (ids) => ids.includes(id),
      'a delivery after all that',
    );
    expect(heard.values.filter((one) => 'refused' in one)).toEqual([]);
  });
});

describe('sizes', () => {
  it('large messages come in several frames', async () => {
    await startBus();
    const got = new Collector<number>();
    const client = await startBus((bus) => {
      bus.subscribe(wide, {
        name: 'one',
        batch: { max: 50 },
        handler: (messages) =>
          messages.map(({ data }) => {
            got.add(data.n);
            return ack();
          }),
      });
    });
    const text = 'x'.repeat(900_000);
    await client.publishBatch(
      wide,
      numbers(1, 12).map((n) => ({ data: { n, text } })),
    );
    await got.waitFor(12);
    expect(got.values).toEqual(numbers(1, 12));
  });

  it('the host counts the bytes of a client that does not', async () => {
    await startBus(undefined, { maxMessageBytes: 300 });
    const row = { channel: plain.name, level: 0, key: null, expiresAt: null, dueAt: null };
    const socket = createConnection(`${path}.sock`);
    const heard = new Collector<{ results?: readonly { error?: { code: string } }[] }>();
    const reader = new FrameReader(2 ** 20);
    socket.on('data', (chunk: Buffer) => {
      for (const one of reader.read(chunk)) heard.add(one as object);
    });
    socket.write(encodeFrame({ hello: { protocol: 1 } }));
    const answers = async (turn: number, count: number): Promise<readonly (string | undefined)[]> => {
      const rows = [{ ...row, body: '한'.repeat(count) }];
      socket.write(encodeFrame({ turn, operations: [{ op: 'publish', rows }] }));
      const results = await eventually(
        async () => heard.values.flatMap((one) => one.results ?? []),
        ({ length }) => length === turn,
        'the answer',
      );
      return results.map(({ error }) => error?.code);
    };
    expect(await answers(1, 90)).toEqual([undefined]);
    expect(await answers(2, 110)).toEqual([undefined, 'DB_MSG_MESSAGE_TOO_LARGE']);
    socket.destroy();
  });

  it('the limit of the host holds for its clients, who know it', async () => {
    await startBus(undefined, { maxMessageBytes: 5_000 });
    const client = await startBus();
    expect((await client.view()).capabilities?.maxMessageBytes).toBe(5_000);
    await expect(client.publish(wide, { n: 1, text: 'x'.repeat(6_000) })).rejects.toMatchObject({
      code: 'DB_MSG_MESSAGE_TOO_LARGE',
    });
  });
});
