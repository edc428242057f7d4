/**
 * What a turn hands out is on its way before its commit, and is nothing until that is on the disk: turns whose COMMIT fails in the writer thread, after the thread foretold.
 * No handler sees what they handed out, and it comes later, once. The negative controls plant in the thread, in its writer and in the connection.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { encodeCloudEvent } from '../../cloud-event.ts';
import { onFixture, registerControls } from '../../conformance/controls.ts';
import { Collector, eventually, limitPatience, signal } from '../../conformance/fixture.ts';
import type { Consumer, Delivery, Topology } from '../../engine.ts';
import { ack } from '../../outcome.ts';
import { copyWith, type SourceDefect } from './defect-fixture.ts';
import { createEmbeddedEngine, type EmbeddedConnection } from './engine.ts';
import { createFailingFile, type DiskState, mendFailingFile } from './failing-file-fixture.ts';

type CreateEngine = typeof createEmbeddedEngine;

interface FailingFile {
  readonly path: string;
  readonly create: CreateEngine;
  readonly destroy: () => Promise<void>;
}

async function failingFile(create: CreateEngine = createEmbeddedEngine): Promise<FailingFile> {
  const folder = mkdtempSync(join(tmpdir(), 'undone-'));
  const path = join(folder, 'bus.db');
  createFailingFile(path);
  return { path, create, destroy: async () => rmSync(folder, { recursive: true, force: true }) };
}

const numbers = defineChannel({ name: 'numbers', version: 1, schema: Type.Object({ n: Type.Integer() }) });
const disk = defineChannel({ name: 'disk', version: 1, schema: Type.Object({ state: Type.String() }) });

async function refusedPublish({ path, create }: FailingFile): Promise<void> {
  const handled = new Collector<number>();
  const bus = createBus({ engine: create({ path }), source: '/test' });
  bus.declare([numbers, disk]);
  bus.subscribe(numbers, {
    name: 'all',
    concurrency: 10,
    handler: ({ data }) => {
      handled.add(data.n);
      return ack();
    },
  });
  await bus.start();
  try {
    await bus.publish(numbers, { n: 1 });
    await handled.waitFor(1);
    await bus.publish(disk, { state: 'full' satisfies DiskState });
    await expect(bus.publish(numbers, { n: 2 })).rejects.toMatchObject({ code: 'DB_MSG_DISK_FULL' });
    await bus.publish(disk, { state: 'well' satisfies DiskState });
    await bus.publish(numbers, { n: 3 });
    await bus.publish(numbers, { n: 2 });
    await handled.waitFor(3);
  } finally {
    await bus.stop();
  }
  expect(handled.values).toEqual([1, 3, 2]);
}

const topology = {
  channels: ['numbers', 'disk'].map((name) => ({
    name,
    order: 'none',
    onFailure: 'skip',
    priorityLevels: 1,
    ephemeral: false,
    routing: 'fanout',
    keepMs: undefined,
  })),
  subscriptions: [{ channel: 'numbers', name: 'all' }],
} as const satisfies Topology;

const oneAtATime = { channel: 'numbers', subscription: 'all', prefetch: 1, leaseMs: 60_000 };
const into =
  (got: Collector<Delivery>) =>
  (deliveries: readonly Delivery[]): void => {
    for (const one of deliveries) got.add(one);
  };
const idOf = ({ message }: Delivery): string => String(message?.id);

async function refusedSettlement({ path, create }: FailingFile): Promise<void> {
  const { connection } = await connected(create, path);
  const got = new Collector<Delivery>();
  await storeTwo(connection);
  const consumer = await connection.subscribe(oneAtATime, into(got));
  const settle = (place: number): ReturnType<Consumer['settle']> => settled(consumer, got.values[place]);
  try {
    await got.waitFor(1);
    await say(connection, 'full');
    await expect(settle(0)).rejects.toMatchObject({ code: 'DB_MSG_DISK_FULL' });
    await say(connection, 'well');
    expect(got.values.map(idOf)).toEqual(['1']);
    expect(await settle(0)).toEqual(['settled']);
    await got.waitFor(2);
    expect(await settle(1)).toEqual(['settled']);
  } finally {
    await connection.close();
  }
  expect(got.values.map(idOf)).toEqual(['1', '2']);
}

/** The second hand-out was read ahead; its turn is undone, and so is what was taken of it. */
async function refusedAhead({ path, create }: FailingFile): Promise<void> {
  const { connection } = await connected(create, path);
  const got = new Collector<Delivery>();
  const ids = Array.from({ length: 300 }, (_, n) => String(n + 1));
  for (const id of ids) await store(connection, id);
  const consumer = await connection.subscribe({ ...oneAtATime, prefetch: 100 }, into(got));
  const settle = (from: number, to: number): ReturnType<Consumer['settle']> =>
    consumer.settle(got.values.slice(from, to).map(({ token }) => ({ kind: 'ack', token })));
  try {
    await got.waitFor(100);
    await settle(0, 50);
    await got.waitFor(150);
    await say(connection, 'full');
    await expect(settle(50, 100)).rejects.toMatchObject({ code: 'DB_MSG_DISK_FULL' });
    await say(connection, 'well');
    expect(got.values.map(idOf)).toEqual(ids.slice(0, 150));
    await settle(50, 150);
    await got.waitFor(250);
    await settle(150, 250);
    await got.waitFor(300);
  } finally {
    await connection.close();
  }
  expect(got.values.map(idOf)).toEqual(ids);
  expect(got.values.map(({ raw }) => (JSON.parse(raw) as { id: unknown }).id)).toEqual(ids);
}

