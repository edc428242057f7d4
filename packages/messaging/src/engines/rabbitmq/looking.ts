/**
 * A look through a queue (`browse.ts`) that is told the truth about an empty one, and has room for a long one. All are about what RabbitMQ 3.10 does not say:
 *
 * - A passive declare of a queue with a single active consumer counts the ACTIVE one only. Who was let in beside another, because both had asked before either
 *   of them was there, waits as a consumer that gets nothing, and cannot tell that from being alone with an empty queue: nothing ready, one consumer. Of ten pairs that began
 *   together nine saw it so. An empty look is therefore believed only when, after it has gone, nobody reads the queue and nothing is in it; else it waits for its turn again.
 * - A quorum queue without a leader is counted as empty, whatever it holds, and so is one whose leader is busy (`counting.ts`). So an empty look is asked again by a consumer that comes and goes,
 *   which the queue itself answers; without a leader it does not (`answered.ts`). That it is gone again is counted surely.
 * - Without a prefetch a quorum queue lends 2,000 messages to a consumer and no more, and a look takes all or nothing.
 */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import { type Ask, answered, LONGEST_ANSWER_MS, surelyAnswered } from './answered.ts';
import { browse, type Browsed } from './browse.ts';
import { closed } from './closing.ts';
import { countOf, type Counting, patientCountOf } from './counting.ts';
import { LARGEST_WINDOW, MOST_CONSUMERS, succeed } from './given-back.ts';
import { unreachable } from './link.ts';

/** A queue that has a leader answers within milliseconds, and asking once more costs little. */
const ANSWER_MS = 2_000;
const COMING_MS = 20;
/** The election of a leader takes a few seconds; as long may others look before. */
const LONGEST_DOUBT_MS = 30_000;

/** As `browse`. `look` is called once. Rejects as retryable also when the queue does not say for half a minute whether it is empty. */
export async function lookThrough<T>(
  model: ChannelModel,
  clock: Clock,
  queue: string,
  look: (browsed: Browsed) => Promise<T>,
): Promise<T> {
  const end = clock.monotonic() + LONGEST_DOUBT_MS;
  for (;;) {
    const seen = await browse({ model, clock, queue, prefetch: LARGEST_WINDOW }, async (browsed) =>
      browsed.messages.length === 0 ? undefined : { result: await look(browsed) },
    );
    if (seen) return seen.result;
    const state = await stateOf(model, clock, queue);
    if (state === 'empty') return look({ messages: [], take: () => {} });
    if (clock.monotonic() > end)
      throw unreachable(
        state === 'silent'
          ? `"${queue}" has no leader, or one that is busy: it is counted as empty, and does not answer`
          : `others look through "${queue}", one after the other, for too long`,
      );
  }
}

async function stateOf(
  model: ChannelModel,
  clock: Clock,
  queue: string,
): Promise<'empty' | 'in use' | 'silent'> {
  const asked = `looking at "${queue}"`;
  const gives = await onChannel({ model, clock, asked }, async (channel) => {
    // It takes all that it is given: where anything is counted, nothing has to be taken to know that.
    const counted = await patientCountOf({ clock, channel, queue }, ANSWER_MS);
    if (!counted) return undefined;
    if (counted.messageCount + counted.consumerCount > 0) return true;
    return givesSomething({ clock, channel, queue });
  });
  if (gives !== false) return gives ? 'in use' : 'silent';
  const counted = await onChannel({ model, clock, asked }, (channel) => countOf({ clock, channel, queue }));
  if (!counted) return 'silent';
  return counted.messageCount + counted.consumerCount === 0 ? 'empty' : 'in use';
}

interface Asking {
  readonly model: ChannelModel;
  readonly clock: Clock;
  readonly asked: string;
}

/** On a channel of its own, which is gone with all it was given when this resolves; without an answer the broker closes it later, because it answers in order. */
async function onChannel<T>(
  { model, clock, asked }: Asking,
  ask: (channel: Channel) => Promise<T | undefined>,
): Promise<T | undefined> {
  const channel = await surelyAnswered(clock, asked, model.createChannel());
  channel.on('error', () => {});
  let answer: T | undefined;
  try {
    answer = await surelyAnswered(clock, asked, ask(channel));
    return answer;
  } finally {
    const closing = surelyAnswered(clock, asked, closed(channel)).catch(() => {});
    if (answer !== undefined) await closing;
  }
}

/** Whoever asks on a channel of `onChannel` is not waited for without an end. */
const asIs: Ask = (answer) => answer;

/**
 * What it gives comes before the answer that the other consumer is gone, and all that it holds after the first answer, which is why only that one is waited for so briefly. Undefined without one. `basic.get` would
 * do, but a queue with a single active consumer refuses it.
 */
async function givesSomething({ clock, channel, queue }: Counting): Promise<boolean | undefined> {
  let given = 0;
  const take = (message: ConsumeMessage | null): void => {
    if (message) given += 1;
  };
  await channel.prefetch(LARGEST_WINDOW);
  const asking = succeed({ channel, queue, ask: asIs }, 0, take).then(() => true);
  if (!(await answered(clock, ANSWER_MS, asking))) return undefined;
  // Not this one is cancelled: it would keep what it has while the next one gets what follows.
  const { consumerTag } = await channel.consume(queue, () => {});
  await channel.cancel(consumerTag);
  if (given === 0) return false;
  await holdAll({ clock, channel, queue }, take, () => given);
  return true;
}

/** What was given goes back with the channel, and behind what was not (`given-back.ts`). */
async function holdAll(
  { clock, channel, queue }: Counting,
  take: (message: ConsumeMessage | null) => void,
  given: () => number,
): Promise<void> {
  const end = clock.monotonic() + LONGEST_ANSWER_MS;
  for (let number = 1; number < MOST_CONSUMERS; number += 1) {
    const counted = await countOf({ clock, channel, queue });
    if (counted && counted.consumerCount > 0 && counted.messageCount === 0) return;
    while (given() < number * LARGEST_WINDOW && clock.monotonic() < end) await pause(clock, COMING_MS);
    await succeed({ channel, queue, ask: asIs }, number, take);
  }
}
