/**
 * Negative controls of the broadcast engine: what a wrapper around it spoils has to be seen by the case of the suite that is there for it, and by checks of this file for what the suite
 * asks of engines that keep something.
 */
import { createClient } from 'redis';
import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import type { Channel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { delayed, plain, wide } from '../../conformance/channels.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, eventually, limitPatience } from '../../conformance/fixture.ts';
import { plant, type PlantedDefect } from '../../conformance/planted-defects.ts';
import type { Engine } from '../../engine.ts';
import { UnsupportedCapabilityError } from '../../errors.ts';
import { createIds } from '../../ids.ts';
import { ack, deadLetter, retry } from '../../outcome.ts';
import { type ConnectRedis, connectRedis } from '../../redis/server.ts';
import { cutProxyTo } from '../../redis/testing/cut-proxy.ts';
import { connectOnce } from '../../redis/testing/never-back.ts';
import { plantedControls, type SeenBy } from '../../testing/planted-controls.ts';
import { broadcastFixture } from './conformance-fixture.ts';
import { broadcastEngineOn, type RedisBroadcastNotice } from './engine.ts';

const url = process.env['REDIS_URL'];
const buses: Bus[] = [];

// A healthy engine needs a hundredth of it.
limitPatience(3_000);

afterEach(async () => {
  for (const bus of buses.splice(0)) await bus.stop({ drainMs: 100 });
});

async function busOn(engine: Engine, channels: readonly Channel[] = [plain]): Promise<Bus> {
  const bus = createBus({ engine, source: '/broadcast' });
  buses.push(bus);
  bus.declare(channels);
  await bus.start();
  return bus;
}

/** Where a check opens its engines. */
interface Place {
  readonly open: () => Engine;
  readonly prefix: string;
  /** By all engines of the place. */
  readonly told: Collector<RedisBroadcastNotice>;
}

/** Three messages in one batch reach a subscriber of another process once each and in order, and nothing is claimed of them. */
async function hearsAllInOrder({ open }: Place): Promise<void> {
  const heard = new Collector<number>();
  await (await busOn(open())).subscribe(plain, {
    name: 'one',
    concurrency: 1,
    handler: ({ data }) => {
      heard.add(data.n);
      return ack();
    },
  }).started;
  const speaker = await busOn(open());
  const said = await speaker.publishBatch(
    plain,
    [1, 2, 3].map((n) => ({ data: { n } })),
  );
  await speaker.publish(plain, { n: 4 });
  await heard.waitFor(4);
  expect(heard.values).toEqual([1, 2, 3, 4]);
  expect(said.map(({ durability }) => durability)).toEqual(['none', 'none', 'none']);
}

/** A message that fails twice comes a second and a third time, as the second and the third attempt. */
async function countsAttempts({ open }: Place): Promise<void> {
  const attempts = new Collector<number>();
  const bus = await busOn(open());
  await bus.subscribe(plain, {
    name: 'one',
    retries: { immediate: 0, delayed: [1, 1] },
    handler: (_, { attempt }) => {
      attempts.add(attempt);
      return attempts.values.length < 3 ? retry() : ack();
    },
  }).started;
  await bus.publish(plain, { n: 1 });
  await attempts.waitFor(3);
  expect(attempts.values).toEqual([1, 2, 3]);
}

/** A message that is to wait is refused by name, or it waits. */
async function delaysOrRefuses({ open }: Place): Promise<void> {
  let bus: Bus;
  try {
    bus = await busOn(open(), [delayed]);
  } catch (error) {
    if (error instanceof UnsupportedCapabilityError) return;
    throw error;
  }
  const heard = new Collector<number>();
  await bus.subscribe(delayed, {
    name: 'one',
    handler: () => {
      heard.add(systemClock.monotonic());
      return ack();
    },
  }).started;
  const start = systemClock.monotonic();
  await bus.publish(delayed, { n: 1 }, { delayMs: 500 });
  const [at = 0] = await heard.waitFor(1);
  expect(at - start).toBeGreaterThanOrEqual(499);
}

/** Nobody keeps a dead letter, so it is told. */
async function tellsOfDeadLetters({ open, told }: Place): Promise<void> {
  const bus = await busOn(open());
  await bus.subscribe(plain, { name: 'one', handler: () => deadLetter('of no use') }).started;
  await bus.publish(plain, { n: 1 });
  expect((await told.waitFor(1, 'notices')).map(({ reasons }) => reasons)).toEqual([['of no use']]);
}

/** What is said after its connections were closed by force is heard again. */
async function hearsAgain({ open, prefix }: Place): Promise<void> {
  const heard = new Collector<number>();
  const bus = await busOn(open());
  await bus.subscribe(plain, {
    name: 'one',
    handler: ({ data }) => {
      heard.add(data.n);
      return ack();
    },
  }).started;
  expect(await killConnections(prefix)).toBe(2);
  await eventually(
    async () => {
      await bus.publish(plain, { n: 1 }).catch(() => {});
      return heard.values.length;
    },
    (count) => count > 0,
    'being heard again',
  );
}

/** Closes all connections of the engines on the prefix by force; returns how many there were. */
async function killConnections(prefix: string): Promise<number> {
  const client = createClient({ url: url ?? '', RESP: 2 });
  await client.connect();
  const lines = String(await client.sendCommand(['CLIENT', 'LIST'])).split('\n');
  const ours = lines.filter((line) => line.includes(` name=${prefix}-`));
  for (const line of ours)
    await client.sendCommand(['CLIENT', 'KILL', 'ID', /^id=(\d+)/.exec(line)?.[1] ?? '0']);
  client.destroy();
  return ours.length;
}

/** A subscription that is stopped while its connection is away is not made again with the others when it comes back. */
async function staysStopped(connect: ConnectRedis): Promise<void> {
  const prefix = `broadcast-${createIds(systemClock).next()}`;
  const proxy = await cutProxyTo(url ?? '');
  const watch = createClient({ url: url ?? '', RESP: 2 });
  try {
    await watch.connect();
    const bus = await busOn(broadcastEngineOn(connect, { url: proxy.url, prefix }), [plain, wide]);
    const stopped = bus.subscribe(plain, { name: 'one', handler: () => ack() });
    await Promise.all([stopped.started, bus.subscribe(wide, { name: 'one', handler: () => ack() }).started]);
    const names = [plain, wide].map(({ name }) => `${prefix}:broadcast:${name}`);
    const counts = async (): Promise<readonly unknown[]> => {
      const reply = (await watch.sendCommand(['PUBSUB', 'NUMSUB', ...names])) as readonly unknown[];
      return [reply[1], reply[3]];
    };
    const becomes = (wanted: readonly number[], what: string): Promise<unknown> =>
      eventually(counts, (seen) => String(seen) === String(wanted), what);
    await becomes([1, 1], 'both subscriptions');
    proxy.cut({ refuse: true });
    await becomes([0, 0], 'nobody subscribed while it is away');
    await stopped.stop();
    proxy.mend();
    await becomes([0, 1], 'the other subscription alone');
  } finally {
    for (const bus of buses.splice(0)) await bus.stop({ drainMs: 100 });
    watch.destroy();
    await proxy.close();
  }
}

interface Check {
  readonly name: string;
  readonly run: (place: Place) => Promise<void>;
}

const inOrder: Check = {
  name: 'a batch is heard by another process once each and in order, and nothing is claimed of it',
  run: hearsAllInOrder,
};
const attempted: Check = {
  name: 'a message that fails comes again as the next attempt',
  run: countsAttempts,
};

const seenHere: Partial<Record<PlantedDefect, Check>> = {
  'a confirmation claims too much': inOrder,
  'every message comes twice': inOrder,
  'one of a batch is not stored': inOrder,
  'the retry state is forgotten': attempted,
  'a retry is an ack': attempted,
  'a delay is claimed and ignored': {
    name: 'a message that is to wait is refused by name, or it waits',
    run: delaysOrRefuses,
  },
  'dead letters are dropped': {
    name: 'a dead letter is told of, because nobody keeps it',
    run: tellsOfDeadLetters,
  },
};

/** Part of the name of the case of the suite that sees it; only one of them waits in vain. */
const seenBySuite: SeenBy = {
  'only the first consumer is served': 'broadcast: two consumers of one subscription',
  'every message comes twice': 'messages arrive once, oldest first',
  'the retry state is forgotten': 'a throw is tried again by the policy',
  'prefetch is not kept': 'never more unsettled deliveries',
  'a confirmation claims too much': 'a confirmation states the durability',
  'text is kept in a single byte a character': 'text of every kind arrives',
  'large headers are dropped': 'headers of more than 64 KiB',
  'large messages are cut': 'a message larger than the engine takes',
};

/** All connections of one check share a prefix. */
function placeWith(change: (one: Engine) => Engine = (one) => one, connect = connectRedis): Place {
  const prefix = `broadcast-${createIds(systemClock).next()}`;
  const told = new Collector<RedisBroadcastNotice>();
  const onNotice = (notice: RedisBroadcastNotice): void => told.add(notice);
  const engine = broadcastEngineOn(connect, { url: url ?? '', prefix, onNotice });
  return { prefix, told, open: () => change(engine) };
}

describe.skipIf(!url)('defects of a broadcast engine (set REDIS_URL to run it)', () => {
  registerControls(
    it,
    'redis-pubsub',
    Object.entries(seenHere).map(([defect, { name, run }]) => ({
      defect,
      caughtBy: name,
      healthy: () => run(placeWith()),
      defective: () => run(placeWith((one) => plant(defect as PlantedDefect, one))),
    })),
  );

  registerControls(it, 'redis-pubsub', plantedControls(seenBySuite, broadcastFixture(url ?? '')));

  registerControls(it, 'redis-pubsub', [
    {
      defect: 'never comes back',
      caughtBy: 'what is said after its connections were closed by force is heard again',
      healthy: () => hearsAgain(placeWith()),
      defective: () => hearsAgain(placeWith(undefined, connectOnce)),
    },
    {
      defect: 'nobody is told that the connection is back',
      caughtBy: 'what was stopped while its connection was away is not subscribed again',
      healthy: () => staysStopped(connectRedis),
      defective: () => staysStopped((settings) => connectRedis(settings)),
    },
  ]);
});
