/**
 * Order per key with amqplib by hand, with the settings of `rabbitmq.ts`: a direct exchange, a key's hash names one of eight quorum queues with a single active
 * consumer each, and all consumers are on one channel, so that one acknowledgement (`multiple`) takes what all of them had in a turn. The prefetch is shared out.
 */
import { connect, type ConsumeMessage } from 'amqplib';
import { type Contender, fillBy, keyOf, type OpenContender, shards } from '../contender.ts';
import { eventIn, publishTo } from './rabbitmq.ts';

export const openRabbitmqKeyed: OpenContender = async ({ url, prefix, prefetch }) => {
  const model = await connect(url, { noDelay: true });
  const publisher = await model.createConfirmChannel();
  // A message that no queue took is confirmed all the same; it would come back here.
  publisher.on('return', () => {
    throw new Error('a message came back: no queue took it');
  });
  const exchange = `${prefix}orders`;
  const queues = Array.from({ length: shards }, (_, index) => `${prefix}orders/fulfilment/${index}`);
  await publisher.assertExchange(exchange, 'direct', { durable: true });
  for (const [index, queue] of queues.entries()) {
    const settings = { 'x-queue-type': 'quorum', 'x-single-active-consumer': true };
    await publisher.assertQueue(queue, { durable: true, arguments: settings });
    await publisher.bindQueue(queue, exchange, String(index));
  }
  const publish = (n: number): Promise<void> => publishTo(publisher, exchange, n, keyOf(n));
  let closing = false;
  const contender: Contender = {
    publish,
    fill: (count) => fillBy(publish, count),
    async consume(handled) {
      const channel = await model.createChannel();
      // Of each consumer, not of the channel.
      await channel.prefetch(prefetch / shards);
      let last: ConsumeMessage | undefined;
      const acknowledge = (): void => {
        if (last) channel.ack(last, true);
        last = undefined;
      };
      const take = (message: ConsumeMessage | null): void => {
        if (!message && closing) return;
        if (!message) throw new Error('the queue was deleted');
        handled(eventIn(message).data.n);
        if (!last) setImmediate(acknowledge);
        last = message;
      };
      for (const queue of queues) await channel.consume(queue, take);
    },
    async close() {
      closing = true;
      for (const queue of queues) await publisher.deleteQueue(queue);
      await publisher.deleteExchange(exchange);
      await model.close();
    },
  };
  return contender;
};
