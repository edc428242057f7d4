/** What is peculiar to Kafka, as cases in the manner of the suite: the tests run them as they are, the negative controls with a defect planted. */
import assert from 'node:assert/strict';
import Type from 'typebox';
import {
  Admin,
  Consumer,
  MessagesStreamModes,
  Producer,
  stringDeserializers,
  stringSerializers,
} from '@platformatic/kafka';
import { createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { pause, systemClock } from '../../clock.ts';
import { plain, sequenced } from '../../conformance/channels.ts';
import {
  Collector,
  type EngineFixture,
  eventually,
  numbers,
  settleIn,
  signal,
  withBus,
} from '../../conformance/fixture.ts';
import type { ConformanceCase } from '../../conformance/suite.ts';
import type { Message } from '../../message.ts';
import { ack, deadLetter, retry } from '../../outcome.ts';
import { clientOf, type KafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { confirmRetriesLate } from './own-defects.ts';
import type { KafkaNotice } from './options.ts';

const own = (fixture: EngineFixture): KafkaFixture => fixture as KafkaFixture;
const client = () => clientOf(kafkaUrl ?? '');

const nullable = defineChannel({
  name: 'kafka.profiles',
  version: 1,
  schema: Type.Union([Type.Object({ n: Type.Integer() }), Type.Null()]),
});
const bytes = defineChannel({
  name: 'kafka.bytes',
  version: 1,
  schema: Type.Unknown(),
  encoding: {
    contentType: 'application/avro',
    encode: (data) => Buffer.from(data as string, 'base64'),
    decode: (encoded) => Buffer.from(encoded).toString('base64'),
  },
});

export interface ForeignRecord {
  readonly topic: string;
  readonly key?: string;
  readonly value?: string;
  readonly headers?: Record<string, string>;
}

/** Records of a producer that knows nothing of the toolkit. */
export async function produce(...messages: readonly ForeignRecord[]): Promise<void> {
  const producer = new Producer({ ...client(), serializers: stringSerializers });
  try {
    await producer.send({ messages: messages as never, acks: -1 });
  } finally {
    await producer.close();
  }
}

/** What a consumer that knows nothing of the toolkit reads. */
export async function readForeign(topic: string, group: string, count: number) {
  const consumer = new Consumer({ ...client(), groupId: group, deserializers: stringDeserializers });
  const got = new Collector<{
    key: string;
    value: string;
    partition: number;
    headers: Map<string, string>;
  }>();
  try {
    const stream = await consumer.consume({
      topics: [topic],
      mode: MessagesStreamModes.EARLIEST,
      autocommit: false,
    });
    stream.on('data', ({ key, value, partition, headers }) => got.add({ key, value, partition, headers }));
    await got.waitFor(count, 'records');
    await stream.close();
  } finally {
    await consumer.close(true);
  }
  return got.values;
}

export const kafkaCases: readonly ConformanceCase[] = [
  {
    name: 'a handler that works longer than the session of its group keeps its message and its partitions',
    run: async (fixture) => {
      const began = new Collector<number>();
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            handler: async ({ data }) => {
              began.add(data.n);
              // The session of this fixture is 1.5 s.
              if (data.n === 1) await pause(systemClock, 4_000);
              return ack();
            },
          }),
        async use(bus) {
          await bus.publishBatch(plain, [{ data: { n: 1 } }, { data: { n: 2 } }]);
          await eventually(
            () => bus.view(),
            ({ channels }) => {
              const view = channels[0]?.subscriptions[0];
              return began.values.length >= 2 && view?.ready === 0 && view.inFlight === 0;
            },
            'both settled',
          );
        },
      });
      assert.deepEqual(began.values, [1, 2]);
    },
  },
  {
    name: 'two processes share the partitions; what one has, the other has not, and a leaver gives all of it up',
    run: async (fixture) => {
      const got = new Collector<readonly [string, number]>();
      const buses = ['a', 'b'].map((who) => {
        const bus = createBus({ engine: own(fixture).engine({ partitions: 4 }), source: `/${who}` });
        bus.declare([sequenced]);
        bus.subscribe(sequenced, {
          name: 'one',
          concurrency: 4,
          handler: ({ data }) => {
            got.add([who, data.n]);
            return ack();
          },
        });
        return bus;
      });
      const [first, second] = buses as [(typeof buses)[0], (typeof buses)[0]];
      const items = (from: number, to: number) =>
        numbers(from, to).map((n) => ({ data: { n }, options: { key: `key-${n % 20}` } }));
      await first.start();
      await second.start();
      await eventually(
        async () => {
          await first.publishBatch(sequenced, items(1, 20));
          return new Set(got.values.map(([who]) => who));
        },
        (who) => who.size === 2,
        'both at work',
      );
      await second.stop();
      const before = got.values.length;
      await first.publishBatch(sequenced, items(1_001, 1_040));
      await eventually(
        async () => new Set(got.values.slice(before).map(([, n]) => n)),
        (seen) => numbers(1_001, 1_040).every((n) => seen.has(n)),
        'all at the one that stayed',
      );
      await first.stop();
    },
  },
  {
    name: 'a key goes to the partition that other producers choose, and what is ours is a CloudEvent to them',
    run: async (fixture) => {
      const { prefix, engine } = own(fixture);
      const bus = createBus({ engine: engine({ partitions: 5 }), source: '/ours' });
      bus.declare([plain]);
      await bus.start();
      for (const key of ['21', 'foobar', 'abc'])
        await bus.publish(plain, { n: 1 }, { key, headers: { tenant: 'x' } });
      await bus.stop();
      const records = await readForeign(`${prefix}${plain.name}`, `${prefix}foreign`, 3);
      for (const { key, partition, value, headers } of records) {
        assert.equal(partition, javaPartition(key, 5));
        assert.deepEqual(JSON.parse(value), { n: 1 });
        assert.equal(headers.get('ce_specversion'), '1.0');
        assert.equal(headers.get('ce_type'), plain.name);
        assert.equal(headers.get('ce_source'), '/ours');
        assert.equal(headers.get('ce_tenant'), 'x');
        assert.equal(headers.get('content-type'), 'application/json');
        assert.match(headers.get('ce_id') ?? '', /^[0-9a-f-]{36}$/);
      }
    },
  },
  {
    name: 'records of others are read: binary and structured CloudEvents; what is neither is a dead letter',
    run: async (fixture) => {
      const { prefix } = own(fixture);
      const topic = `${prefix}${plain.name}`;
      const got = new Collector<Message>();
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            handler: (message) => {
              got.add(message);
              return ack();
            },
          }),
        async use(bus) {
          const binary = {
            ce_specversion: '1.0',
            ce_id: 'b',
            ce_type: 'order',
            ce_source: '/java',
            ce_region: 'eu',
          };
          const structured = { specversion: '1.0', id: 's', type: 'order', source: '/go', data: { n: 2 } };
          await produce(
            { topic, key: 'k', value: '{"n":1}', headers: { ...binary, 'content-type': 'application/json' } },
            { topic, value: JSON.stringify(structured) },
            { topic, value: 'not at all' },
          );
          await got.waitFor(2);
          await eventually(
            () => bus.deadLetters.list(),
            ([letter]) => letter?.raw === 'not at all' && letter.history[0]?.kind === 'malformed',
            'the third as a dead letter',
          );
        },
      });
      const [first, second] = got.values as [Message, Message];
      assert.deepEqual(
        [first.id, first.key, first.source, first.headers, first.data],
        ['b', 'k', '/java', { region: 'eu' }, { n: 1 }],
      );
      assert.deepEqual([second.id, second.source, second.data], ['s', '/go', { n: 2 }]);
    },
  },
  {
    name: 'bytes pass through with their content type, both ways',
    run: async (fixture) => {
      const { prefix } = own(fixture);
      const got = new Collector<unknown>();
      await withBus({
        fixture,
        channels: [bytes],
        prepare: (bus) =>
          void bus.subscribe(bytes, {
            name: 'one',
            handler: ({ data }) => {
              got.add(data);
              return ack();
            },
          }),
        async use(bus) {
          await bus.publish(bytes, Buffer.from([0, 255, 128, 10]).toString('base64'));
          await got.waitFor(1);
        },
      });
      assert.equal(got.values[0], Buffer.from([0, 255, 128, 10]).toString('base64'));
      const [record] = await readForeign(`${prefix}${bytes.name}`, `${prefix}foreign`, 1);
      assert.equal(record?.headers.get('content-type'), 'application/avro');
    },
  },
  {
    name: 'a record without a value is dropped and told of; on a compacted channel it is data null',
    run: async (fixture) => {
      const { prefix, engine } = own(fixture);
      const topic = `${prefix}${nullable.name}`;
      for (const compacted of [false, true]) {
        const got = new Collector<Message>();
        const notices: KafkaNotice[] = [];
        const bus = createBus({
          engine: engine({
            prefix: compacted ? `${prefix}c.` : prefix,
            compacted: compacted ? [nullable.name] : [],
            onNotice: (notice) => notices.push(notice),
          }),
          source: '/null',
        });
        const place = compacted ? topic.replace(prefix, `${prefix}c.`) : topic;
        bus.declare([nullable]);
        bus.subscribe(nullable, {
          name: 'one',
          handler: (message) => {
            got.add(message);
            return ack();
          },
        });
        await bus.start();
        await produce({ topic: place, key: 'gone' });
        await bus.publish(nullable, { n: 1 }, { key: 'there' });
        await got.waitFor(compacted ? 2 : 1);
        assert.deepEqual(await bus.deadLetters.list(), []);
        await bus.stop();
        const seen = got.values.map(({ key, data }) => [key, data]);
        assert.deepEqual(seen, [...(compacted ? [['gone', null]] : []), ['there', { n: 1 }]]);
        const told = notices.filter(({ kind }) => kind === 'tombstone').length;
        assert.equal(told, compacted ? 0 : 1);
      }
    },
  },
  {
    name: 'what every subscription has settled is deleted from the brokers, what one still needs is not',
    run: async (fixture) => {
      const trimmed = new Collector<number>();
      const bus = createBus({
        engine: own(fixture).engine({
          trimEveryMs: 100,
          onNotice: (notice) => {
            if (notice.kind === 'trimmed' && notice.topic.endsWith(plain.name)) trimmed.add(notice.before);
          },
        }),
        source: '/trim',
      });
      bus.declare([plain]);
      await bus.start();
      const handled = new Collector<number>();
      await settleIn(bus.subscribe(plain, { name: 'slow', handler: () => ack() }));
      await bus.subscribe(plain, {
        name: 'fast',
        handler: ({ data }) => {
          handled.add(data.n);
          return ack();
        },
      }).started;
      await bus.publishBatch(
        plain,
        numbers(1, 10).map((n) => ({ data: { n } })),
      );
      await handled.waitFor(10);
      assert.equal((await bus.peek(plain, 'slow', 100)).length, 10);
      assert.deepEqual(trimmed.values, []);
      const late = new Collector<number>();
      await bus.subscribe(plain, {
        name: 'slow',
        handler: ({ data }) => {
          late.add(data.n);
          return ack();
        },
      }).started;
      await late.waitFor(10);
      await eventually(
        async () => trimmed.values.at(-1),
        (before) => before === 10,
        'all ten deleted',
      );
      await bus.stop();
    },
  },
  {
    name: 'a message that arrives while its parked sequence is redriven stays behind it',
    run: async (fixture) => {
      const got = new Collector<number>();
      let broken = true;
      await withBus({
        fixture,
        channels: [sequenced],
        prepare: (bus) =>
          void bus.subscribe(sequenced, {
            name: 'one',
            concurrency: 4,
            retries: { immediate: 0, delayed: [] },
            handler: ({ data }) => {
              if (broken && data.n === 1) return deadLetter('one is broken');
              got.add(data.n);
              return ack();
            },
          }),
        async use(bus) {
          const publish = (from: number, to: number) =>
            bus.publishBatch(
              sequenced,
              numbers(from, to).map((n) => ({ data: { n }, options: { key: 'a' } })),
            );
          await publish(1, 20);
          await eventually(
            () => bus.deadLetters.list({}, { limit: 1_000 }),
            (found) => found.length === 20,
            'twenty parked',
          );
          broken = false;
          await Promise.all([bus.deadLetters.redrive({}), publish(21, 40)]);
          await eventually(
            async () => {
              // What was parked while the redrive ran needs another one.
              await bus.deadLetters.redrive({});
              return got.values.length;
            },
            (count) => count === 40,
            'all forty',
          );
        },
      });
      assert.deepEqual(got.values, numbers(1, 40));
    },
  },
  {
    name: 'a retried message whose copy is read before its confirm arrives comes back, in its place',
    run: async (fixture) => {
      const copyRead = signal();
      const undo = confirmRetriesLate(() => copyRead.fired);
      const got = new Collector<number>();
      const bus = createBus({ engine: own(fixture).engine(), source: '/late' });
      bus.declare([sequenced]);
      bus.subscribe(sequenced, {
        name: 'one',
        concurrency: 4,
        handler: ({ data }, { attempt }) => {
          got.add(data.n);
          return attempt === 1 && data.n === 1 ? retry({ delayMs: 1 }) : ack();
        },
      });
      try {
        await bus.start();
        await bus.publishBatch(
          sequenced,
          numbers(1, 3).map((n) => ({ data: { n }, options: { key: 'a' } })),
        );
        await got.waitFor(1);
        // The copy and its original are both there.
        await eventually(
          async () => (await bus.view()).channels[0]?.subscriptions[0],
          (view) => view?.waitingForKey === 3,
          'the copy has been read',
        );
        copyRead.fire();
        await got.waitFor(4);
      } finally {
        copyRead.fire();
        undo();
        await bus.stop({ drainMs: 0 });
      }
      assert.deepEqual(got.values, [1, 1, 2, 3]);
    },
  },
  {
    name: 'reply topics go with their owner',
    run: async (fixture) => {
      const { asked } = await import('../../conformance/channels.ts');
      await withBus({
        fixture,
        channels: [asked],
        prepare: (bus) => void bus.subscribe(asked, { name: 'answers', handler: () => ack() }),
        async use(bus) {
          await assert.rejects(bus.request(asked, { n: 1 }, { timeoutMs: 1_000 }), {
            code: 'DB_MSG_REQUEST_TIMEOUT',
          });
        },
      });
      const admin = new Admin(client());
      try {
        // The broker has taken the deletion, and carries it out when it comes to it.
        await eventually(
          async () =>
            (await admin.listTopics()).filter(
              (topic) => topic.startsWith(own(fixture).prefix) && topic.includes('replies'),
            ),
          ({ length }) => length === 0,
          'no reply topic left',
        );
      } finally {
        await admin.close();
      }
    },
  },
  {
    name: 'reply topics of a process that was killed are swept when they are ten minutes old, and not before',
    run: async (fixture) => {
      const { asked } = await import('../../conformance/channels.ts');
      const admin = new Admin(client());
      const { prefix } = own(fixture);
      const orphanOf = (at: number): string => {
        const time = at.toString(16).padStart(12, '0');
        return `${prefix}replies.${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000-E`;
      };
      const [old, young] = [orphanOf(systemClock.now() - 660_000), orphanOf(systemClock.now() - 60_000)];
      await admin.createTopics({ topics: [old, young], partitions: 1, replicas: 1 });
      try {
        await withBus({
          fixture,
          channels: [asked],
          prepare: (bus) => void bus.subscribe(asked, { name: 'answers', handler: () => ack() }),
          async use(bus) {
            await bus.request(asked, { n: 1 }, { timeoutMs: 1_000 }).catch(() => {});
            await eventually(
              () => admin.listTopics(),
              (topics) => !topics.includes(old),
              'the old one is swept',
            );
          },
        });
        assert.ok((await admin.listTopics()).includes(young));
      } finally {
        await admin.close();
      }
    },
  },
];

/** As org.apache.kafka.common.utils.Utils.murmur2 counts, written from its definition so that two ways have to agree. */
function javaPartition(key: string, partitions: number): number {
  const data = Buffer.from(key);
  const m = 0x5bd1e995;
  let h = (0x9747b28c ^ data.length) | 0;
  const whole = data.length & ~3;
  for (let at = 0; at < whole; at += 4) {
    let k = Math.imul(data.readInt32LE(at), m);
    k = Math.imul(k ^ (k >>> 24), m);
    h = Math.imul(h, m) ^ k;
  }
  const rest = data.length & 3;
  if (rest === 3) h ^= (data[whole + 2] as number) << 16;
  if (rest >= 2) h ^= (data[whole + 1] as number) << 8;
  if (rest >= 1) h = Math.imul(h ^ (data[whole] as number), m);
  h = Math.imul(h ^ (h >>> 13), m);
  h ^= h >>> 15;
  return (h & 0x7fffffff) % partitions;
}
