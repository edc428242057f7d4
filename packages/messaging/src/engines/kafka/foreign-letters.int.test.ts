/** Records of others in the topic of the dead letters of a subscription: a tool that copies topics, a person. */
import { Producer } from '@platformatic/kafka';
import { describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import { sequenced } from '../../conformance/channels.ts';
import { onFixture } from '../../conformance/controls.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { clientOf, createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { namesOf } from './names.ts';

const SUBSCRIPTION = 'one';
const event = {
  specversion: '1.0',
  id: 'theirs',
  type: sequenced.name,
  source: '/elsewhere',
  partitionkey: 'a',
  data: { n: 7 },
};

async function produce(topic: string): Promise<void> {
  const producer = new Producer(clientOf(kafkaUrl ?? ''));
  const record = (key: string, value: string, label?: string) => ({
    topic,
    partition: 0,
    key: Buffer.from(key),
    value: Buffer.from(value),
    ...(label !== undefined && { headers: new Map([[Buffer.from('db-letter'), Buffer.from(label)]]) }),
  });
  try {
    await producer.send({
      messages: [record('k1', 'hello'), record('k2', '{}', '{"id":'), record('k3', JSON.stringify(event))],
      acks: -1,
    });
  } finally {
    await producer.close();
  }
}

describe.skipIf(kafkaUrl === undefined)('records of others (needs KAFKA_URL)', { timeout: 90_000 }, () => {
  it('among the dead letters stop no key, are listed, and are redriven or discarded', () =>
    onFixture(createKafkaFixture, async (fixture) => {
      const got = new Collector<number>();
      const start = async () => {
        const bus = createBus({ engine: fixture.open(), source: '/test' });
        bus.declare([sequenced]);
        const handling = bus.subscribe(sequenced, {
          name: SUBSCRIPTION,
          handler: ({ data }) => {
            got.add(data.n);
            return ack();
          },
        });
        await bus.start();
        await handling.started;
        return bus;
      };
      await (await start()).stop();
      await produce(namesOf(fixture.prefix).dead(sequenced.name, SUBSCRIPTION));
      const bus = await start();
      await bus.publish(sequenced, { n: 1 }, { key: 'a' });
      expect(await got.waitFor(1)).toEqual([1]);

      const letters = await bus.deadLetters.list({ subscription: SUBSCRIPTION });
      expect(letters).toMatchObject([
        { id: 'k1', raw: 'hello', group: 'unreadable' },
        { id: 'k2', raw: '{}', group: 'unreadable' },
        { id: 'k3', messageId: 'theirs', key: 'a', group: 'unreadable' },
      ]);
      await bus.deadLetters.redrive({ messageIds: ['theirs'] });
      expect(await got.waitFor(2)).toEqual([1, 7]);
      await bus.deadLetters.discard({ group: 'unreadable' });
      await eventually(
        () => bus.deadLetters.list(),
        ({ length }) => length === 0,
        'all discarded',
      );
      await bus.stop();
    }));
});
