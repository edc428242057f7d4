/**
 * Publishing with confirms joined with returns. The broker CONFIRMS a message that no queue takes; only the `mandatory` flag makes it send
 * the message back first, on the same channel, before the confirm. A confirm whose message came back is therefore a rejection.
 *
 * What is in flight when the connection ends, is blocked by an alarm or takes too long rejects as retryable: whether it was stored is unknown,
 * and the same id may be published again. Nothing is sent again in secret.
 *
 * The channel is opened anew after a refusal (`basic.nack`). The broker keeps for each channel where a quorum queue has its leader; a channel whose first publish
 * to a queue came while that queue had none was seen to go on refusing long after there was one. What else is in flight on
 * the old one rejects as retryable before the new one takes anything, so that a key's messages do not overtake each other. The cause may as well be a
 * queue of others that is full and is meant to refuse: so while refusals go on there is a growing time between two such openings.
 */
import type { ChannelModel, ConfirmChannel, Message as AmqpMessage } from 'amqplib';
import { type CancelTimer, type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { answered, LONGEST_ANSWER_MS } from './answered.ts';
import { closed } from './closing.ts';
import { GrowingWait } from './growing-wait.ts';
import { unreachable } from './link.ts';
import { send } from './sending.ts';
import { refuseUnfit, unfit } from './short-text.ts';
import type { Parcel } from './wire.ts';

export interface PublisherParts {
  readonly clock: Clock;
  readonly confirmTimeoutMs: number;
  /** The broker named something that is not there: the topology has to be declared again. */
  readonly onMissing: () => void;
  readonly onBlocked: (reason: string | undefined) => void;
  /** Something can be published again. */
  readonly onOpened: () => void;
  /** Nothing that a publish was told of: its channel could not be opened. */
  readonly onTrouble: (error: unknown) => void;
}

/** Between two openings of the channel for refusals. */
const RENEWALS = { firstMs: 1_000, longestMs: 16_000 };

interface Flight {
  readonly exchange: string;
  readonly routingKey: string;
  readonly messageId: string | undefined;
  readonly since: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Publisher {
  readonly #parts: PublisherParts;
  #model: ChannelModel | undefined;
  #channel: ConfirmChannel | undefined;
  #blocked: string | undefined;
  readonly #flying = new Set<Flight>();
  readonly #returned = new Map<string, string>();
  #renewals: GrowingWait;
  #cancelWatch: CancelTimer | undefined;
  readonly #stopping = new AbortController();

  constructor(parts: PublisherParts) {
    this.#parts = parts;
    this.#renewals = new GrowingWait(parts.clock, RENEWALS);
  }

  async open(model: ChannelModel): Promise<void> {
    this.#model = model;
    this.#blocked = undefined;
    // What was refused before may have been the old broker on its way out. Its long waits would keep a channel that was opened while the queues had no leader yet.
    this.#renewals = new GrowingWait(this.#parts.clock, RENEWALS);
    model.on('blocked', (reason: string) => this.#block(reason || 'an alarm of the broker'));
    model.on('unblocked', () => {
      this.#blocked = undefined;
      this.#parts.onBlocked(undefined);
    });
    await this.#openChannel(model);
  }

  down(): void {
    this.#channel = undefined;
    this.#model = undefined;
    this.#rejectAll(unreachable('the connection ended before the broker confirmed'));
  }

  /** Resolves with the broker's confirm of a message that at least one queue took. */
  publish(exchange: string, routingKey: string, parcel: Parcel): Promise<void> {
    const channel = this.#channel;
    if (this.#blocked !== undefined)
      return Promise.reject(
        new MessagingError('DB_MSG_ENGINE_BLOCKED', `the broker takes no messages now: ${this.#blocked}`),
      );
    if (!channel) return Promise.reject(unreachable('the connection to the broker is down'));
    return new Promise((resolve, reject) => {
      const { messageId } = parcel.options;
      refuseUnfit('a routing key', routingKey);
      const since = this.#parts.clock.monotonic();
      const flight: Flight = { exchange, routingKey, messageId, since, resolve, reject };
      this.#flying.add(flight);
      this.#watch();
      try {
        send(channel, exchange, routingKey, parcel, (error) => this.#confirmed(flight, error));
      } catch (error) {
        this.#flying.delete(flight);
        // amqplib says so of what it cannot encode, before it has sent anything; the channel is none the worse for it.
        const isUnfit = error instanceof TypeError || error instanceof RangeError;
        reject(
          isUnfit
            ? unfit(`AMQP cannot carry this: ${error.message}`, error)
            : unreachable('the channel is closed', error),
        );
      }
    });
  }

  #confirmed(flight: Flight, error: unknown): void {
    const reason = this.#takeMark(flight);
    // Given up before; its mark is taken all the same, or the next publish of this id would be rejected for it.
    if (!this.#flying.delete(flight)) return;
    if (reason !== undefined) {
      flight.reject(
        new MessagingError('DB_MSG_UNROUTABLE', `no queue takes the message (${reason}); nothing was stored`),
      );
    } else if (error) {
      flight.reject(unreachable('the broker refused the message', error));
      this.#renew();
    } else flight.resolve();
  }

  #takeMark(flight: Flight): string | undefined {
    if (this.#returned.size === 0) return undefined;
    const mark = markOf(flight);
    const reason = this.#returned.get(mark);
    this.#returned.delete(mark);
    return reason;
  }

  /** Once for many refusals: what else is in flight is rejected here, and what its channel still says of it is not heard. */
  #renew(): void {
    const [channel, model] = [this.#channel, this.#model];
    if (!channel || !model || !this.#renewals.over) return;
    this.#renewals.next();
    this.#channel = undefined;
    this.#rejectAll(unreachable('the channel is opened anew, because the broker refused a message'));
    // The broker has taken all that was sent on it when it answers. One that stands before a queue without a leader may not, and nobody could publish meanwhile.
    const again = (): void => this.#openAgain(model);
    void answered(this.#parts.clock, LONGEST_ANSWER_MS, closed(channel)).then(again);
  }

  /** The connection may be closing as well; then the link brings both back, or nobody wants them any more. */
  #openAgain(model: ChannelModel): void {
    if (this.#model !== model || this.#stopping.signal.aborted) return;
    this.#openChannel(model).catch(async (error: unknown) => {
      if (this.#model !== model) return;
      this.#parts.onTrouble(error);
      const { signal } = this.#stopping;
      await pause(this.#parts.clock, this.#renewals.next(), signal);
      if (!signal.aborted) this.#openAgain(model);
    });
  }

  async #openChannel(model: ChannelModel): Promise<void> {
    const channel = await model.createConfirmChannel();
    channel.on('return', ({ fields, properties }: AmqpMessage) => {
      const { exchange, routingKey, replyText } = fields as unknown as {
        exchange: string;
        routingKey: string;
        replyText?: string;
      };
      const messageId = properties.messageId as string | undefined;
      this.#returned.set(markOf({ exchange, routingKey, messageId }), replyText ?? 'NO_ROUTE');
    });
    channel.on('error', () => this.#parts.onMissing());
    channel.on('close', () => {
      if (this.#channel !== channel) return;
      this.#channel = undefined;
      this.#rejectAll(unreachable('the channel closed before the broker confirmed'));
      this.#openAgain(model);
    });
    if (this.#model !== model) return;
    this.#channel = channel;
    this.#parts.onOpened();
  }

  /** What is in flight would wait as long as the alarm lasts: its owner decides instead. */
  #block(reason: string): void {
    this.#blocked = reason;
    this.#rejectAll(
      new MessagingError('DB_MSG_ENGINE_BLOCKED', `the broker takes no messages now: ${reason}`),
    );
    this.#parts.onBlocked(reason);
  }

  #rejectAll(error: Error): void {
    const flying = [...this.#flying];
    this.#flying.clear();
    this.#returned.clear();
    for (const { reject } of flying) reject(error);
  }

  /** One timer for the oldest in flight; a timer for each would cost more than the publish. */
  #watch(): void {
    // What is still published between the stop and the end of the connection is rejected by that end.
    if (this.#cancelWatch || this.#stopping.signal.aborted) return;
    this.#cancelWatch = this.#parts.clock.setTimer(this.#parts.confirmTimeoutMs, () => {
      this.#cancelWatch = undefined;
      const late = this.#parts.clock.monotonic() - this.#parts.confirmTimeoutMs;
      for (const flight of this.#flying) {
        if (flight.since > late) break;
        this.#flying.delete(flight);
        flight.reject(unreachable(`no confirm within ${this.#parts.confirmTimeoutMs} ms`));
      }
      if (this.#flying.size > 0) this.#watch();
    });
  }

  /** Nothing is waited for any more: the process may end. */
  stop(): void {
    this.#stopping.abort();
    this.#cancelWatch?.();
    this.#cancelWatch = undefined;
  }
}

/** By what a returned message is known again. */
function markOf({ exchange, routingKey, messageId }: Omit<Flight, 'since' | 'resolve' | 'reject'>): string {
  return `${exchange}\n${routingKey}\n${messageId ?? ''}`;
}
