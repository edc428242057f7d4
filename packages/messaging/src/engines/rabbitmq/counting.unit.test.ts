/** When a count of nothing is believed. The time it takes is the broker's and that of the way to it. */
import type { Channel } from 'amqplib';
import { expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { countOf, NOTHING, patientCountOf } from './counting.ts';

interface Broker {
  /** Of each question, in milliseconds. */
  readonly way: number;
  /** What the first question after a count takes longer, as one does that is held up. */
  readonly heldUp?: number;
  /** What the broker takes for a count, one after the other; the last one stays. */
  readonly counts: readonly { readonly ms: number; readonly messageCount: number }[];
}

function asked({ way, heldUp = 0, counts }: Broker) {
  const clock = createManualClock();
  let ways = 0;
  let count = 0;
  const channel = {
    checkQueue: async () => {
      const { ms, messageCount } = counts[Math.min(count++, counts.length - 1)] as Broker['counts'][number];
      clock.advance(way + ms);
      return { queue: 'queue', messageCount, consumerCount: 0 };
    },
    checkExchange: async () => clock.advance(ways++ === 0 ? way + heldUp : way),
  } as unknown as Channel;
  return { clock, channel, queue: 'queue' };
}

it.each([
  ['at once', { way: 1, counts: [{ ms: 1, messageCount: 0 }] }, NOTHING],
  ['after as long as a leader is given', { way: 1, counts: [{ ms: 250, messageCount: 0 }] }, undefined],
  ['over a long way', { way: 400, counts: [{ ms: 1, messageCount: 0 }] }, NOTHING],
  ['over a long way, after as long', { way: 400, counts: [{ ms: 250, messageCount: 0 }] }, undefined],
  [
    'after as long, and the next answer is held up',
    { way: 1, heldUp: 300, counts: [{ ms: 250, messageCount: 0 }] },
    undefined,
  ],
])('nothing, told %s', async (_when, broker, believed) => {
  expect(await countOf(asked(broker))).toEqual(believed);
});

it('believes whoever counts something, however long it took', async () => {
  expect(await countOf(asked({ way: 1, counts: [{ ms: 900, messageCount: 3 }] }))).toEqual({
    messageCount: 3,
    consumerCount: 0,
  });
});

it('asks again until it is sure, or its patience is over', async () => {
  const busy = { ms: 250, messageCount: 0 };
  const counts = [busy, busy, { ms: 2, messageCount: 5 }];
  expect(await patientCountOf(asked({ way: 1, counts }), 1_000)).toMatchObject({ messageCount: 5 });
  expect(await patientCountOf(asked({ way: 1, counts: [busy] }), 1_000)).toBeUndefined();
});
