/**
 * amqplib by hand, with the settings of the engine: a quorum queue behind an exchange, persistent and mandatory messages on a confirm channel, Nagle off, the
 * same prefetch. Acknowledgements of one turn of the event loop go as one (`multiple`), as the engine's do: one by one would be slower.
 */
import { type ConfirmChannel, connect, type ConsumeMessage } from 'amqplib';
import {
  attributesOf,
  type Contender,
  fillBy,
  type OpenContender,
  type OrderPlaced,
  orderOf,
  shardOf,
} from '../contender.ts';

export function publishTo(channel: ConfirmChannel, exchange: string, n: number, key?: string): Promise<void> {
  const headers: Record<string, string> = {};
  const attributes = attributesOf(key);
  for (const name in attributes) headers[`cloudEvents_${name}`] = attributes[name] as string;
  const options = {
    persistent: true,
    mandatory: true,
    messageId: attributes['id'] as string,
    contentType: 'application/json',
    headers,
  };
  return new Promise((resolve, reject) => {
    const content = Buffer.from(JSON.stringify(orderOf(n)));
    channel.publish(
      exchange,
      key === undefined ? '' : String(shardOf(key)),
      content,
      options,
      (error: unknown) => (error ? reject(error as Error) : resolve()),
    );
  });
}

/** Reads all of the event, as a handler that gets a CloudEvent would. */
export function eventIn({ content, properties }: ConsumeMessage): { readonly data: OrderPlaced } {
  const event: Record<string, unknown> = {};
  const headers = properties.headers ?? {};
  for (const name in headers) if (name.startsWith('cloudEvents_')) event[name.slice(12)] = headers[name];
  if (event['specversion'] !== '1.0' || typeof event['id'] !== 'string') throw new Error('not a CloudEvent');
  event['data'] = JSON.parse(content.toString());
  return event as { data: OrderPlaced };
}

export const openRabbitmq: OpenContender = async ({ url, prefix, prefetch }) => {
  const model = await connect(url, { noDelay: true });
  const publisher = await model.createConfirmChannel();
  // A message that no queue took is confirmed all the same; it would come back here.
  publisher.on('return', () => {
    throw new Error('a message came back: no queue took it');
  });
  const exchange = `${prefix}orders`;
  const queue = `${prefix}orders/fulfilment`;
  await publisher.assertExchange(exchange, 'fanout', { durable: true });
  await publisher.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await publisher.bindQueue(queue, exchange, '');
  const publish = (n: number): Promise<void> => publishTo(publisher, exchange, n);
  const contender: Contender = {
    publish,
    fill: (count) => fillBy(publish, count),
    async consume(handled) {
      const channel = await model.createChannel();
      await channel.prefetch(prefetch);
      let last: ConsumeMessage | undefined;
      const acknowledge = (): void => {
        if (last) channel.ack(last, true);
        last = undefined;
      };
      await channel.consume(queue, (message) => {
        if (!message) throw new Error('the queue was deleted');
        handled(eventIn(message).data.n);
        if (!last) setImmediate(acknowledge);
        last = message;
      });
    },
    async close() {
      await publisher.deleteQueue(queue);
      await publisher.deleteExchange(exchange);
      await model.close();
    },
  };
  return contender;
};
