/**
 * Several channels for what has many answers to wait for: a channel has one question under way at a time. Only for declaring: what comes in order has a
 * channel of its own.
 */
import type { Channel, ChannelModel } from 'amqplib';
import { closed } from './closing.ts';

/** More would only wait for the broker together. */
export const DECLARING_CHANNELS = 4;

export type Channels = readonly [Channel, ...Channel[]];

/**
 * Opens so many for the time of the work. An error of the broker closes the channel that it is about, and the rest when the work rejects. Nobody waits for that: where
 * several are refused in one moment, a close that meets the broker's own may get no answer (seen on 3.10 under load: a start that never came to its end).
 */
export async function onChannels<T>(
  model: ChannelModel,
  count: number,
  work: (channels: Channels) => Promise<T>,
): Promise<T> {
  const opening = Array.from({ length: count }, async () => {
    const channel = await model.createChannel();
    channel.on('error', () => {});
    return channel;
  });
  const close = (): Promise<unknown> => Promise.allSettled(opening.map(async (one) => closed(await one)));
  let result: T;
  try {
    result = await work((await Promise.all(opening)) as unknown as Channels);
  } catch (error) {
    void close();
    throw error;
  }
  await close();
  return result;
}

/** All of them, dealt out to the channels; each channel has its share one after the other. */
export async function inTurn<T>(
  channels: Channels,
  items: readonly T[],
  work: (channel: Channel, item: T) => Promise<void>,
): Promise<void> {
  await Promise.all(
    channels.map(async (channel, start) => {
      for (let index = start; index < items.length; index += channels.length)
        await work(channel, items[index] as T);
    }),
  );
}
