/**
 * A look through a queue (`browse.ts`) that is told the truth about an empty one, and has room for a long one. Both are about what RabbitMQ 3.10 does not say:
 *
 * - A passive declare of a queue with a single active consumer counts the ACTIVE one only. Who was let in beside another, because both had asked before either
 *   of them was there, waits as a consumer that gets nothing, and cannot tell that from being alone with an empty queue: nothing ready, one consumer. Of ten pairs that began
 *   together nine saw it so. An empty look is therefore believed only when, after it has gone, nobody reads the queue and nothing is in it; else it waits for its turn again.
 * - Without a prefetch a quorum queue lends 2,000 messages to a consumer and no more, and a look takes all or nothing.
 */
import type { ChannelModel } from 'amqplib';
import type { Clock } from '../../clock.ts';
import { browse, type Browsed } from './browse.ts';
import { unreachable } from './link.ts';

/** What AMQP can say. A queue with more messages than this cannot be looked through. */
const LARGEST_WINDOW = 65_535;

/** As `browse`. `look` is called once. */
export async function lookThrough<T>(
  model: ChannelModel,
  clock: Clock,
  queue: string,
  look: (browsed: Browsed) => Promise<T>,
): Promise<T> {
  const wide = withWideChannels(model);
  for (;;) {
    const seen = await browse(wide, clock, queue, async (browsed) =>
      browsed.messages.length === 0 ? undefined : { result: await look(browsed) },
    );
    if (seen) return seen.result;
    if (await isEmptyAndUnread(model, queue)) return look({ messages: [], take: () => {} });
  }
}

function withWideChannels(model: ChannelModel): ChannelModel {
  const createChannel: ChannelModel['createChannel'] = async () => {
    const channel = await model.createChannel();
    await channel.prefetch(LARGEST_WINDOW);
    return channel;
  };
  return Object.assign(Object.create(model) as ChannelModel, { createChannel });
}

async function isEmptyAndUnread(model: ChannelModel, queue: string): Promise<boolean> {
  const channel = await model.createChannel();
  channel.on('error', () => {});
  try {
    const { messageCount, consumerCount } = await channel.checkQueue(queue);
    return messageCount === 0 && consumerCount === 0;
  } catch (error) {
    throw unreachable(`looking at "${queue}" failed: ${(error as Error).message}`, error);
  } finally {
    await channel.close().catch(() => {});
  }
}
