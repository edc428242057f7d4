/**
 * A look at what waits, for people. AMQP 0-9-1 has no browsing: messages are taken on a channel of their own and go back, to their place, when it
 * closes. Quorum queues count that like a crash, so a note says beforehand that it was none.
 *
 * `basic.get` takes only what is ready and needs no consumer, but a queue with a single active consumer refuses it. There a consumer is used, and
 * only while nobody else consumes: what waits behind another process's consumer is not seen. There the order counts, so it takes what a
 * consumer would be lent (`given-back.ts`), however little it shows, and shows no more than that of each queue.
 */
import type { Channel, ChannelModel, ConsumeMessage, GetMessage } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { closed } from './closing.ts';
import { unreachable } from './link.ts';
import { KEY_WINDOW } from './given-back.ts';
import { copyIdOf, deliveryCountOf, encodeNotes } from './notes.ts';
import { decodeMessage, type Parcel, type Received } from './wire.ts';

export interface PeekParts {
  readonly clock: Clock;
  readonly queues: readonly string[];
  readonly isSingleConsumer: boolean;
  /** Of each queue, or one for all; undefined where the queues do not count. */
  readonly notesQueues: readonly string[] | undefined;
  readonly publish: (exchange: string, routingKey: string, parcel: Parcel) => Promise<void>;
}

const NOT_FOUND = 404;
const LONGEST_TRANSFER_MS = 5_000;
/** For all partitions together: another look has left by then; a consumer that is still there is a real one. */
const LONGEST_TURN_MS = 300;
const LOOK_AGAIN_MS = 10;

/** At most `limit` of each queue, each queue oldest first. */
export async function peekQueues(
  model: ChannelModel,
  { clock, queues, isSingleConsumer, notesQueues, publish }: PeekParts,
  limit: number,
): Promise<readonly Received[]> {
  const channel = await model.createChannel();
  channel.on('error', () => {});
  try {
    const until = clock.monotonic() + LONGEST_TURN_MS;
    let seen: readonly Received[] = [];
    for (const [index, queue] of queues.entries()) {
      const taken: readonly (GetMessage | ConsumeMessage)[] = isSingleConsumer
        ? await consume({ channel, clock, until }, queue)
        : await get(channel, queue, limit);
      const received = taken.map(decodeMessage);
      const notes = taken.map((message, place) => ({
        copy: copyIdOf(message, received[place] as Received),
        count: deliveryCountOf(message),
      }));
      const notesQueue = notesQueues?.[index];
      if (notesQueue !== undefined && notes.length > 0) await publish('', notesQueue, encodeNotes(notes));
      seen = seen.concat(received.slice(0, limit));
    }
    return seen;
  } catch (error) {
    if ((error as { code?: unknown }).code === NOT_FOUND)
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `there is no such subscription: ${queues[0]}`);
    throw unreachable(`looking into the queue failed: ${(error as Error).message}`, error);
  } finally {
    await closed(channel);
  }
}

async function get(channel: Channel, queue: string, limit: number): Promise<GetMessage[]> {
  const found: GetMessage[] = [];
  while (found.length < limit) {
    const message = await channel.get(queue);
    if (message === false) break;
    found.push(message);
  }
  return found;
}

interface Look {
  readonly channel: Channel;
  readonly clock: Clock;
  /** When it no longer waits for its turn. */
  readonly until: number;
}

/** All that a consumer would be lent. */
async function consume({ channel, clock, until }: Look, queue: string): Promise<ConsumeMessage[]> {
  let state = await channel.checkQueue(queue);
  for (; state.consumerCount > 0 && clock.monotonic() < until; state = await channel.checkQueue(queue))
    await pause(clock, LOOK_AGAIN_MS);
  const expected = Math.min(KEY_WINDOW, state.messageCount);
  if (state.consumerCount > 0 || expected === 0) return [];
  const found: ConsumeMessage[] = [];
  const complete = new AbortController();
  channel.on('close', () => complete.abort());
  await channel.prefetch(KEY_WINDOW);
  await channel.consume(queue, (message) => {
    if (message) found.push(message);
    if (!message || found.length >= expected) complete.abort();
  });
  await pause(clock, LONGEST_TRANSFER_MS, complete.signal);
  return found;
}
