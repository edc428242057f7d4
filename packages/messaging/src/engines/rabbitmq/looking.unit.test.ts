/** What is believed of a queue that is counted as empty. */
import { EventEmitter } from 'node:events';
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import { expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { lookThrough } from './looking.ts';
import { settledInTime } from '../../testing/settled-in-time.ts';

const count = async ({ messages }: { readonly messages: readonly unknown[] }): Promise<number> =>
  messages.length;

/** Counted as empty, as a quorum queue without a leader is, whatever it holds, until it has answered a consumer. */
function leaderless(holds: number, answer: () => Promise<void> = async () => {}): ChannelModel {
  let isKnown = false;
  let isLent = false;
  const createChannel = async (): Promise<object> =>
    Object.assign(new EventEmitter(), {
      checkQueue: async () =>
        isLent
          ? { messageCount: 0, consumerCount: 1 }
          : { messageCount: isKnown ? holds : 0, consumerCount: 0 },
      prefetch: async () => {},
      consume: async (_queue: string, take: (message: ConsumeMessage) => void) => {
        await answer();
        isKnown = true;
        isLent = true;
        for (let index = 0; index < holds; index += 1) take({} as ConsumeMessage);
        return { consumerTag: 'one' };
      },
      cancel: async () => {},
      close: async () => {
        isLent = false;
      },
    });
  return { createChannel } as unknown as ChannelModel;
}

it.each([[0], [2]])(
  'believes no count of nothing before the queue itself says so: it holds %i',
  async (holds) => {
    await expect(lookThrough(leaderless(holds), createManualClock(), 'queue', count)).resolves.toBe(holds);
  },
);

const never = (): Promise<void> => new Promise(() => {});

it('asks anew where the queue has lost the question', async () => {
  let asked = 0;
  const model = leaderless(2, () => {
    asked += 1;
    return asked === 1 ? never() : Promise.resolve();
  });
  const clock = createManualClock();
  await expect(settledInTime(clock, lookThrough(model, clock, 'queue', count))).resolves.toBe(2);
});

it('says nothing where the queue never answers', async () => {
  const clock = createManualClock();
  const looking = lookThrough(leaderless(0, never), clock, 'queue', count);
  await expect(settledInTime(clock, looking)).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_UNREACHABLE',
    retryable: true,
  });
});

it('ends with its channels when the connection goes in the middle of a close, which nobody answers', async () => {
  const createChannel = async (): Promise<object> => {
    const channel = Object.assign(new EventEmitter(), {
      checkQueue: async () => ({ messageCount: 0, consumerCount: 0 }),
      prefetch: async () => {},
      consume: async () => ({ consumerTag: 'one' }),
      cancel: async () => {},
      close: () => {
        queueMicrotask(() => channel.emit('close'));
        return new Promise(() => {});
      },
    });
    return channel;
  };
  const model = { createChannel } as unknown as ChannelModel;
  await expect(lookThrough(model, createManualClock(), 'queue', count)).resolves.toBe(0);
});
