/** Of a queue whose leader is gone: it is counted as one without consumers until the next leader is known. */
import { EventEmitter } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { settledInTime } from '../../testing/settled-in-time.ts';
import { consumersOf } from './consumers-of.ts';

/** Counted as having none until a consumer was answered, which is counted for as many more counts after its channel is gone. */
function leaderless(consumers: number, { ghosts = 0, answer = async (): Promise<void> => {} } = {}) {
  let known = 0;
  let left = 0;
  const asked: number[] = [];
  const createChannel = async (): Promise<object> =>
    Object.assign(new EventEmitter(), {
      checkQueue: async () => ({ messageCount: 0, consumerCount: known + (left-- > 0 ? 1 : 0) }),
      prefetch: async (lent: number) => void asked.push(lent),
      consume: async () => {
        await answer();
        [known, left] = [consumers, ghosts];
        return { consumerTag: 'one' };
      },
      close: async () => {},
    });
  const model = { createChannel } as unknown as ChannelModel;
  return { model, asked, clock: createManualClock(), queue: 'queue', lent: 250 };
}

it.each([
  [0, 0],
  [0, 3],
  [2, 0],
])(
  '%i are believed when the queue itself has answered; the question is counted %i times',
  async (consumers, ghosts) => {
    const broker = leaderless(consumers, { ghosts });
    await expect(settledInTime(broker.clock, consumersOf(broker))).resolves.toBe(consumers);
    expect(broker.asked).toEqual([250]);
  },
);

it('rejects as retryable where the queue never answers', async () => {
  const broker = leaderless(0, { answer: () => new Promise(() => {}) });
  await expect(settledInTime(broker.clock, consumersOf(broker))).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_UNREACHABLE',
    retryable: true,
  });
});
