import type { Channel } from 'amqplib';
import { expect, it } from 'vitest';
import { takenUntilHere } from './fence.ts';

type Answer = (error: unknown) => void;

/** A channel of the client, as far as a fence needs one; `_rpc` answers as it is told. */
function channelWith(answer?: (answered: Answer) => void): {
  readonly channel: Channel;
  readonly asked: unknown[];
} {
  const asked: unknown[] = [];
  const channel = {
    prefetch: async (window: number) => void asked.push(['prefetch', window]),
    ...(answer && {
      _rpc(method: number, fields: object, expected: number, answered: Answer) {
        asked.push([method, fields, expected]);
        answer(answered);
      },
    }),
  };
  return { channel: channel as unknown as Channel, asked };
}

it('asks with the prefetch that the channel has, and resolves with the answer', async () => {
  const { channel, asked } = channelWith((answered) => answered(null));
  await expect(takenUntilHere(channel, 256)).resolves.toBeUndefined();
  expect(asked).toEqual([[0x3c000a, { prefetchCount: 256, prefetchSize: 0, global: false }, 0x3c000b]]);
});

it('rejects when the channel closes first, or has closed', async () => {
  const closed = new Error('closed');
  await expect(takenUntilHere(channelWith((answered) => answered(closed)).channel, 1)).rejects.toBe(closed);
  const over = channelWith(() => {
    throw closed;
  });
  await expect(takenUntilHere(over.channel, 1)).rejects.toBe(closed);
});

it('takes the documented call where the client has no other', async () => {
  const { channel, asked } = channelWith();
  await takenUntilHere(channel, 256);
  expect(asked).toEqual([['prefetch', 256]]);
});
