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
import { patientCountOf, type QueueCount } from './counting.ts';
import { KEY_WINDOW } from './given-back.ts';
import { unreachable } from './link.ts';
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
const LONGEST_COUNT_MS = 1_000;

/** At most `limit` of each queue, each queue oldest first. */
export async function peekQueues(
  model: ChannelModel,
  parts: PeekParts,
  limit: number,
): Promise<readonly Received[]> {
  const until = parts.clock.monotonic() + LONGEST_TURN_MS;
  let seen: readonly Received[] = [];
  try {
    for (const index of parts.queues.keys())
      seen = seen.concat(await peekQueue(model, { ...parts, index, until }, limit));
  } catch (error) {
    if ((error as { code?: unknown }).code === NOT_FOUND)
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `there is no such subscription: ${parts.queues[0]}`);
    throw unreachable(`looking into the queue failed: ${(error as Error).message}`, error);
  }
  return seen;
}

interface Place extends PeekParts {
  /** Of the queue, among all. */
  readonly index: number;
  /** When it no longer waits for its turn. */
  readonly until: number;
}

/** On a channel of its own: what comes to this queue while the others are looked into is not lent to it. */
async function peekQueue(model: ChannelModel, place: Place, limit: number): Promise<readonly Received[]> {
  const { queues, index, isSingleConsumer, notesQueues, publish } = place;
  const queue = queues[index] as string;
  const notesQueue = notesQueues?.[index];
  const channel = await model.createChannel();
  channel.on('error', () => {});
  try {
    const taken: readonly (GetMessage | ConsumeMessage)[] = isSingleConsumer
      ? await consume(channel, place, queue)
      : await get(channel, queue, limit);
    // More may come while that is stored.
    for (let noted = 0; notesQueue !== undefined && noted < taken.length; ) {
      const some = taken.slice(noted);
      noted = taken.length;
      const notes = some.map((message) => ({
        copy: copyIdOf(message, decodeMessage(message)),
        count: deliveryCountOf(message),
      }));
      await publish('', notesQueue, encodeNotes(notes));
    }
    return taken.slice(0, limit).map(decodeMessage);
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

/** All that a consumer would be lent; what comes later is added to it. */
async function consume(
  channel: Channel,
  { clock, until }: Place,
  queue: string,
): Promise<readonly ConsumeMessage[]> {
  const count = (): Promise<QueueCount | undefined> =>
    patientCountOf({ clock, channel, queue }, LONGEST_COUNT_MS);
  let state = await count();
  for (; state && state.consumerCount > 0 && clock.monotonic() < until; state = await count())
    await pause(clock, LOOK_AGAIN_MS);
  if (!state) throw new Error('its leader is too busy to say what it holds');
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
