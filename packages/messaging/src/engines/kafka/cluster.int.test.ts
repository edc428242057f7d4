/** Three brokers, one of them killed under load: nothing confirmed is lost, keys keep their order, and an inbox sees nothing twice. */
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { sequenced } from '../../conformance/channels.ts';
import { Collector, eventually, numbers } from '../../conformance/fixture.ts';
import { alreadyHandled, inboxSchema } from '../../inbox.ts';
import { ack } from '../../outcome.ts';
import { createKafkaFixture } from './conformance-fixture.ts';
import { hasKafkaProgram, type OwnCluster, startOwnCluster } from './own-cluster.ts';

const FIRST_PORT = 25_500;
const KEYS = numbers(1, 8).map((n) => `key-${n}`);
const PER_KEY = 60;

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

describe.skipIf(!hasKafkaProgram())(
  'three brokers (needs java and the jars that services:up brings)',
  { timeout: 240_000 },
  () => {
    let cluster: OwnCluster;
    beforeAll(async () => {
      cluster = await startOwnCluster(FIRST_PORT);
    }, 120_000);
    afterAll(async () => cluster?.destroy(), 60_000);

    it('one is killed under load: lost 0, order per key kept, handled twice by the inbox 0', async () => {
      const fixture = await createKafkaFixture(cluster.url);
      const db = new DatabaseSync(':memory:');
      db.exec(inboxSchema);
      const seen = new Collector<readonly [string, number]>();
      const effects = new Map<string, number>();
      const bus = createBus({ engine: fixture.engine({ partitions: 6 }), source: '/cluster' });
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
      expect((await bus.view()).capabilities?.confirm).toBe('replicated');

      let published = 0;
      const load = KEYS.map(async (key) => {
        for (const n of numbers(1, PER_KEY)) {
          await publishSurely(bus, key, n);
          published += 1;
        }
      });
      await eventually(
        async () => published,
        (count) => count > (KEYS.length * PER_KEY) / 3,
        'a third published',
      );
      cluster.kill(2);
      await Promise.all(load);
      await eventually(
        async () => effects.size,
        (size) => size === KEYS.length * PER_KEY,
        'every message handled',
      );
      await bus.stop();
      expect([...effects.values()].filter((count) => count !== 1)).toEqual([]);
      for (const key of KEYS) {
        const first = [...new Set(seen.values.filter(([one]) => one === key).map(([, n]) => n))];
        expect(first, key).toEqual(numbers(1, PER_KEY));
      }
      await fixture.destroy();
    });
  },
);
