/** Where messages lie on the brokers, and how long: partitions with and without a key, what is kept as declared, and a topic that others made. */
import { Admin, ConfigResourceTypes } from '@platformatic/kafka';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import Type from 'typebox';
import { type Bus, createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { Collector, eventually, numbers, settleIn } from '../../conformance/fixture.ts';
import { ack, deadLetter } from '../../outcome.ts';
import { clientOf, createKafkaFixture, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import type { KafkaEngineOptions, KafkaNotice } from './options.ts';

const schema = Type.Object({ n: Type.Integer() });
const channelKeeping = (keepMs: number | undefined, name = 'topics.kept') =>
  defineChannel({
    name,
    version: 1,
    schema,
    ...(keepMs === undefined ? {} : { requires: { replay: { keepMs } } }),
  });
type Numbered = ReturnType<typeof channelKeeping>;
const spread = channelKeeping(undefined, 'topics.spread');
/** Beside the one a case is about: when this one is trimmed, the pass has been there. */
const beside = channelKeeping(undefined, 'topics.zz.beside');

describe.skipIf(kafkaUrl === undefined)('topics of a channel (needs KAFKA_URL)', { timeout: 60_000 }, () => {
  let fixture: KafkaFixture;
  let admin: Admin;
  const buses: Bus[] = [];
  beforeEach(async () => {
    fixture = await createKafkaFixture();
    admin = new Admin(clientOf(kafkaUrl ?? ''));
  });
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
    await admin.close();
    await fixture.destroy();
  });

  async function open(
    channels: readonly Numbered[],
    options: Partial<KafkaEngineOptions>,
  ): Promise<{ bus: Bus; handled: Collector<string> }> {
    const bus = createBus({ engine: fixture.engine(options), source: '/topics' });
    buses.push(bus);
    const handled = new Collector<string>();
    bus.declare(channels);
    for (const channel of channels)
      bus.subscribe(channel, {
        name: 'one',
        handler: ({ data }) => {
          handled.add(`${channel.name} ${data.n}`);
          return ack();
        },
      });
    await bus.start();
    return { bus, handled };
  }
  async function settingsOf(topic: string): Promise<Record<string, string>> {
    const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic }];
    const [described] = await admin.describeConfigs({ resources });
    return Object.fromEntries((described?.configs ?? []).map(({ name, value }) => [name, value ?? '']));
  }
  /** Partition and number of everything that waits for a subscription nobody reads. */
  async function placesIn(bus: Bus): Promise<readonly (readonly [number, number])[]> {
    const waiting = await bus.peek(spread, 'one', 1_000);
    return waiting.map(({ offset, message }) => [
      Number(offset?.split('/')[0]),
      message ? (message.data as { n: number }).n : Number.NaN,
    ]);
  }

  it('a bus that knew nobody of a channel sees the dead letters of whoever came later, and redrives them', async () => {
    const operator = createBus({ engine: fixture.engine({ trimEveryMs: 0 }), source: '/topics' });
    buses.push(operator);
    operator.declare([spread]);
    await operator.start();
    expect(await operator.deadLetters.list()).toEqual([]);
    let mended = false;
    const handled = new Collector<number>();
    const later = createBus({ engine: fixture.engine({ trimEveryMs: 0 }), source: '/topics' });
    buses.push(later);
    later.declare([spread]);
    later.subscribe(spread, {
      name: 'one',
      handler: ({ data }) => {
        handled.add(data.n);
        return mended ? ack() : deadLetter('not yet');
      },
    });
    await later.start();
    await later.publish(spread, { n: 1 });
    await handled.waitFor(1);
    const seen = await eventually(
      () => operator.deadLetters.list({ channel: spread.name }),
      ({ length }) => length === 1,
      'the dead letter at the other bus',
    );
    expect(seen).toMatchObject([{ subscription: 'one', channel: spread.name }]);
    expect(await operator.deadLetters.groups()).toMatchObject([{ subscription: 'one', count: 1 }]);
    mended = true;
    expect(await operator.deadLetters.redrive({})).toEqual({ moved: 1, remaining: 0 });
    await handled.waitFor(2);
  });

  describe('partitions', () => {
    /** The subscription is there, and nobody reads it. */
    async function publisher(): Promise<Bus> {
      const bus = createBus({ engine: fixture.engine({ partitions: 4, trimEveryMs: 0 }), source: '/topics' });
      buses.push(bus);
      bus.declare([spread]);
      await bus.start();
      return bus;
    }
    it('messages without a key go to all partitions in turn, one by one and in a batch', async () => {
      const bus = await publisher();
      await settleIn(bus.subscribe(spread, { name: 'one', handler: () => ack() }));
      for (const n of numbers(1, 8)) await bus.publish(spread, { n });
      await bus.publishBatch(
        spread,
        numbers(9, 40).map((n) => ({ data: { n } })),
      );
      const places = await placesIn(bus);
      const perPartition = [0, 1, 2, 3].map((index) => places.filter(([at]) => at === index).length);
      expect(perPartition).toEqual([10, 10, 10, 10]);
    });

    it('messages with a key stay in its partition, also those of another process', async () => {
      const [first, second] = [await publisher(), await publisher()];
      await settleIn(first.subscribe(spread, { name: 'one', handler: () => ack() }));
      const items = (from: number, to: number) =>
        numbers(from, to).map((n) => ({ data: { n }, options: { key: `key-${n % 5}` } }));
      await first.publishBatch(spread, items(1, 25));
      await second.publish(spread, { n: 0 });
      await second.publishBatch(spread, items(26, 50));
      const places = (await placesIn(first)).filter(([, n]) => n !== 0);
      for (const key of numbers(0, 4))
        expect(new Set(places.filter(([, n]) => n % 5 === key).map(([at]) => at)).size).toBe(1);
      expect(new Set(places.map(([at]) => at)).size).toBeGreaterThan(1);
    });
  });

  describe('what is kept', () => {
    /** Handles five, waits for a pass of trimming, and tells up to where the channel was deleted. */
    async function lifeOf(keepMs: number | undefined, publish: boolean): Promise<number> {
      const channel = channelKeeping(keepMs);
      const trimmed = new Map<string, number>();
      const { bus, handled } = await open([channel, beside], {
        partitions: 1,
        trimEveryMs: 100,
        onNotice: (notice) => {
          if (notice.kind === 'trimmed') trimmed.set(notice.topic, notice.before);
        },
      });
      if (publish) {
        for (const n of numbers(1, 5)) await bus.publish(channel, { n });
        await handled.waitFor(5);
      }
      for (const round of [1, 2]) {
        const before = trimmed.get(`${fixture.prefix}${beside.name}`) ?? 0;
        await bus.publish(beside, { n: round });
        await eventually(
          async () => trimmed.get(`${fixture.prefix}${beside.name}`) ?? 0,
          (now) => now > before,
          `pass ${round} of trimming`,
        );
      }
      buses.splice(buses.indexOf(bus), 1);
      await bus.stop();
      return trimmed.get(`${fixture.prefix}${channel.name}`) ?? 0;
    }

    it('Kafka itself deletes nothing by age or size, and what is settled stays as long as declared, also when declared anew', async () => {
      expect(await lifeOf(3_600_000, true)).toBe(0);
      const made = await settingsOf(`${fixture.prefix}topics.kept`);
      expect(made).toMatchObject({
        'retention.ms': '-1',
        'retention.bytes': '-1',
        'cleanup.policy': 'delete',
      });
      // A shorter time, then none: the same topic, nothing published anew.
      expect(await lifeOf(3_600_000, false)).toBe(0);
      expect(await lifeOf(1, false)).toBe(5);
    });

    it('control: the same without a time is deleted in the same passes', async () => {
      expect(await lifeOf(undefined, true)).toBe(5);
    });

    it('a topic of others keeps its settings, and one that deletes by age is told of', async () => {
      const topic = `${fixture.prefix}topics.kept`;
      const configs = [{ name: 'retention.ms', value: '86400000' }];
      await admin.createTopics({ topics: [topic], partitions: 2, replicas: 1, configs });
      const notices: KafkaNotice[] = [];
      await open([channelKeeping(172_800_000), beside], {
        onNotice: (notice) => {
          if (notice.kind === 'retention') notices.push(notice);
        },
      });
      expect(notices).toEqual([
        { kind: 'retention', topic, retentionMs: 86_400_000, retentionBytes: undefined },
      ]);
      expect(await settingsOf(topic)).toMatchObject({ 'retention.ms': '86400000' });
    });
  });
});
