/**
 * What a quorum queue was given back it hands out before anything else, and what it is given back again it puts BEHIND that. So whoever takes a part of it and gives that back changes the order
 * of the queue: of 250 messages that a consumer left behind when it ended, a look at five made 5 to 249, 0 to 4 (seen on 3.10). Whoever may give back has to hold all that was given back before.
 *
 * - Of a queue that hands out in order per key everybody is lent the same number of messages, consumers and looks, whatever they were told to: so no more than that can have been given back.
 * - Of a queue that is looked through everybody takes all (`browse.ts`).
 */
import type { Channel, ConsumeMessage } from 'amqplib';
import type { Ask } from './answered.ts';

/** Unsettled messages that whoever reads a queue with order per key is lent, never more or fewer: what waits for its key is among them. Processes of several versions have to agree on it. */
export const KEY_WINDOW = 250;
/** What AMQP can say of how many messages a consumer is lent; amqplib throws half way through a call with more. */
export const LARGEST_WINDOW = 65_535;
/** Their tags are one digit, so that they sort, and the broker keeps so few consumers sorted. */
export const MOST_CONSUMERS = 8;

interface Line {
  readonly channel: Channel;
  readonly queue: string;
  readonly ask: Ask;
}

/**
 * The consumer `number`, from 0, of several that together take more than one can be lent. It is in line before the one in front of it is cancelled, which keeps what it has: at no moment is the queue
 * without an active consumer. What that one is lent has to have come before: on a cluster the answers come from the leader and the messages from the node of this connection, and what comes for a consumer
 * that is gone goes back in no order. The close of the channel gives all of it back in one step, consumer by consumer in the order of their tags. Resolves when the queue has applied it.
 */
export async function succeed(
  { channel, queue, ask }: Line,
  number: number,
  take: (message: ConsumeMessage | null) => void,
): Promise<void> {
  await ask(channel.consume(queue, take, { consumerTag: String(number) }));
  if (number > 0) await ask(channel.cancel(String(number - 1)));
}
