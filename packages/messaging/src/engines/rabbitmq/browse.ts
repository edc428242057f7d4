/**
 * Looking through a queue without an end: AMQP 0-9-1 has no browsing, so everything is taken on a channel of its own and goes back, in order, when that
 * channel closes. Meanwhile others see the queue as empty; they look at its consumers and wait. Dead letters and notes are few, and only
 * for queues of a few the cost (all of it is transferred) is acceptable.
 *
 * All or nothing: a part would say that a key is not held that is, and hand out what follows its dead letter. When the rest does not come, or the channel is
 * lost meanwhile, it rejects as retryable.
 */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { Acks } from './acks.ts';
import { surelyAnswered } from './answered.ts';
import { unreachable } from './link.ts';

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
  /** Messages that the broker lends at once; without it a quorum queue lends 2,000. */
  readonly prefetch?: number;
}

/** Calls `look` with all messages; what it does not take stays in the queue. Rejects with a retryable error when not all can be had. */
export async function browse<T>(
  { model, clock, queue, prefetch }: Looked,
  look: (browsed: Browsed) => Promise<T>,
): Promise<T> {
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
    if (expected > (prefetch ?? expected)) throw tooMany(queue, expected, prefetch);
    const messages: ConsumeMessage[] = [];
    const consuming = channel.consume(queue, (message) => {
      if (!message) return cut(new Error('the queue is gone'));
      messages.push(message);
      if (messages.length >= expected) ended.abort();
    });
    await ask(consuming);
    await transferred(clock, { channel, queue, messages, expected, ended: ended.signal, ask });
    if (messages.length < expected && gone) throw gone;
    const taken: ConsumeMessage[] = [];
    const result = await look({ messages, take: (message) => void taken.push(message) });
    await remove({ channel, queue, ask }, taken);
    return result;
  } catch (error) {
    throw gone ? unreachable(`looking through "${queue}" failed: ${(gone as Error).message}`, gone) : error;
  } finally {
    await ask(channel.close()).catch(() => {});
  }
}

/** Nothing that is asked of the broker is waited for without an end: others wait for their turn behind it. */
type Ask = <A>(answer: Promise<A>) => Promise<A>;

function tooMany(queue: string, count: number, most: number | undefined): MessagingError {
  return new MessagingError(
    'DB_MSG_ENGINE_REFUSED',
    `"${queue}" holds ${count} messages, and the broker lends ${most} at once, so it cannot be looked through: move some of them to another queue, or delete them, with the broker's own tools`,
  );
}

interface Transfer {
  readonly channel: Channel;
  readonly queue: string;
  readonly messages: readonly ConsumeMessage[];
  readonly expected: number;
  /** All is here, or the channel is gone. */
  readonly ended: AbortSignal;
  readonly ask: Ask;
}

/**
 * Another that came to the same turn may have been served first and have removed some of what was counted: then the number is never reached, and
 * all is here when nobody else is, nothing is left in the queue and nothing has come between two looks.
 */
async function transferred(
  clock: Clock,
  { channel, queue, messages, expected, ended, ask }: Transfer,
): Promise<void> {
  let since = clock.monotonic();
  let [before, arrived] = [-1, 0];
  for (;;) {
    await pause(clock, TURN_MS, ended);
    if (ended.aborted) return;
    const { messageCount, consumerCount } = await ask(channel.checkQueue(queue));
    const isAlone = messageCount === 0 && consumerCount === 1;
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
  readonly #last = new Map<string, Promise<unknown>>();

  async run<T>(queue: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(queue) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.#last.set(
      queue,
      mine.catch(() => {}),
    );
    return mine;
  }
}
