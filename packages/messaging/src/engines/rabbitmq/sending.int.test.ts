/** The short way of publishing beside the client's own: a consumer cannot tell one from the other. */
import { connect, type ConsumeMessage } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { Collector } from '../../conformance/fixture.ts';
import { rabbitUrl } from './conformance-fixture.ts';
import { send } from './sending.ts';
import type { Parcel } from './wire.ts';

const parcels: Readonly<Record<string, Parcel>> = {
  'with headers': {
    content: Buffer.from('{"n":1}'),
    options: {
      persistent: true,
      messageId: 'a',
      contentType: 'application/json',
      priority: 3,
      headers: { cloudEvents_id: 'a', 'x-db-turn': 2, 'x-db-redriven': true, text: 'ä'.repeat(300) },
    },
  },
  'with nothing': { content: Buffer.alloc(0), options: {} },
  'larger than a frame': { content: Buffer.alloc(300_000, 7), options: { persistent: true } },
};

describe.skipIf(rabbitUrl === undefined)('sending (needs RABBITMQ_URL)', () => {
  it.each(Object.entries(parcels))(
    'a message %s arrives as the client would have sent it',
    async (_, parcel) => {
      const model = await connect(rabbitUrl ?? '');
      try {
        const channel = await model.createConfirmChannel();
        const { queue } = await channel.assertQueue('', { exclusive: true });
        const got = new Collector<ConsumeMessage>();
        await channel.consume(queue, (message) => void (message && got.add(message)), { noAck: true });
        const confirms = new Collector<unknown>();
        send(channel, '', queue, parcel, (error) => confirms.add(error));
        channel.publish('', queue, parcel.content, parcel.options, (error) => confirms.add(error));
        const [ours, theirs] = await got.waitFor(2);
        expect(await confirms.waitFor(2)).toEqual([null, null]);
        expect(ours?.content.equals(theirs?.content ?? Buffer.alloc(1))).toBe(true);
        const told = (properties: ConsumeMessage['properties'] | undefined) => ({
          ...properties,
          // Not said is transient too.
          deliveryMode: properties?.deliveryMode ?? 1,
        });
        expect(told(ours?.properties)).toEqual(told(theirs?.properties));
      } finally {
        await model.close();
      }
    },
  );

  it('what no queue takes comes back in front of its confirm, though nobody asked for it', async () => {
    const model = await connect(rabbitUrl ?? '');
    try {
      const channel = await model.createConfirmChannel();
      const told = new Collector<string>();
      channel.on('return', () => told.add('returned'));
      send(channel, '', 'nobody has this queue', { content: Buffer.alloc(1), options: {} }, () =>
        told.add('confirmed'),
      );
      expect(await told.waitFor(2)).toEqual(['returned', 'confirmed']);
    } finally {
      await model.close();
    }
  });
});
