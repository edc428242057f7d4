/**
 * Questions that a queue answers, and not the channel: to consume, or to end it. A quorum queue without a leader loses the question, and the broker gives up on it only
 * after a minute (seen on 3.10: 65 s, then the channel is closed), in which the channel does nothing else. Whoever asks gives up earlier, leaves the
 * channel alone and asks anew on another one; should the broker serve the first after all, what it handed out goes back when that channel is closed.
 */
import type { Channel, ConsumeMessage } from 'amqplib';
import type { Clock } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { unreachable } from './link.ts';

/** A loaded broker takes a second for what a consumer goes on with; nobody else waits for it. */
export const LONGEST_ANSWER_MS = 10_000;

/** The answer, or undefined when there is none within so many milliseconds. Rejects as `answer` does. */
export function answered<T>(clock: Clock, ms: number, answer: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const cancel = clock.setTimer(ms, () => resolve(undefined));
    answer.then(resolve, reject).finally(cancel);
  });
}

/** `surelyAnswered`, about one thing. */
export type Ask = <A>(answer: Promise<A>) => Promise<A>;

/** The answer; unreachable when it does not come in time, or when the channel or the connection is gone, which amqplib tells in words only. */
export async function surelyAnswered<T>(clock: Clock, what: string, answer: Promise<T>): Promise<T> {
  try {
    const come = await answered(
      clock,
      LONGEST_ANSWER_MS,
      answer.then((value) => ({ value })),
    );
    if (come) return come.value;
  } catch (error) {
    if (error instanceof MessagingError) throw error;
    throw unreachable(`${what} failed: ${(error as Error).message}`, error);
  }
  throw unreachable(`${what}: the broker does not answer`);
}

export interface Consuming {
  readonly clock: Clock;
  readonly channel: Channel;
  readonly queue: string;
}

/**
 * Begins to consume, on a channel that stays open for it, and gives the tag. `onMessage` may be called before it resolves; `onCancelled` when the queue was deleted or its
 * node is gone. Without an answer it is unreachable, and the channel, on which messages may still come, is for its owner to give up.
 */
export async function beginConsuming(
  { clock, channel, queue }: Consuming,
  onMessage: (message: ConsumeMessage) => void,
  onCancelled: () => void,
): Promise<string> {
  const take = (message: ConsumeMessage | null): void => (message ? onMessage(message) : onCancelled());
  const begun = await answered(clock, LONGEST_ANSWER_MS, channel.consume(queue, take));
  if (!begun) throw unreachable(`the queue "${queue}" has no leader: it does not answer`);
  return begun.consumerTag;
}
