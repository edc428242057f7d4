/**
 * @platformatic/kafka by hand: an idempotent producer with acks=all, what is published in one turn goes as one send; a consumer group of one without autocommit,
 * which commits the offsets it has handled four times a second. The event travels in `ce_*` headers.
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
  type OpenContender,
  type OrderPlaced,
  orderOf,
} from '../contender.ts';

const partitions = 4;
const commitEachMs = 250;

function recordOf(topic: string, n: number) {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  const attributes = attributesOf();
  for (const name in attributes) headers[`ce_${name}`] = attributes[name] as string;
  return { topic, partition: n % partitions, value: JSON.stringify(orderOf(n)), headers };
}

function eventIn(headers: ReadonlyMap<string, string>, value: string): { readonly data: OrderPlaced } {
  const event: Record<string, unknown> = {};
  for (const [name, text] of headers) if (name.startsWith('ce_')) event[name.slice(3)] = text;
  if (event['specversion'] !== '1.0' || event['id'] === undefined) throw new Error('not a CloudEvent');
  event['data'] = JSON.parse(value);
  return event as { data: OrderPlaced };
}

export const openKafka: OpenContender = async ({ url, prefix }) => {
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
  const publish = gathered((numbers) => producer.send({ messages: numbers.map((n) => recordOf(topic, n)) }));
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
        mode: MessagesStreamModes.COMMITTED,
        fallbackMode: MessagesStreamFallbackModes.EARLIEST,
      });
      const next = new Map<number, bigint>();
      const commit = async (): Promise<void> => {
        const offsets = [...next].map(([partition, offset]) => ({
          topic,
          partition,
          offset,
          leaderEpoch: 0,
        }));
        next.clear();
        if (offsets.length > 0) await consumer.commit({ offsets });
      };
      const timer = setInterval(() => void commit(), commitEachMs);
      stream.on('data', ({ headers, value, partition, offset }) => {
        handled(eventIn(headers, value).data.n);
        next.set(partition as number, offset + 1n);
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
