/** A broker of this file's own, killed and started again while messages are published and handled: what was confirmed is handled, in the order of its key. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { sequenced } from '../../conformance/channels.ts';
import { Collector, eventually, limitPatience, numbers, signal } from '../../conformance/fixture.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { ack } from '../../outcome.ts';
import { createKafkaFixture, type KafkaFixture } from './conformance-fixture.ts';
import { hasKafkaProgram, type OwnBroker, startOwnBroker } from './own-cluster.ts';
import { confirmEarly } from './own-defects.ts';

const FIRST_PORT = 24_300;
const KEYS = numbers(1, 6).map((n) => `key-${n}`);
const PER_KEY = 60;

interface Run {
  readonly handled: ReadonlyMap<string, ReadonlySet<number>>;
  /** What was confirmed and not handled. */
  missing(): number;
  readonly faults: readonly unknown[];
  stop(): Promise<void>;
}

/**
 * One publisher for each key, which goes on while the broker is away: the same message again as long as the engine says that it may. Half of them
 * have requests under way when it is killed, half begin one when it is gone.
 */
async function runThroughRestart(fixture: KafkaFixture, restart: () => Promise<void>): Promise<Run> {
  const bus = createBus({ engine: fixture.open(), source: '/own' });
  const handled = new Map<string, Set<number>>(KEYS.map((key) => [key, new Set()]));
  const confirmed = new Collector<string>();
  const faults: unknown[] = [];
  bus.declare([sequenced]);
  bus.subscribe(sequenced, {
    name: 'one',
    concurrency: 4,
    handler: ({ key = '', data }) => {
      handled.get(key)?.add(data.n);
      return ack();
    },
  });
  await bus.start();
  const killed = signal();
  const publishers = KEYS.map(async (key, index) => {
    for (const n of numbers(1, PER_KEY)) {
      if (index % 2 === 0 && n === PER_KEY / 2) await killed.fired;
      if (await publishSurely(bus, key, n, faults)) confirmed.add(`${key} ${n}`);
    }
  });
  await confirmed.waitFor((KEYS.length * PER_KEY) / 4);
  const restarted = restart();
  killed.fire();
  await Promise.all([restarted, ...publishers]);
  return {
    handled,
    missing: () => confirmed.values.filter((one) => !isIn(handled, one)).length,
    faults,
    stop: () => bus.stop({ drainMs: 1_000 }),
  };
}

function isIn(handled: ReadonlyMap<string, ReadonlySet<number>>, one: string): boolean {
  const [key = '', n] = one.split(' ');
  return handled.get(key)?.has(Number(n)) ?? false;
}

async function publishSurely(bus: Bus, key: string, n: number, faults: unknown[]): Promise<boolean> {
  const id = `00000000-0000-7000-8000-${key.slice(-1)}${String(n).padStart(11, '0')}`;
  for (;;) {
    try {
      await bus.publish(sequenced, { n }, { key, id });
      return true;
    } catch (error) {
      if ((error as { retryable?: boolean }).retryable === true) continue;
      faults.push(error);
      return false;
    }
  }
}

describe.skipIf(!hasKafkaProgram())(
  'a Kafka of its own (needs java and the jars that services:up brings)',
  { timeout: 180_000 },
  () => {
    let broker: OwnBroker;
    beforeAll(async () => {
      broker = await startOwnBroker(FIRST_PORT);
    }, 120_000);
    afterAll(async () => broker?.destroy(), 60_000);

    it('killed under load: every confirmed message is handled, and the first sight of each key is in order', async () => {
      const fixture = await createKafkaFixture(broker.url);
      const { handled, missing, faults, stop } = await runThroughRestart(fixture, broker.restart);
      await eventually(
        async () => missing(),
        (count) => count === 0,
        'every confirmed message handled',
      );
      await stop();
      expect(faults).toEqual([]);
      for (const key of KEYS) expect([...(handled.get(key) ?? [])], key).toEqual(numbers(1, PER_KEY));
      await fixture.destroy();
    });

    it('control: a publisher that confirms before the broker has answered loses what was on its way', async () => {
      const fixture = await createKafkaFixture(broker.url);
      const undo = confirmEarly(sequenced.name);
      limitPatience(5_000);
      try {
        const { missing, stop } = await runThroughRestart(fixture, broker.restart);
        await expect(
          eventually(
            async () => missing(),
            (count) => count === 0,
            'every confirmed message handled',
          ),
        ).rejects.toThrow(/did not come true/);
        await stop();
      } finally {
        limitPatience(30_000);
        undo();
      }
      await fixture.destroy();
    });

    it('the case of the suite that kills the server passes', async () => {
      const fixture = await createKafkaFixture(broker.url);
      const [found, ...more] = conformanceCases.filter(({ name }) =>
        name.startsWith('a server that is killed'),
      );
      expect(more).toEqual([]);
      await expect(found?.run({ ...fixture, restartServer: broker.restart })).resolves.toBeUndefined();
      await fixture.destroy();
    });
  },
);
