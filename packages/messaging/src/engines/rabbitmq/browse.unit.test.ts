/** Looking through a queue that another has looked through at the same moment. */
import { EventEmitter } from 'node:events';
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import { expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { browse } from './browse.ts';

it('ends when the other took some of what was counted, and does not keep its turn for what will never come', async () => {
  const counts = [{ messageCount: 5, consumerCount: 0 }];
  const channel = Object.assign(new EventEmitter(), {
    checkQueue: async () => counts.shift() ?? { messageCount: 0, consumerCount: 1 },
    consume: async (_queue: string, take: (message: ConsumeMessage) => void) => {
      for (let index = 0; index < 2; index += 1) take({} as ConsumeMessage);
    },
    close: async () => {},
  });
  const model = { createChannel: async () => channel } as unknown as ChannelModel;
  const found = await browse(model, systemClock, 'queue', async ({ messages }) => messages.length);
  expect(found).toBe(2);
});
