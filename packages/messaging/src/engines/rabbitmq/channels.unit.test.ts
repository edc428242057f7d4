/** Channels for the time of some work, on a broker that leaves the question to close one without an answer. */
import type { ChannelModel } from 'amqplib';
import { expect, it } from 'vitest';
import { onChannels } from './channels.ts';

/** As amqplib has it when a close meets one of the broker. */
function modelWithChannels(close: () => Promise<void>): {
  readonly model: ChannelModel;
  readonly closed: number[];
} {
  const closed: number[] = [];
  let next = 1;
  const createChannel = async (): Promise<object> => {
    const number = next++;
    return {
      on: () => {},
      once: () => {},
      close: () => {
        closed.push(number);
        return close();
      },
    };
  };
  return { model: { createChannel } as unknown as ChannelModel, closed };
}

it('an error is told also where a channel does not close, and all are asked to', async () => {
  const { model, closed } = modelWithChannels(() => new Promise(() => {}));
  const refused = new Error('not found');
  await expect(onChannels(model, 3, () => Promise.reject(refused))).rejects.toBe(refused);
  await new Promise((resolve) => setImmediate(resolve));
  expect(closed).toEqual([1, 2, 3]);
});

it('what has come to its end has closed its channels', async () => {
  const { model, closed } = modelWithChannels(async () => {});
  expect(await onChannels(model, 2, async (channels) => channels.length)).toBe(2);
  expect(closed).toEqual([1, 2]);
});
