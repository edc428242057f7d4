/** Looking through a queue that another has looked through at the same moment, or of which not all can be had. */
import { EventEmitter } from 'node:events';
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import { expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { createManualClock, type ManualClock } from '../../conformance/manual-clock.ts';
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

/** Five are counted; hands out so many, and then what `after` does. */
function channelThatGives(count: number, after: (channel: EventEmitter, cancel: () => void) => void) {
  const channel = Object.assign(new EventEmitter(), {
    checkQueue: async () => ({ messageCount: 5 - given, consumerCount: given < 0 ? 0 : 1 }),
    consume: async (_queue: string, take: (message: ConsumeMessage | null) => void) => {
      given = count;
      for (let index = 0; index < count; index += 1) take({} as ConsumeMessage);
      after(channel, () => take(null));
    },
    close: async () => {},
  });
  let given = 0;
  const first = channel.checkQueue;
  channel.checkQueue = async () => {
    channel.checkQueue = first;
    return { messageCount: 5, consumerCount: 0 };
  };
  return { createChannel: async () => channel } as unknown as ChannelModel;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const count = async ({ messages }: { readonly messages: readonly unknown[] }): Promise<number> =>
  messages.length;

it('rejects when the rest does not come, instead of going on with a part of it', async () => {
  const clock = createManualClock();
  const looking = browse(
    channelThatGives(3, () => {}),
    clock,
    'queue',
    count,
  );
  await expect(settledInTime(clock, looking)).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_UNREACHABLE',
    retryable: true,
  });
});

it.each([
  ['the connection ends', (channel: EventEmitter) => void channel.emit('close')],
  ['the queue is deleted', (_: EventEmitter, cancel: () => void) => cancel()],
])('rejects when %s before all is here', async (_, after) => {
  await expect(browse(channelThatGives(3, after), createManualClock(), 'queue', count)).rejects.toMatchObject(
    {
      code: 'DB_MSG_ENGINE_UNREACHABLE',
    },
  );
});

it('and is content when all was here before that (control)', async () => {
  const model = channelThatGives(5, (channel) => void channel.emit('close'));
  await expect(browse(model, createManualClock(), 'queue', count)).resolves.toBe(5);
});

/** Counted as empty at first, as a quorum queue without a leader is, whatever it holds; then by what it holds. */
function leaderless(holds: number, answer: () => Promise<void> = async () => {}): ChannelModel {
  let looks = 0;
  const createChannel = async (): Promise<object> => {
    looks += 1;
    const messageCount = looks === 1 ? 0 : holds;
    return Object.assign(new EventEmitter(), {
      checkQueue: async () => ({ messageCount, consumerCount: 0 }),
      consume: async (_queue: string, take: (message: ConsumeMessage) => void) => {
        await answer();
        for (let index = 0; index < holds; index += 1) take({} as ConsumeMessage);
        return { consumerTag: 'one' };
      },
      cancel: async () => {},
      close: async () => {},
    });
  };
  return { createChannel } as unknown as ChannelModel;
}

it.each([[0], [2]])(
  'believes no count of nothing before the queue itself says so: it holds %i',
  async (holds) => {
    await expect(browse(leaderless(holds), createManualClock(), 'queue', count)).resolves.toBe(holds);
  },
);

/** Advances the time until it is settled, a minute at most. */
async function settledInTime<T>(clock: ManualClock, work: Promise<T>): Promise<T> {
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  work.then(end, end);
  while (!ended && clock.monotonic() < 60_000) {
    clock.advance(500);
    await turn();
  }
  return ended ? work : Promise.reject(new Error('it still waits'));
}
const never = (): Promise<void> => new Promise(() => {});

it('asks anew where the queue has lost the question', async () => {
  let asked = 0;
  const model = leaderless(2, () => {
    asked += 1;
    return asked === 1 ? never() : Promise.resolve();
  });
  const clock = createManualClock();
  await expect(settledInTime(clock, browse(model, clock, 'queue', count))).resolves.toBe(2);
});

it('says nothing where the queue never answers', async () => {
  const clock = createManualClock();
  const looking = browse(leaderless(0, never), clock, 'queue', count);
  await expect(settledInTime(clock, looking)).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_UNREACHABLE',
    retryable: true,
  });
});