async function lostWriter({ path, create }: FailingFile): Promise<void> {
  const { connection, lost } = await connected(create, path);
  const got = new Collector<Delivery>();
  await storeTwo(connection);
  await say(connection, 'broken');
  const subscribed = connection.subscribe(oneAtATime, into(got));
  await expect(subscribed).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_FAILED' });
  await lost;
  await connection.close();
  expect(got.values.map(idOf)).toEqual([]);
  await eventually(async () => isMended(path), Boolean, 'the thread letting go of the file');
  const next = (await connected(create, path)).connection;
  try {
    const consumer = await next.subscribe(oneAtATime, into(got));
    for (const place of [0, 1]) {
      await got.waitFor(place + 1);
      expect(await settled(consumer, got.values[place])).toEqual(['settled']);
    }
  } finally {
    await next.close();
  }
  expect(got.values.map((one) => [idOf(one), one.abandoned])).toEqual([
    ['1', 0],
    ['2', 0],
  ]);
}

async function refusedLeave({ path, create }: FailingFile): Promise<void> {
  const { connection } = await connected(create, path);
  const held = new Collector<Delivery>();
  const got = new Collector<Delivery>();
  const many = { ...oneAtATime, prefetch: 10 };
  await storeTwo(connection);
  const leaving = await connection.subscribe({ ...many, leaseMs: 500 }, into(held));
  try {
    await held.waitFor(2);
    await say(connection, 'full');
    await expect(leaving.close()).rejects.toMatchObject({ code: 'DB_MSG_DISK_FULL' });
    await say(connection, 'well');
    await store(connection, '3');
    await connection.subscribe(many, into(got));
    // The one that left holds nothing more when its leases have ended, and is not there any more.
    await got.waitFor(3);
    const { channels } = await connection.inspect();
    expect(channels.flatMap(({ subscriptions }) => subscriptions.map((one) => one.consumers))).toEqual([1]);
  } finally {
    await connection.close();
  }
  expect(held.values.map(idOf)).toEqual(['1', '2']);
  expect(got.values.map((one) => [idOf(one), one.abandoned])).toEqual([
    ['3', 0],
    ['1', 0],
    ['2', 0],
  ]);
}

async function refusedClose({ path, create }: FailingFile): Promise<void> {
  const { connection } = await connected(create, path);
  const held = new Collector<Delivery>();
  const got = new Collector<Delivery>();
  await storeTwo(connection);
  await connection.subscribe(oneAtATime, into(held));
  await held.waitFor(1);
  await say(connection, 'full');
  await expect(connection.close()).rejects.toMatchObject({ code: 'DB_MSG_DISK_FULL' });
  mendFailingFile(path);
  const next = (await connected(create, path)).connection;
  try {
    await next.subscribe({ ...oneAtATime, prefetch: 2 }, into(got));
    await got.waitFor(2);
  } finally {
    await next.close();
  }
  expect(got.values.map((one) => [idOf(one), one.abandoned])).toEqual([
    ['1', 1],
    ['2', 0],
  ]);
}

async function connected(
  create: CreateEngine,
  path: string,
): Promise<{ readonly connection: EmbeddedConnection; readonly lost: Promise<void> }> {
  const { fired, fire } = signal();
  const connection = await create({ path }).connect({ clock: systemClock, onFatal: fire });
  await connection.declare(topology);
  return { connection: connection as EmbeddedConnection, lost: fired };
}

async function storeTwo(connection: EmbeddedConnection): Promise<void> {
  for (const id of ['1', '2']) await store(connection, id);
}

async function store(connection: EmbeddedConnection, id: string): Promise<void> {
  await connection.publishRaw(
    'numbers',
    encodeCloudEvent({ id, type: 'n', version: 1, source: '/test', time: '', data: {}, headers: {} }),
  );
}

