/**
 * What the broker says for a connection that can say nothing any more. AMQP has no last will, but a queue with a TTL of 0 makes one: a message in it that
 * cannot be delivered at once expires, and what expires is dead-lettered.
 *
 *   published --at once--> lent to its owner, who never settles it --the connection ends--> back in the queue, where nobody reads --expired--> the hints
 *
 * So all others hear of a killed process when the broker does, some milliseconds after its socket closed, instead of at their next ping. It is a hint like any other:
 * whoever hears it asks whether that member is still there (`members.ts`) and believes only the answer, because a channel may end and its connection live on.
 *
 * It is published over the OTHER connection: an alarm makes the broker read nothing more from one that publishes during it, so that a consumer which came back in an alarm would have got no answer until its end.
 *
 * The queue is a classic one: it lives no longer than its owner, and a quorum queue would count and sync for nothing. It is durable only because
 * newer brokers phase out what is neither durable nor exclusive; exclusive it cannot be, or it would be deleted before its message expires.
 */
import type { Channel, ChannelModel } from 'amqplib';
import type { Clock } from '../../clock.ts';
import { answered, LONGEST_ANSWER_MS } from './answered.ts';
import { closed } from './closing.ts';
import { unreachable } from './link.ts';
import type { Parcel } from './wire.ts';

export interface WillParts {
  readonly queue: string;
  readonly exchange: string;
  readonly parcel: Parcel;
  readonly clock: Clock;
  readonly publish: (exchange: string, routingKey: string, parcel: Parcel) => Promise<void>;
}

/** After its owner the queue is of no use. */
const EXPIRES_MS = 10_000;

/** Stands when it resolves, and takes nothing back when the channel closes. Rejects as `publish` does. */
export async function leaveWill(model: ChannelModel, parts: WillParts): Promise<Channel> {
  const { queue, exchange, parcel, clock, publish } = parts;
  const channel = await model.createChannel();
  channel.on('error', () => {});
  await channel.assertQueue(queue, {
    durable: true,
    arguments: {
      'x-queue-type': 'classic',
      'x-expires': EXPIRES_MS,
      'x-message-ttl': 0,
      'x-dead-letter-exchange': exchange,
      'x-dead-letter-routing-key': '',
    },
  });
  let lent = (): void => {};
  const standing = new Promise<void>((resolve, reject) => {
    lent = resolve;
    channel.on('close', () => reject(new Error('the channel of the last will closed')));
  });
  // It may be rejected while the consumer is still being asked for.
  standing.catch(() => {});
  await channel.consume(queue, () => lent());
  try {
    const left = publish('', queue, parcel).then(() => standing.then(() => true));
    if (!(await answered(clock, LONGEST_ANSWER_MS, left)))
      throw unreachable('the last will does not come back');
  } catch (error) {
    void closed(channel);
    throw error;
  }
  return channel;
}
