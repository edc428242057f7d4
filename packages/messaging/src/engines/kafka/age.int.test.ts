/** The age of what waits longest: also in the partitions of other processes, and also of what was put off, whose copy is younger than the message. */
import { Producer } from '@platformatic/kafka';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { plain } from '../../conformance/channels.ts';
import { Collector, eventually, settleIn, signal } from '../../conformance/fixture.ts';
import { ack, snooze } from '../../outcome.ts';
import { reconcile } from '../../reconciliation.ts';
import { clientOf, createKafkaFixture, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';

const HOUR_MS = 3_600_000;

describe.skipIf(kafkaUrl === undefined)('the oldest age (needs KAFKA_URL)', { timeout: 60_000 }, () => {
  let fixture: KafkaFixture;
  const buses: Bus[] = [];
  beforeEach(async () => {
    fixture = await createKafkaFixture();
  });
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
    await fixture.destroy();
  });

  async function open(): Promise<Bus> {
    const bus = createBus({ engine: fixture.engine({ partitions: 2, trimEveryMs: 0 }), source: '/age' });
    buses.push(bus);
    bus.declare([plain]);
    await bus.start();
    return bus;
  }
  /** A message that was published so long ago, as its record and its own time say. */
  async function publishAged(partition: number, ageMs: number): Promise<void> {
    const at = systemClock.now() - ageMs;
    const headers = {
      ce_specversion: '1.0',
      ce_id: `aged-${partition}`,
      ce_type: plain.name,
      ce_source: '/old',
      ce_time: new Date(at).toISOString(),
    };
    const named = new Map(
      Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)]),
    );
    const producer = new Producer(clientOf(kafkaUrl ?? ''));
    const topic = `${fixture.prefix}${plain.name}`;
    const value = Buffer.from(JSON.stringify({ n: partition }));
    try {
      await producer.send({
        messages: [{ topic, partition, value, headers: named, timestamp: BigInt(at) }],
        acks: -1,
      });
    } finally {
      await producer.close();
    }
  }
  const ageIn = async (bus: Bus): Promise<number> =>
    (await bus.view()).channels[0]?.subscriptions[0]?.oldestAgeMs ?? -1;

  /** How a reconciliation counts the two, recorded when they were published and settled nowhere. */
  async function standingsBy(bus: Bus): Promise<Readonly<Record<string, number>>> {
    const now = systemClock.now();
    const items = [2, 1].map((hours, partition) => ({
      id: `aged-${partition}`,
      channel: plain.name,
      key: undefined,
      recordedAt: now - hours * HOUR_MS,
      state: 'published' as const,
      publishedAt: now - hours * HOUR_MS,
      reason: undefined,
      outgoing: undefined,
    }));
    const nothing = { settled: async () => new Set<string>(), keptSince: async () => 0 };
    const { counts } = await reconcile({
      recorded: [
        {
          name: 'shop',
          page: async () => ({ items, next: undefined }),
          recorded: async (ids) => new Set(ids),
          keptSince: async () => 0,
        },
      ],
      settled: [
        {
          ...nothing,
          subscription: 'one',
          channels: [plain.name],
          page: async () => ({ items: [], next: undefined }),
        },
      ],
      clock: systemClock,
      graceMs: 0,
      engine: bus,
    });
    return counts;
  }

  it('is told by a process that has no partition: of what nobody reads, until it is read', async () => {
    const producer = await open();
    await settleIn(producer.subscribe(plain, { name: 'one', handler: () => ack() }));
    expect(await ageIn(producer)).toBe(-1);
    await publishAged(0, HOUR_MS);
    await publishAged(1, 2 * HOUR_MS);
    for (const _ of [1, 2]) expect(await ageIn(producer)).toBeGreaterThanOrEqual(2 * HOUR_MS);
    const consumer = await open();
    const got = new Collector<number>();
    consumer.subscribe(plain, {
      name: 'one',
      handler: ({ data }) => {
        got.add(data.n);
        return ack();
      },
    });
    await got.waitFor(2);
    await eventually(
      () => ageIn(producer),
      (age) => age === -1,
      'nothing that waits',
    );
  });

  it('is the same to two processes that share the partitions, whoever has the older one', async () => {
    const release = signal();
    const held = new Collector<number>();
    for (const bus of [await open(), await open()])
      await bus.subscribe(plain, {
        name: 'one',
        handler: async ({ data }) => {
          held.add(data.n);
          await release.fired;
          return ack();
        },
      }).started;
    const [first, second] = buses as [Bus, Bus];
    await publishAged(0, 2 * HOUR_MS);
    await publishAged(1, HOUR_MS);
    try {
      // One handler each: that both are out shows that each has a partition.
      await eventually(
        async () => new Set(held.values).size,
        (count) => count === 2,
        'both at work',
      );
      for (const bus of [first, second]) {
        expect(await ageIn(bus)).toBeGreaterThanOrEqual(2 * HOUR_MS);
        expect(await standingsBy(bus)).toMatchObject({ waitingInEngine: 2, lost: 0 });
      }
    } finally {
      release.fire();
    }
  });

  it('of a message that was put off counts from its publishing, to its owner and to others', async () => {
    const consumer = await open();
    await consumer.subscribe(plain, { name: 'one', handler: () => snooze(24 * HOUR_MS) }).started;
    const other = await open();
    await publishAged(0, HOUR_MS);
    for (const bus of [consumer, other]) {
      await eventually(
        async () => (await bus.view()).channels[0]?.subscriptions[0],
        (view) => view?.delayed === 1 && view.inFlight === 0,
        'put off',
      );
      expect(await ageIn(bus)).toBeGreaterThanOrEqual(HOUR_MS);
    }
  });
});