function settled(consumer: Consumer, delivery: Delivery | undefined): ReturnType<Consumer['settle']> {
  return consumer.settle(delivery ? [{ kind: 'ack', token: delivery.token }] : []);
}

async function say(connection: EmbeddedConnection, state: DiskState): Promise<void> {
  await connection.publishRaw('disk', JSON.stringify({ state }));
}

function isMended(path: string): boolean {
  try {
    mendFailingFile(path);
    return true;
  } catch {
    return false;
  }
}

const cases = {
  'a publish that a full disk refuses at the commit reaches no handler': refusedPublish,
  'what an undone settlement made room for comes once, when it is settled': refusedSettlement,
  'what was read ahead of an undone turn comes once, when that is done again': refusedAhead,
  'what a lost writer was about to hand out is handed out by the next, as never tried': lostWriter,
  'who is refused to leave is handed nothing more, and what it held comes back': refusedLeave,
  'a connection that is refused to leave lets go of the file': refusedClose,
};
type CaseName = keyof typeof cases;

// A healthy engine needs a tenth of it.
limitPatience(4_000);

describe('a turn whose commit fails after its hand-outs were foretold', () => {
  it.each(Object.entries(cases))('%s', async (_, run) => {
    await expect(onFixture(failingFile, run)).resolves.toBeUndefined();
  });
});

const defects: Readonly<Record<string, SourceDefect & { readonly seenBy: readonly CaseName[] }>> = {
  'the thread confirms the hand-outs of an undone turn': {
    file: 'writer-thread.ts',
    find: 'if (!isForetold || reply.handOuts.length === 0) return',
    put: 'if (!isForetold) return',
    seenBy: [
      'a publish that a full disk refuses at the commit reaches no handler',
      'what an undone settlement made room for comes once, when it is settled',
    ],
  },
  'the writer takes what is foretold for the answer': {
    file: 'writer.ts',
    find: 'asForetold ? { ...unpacked, handOuts: this.#foretold } : unpacked',
    put: '{ ...unpacked, handOuts: this.#foretold }',
    seenBy: [
      'a publish that a full disk refuses at the commit reaches no handler',
      'what an undone settlement made room for comes once, when it is settled',
    ],
  },
  'the connection hands over what is foretold': {
    file: 'connection.ts',
    find: 'writer.foretell?.((handOuts) => this.#read(handOuts))',
    put: 'writer.foretell?.((handOuts) => this.#handOut(handOuts))',
    seenBy: ['what a lost writer was about to hand out is handed out by the next, as never tried'],
  },
  'the connection hands over what is read ahead': {
    file: 'connection.ts',
    find: 'writer.readAhead?.(messageOf)',
    put: `writer.readAhead?.((body) => {
      for (const receive of this.#receivers.values())
        receive([deliveryOf({ token: 0, body, state: null, abandoned: 0 })]);
      return messageOf(body);
    })`,
    seenBy: ['what was read ahead of an undone turn comes once, when that is done again'],
  },
  'the writer takes what is at another place': {
    file: 'writer.ts',
    find: 'const one = this.#ahead[place];',
    put: 'const one = this.#ahead[place ^ 1];',
    seenBy: ['what was read ahead of an undone turn comes once, when that is done again'],
  },
  'the thread reads ahead and tells it after the next turn': {
    file: 'writer-thread.ts',
    find: 'if (bodies) answer(',
    put: 'if (bodies) setTimeout(answer, 500, ',
    seenBy: ['what was read ahead of an undone turn comes once, when that is done again'],
  },
  'the connection ends its close where a leave is refused': {
    file: 'connection.ts',
    find: 'const left = await Promise.allSettled(',
    put: 'const left = await Promise.all(',
    seenBy: ['a connection that is refused to leave lets go of the file'],
  },
};

describe('planted defects in what is foretold', { timeout: 30_000 }, () => {
  it('quote the sources as they are: else their controls would be caught for want of a defect', async () => {
    for (const { seenBy: _, ...source } of Object.values(defects)) {
      const copy = await copyWith(source);
      expect(copy.createEmbeddedEngine).toBeTypeOf('function');
      copy.destroy();
    }
  });

  registerControls(
    it,
    'embedded',
    Object.entries(defects).flatMap(([defect, { seenBy, ...source }]) =>
      seenBy.map((caughtBy) => ({
        defect,
        caughtBy,
        healthy: () => onCopy(undefined, cases[caughtBy]),
        defective: () => onCopy(source, cases[caughtBy]),
      })),
    ),
  );
});

async function onCopy(
  defect: SourceDefect | undefined,
  run: (file: FailingFile) => Promise<void>,
): Promise<void> {
  const copy = await copyWith(defect);
  try {
    await onFixture(() => failingFile(copy.createEmbeddedEngine), run);
  } finally {
    copy.destroy();
  }
}
