/** What a publish is on the wire, seen through a door before the real broker: how many requests it takes, and what a lost answer leaves in the log. */
import {
  Admin,
  ConfigResourceTypes,
  IncrementalAlterConfigOperationTypes,
  ListOffsetTimestamps,
  Producer,
} from '@platformatic/kafka';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import { eventually, numbers } from '../../conformance/fixture.ts';
import { clientOf, createKafkaFixture, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { type Door, openDoor, PRODUCE } from './door.ts';

const PARTITIONS = 4;

describe.skipIf(kafkaUrl === undefined)(
  'publishing, seen at the door of a broker (needs KAFKA_URL)',
  { timeout: 60_000 },
  () => {
    let fixture: KafkaFixture;
    let door: Door;
    let bus: Bus;
    beforeEach(async () => {
      fixture = await createKafkaFixture();
      door = await openDoor(kafkaUrl ?? '');
      bus = createBus({ engine: fixture.engine({ partitions: PARTITIONS }), source: '/door' });
      bus.declare([plain]);
      await bus.start();
    });
    afterEach(async () => {
      await bus.stop();
      await door.close();
      await fixture.destroy();
    });

    /** Records in the channel's topic. */
    async function stored(): Promise<number> {
      const admin = new Admin(clientOf(kafkaUrl ?? ''));
      try {
        const partitions = Array.from({ length: PARTITIONS }, (_, partitionIndex) => ({
          partitionIndex,
          timestamp: ListOffsetTimestamps.LATEST,
        }));
        const [found] = await admin.listOffsets({
          topics: [{ name: `${fixture.prefix}${plain.name}`, partitions }],
        });
        return (found?.partitions ?? []).reduce((sum, { offset }) => sum + Number(offset), 0);
      } finally {
        await admin.close();
      }
    }
    /**
     * Less than the broker allows, as an administrator may set it. Whoever changes it is answered when the cluster has written it down; the broker that leads the partition goes by it a moment
     * later, as it takes up leading a new one, and takes anything until then. So this resolves when it has refused: to how many it had taken.
     */
    async function limitTopic(bytes: number): Promise<number> {
      const admin = new Admin(clientOf(kafkaUrl ?? ''));
      try {
        await admin.incrementalAlterConfigs({
          resources: [
            {
              resourceType: ConfigResourceTypes.TOPIC,
              resourceName: `${fixture.prefix}${plain.name}`,
              configs: [
                {
                  name: 'max.message.bytes',
                  configOperation: IncrementalAlterConfigOperationTypes.SET,
                  value: String(bytes),
                },
              ],
            },
          ],
        });
      } finally {
        await admin.close();
      }
      const big = 'x'.repeat(2 * bytes);
      await eventually(
        () =>
          bus.publish(plain, { n: 0 }, { key: 'one', headers: { big } }).then(
            () => 'taken',
            ({ code }: { code: string }) => code,
          ),
        (code) => code === 'DB_MSG_MESSAGE_TOO_LARGE',
        'the limit is in force',
      );
      return stored();
    }
    async function requestsFor(publish: () => Promise<unknown>): Promise<number> {
      const before = door.count(PRODUCE);
      await publish();
      return door.count(PRODUCE) - before;
    }

    it('what is published in one turn goes as one request, whatever its partitions; one after the other each takes its own', async () => {
      await bus.publish(plain, { n: 0 });
      const together = await requestsFor(() =>
        Promise.all(numbers(1, 50).map((n) => bus.publish(plain, { n }, { key: `key-${n}` }))),
      );
      expect(together).toBe(1);
      const apart = await requestsFor(async () => {
        for (const n of numbers(51, 60)) await bus.publish(plain, { n });
      });
      expect(apart).toBe(10);
      expect(await stored()).toBe(61);
    });

    it('what comes while a request is under way goes with the next one', async () => {
      await bus.publish(plain, { n: 0 });
      const requests = await requestsFor(async () => {
        const sent: Promise<unknown>[] = [];
        for (const n of numbers(1, 200)) {
          sent.push(bus.publish(plain, { n }));
          await new Promise<void>((resolve) => setImmediate(resolve));
        }
        await Promise.all(sent);
      });
      expect(requests).toBeLessThan(100);
      expect(await stored()).toBe(201);
    });

    it('a batch larger than a request takes as many as it needs, and keeps its order', async () => {
      const big = 'x'.repeat(100_000);
      const requests = await requestsFor(() =>
        bus.publishBatch(
          plain,
          numbers(1, 20).map((n) => ({ data: { n }, options: { key: 'one', headers: { big } } })),
        ),
      );
      expect(requests).toBe(3);
      expect(await stored()).toBe(20);
    });

    it('what is too large for its topic is told to its own publisher: those who went with it are stored', async () => {
      const before = await limitTopic(4_000);
      const big = 'x'.repeat(10_000);
      const sent = await Promise.allSettled([
        ...numbers(1, 10).map((n) => bus.publish(plain, { n }, { key: 'one' })),
        bus.publish(plain, { n: 11 }, { key: 'one', headers: { big } }),
        ...numbers(12, 20).map((n) => bus.publish(plain, { n }, { key: 'one' })),
      ]);
      const refused = sent.flatMap((one, place) =>
        one.status === 'rejected' ? [[place + 1, one.reason]] : [],
      );
      expect(refused).toEqual([[11, expect.objectContaining({ code: 'DB_MSG_MESSAGE_TOO_LARGE' })]]);
      expect((await stored()) - before).toBe(19);
    });

    it('a batch of small messages is stored where the topic allows no request of that size', async () => {
      const before = await limitTopic(4_000);
      await bus.publishBatch(
        plain,
        numbers(1, 60).map((n) => ({ data: { n }, options: { key: 'one' } })),
      );
      expect((await stored()) - before).toBe(60);
    });

    it('an answer that is lost after the broker has stored: the client asks again, and the message is there once', async () => {
      await bus.publish(plain, { n: 0 }, { key: 'one' });
      const lost = door.loseNextAnswer(PRODUCE);
      const requests = await requestsFor(() => bus.publish(plain, { n: 1 }, { key: 'one' }));
      await lost;
      expect(requests).toBe(2);
      expect(await stored()).toBe(2);
      // The numbers go on from there: the next ones are taken, and taken once.
      await bus.publish(plain, { n: 2 }, { key: 'one' });
      expect(await stored()).toBe(3);
    });

    it('control: without idempotence the same lost answer leaves it there twice', async () => {
      const { send } = Producer.prototype;
      Producer.prototype.send = function (this: Producer, options: object) {
        return send.call(this, { ...options, idempotent: false } as never);
      } as never;
      try {
        await bus.publish(plain, { n: 0 }, { key: 'one' });
        const lost = door.loseNextAnswer(PRODUCE);
        await bus.publish(plain, { n: 1 }, { key: 'one' });
        await lost;
        expect(await stored()).toBe(3);
      } finally {
        Producer.prototype.send = send;
      }
    });
  },
);
