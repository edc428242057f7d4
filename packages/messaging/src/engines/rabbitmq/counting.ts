/**
 * How much a queue holds and how many read it, by a passive declare. The broker gives the leader of a quorum queue 250 ms to say so, and counts the queue as empty and without consumers
 * when it does not (seen on 3.10: `{0, 0}` after 251 ms, of a queue with a consumer). A leader takes that long when it gives back tens of thousands of messages beside other work.
 */
import type { Channel } from 'amqplib';
import type { Clock } from '../../clock.ts';

export interface QueueCount {
  /** Ready to be handed out. */
  readonly messageCount: number;
  /** Of a queue with a single active consumer that one only. */
  readonly consumerCount: number;
}

export interface Counting {
  readonly clock: Clock;
  readonly channel: Channel;
  readonly queue: string;
}

export const NOTHING: QueueCount = { messageCount: 0, consumerCount: 0 };

/** Less than what the leader is given. */
const SURE_MS = 200;
/** Without the way there and back, which is only known as well as a busy process keeps time. */
const SURE_BEYOND_THE_WAY_MS = 100;
const WAYS = 3;
/** There is one in each virtual host, and the channel itself answers for it. */
const ANY_EXCHANGE = 'amq.direct';

/** Undefined when nothing was counted and it took as long as the broker waits for a leader, the way there and back not included. Rejects as the channel does. */
export async function countOf({ clock, channel, queue }: Counting): Promise<QueueCount | undefined> {
  const begun = clock.monotonic();
  const { messageCount, consumerCount } = await channel.checkQueue(queue);
  const tookMs = clock.monotonic() - begun;
  if (messageCount + consumerCount > 0 || tookMs < SURE_MS) return { messageCount, consumerCount };
  return tookMs - (await wayMsOf({ clock, channel })) < SURE_BEYOND_THE_WAY_MS ? NOTHING : undefined;
}

/** The shortest of some: what held one of them up may not have held up the count. */
async function wayMsOf({ clock, channel }: Pick<Counting, 'clock' | 'channel'>): Promise<number> {
  let shortest = Number.POSITIVE_INFINITY;
  for (let asked = 0; asked < WAYS; asked += 1) {
    const begun = clock.monotonic();
    await channel.checkExchange(ANY_EXCHANGE);
    shortest = Math.min(shortest, clock.monotonic() - begun);
  }
  return shortest;
}

/** Asks for so many milliseconds, once at least; undefined as above when it was never sure. */
export async function patientCountOf(counting: Counting, ms: number): Promise<QueueCount | undefined> {
  const end = counting.clock.monotonic() + ms;
  for (;;) {
    const counted = await countOf(counting);
    if (counted || counting.clock.monotonic() > end) return counted;
  }
}
