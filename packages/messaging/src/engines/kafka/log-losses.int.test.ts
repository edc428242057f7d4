/** Records that are gone before a subscription has read them, and a log that ends before what was settled: on a real broker, and never in silence. */
import { Admin } from '@platformatic/kafka';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import {
  Collector,
  eventually,
  limitPatience,
  numbers,
  settleIn,
  signal,
} from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { clientOf, createKafkaFixture, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import type { KafkaNotice } from './options.ts';
import { Takeover } from './takeover.ts';

type Loss = Extract<KafkaNotice, { kind: 'gap' | 'truncated' }>;

describe.skipIf(kafkaUrl === undefined)(
  'logs that lose records (needs KAFKA_URL)',
  { timeout: 60_000 },
  () => {
    let fixture: KafkaFixture;
    let admin: Admin;
    let topic: string;
    const losses = new Collector<Loss>();
    beforeEach(async () => {
      fixture = await createKafkaFixture();
      topic = `${fixture.prefix}${plain.name}`;
      admin = new Admin(clientOf(kafkaUrl ?? ''));
      losses.values.length = 0;
    });
    afterEach(async () => {
      await admin.close();
      await fixture.destroy();
    });

    const open = (told = true) => {
      const onNotice = (notice: KafkaNotice): void => {
        if (notice.kind === 'gap' || notice.kind === 'truncated') losses.add(notice);
      };
      const engine = fixture.engine({ partitions: 1, trimEveryMs: 0, ...(told ? { onNotice } : {}) });
      const bus = createBus({ engine, source: '/losses' });
      bus.declare([plain]);
      return bus;
    };
    const publish = (bus: ReturnType<typeof open>, from: number, to: number, headers = {}) =>
      bus.publishBatch(
        plain,
        numbers(from, to).map((n) => ({ data: { n }, options: { headers } })),
      );
    const deleteBefore = (offset: number) =>
      admin.deleteRecords({
        topics: [{ name: topic, partitions: [{ partition: 0, offset: BigInt(offset) }] }],
      });
    /** A subscription stands still at 5 of 20, and what is before 12 goes. */
    async function standStill(bus: ReturnType<typeof open>): Promise<void> {
      await bus.start();
      const early = new Collector<number>();
      const subscription = bus.subscribe(plain, {
        name: 'slow',
        handler: ({ data }) => {
          early.add(data.n);
          return ack();
        },
      });
      await subscription.started;
      await publish(bus, 1, 5);
      await early.waitFor(5);
      await subscription.stop();
      await publish(bus, 6, 20);
      await deleteBefore(12);
    }
    function goOn(bus: ReturnType<typeof open>): Collector<number> {
      const late = new Collector<number>();
      bus.subscribe(plain, {
        name: 'slow',
        handler: ({ data }) => {
          late.add(data.n);
          return ack();
        },
      });
      return late;
    }

    it('deleted while a subscription stood still: it says how much, goes on with the oldest that is left, and shows no more as waiting', async () => {
      const bus = open();
      await standStill(bus);
      expect((await bus.view()).channels[0]?.subscriptions[0]).toMatchObject({ ready: 8 });
      const late = goOn(bus);
      await late.waitFor(8);
      expect(late.values).toEqual(numbers(13, 20));
      expect(losses.values).toEqual([
        {
          kind: 'gap',
          channel: plain.name,
          subscription: 'slow',
          topic,
          partition: 0,
          from: 5,
          to: 12,
          lost: 7,
        },
      ]);
      await bus.stop();
    });

    it('without anybody who listens it is a warning of the process', async () => {
      const warnings: Error[] = [];
      const onWarning = (warning: Error): void => void warnings.push(warning);
      process.on('warning', onWarning);
      try {
        const bus = open(false);
        await standStill(bus);
        await goOn(bus).waitFor(8);
        await bus.stop();
        expect(warnings.map(({ message }) => message)).toEqual([
          expect.stringMatching(/"slow" of ".*up to 7 messages were deleted before they were read/),
        ]);
      } finally {
        process.off('warning', onWarning);
      }
    });

    it('deleted ahead of a subscription that is at work: what it has read is handled, the rest is told', async () => {
      const bus = open();
      await bus.start();
      const first = signal();
      const handled = new Collector<number>();
      await bus.subscribe(plain, {
        name: 'busy',
        concurrency: 50,
        handler: async ({ data }) => {
          if (handled.values.length === 0) await first.fired;
          handled.add(data.n);
          return ack();
        },
      }).started;
      // Far more than is read ahead.
      const pad = { pad: 'x'.repeat(2_000) };
      for (let from = 1; from <= 3_000; from += 500) await publish(bus, from, from + 499, pad);
      await deleteBefore(2_900);
      first.fire();
      await losses.waitFor(1);
      await eventually(
        async () => handled.values.includes(3_000),
        (isLast) => isLast,
        'the last one',
      );
      await bus.stop();
      const [{ kind, from, to, lost } = {} as Loss, ...more] = losses.values;
      expect(more).toEqual([]);
      expect([kind, to, lost]).toEqual(['gap', 2_900, 2_900 - from]);
      const seen = new Set(handled.values);
      expect(handled.values).toHaveLength(seen.size);
      expect(numbers(1, 3_000).filter((n) => !seen.has(n))).toEqual(numbers(from + 1, to));
    });

    it('control: an engine that does not look at where the log begins waits for ever, and is seen to', async () => {
      const { outOfRange } = Takeover.prototype;
      const bus = open();
      await standStill(bus);
      await bus.stop();
      Takeover.prototype.outOfRange = async () => false;
      const { take } = Takeover.prototype;
      Takeover.prototype.take = async function (this: Takeover, ...given) {
        const partitions = await take.apply(this, given);
        for (const { sources } of partitions)
          for (const { kind, ledger } of sources) if (kind === 'main') ledger.position = 5;
        return partitions;
      };
      limitPatience(2_000);
      try {
        const again = open();
        const late = goOn(again);
        await again.start();
        await expect(late.waitFor(8)).rejects.toThrow(/got 0/);
        await again.stop();
      } finally {
        limitPatience(30_000);
        Object.assign(Takeover.prototype, { outOfRange, take });
      }
    });

    it('a log that ends before what was settled: said, and begun again with what there is', async () => {
      const bus = open();
      await bus.start();
      await settleIn(bus.subscribe(plain, { name: 'slow', handler: () => ack() }));
      await publish(bus, 1, 3);
      // As after a power cut on a broker that syncs nothing: the offsets came to its disk, the records did not.
      await admin.alterConsumerGroupOffsets({
        groupId: `${topic}-S-slow`,
        topics: [{ name: topic, partitionOffsets: [{ partition: 0, offset: 40n }] }],
      });
      const late = goOn(bus);
      await late.waitFor(3);
      expect(late.values).toEqual([1, 2, 3]);
      expect(losses.values).toEqual([
        {
          kind: 'truncated',
          channel: plain.name,
          subscription: 'slow',
          topic,
          partition: 0,
          from: 40,
          to: 0,
          lost: 0,
        },
      ]);
      await bus.stop();
    });

    it('a topic that is made anew under a subscription at work: it goes on with the new one', async () => {
      const bus = open();
      const got = goOn(bus);
      await bus.start();
      await publish(bus, 1, 5);
      await got.waitFor(5);
      await admin.deleteTopics({ topics: [topic] });
      await eventually(
        async () =>
          admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 }).then(
            () => true,
            () => false,
          ),
        (made) => made,
        'the topic anew',
      );
      await eventually(
        () => publish(bus, 6, 8).catch((error: unknown) => error),
        (answer) => Array.isArray(answer),
        'publishing again',
      );
      await eventually(
        async () => new Set(got.values),
        (seen) => numbers(6, 8).every((n) => seen.has(n)),
        'the new ones',
      );
      await bus.stop();
      expect(losses.values.map(({ kind, from, to }) => [kind, from, to])).toEqual([['truncated', 5, 0]]);
    });
  },
);
