/**
 * Looking through a queue without an end: AMQP 0-9-1 has no browsing, so everything is taken on a channel of its own and goes back, in order, when that
 * channel closes. Meanwhile others see the queue as empty; they look at its consumers and wait. Dead letters and notes are few, and only
 * for queues of a few the cost (all of it is transferred) is acceptable.
 *
 * All or nothing: a part would say that a key is not held that is, and hand out what follows its dead letter. When the rest does not come, or the channel is
 * lost meanwhile, it rejects as retryable.
 *
 * What is more than the broker lends to one consumer is taken by several, one after the other on the same channel (`given-back.ts`). Who was let in beside this one could stand between two of them
 * and get the middle of the queue; so whoever needs several claims the queue first.
 */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { Acks } from './acks.ts';
import { type Ask, surelyAnswered } from './answered.ts';
import { closed } from './closing.ts';
import { MOST_CONSUMERS, succeed } from './given-back.ts';
import { unreachable } from './link.ts';
import { solely } from './sole-look.ts';

export interface Browsed {
  /** What comes while it is being looked through is added to them. */
  readonly messages: readonly ConsumeMessage[];
  /** Removes one of them for good. */
  readonly take: (message: ConsumeMessage) => void;
}

const TURN_MS = 20;
/** Another that browses is gone by then, or its connection is dead and the broker has not noticed yet. */
const LONGEST_TURN_MS = 30_000;
/** Without one more message. */
const LONGEST_SILENCE_MS = 15_000;

export interface Looked {
  readonly model: ChannelModel;
  readonly clock: Clock;
  readonly queue: string;
  /** Messages that the broker lends to one consumer; without it a quorum queue lends 2,000. */
  readonly prefetch?: number;
  /** This process has claimed the queue, and may take it with several consumers. */
  readonly isSole?: boolean;
}

/** Calls `look` with all messages; what it does not take stays in the queue. Rejects with a retryable error when not all can be had. */
export async function browse<T>(looked: Looked, look: (browsed: Browsed) => Promise<T>): Promise<T> {
  const { model, clock, queue, prefetch, isSole = false } = looked;
  /** Nothing that is asked of the broker is waited for without an end: others wait for their turn behind it. */
  const ask: Ask = (answer) => surelyAnswered(clock, `looking through "${queue}"`, answer);
  const channel = await ask(model.createChannel());
  let gone: Error | undefined;
  const ended = new AbortController();
  const cut = (error: Error): void => {
    gone ??= error;
    ended.abort();
  };
  channel.on('error', cut);
  channel.on('close', () => cut(new Error('the broker ended it')));
  try {
    if (prefetch !== undefined) await ask(channel.prefetch(prefetch));
    const expected = await waitForTurn(clock, () => ask(channel.checkQueue(queue)));
    if (expected === 0) return await look({ messages: [], take: () => {} });
    const most = prefetch ?? expected;
    if (expected > most * MOST_CONSUMERS) throw tooMany(queue, expected, most * MOST_CONSUMERS);
    if (expected > most && !isSole)
      return await solely({ model, clock, queue, ask }, () => browse({ ...looked, isSole: true }, look));
    const messages: ConsumeMessage[] = [];
    await transferAll(
      { clock, channel, queue, messages, expected, most, ended: ended.signal, ask },
      (one) => {
        if (!one) return cut(new Error('the queue is gone'));
        messages.push(one);
        if (messages.length >= expected) ended.abort();
      },
    );
    if (messages.length < expected && gone) throw gone;
    const taken: ConsumeMessage[] = [];
    const result = await look({ messages, take: (message) => void taken.push(message) });
    await remove({ channel, queue, ask }, taken);
    return result;
  } catch (error) {
    throw gone ? unreachable(`looking through "${queue}" failed: ${(gone as Error).message}`, gone) : error;
  } finally {
    await ask(closed(channel)).catch(() => {});
  }
}

function tooMany(queue: string, count: number, most: number): MessagingError {
  return new MessagingError(
    'DB_MSG_ENGINE_REFUSED',
    `"${queue}" holds ${count} messages, and no more than ${most} can be looked through: move some of them to another queue, or delete them, with the broker's own tools`,
  );
}

