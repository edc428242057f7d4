/** Looking through a queue that another has looked through at the same moment, or of which not all can be had. */
import { EventEmitter } from 'node:events';
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import { expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { signal } from '../../conformance/fixture.ts';
import { browse, Turns } from './browse.ts';
import { settledInTime } from '../../testing/settled-in-time.ts';

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
  const found = await browse(
    { model, clock: systemClock, queue: 'queue' },
    async ({ messages }) => messages.length,
  );
  expect(found).toBe(2);
});

it('ends with its channel when the connection goes in the middle of the close, which nobody answers', async () => {
  const channel = Object.assign(new EventEmitter(), {
    checkQueue: async () => ({ messageCount: 0, consumerCount: 0 }),
    close: () => {
      queueMicrotask(() => channel.emit('close'));
      return new Promise(() => {});
    },
  });
  const model = { createChannel: async () => channel } as unknown as ChannelModel;
  const looking = browse({ model, clock: createManualClock(), queue: 'queue' }, count);
  await expect(looking).resolves.toBe(0);
});

/** So many are counted; hands out `count`, and then what `after` does. */
function channelThatGives(
  count: number,
  after: (channel: EventEmitter, cancel: () => void) => void,
  counted = 5,
) {
  const channel = Object.assign(new EventEmitter(), {
    checkQueue: async () => ({ messageCount: counted - given, consumerCount: given < 0 ? 0 : 1 }),
    consume: async (_queue: string, take: (message: ConsumeMessage | null) => void) => {
      given = count;
      for (let index = 0; index < count; index += 1) take({} as ConsumeMessage);
      after(channel, () => take(null));
    },
    prefetch: async () => {},
    close: async () => {},
  });
  let given = 0;
  const first = channel.checkQueue;
  channel.checkQueue = async () => {
    channel.checkQueue = first;
    return { messageCount: counted, consumerCount: 0 };
  };
  return { createChannel: async () => channel } as unknown as ChannelModel;
}

const count = async ({ messages }: { readonly messages: readonly unknown[] }): Promise<number> =>
  messages.length;

it('rejects when the rest does not come, instead of going on with a part of it', async () => {
  const clock = createManualClock();
  const looking = browse({ model: channelThatGives(3, () => {}), clock, queue: 'queue' }, count);
  await expect(settledInTime(clock, looking)).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_UNREACHABLE',
    retryable: true,
  });
});

it.each([
  ['the connection ends', (channel: EventEmitter) => void channel.emit('close')],
  ['the queue is deleted', (_: EventEmitter, cancel: () => void) => cancel()],
])('rejects when %s before all is here', async (_, after) => {
  await expect(
    browse({ model: channelThatGives(3, after), clock: createManualClock(), queue: 'queue' }, count),
  ).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_UNREACHABLE',
  });
});

it('and is content when all was here before that (control)', async () => {
  const model = channelThatGives(5, (channel) => void channel.emit('close'));
  await expect(browse({ model, clock: createManualClock(), queue: 'queue' }, count)).resolves.toBe(5);
});

const broken = (): Promise<never> => Promise.reject(new Error('Channel ended, no reply will be forthcoming'));
const silent = (): Promise<never> => new Promise(() => {});

it.each([
  ['the channel cannot be opened', { createChannel: broken }],
  ['the channel is never opened', { createChannel: silent }],
  ['the channel ends before anything is counted', { checkQueue: broken }],
  ['the broker does not count', { checkQueue: silent }],
  ['the channel ends before the consumer is there', { consume: broken }],
  ['the broker does not answer the consumer', { consume: silent }],
])(
  'is unreachable, and does not wait for ever, when %s',
  async (_, { createChannel, ...methods }: object & { createChannel?: () => Promise<never> }) => {
    const clock = createManualClock();
    const channel = Object.assign(new EventEmitter(), {
      checkQueue: async () => ({ messageCount: 1, consumerCount: 0 }),
      close: silent,
      ...methods,
    });
    const model = { createChannel: createChannel ?? (async () => channel) } as unknown as ChannelModel;
    await expect(settledInTime(clock, browse({ model, clock, queue: 'queue' }, count))).rejects.toMatchObject(
      {
        code: 'DB_MSG_ENGINE_UNREACHABLE',
        retryable: true,
      },
    );
  },
);

it('refuses more than may be looked through, and takes none of it', async () => {
  const model = channelThatGives(33, () => {}, 33);
  const clock = createManualClock();
  await expect(browse({ model, clock, queue: 'queue', prefetch: 4 }, count)).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_REFUSED',
    retryable: false,
  });
});

it('is done in turns within a process, and nothing is kept of those that are over', async () => {
  const turns = new Turns();
  const order: string[] = [];
  const first = signal();
  const turn = (name: string, until: Promise<unknown>) => async () => {
    order.push(`${name} begins`);
    await until;
    order.push(`${name} ends`);
    return name;
  };
  const one = turns.run('queue', turn('one', first.fired));
  const broken = turns.run('queue', () => Promise.reject(new Error('gone')));
  const three = turns.run('queue', turn('three', Promise.resolve()));
  const other = turns.run('other', turn('other', Promise.resolve()));
  expect(await other).toBe('other');
  expect(turns.size).toBe(1);
  first.fire();
  expect(await Promise.allSettled([one, broken, three])).toMatchObject([
    { value: 'one' },
    { reason: { message: 'gone' } },
    { value: 'three' },
  ]);
  expect(order.filter((step) => !step.startsWith('other'))).toEqual([
    'one begins',
    'one ends',
    'three begins',
    'three ends',
  ]);
  expect(turns.size).toBe(0);
});
