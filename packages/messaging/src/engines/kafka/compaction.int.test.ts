/**
 * Topics that the broker really compacts: records in the middle of a log are gone, segments end in batches without a record, and keys end with a
 * record without a value. Small segments make it happen in seconds; the broker's cleaner looks for work every 15 s.
 */
import { Admin, ConfigResourceTypes, IncrementalAlterConfigOperationTypes } from '@platformatic/kafka';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import Type from 'typebox';
import { type Bus, createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { plain } from '../../conformance/channels.ts';
import { Collector, eventually, limitPatience, settleIn } from '../../conformance/fixture.ts';
import { ack, deadLetter } from '../../outcome.ts';
import { clientOf, createKafkaFixture, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { Link } from './link.ts';
import { Logs } from './logs.ts';
import { type KafkaNotice, settingsOf } from './options.ts';

const profiles = defineChannel({
  name: 'compaction.profiles',
  version: 1,
  schema: Type.Union([Type.Object({ n: Type.Integer() }), Type.Null()]),
});

/** As soon as a segment is closed, whatever little there is to gain. */
const QUICK = {
  'segment.ms': '100',
  'min.cleanable.dirty.ratio': '0.001',
  'max.compaction.lag.ms': '100',
  'min.compaction.lag.ms': '0',
};
const ROLL_MS = 300;

describe.skipIf(kafkaUrl === undefined)(
  'topics that the broker compacts (needs KAFKA_URL)',
  { timeout: 150_000 },
  () => {
    let fixture: KafkaFixture;
    let admin: Admin;
    const buses: Bus[] = [];
    beforeEach(async () => {
      fixture = await createKafkaFixture();
      admin = new Admin(clientOf(kafkaUrl ?? ''));
      limitPatience(60_000);
    });
    afterEach(async () => {
      limitPatience(30_000);
      for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
      await admin.close();
      await fixture.destroy();
    });

    async function open(notices: KafkaNotice[] = []): Promise<Bus> {
      const engine = fixture.engine({
        partitions: 1,
        compacted: [profiles.name],
        trimEveryMs: 100,
        onNotice: (notice) => notices.push(notice),
      });
      const bus = createBus({ engine, source: '/compaction' });
      buses.push(bus);
      bus.declare([profiles, plain]);
      await bus.start();
      return bus;
    }
    async function quicken(topic: string, more: Record<string, string> = {}): Promise<void> {
      const configs = Object.entries({ ...QUICK, ...more }).map(([name, value]) => ({
        name,
        configOperation: IncrementalAlterConfigOperationTypes.SET,
        value,
      }));
      await admin.incrementalAlterConfigs({
        resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configs }],
      });
    }
    const shown = async (bus: Bus, subscription: string): Promise<readonly string[]> => {
      const waiting = await bus.peek(profiles, subscription, 1_000);
      return waiting.map(({ message }) => `${message?.key}=${JSON.stringify(message?.data)}`);
    };
    /** Only what lies before the newest segment is compacted, and a segment is closed by what is written after its time. */
    async function compacted<T>(
      roll: () => Promise<unknown>,
      look: () => Promise<T>,
      isDone: (seen: T) => boolean,
    ) {
      let rolledAt = 0;
      return eventually(
        async () => {
          const now = systemClock.monotonic();
          if (now - rolledAt > ROLL_MS) {
            rolledAt = now;
            await roll();
          }
          return look();
        },
        isDone,
        'the compaction',
      );
    }
    const profile = (bus: Bus, key: string, n: number | null): Promise<unknown> =>
      bus.publish(profiles, n === null ? null : { n }, { key });
    /** Handles until the key `end` comes. */
    async function handleAll(bus: Bus, name: string): Promise<readonly string[]> {
      const got = new Collector<string>();
      const subscription = bus.subscribe(profiles, {
        name,
        handler: ({ key, data }) => {
          got.add(`${key}=${JSON.stringify(data)}`);
          return ack();
        },
      });
      await eventually(
        async () => got.values,
        (seen) => seen.includes('end=null'),
        'the end',
      );
      await subscription.stop();
      return got.values.filter((one) => !one.startsWith('roll'));
    }

    it('the latest of each key and the ends of keys come, to one that begins and to one that stood still; nothing is a dead letter, a gap or stuck', async () => {
      const notices: KafkaNotice[] = [];
      const bus = await open(notices);
      await quicken(`${fixture.prefix}${profiles.name}`);
      await settleIn(bus.subscribe(profiles, { name: 'late', handler: () => ack() }));
      const first = new Collector<unknown>();
      const early = bus.subscribe(profiles, {
        name: 'early',
        handler: ({ data }) => {
          first.add(data);
          return ack();
        },
      });
      await early.started;
      await profile(bus, 'a', 1);
      await first.waitFor(1);
      await early.stop();
      for (const n of [2, 3]) await profile(bus, 'a', n);
      for (const n of [1, 2, null]) await profile(bus, 'b', n);
      await profile(bus, 'c', 1);
      const left = await compacted(
        () => profile(bus, 'roll', 1),
        () => shown(bus, 'late'),
        (seen) => !seen.includes('a={"n":1}') && !seen.includes('a={"n":2}') && !seen.includes('b={"n":2}'),
      );
      expect(left.filter((one) => !one.startsWith('roll'))).toEqual(['a={"n":3}', 'b=null', 'c={"n":1}']);
      await profile(bus, 'end', null);
      const expected = ['a={"n":3}', 'b=null', 'c={"n":1}', 'end=null'];
      expect(await handleAll(bus, 'early')).toEqual(expected);
      expect(await handleAll(bus, 'late')).toEqual(expected);
      expect(await bus.deadLetters.list()).toEqual([]);
      const { subscriptions } = (await bus.view()).channels.find(({ name }) => name === profiles.name) ?? {};
      expect(subscriptions?.map(({ ready, inFlight }) => [ready, inFlight])).toEqual([
        [0, 0],
        [0, 0],
      ]);
      expect(notices.filter(({ kind }) => /gap|truncated|trouble|tombstone|trimmed/.test(kind))).toEqual([]);
    });

    it('ends of keys that the broker has forgotten as well leave nothing to stumble over', async () => {
      const bus = await open();
      await quicken(`${fixture.prefix}${profiles.name}`, { 'delete.retention.ms': '0' });
      await settleIn(bus.subscribe(profiles, { name: 'late', handler: () => ack() }));
      for (const n of [1, 2, null]) await profile(bus, 'b', n);
      await profile(bus, 'c', 1);
      await compacted(
        () => profile(bus, 'roll', null),
        () => shown(bus, 'late'),
        (seen) => !seen.some((one) => one.startsWith('b=')),
      );
      await profile(bus, 'end', null);
      expect(await handleAll(bus, 'late')).toEqual(['c={"n":1}', 'end=null']);
    });

    it('dead letters: what is parked survives the compaction of their log, what was discarded does not come back', async () => {
      const bus = await open();
      const parking = bus.subscribe(plain, { name: 'one', handler: () => deadLetter('no') });
      await parking.started;
      const topic = `${fixture.prefix}${plain.name}-S-one-D`;
      await quicken(topic, { 'delete.retention.ms': '0' });
      const park = async (n: number): Promise<string> => {
        const { id } = await bus.publish(plain, { n });
        await eventually(
          () => bus.deadLetters.list({ messageIds: [id] }),
          ({ length }) => length === 1,
          'the dead letter',
        );
        return id;
      };
      const [kept, gone] = [await park(1), await park(2)];
      await bus.deadLetters.discard({ messageIds: [gone] });
      const link = new Link(settingsOf({ url: kafkaUrl ?? '' }), systemClock);
      const logs = new Logs(admin, link);
      const offsets = async (): Promise<readonly number[]> => {
        const found: number[] = [];
        const [end = 0] = await logs.ends(topic);
        await logs.read(topic, 0, 0, end, (records) => found.push(...records.map(({ offset }) => offset)));
        return found;
      };
      expect(await offsets()).toEqual([0, 1, 2]);
      await compacted(
        async () => {
          const id = await park(3);
          await bus.deadLetters.discard({ messageIds: [id] });
        },
        offsets,
        (left) => !left.includes(1),
      );
      expect(await offsets()).toContain(0);
      await link.close();
      await parking.stop();
      const other = await open();
      await other.subscribe(plain, { name: 'one', handler: () => ack() }).started;
      expect((await other.deadLetters.list()).map(({ messageId }) => messageId)).toEqual([kept]);
    });
  },
);