interface Transfer {
  readonly clock: Clock;
  readonly channel: Channel;
  readonly queue: string;
  readonly messages: readonly ConsumeMessage[];
  readonly expected: number;
  /** What one consumer is lent. */
  readonly most: number;
  /** All is here, or the channel is gone. */
  readonly ended: AbortSignal;
  readonly ask: Ask;
}

async function transferAll(
  transfer: Transfer,
  arrive: (message: ConsumeMessage | null) => void,
): Promise<void> {
  const { expected, most, ended } = transfer;
  const count = Math.ceil(expected / most);
  let inLine = 0;
  try {
    while (inLine < count && !ended.aborted) {
      await succeed(transfer, inLine++, arrive);
      await transferred(transfer, Math.min(expected, inLine * most));
    }
  } catch (error) {
    // What was lent goes back with the channel, behind what was not: so the rest is taken, too, whether it comes or not.
    for (; inLine < count; inLine += 1) await succeed(transfer, inLine, arrive);
    throw error;
  }
}

/**
 * Another that came to the same turn may have been served first and have removed some of what was counted: then the number is never reached, and
 * all is here when nobody else is, nothing is left in the queue and nothing has come between two looks. Who has claimed the queue is not content with that: a
 * question of another (`looking.ts`) may have the rest for a moment.
 */
async function transferred(
  { clock, channel, queue, messages, expected, most, ended, ask }: Transfer,
  until: number,
): Promise<void> {
  let since = clock.monotonic();
  let [before, arrived] = [-1, 0];
  for (;;) {
    await pause(clock, TURN_MS, ended);
    if (ended.aborted || messages.length >= until) return;
    const { messageCount, consumerCount } = await ask(channel.checkQueue(queue));
    const isAlone = messageCount === 0 && consumerCount === 1 && expected <= most;
    if (isAlone && messages.length === before) return;
    before = isAlone ? messages.length : -1;
    if (messages.length > arrived) [arrived, since] = [messages.length, clock.monotonic()];
    else if (clock.monotonic() - since > LONGEST_SILENCE_MS)
      throw unreachable(`"${queue}" holds ${expected} messages and gave only ${arrived}`);
  }
}

/** More than this many commands under way, and the broker would hold them back and forget them with the channel (`acks.ts`). */
const TAKEN_AT_ONCE = 16;

/** Acknowledges, and waits until the queue itself has applied it: a consumer that comes and goes is answered by the queue, in order. */
async function remove(
  { channel, queue, ask }: Pick<Transfer, 'channel' | 'queue' | 'ask'>,
  taken: readonly ConsumeMessage[],
): Promise<void> {
  const acks = new Acks(channel);
  for (let start = 0; start < taken.length; start += TAKEN_AT_ONCE) {
    for (const message of taken.slice(start, start + TAKEN_AT_ONCE)) acks.ack(message);
    acks.flush();
    const { consumerTag } = await ask(channel.consume(queue, () => {}));
    await ask(channel.cancel(consumerTag));
  }
}

async function waitForTurn(
  clock: Clock,
  check: () => Promise<{ messageCount: number; consumerCount: number }>,
): Promise<number> {
  const end = clock.monotonic() + LONGEST_TURN_MS;
  for (;;) {
    const { messageCount, consumerCount } = await check();
    if (consumerCount === 0) return messageCount;
    if (clock.monotonic() > end)
      throw unreachable('another process has been looking through it for too long');
    await pause(clock, TURN_MS);
  }
}

/** One at a time within a process, so that two views of one process never wait for each other by polling. */
export class Turns {
  /** The end of the last turn, without what it brought: that may be every letter of a queue. */
  readonly #last = new Map<string, Promise<void>>();

  /** Queues that somebody looks through. */
  get size(): number {
    return this.#last.size;
  }

  async run<T>(queue: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(queue) ?? Promise.resolve();
    const mine = before.then(work);
    const ended = mine.then(
      () => {},
      () => {},
    );
    this.#last.set(queue, ended);
    try {
      return await mine;
    } finally {
      if (this.#last.get(queue) === ended) this.#last.delete(queue);
    }
  }
}
