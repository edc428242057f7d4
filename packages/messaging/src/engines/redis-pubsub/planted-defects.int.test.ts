/** Negative controls of the broadcast engine: what a wrapper around it spoils has to be seen by the check that is there for it. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { plain } from '../../conformance/channels.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, limitPatience } from '../../conformance/fixture.ts';
import { plant, type PlantedDefect } from '../../conformance/planted-defects.ts';
import type { Engine } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { ack, retry } from '../../outcome.ts';
import { createRedisBroadcastEngine } from './engine.ts';

const url = process.env['REDIS_URL'];
const buses: Bus[] = [];

// A healthy engine needs a hundredth of it.
limitPatience(3_000);

afterEach(async () => {
  for (const bus of buses.splice(0)) await bus.stop({ drainMs: 100 });
});

async function busOn(engine: Engine): Promise<Bus> {
  const bus = createBus({ engine, source: '/broadcast' });
  buses.push(bus);
  bus.declare([plain]);
  await bus.start();
  return bus;
}

/** Three messages in one batch reach a subscriber of another process once each and in order, and nothing is claimed of them. */
async function hearsAllInOrder(open: () => Engine): Promise<void> {
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
async function countsAttempts(open: () => Engine): Promise<void> {
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

const seenBy: Partial<Record<PlantedDefect, (open: () => Engine) => Promise<void>>> = {
  'a confirmation claims too much': hearsAllInOrder,
  'every message comes twice': hearsAllInOrder,
  'one of a batch is not stored': hearsAllInOrder,
  'the retry state is forgotten': countsAttempts,
  'a retry is an ack': countsAttempts,
};

const NAMES = new Map([
  [
    hearsAllInOrder,
    'a batch is heard by another process once each and in order, and nothing is claimed of it',
  ],
  [countsAttempts, 'a message that fails comes again as the next attempt'],
]);

const engine = (): Engine =>
  createRedisBroadcastEngine({ url: url ?? '', prefix: `broadcast-${createIds(systemClock).next()}` });

/** All connections of one check share a prefix. */
function opener(change: (one: Engine) => Engine = (one) => one): () => Engine {
  const one = engine();
  return () => change(one);
}

describe.skipIf(!url)('defects of a broadcast engine (set REDIS_URL to run it)', () => {
  registerControls(
    it,
    'redis-pubsub',
    Object.entries(seenBy).map(([defect, check]) => ({
      defect,
      caughtBy: NAMES.get(check) ?? check.name,
      healthy: () => check(opener()),
      defective: () => check(opener((one) => plant(defect as PlantedDefect, one))),
    })),
  );
});
