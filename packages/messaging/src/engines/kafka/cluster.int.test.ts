/**
 * Three brokers, one of them killed under load: nothing confirmed is lost, keys keep their order, and an inbox sees nothing twice. The broker that is killed leads the partition of the
 * first key, and half of the keys have their second half to publish when it is gone; so a publisher that takes what it has sent for stored loses some of it.
 */
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { sequenced } from '../../conformance/channels.ts';
import { Collector, eventually, limitPatience, numbers, signal } from '../../conformance/fixture.ts';
import { alreadyHandled, inboxSchema } from '../../inbox.ts';
import { ack } from '../../outcome.ts';
import { createKafkaFixture, type KafkaFixture } from './conformance-fixture.ts';
import { Link } from './link.ts';
import { partitionOf } from './names.ts';
import { settingsOf } from './options.ts';
import { hasKafkaProgram, type OwnCluster, startOwnCluster } from './own-cluster.ts';
import { confirmEarly } from './own-defects.ts';

const FIRST_PORT = 25_500;
const PARTITIONS = 6;
const KEYS = numbers(1, 8).map((n) => `key-${n}`);
const PER_KEY = 60;

interface Run {
  /** Of each key what was handled, in the order of its first coming. */
  readonly first: ReadonlyMap<string, readonly number[]>;
  /** How often each message had its effect. */
  readonly effects: readonly number[];
}

/** Again with the same id as long as the engine says that it may; that is what an outbox does. */
async function publishSurely(bus: Bus, key: string, n: number): Promise<void> {
  const id = `00000000-0000-7000-8000-${key.slice(-1)}${String(n).padStart(11, '0')}`;
  for (let left = 300; ; left -= 1) {
    try {
      const { durability } = await bus.publish(sequenced, { n }, { key, id });
      expect(durability).toBe('replicated');
      return;
    } catch (error) {
      if ((error as { retryable?: boolean }).retryable !== true || left === 0) throw error;
      await new Promise<void>((resolve) => systemClock.setTimer(100, resolve));
    }
  }
}

/** The broker that the first key's messages go to. */
async function leaderOfFirstKey({ prefix }: KafkaFixture, url: string): Promise<number> {
  const link = new Link(settingsOf({ url }), systemClock);
  try {
    return await link.leaderOf(`${prefix}${sequenced.name}`, partitionOf(KEYS[0] ?? '', PARTITIONS));
  } finally {
    await link.close();
  }
}

/** Rejects when what was confirmed is not all handled in the end. */
async function killUnderLoad(cluster: OwnCluster, fixture: KafkaFixture): Promise<Run> {
  const db = new DatabaseSync(':memory:');
  db.exec(inboxSchema);
  const seen = new Collector<readonly [string, number]>();
  const effects = new Map<string, number>();
  const bus = createBus({ engine: fixture.engine({ partitions: PARTITIONS }), source: '/cluster' });
  bus.declare([sequenced]);
  bus.subscribe(sequenced, {
    name: 'one',
    concurrency: 8,
    handler: ({ id, key = '', data }) => {
      seen.add([key, data.n]);
      db.exec('BEGIN IMMEDIATE');
      const isRepeat = alreadyHandled(db, { subscription: 'one', messageId: id, now: systemClock.now() });
      if (!isRepeat) effects.set(id, (effects.get(id) ?? 0) + 1);
      db.exec('COMMIT');
      return ack();
    },
  });
  await bus.start();
  try {
    expect((await bus.view()).capabilities?.confirm).toBe('replicated');
    const victim = await leaderOfFirstKey(fixture, cluster.url);
    const killed = signal();
    const confirmed = new Collector<true>();
    const load = KEYS.map(async (key, index) => {
      for (const n of numbers(1, PER_KEY)) {
        if (index % 2 === 0 && n === PER_KEY / 2) await killed.fired;
        await publishSurely(bus, key, n);
        confirmed.add(true);
      }
    });
    await confirmed.waitFor((KEYS.length * PER_KEY) / 3);
    cluster.kill(victim);
    killed.fire();
    await Promise.all(load);
    await eventually(
      async () => effects.size,
      (size) => size === KEYS.length * PER_KEY,
      'every message handled',
    );
  } finally {
    await bus.stop({ drainMs: 1_000 });
  }
  const firstOf = (key: string): readonly number[] => [
    ...new Set(seen.values.filter(([one]) => one === key).map(([, n]) => n)),
  ];
  return { first: new Map(KEYS.map((key) => [key, firstOf(key)])), effects: [...effects.values()] };
}

describe.skipIf(!hasKafkaProgram())(
  'three brokers (needs java and the jars that services:up brings)',
  { timeout: 240_000 },
  () => {
    let cluster: OwnCluster;
    beforeEach(async () => {
      cluster = await startOwnCluster(FIRST_PORT);
    }, 120_000);
    afterEach(async () => cluster?.destroy(), 60_000);

    it('one is killed under load: lost 0, order per key kept, handled twice by the inbox 0', async () => {
      const fixture = await createKafkaFixture(cluster.url);
      const { first, effects } = await killUnderLoad(cluster, fixture);
      expect(effects.filter((count) => count !== 1)).toEqual([]);
      for (const key of KEYS) expect(first.get(key), key).toEqual(numbers(1, PER_KEY));
      await fixture.destroy();
    });

    it('control: with a publisher that confirms before the brokers have answered some of it is lost', async () => {
      const fixture = await createKafkaFixture(cluster.url);
      const undo = confirmEarly(sequenced.name);
      limitPatience(20_000);
      try {
        await expect(killUnderLoad(cluster, fixture)).rejects.toThrow(
          'every message handled did not come true',
        );
      } finally {
        limitPatience(30_000);
        undo();
      }
      await fixture.destroy();
    });
  },
);
