/**
 * @platformatic/kafka by hand: an idempotent producer with acks=all, what is published in one turn goes as one send; a consumer group of one without autocommit.
 * It keeps the rule of this bench: no more than the prefetch is handled and not committed. So it holds its stream up for each commit, and commits what is left
 * over four times a second. It fetches 256 KiB at a time: what it fetches it takes apart at once, and with the client's 50 MiB that was all that is stored, before
 * the first message was handled and so before the clock ran. More at a time costs it more a message. The event travels in `ce_*` headers. Messages with keys differ by
 * the key of their record alone: a partition is read in its order by one consumer.
 */
import {
  Admin,
  Consumer,
  MessagesStreamFallbackModes,
  MessagesStreamModes,
  Producer,
  stringDeserializers,
  stringSerializers,
} from '@platformatic/kafka';
import {
  attributesOf,
  type Contender,
  fillBy,
  gathered,
  keyOf,
  type OpenContender,
  type OrderPlaced,
  orderOf,
} from '../contender.ts';

/** As many as the engine gives a topic by default. */
const partitions = 6;
const commitEachMs = 250;
const fetchBytes = 2 ** 18;

function recordOf(topic: string, n: number, key: string | undefined) {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  const attributes = attributesOf(key);
  for (const name in attributes) headers[`ce_${name}`] = attributes[name] as string;
  // With a key the client chooses the partition, by the key's hash.
  const place = key === undefined ? { partition: n % partitions } : { key };
  return { topic, ...place, value: JSON.stringify(orderOf(n)), headers };
}

function eventIn(headers: ReadonlyMap<string, string>, value: string): { readonly data: OrderPlaced } {
  const event: Record<string, unknown> = {};
  for (const [name, text] of headers) if (name.startsWith('ce_')) event[name.slice(3)] = text;
  if (event['specversion'] !== '1.0' || event['id'] === undefined) throw new Error('not a CloudEvent');
  event['data'] = JSON.parse(value);
  return event as { data: OrderPlaced };
}

export const openKafka: OpenContender = async ({ url, prefix, prefetch, keyed }) => {
  const base = { clientId: `${prefix}bare`, bootstrapBrokers: [new URL(url).host] };
  const topic = `${prefix}orders`;
  const admin = new Admin(base);
  await admin.createTopics({ topics: [topic], partitions, replicas: 1 });
  const producer = new Producer({
    ...base,
    idempotent: true,
    acks: -1,
    serializers: stringSerializers,
  });
  const publish = gathered((numbers) =>
    producer.send({ messages: numbers.map((n) => recordOf(topic, n, keyed ? keyOf(n) : undefined)) }),
  );
  const closers: (() => Promise<void>)[] = [];
  const contender: Contender = {
    publish,
    fill: (count) => fillBy(publish, count),
    async consume(handled) {
      const consumer = new Consumer({
        ...base,
        groupId: `${prefix}fulfilment`,
        deserializers: stringDeserializers,
      });
      const stream = await consumer.consume({
        topics: [topic],
        autocommit: false,
        maxBytes: fetchBytes,
        maxBytesPerPartition: fetchBytes / 4,
        mode: MessagesStreamModes.COMMITTED,
        fallbackMode: MessagesStreamFallbackModes.EARLIEST,
      });
      const next = new Map<number, bigint>();
      let uncommitted = 0;
      const commit = async (): Promise<void> => {
        const offsets = [...next].map(([partition, offset]) => ({
          topic,
          partition,
          offset,
          leaderEpoch: 0,
        }));
        next.clear();
        uncommitted = 0;
        if (offsets.length > 0) await consumer.commit({ offsets });
      };
      const timer = setInterval(() => void commit(), commitEachMs);
      stream.on('data', ({ headers, value, partition, offset }) => {
        handled(eventIn(headers, value).data.n);
        next.set(partition as number, offset + 1n);
        uncommitted += 1;
        if (uncommitted < prefetch) return;
        stream.pause();
        void commit().then(() => stream.resume());
      });
      closers.push(async () => {
        clearInterval(timer);
        await stream.close();
        await consumer.close(true);
      });
    },
    async close() {
      for (const close of closers) await close();
      await producer.close();
      await admin.deleteTopics({ topics: [topic] });
      await admin.close();
    },
  };
  return contender;
};
