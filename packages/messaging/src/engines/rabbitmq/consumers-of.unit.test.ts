/** Of a queue whose leader is gone: it is counted as one without consumers until the next leader is known. */
import { EventEmitter } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { settledInTime } from '../../testing/settled-in-time.ts';
import { consumersOf } from './consumers-of.ts';

/** Counted as having none until a consumer was answered. */
function leaderless(consumers: number, answer: () => Promise<void> = async () => {}) {
  let known = 0;
  const asked: number[] = [];
  const createChannel = async (): Promise<object> =>
    Object.assign(new EventEmitter(), {
      checkQueue: async () => ({ messageCount: 0, consumerCount: known }),
      prefetch: async (lent: number) => void asked.push(lent),
      consume: async () => {
        await answer();
        known = consumers;
        return { consumerTag: 'one' };
      },
      close: async () => {},
    });
  const model = { createChannel } as unknown as ChannelModel;
  return { model, asked, clock: createManualClock(), queue: 'queue' };
}

it.each([[0], [2]])('is believed when the queue itself has answered: %i', async (consumers) => {
  const { clock, ...rest } = leaderless(consumers);
  const found = consumersOf({ clock, ...rest, lent: 250 });
  await expect(settledInTime(clock, found)).resolves.toBe(consumers);
  expect(rest.asked).toEqual([250]);
});

it('rejects as retryable where the queue never answers', async () => {
  const { clock, ...rest } = leaderless(0, () => new Promise(() => {}));
  await expect(settledInTime(clock, consumersOf({ clock, ...rest, lent: 250 }))).rejects.toMatchObject({
    code: 'DB_MSG_ENGINE_UNREACHABLE',
    retryable: true,
  });
});

it('takes nothing from a queue of others', async () => {
  const { asked, ...rest } = leaderless(2);
  await expect(consumersOf({ ...rest, lent: undefined })).resolves.toBe(0);
  expect(asked).toEqual([]);
});
