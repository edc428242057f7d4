/**
 * Request and reply: one ephemeral reply channel per bus, made at the first request. A reply finds its request by `causationId`.
 * Replies are not durable past their asker: a process that is gone has nobody to tell.
 */
import type { Channel } from './channel.ts';
import type { CancelTimer, Clock } from './clock.ts';
import type { Consumer, Delivery, EngineConnection, OutgoingMessage } from './engine.ts';
import { MessagingError } from './errors.ts';
import type { Ids } from './ids.ts';
import type { ReadData } from './contract.ts';
import type { Message } from './message.ts';
import { replyChannelOf } from './reply-channel.ts';

interface Asked {
  readonly channel: Channel;
  readonly resolve: (data: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly cancelTimeout: CancelTimer;
  /** Its reply is being read: the first one is taken. */
  isAnswered: boolean;
}

/** The bus's own way of publishing, which its telemetry sees. */
type Send = (batch: readonly OutgoingMessage[]) => Promise<unknown>;

const SUBSCRIPTION = 'replies';
const PREFETCH = 100;
const LEASE_MS = 30_000;
/** A timer's longest, about 24 days. */
const LONGEST_MS = 2 ** 31 - 1;

export class Requester {
  readonly #connection: EngineConnection;
  readonly #send: Send;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #asked = new Map<string, Asked>();
  /** Forgotten when it failed, so that the next request opens it again. */
  #opened: Promise<Consumer> | undefined;

  constructor(parts: {
    readonly connection: EngineConnection;
    readonly send: Send;
    readonly clock: Clock;
    readonly ids: Ids;
  }) {
    this.#connection = parts.connection;
    this.#send = parts.send;
    this.#clock = parts.clock;
    this.#name = replyChannelOf(parts.ids.next());
  }

  async ask(channel: Channel, request: OutgoingMessage, timeoutMs: number): Promise<unknown> {
    if (!(timeoutMs > 0 && timeoutMs <= LONGEST_MS))
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `timeoutMs is above 0 to ${LONGEST_MS}, not ${String(timeoutMs)}`,
      );
    const { id, headers } = request.message;
    const expiresAt = new Date(this.#clock.now() + timeoutMs).toISOString();
    const message = { ...request.message, expiresAt, headers: { ...headers, replyto: this.#name } };
    const replied = new Promise((resolve, reject) => {
      const cancelTimeout = this.#clock.setTimer(timeoutMs, () => {
        this.#asked.delete(id);
        reject(
          new MessagingError(
            'DB_MSG_REQUEST_TIMEOUT',
            `no reply on "${channel.name}" within ${timeoutMs} ms`,
          ),
        );
      });
      this.#asked.set(id, { channel, resolve, reject, cancelTimeout, isAnswered: false });
    });
    // The publish may fail after the time-out did; one of the two is told.
    replied.catch(() => {});
    const sent = this.#opening().then(() => {
      // Whoever timed out while the reply channel was opened asks nobody any more.
      return this.#asked.has(id) ? this.#send([{ ...request, message }]) : undefined;
    });
    // The time runs while the channel is opened and the request is sent, too.
    await Promise.race([sent, replied]).catch((error: unknown) => {
      this.#asked.get(id)?.cancelTimeout();
      this.#asked.delete(id);
      throw error;
    });
    return replied;
  }

  stop(): void {
    for (const asked of this.#asked.values()) {
      asked.cancelTimeout();
      asked.reject(new MessagingError('DB_MSG_STOPPED', 'the bus was stopped before the reply came'));
    }
    this.#asked.clear();
  }

  #opening(): Promise<Consumer> {
    const opened = this.#opened ?? this.#open();
    this.#opened = opened;
    opened.catch(() => {
      if (this.#opened === opened) this.#opened = undefined;
    });
    return opened;
  }

  async #open(): Promise<Consumer> {
    const channel = {
      name: this.#name,
      order: 'none',
      onFailure: 'skip',
      priorityLevels: 1,
      ephemeral: true,
      routing: 'fanout',
      keepMs: undefined,
    } as const;
    await this.#connection.declare({
      channels: [channel],
      subscriptions: [{ channel: this.#name, name: SUBSCRIPTION }],
    });
    return this.#connection.subscribe(
      { channel: this.#name, subscription: SUBSCRIPTION, prefetch: PREFETCH, leaseMs: LEASE_MS },
      (deliveries) => this.#receive(deliveries),
    );
  }

  #receive(deliveries: readonly Delivery[]): void {
    for (const { message } of deliveries) if (message) this.#answer(message);
    // A reply that cannot be settled any more (the bus stops) goes with its ephemeral channel.
    void this.#opening()
      .then((consumer) => consumer.settle(deliveries.map(({ token }) => ({ kind: 'ack', token }))))
      .catch(() => {});
  }

  #answer({ causationId = '', data }: Message): void {
    const asked = this.#asked.get(causationId);
    if (!asked || asked.isAnswered) return;
    asked.isAnswered = true;
    const read = asked.channel.readReply?.(data) ?? { data };
    if (read instanceof Promise) void read.then((some) => this.#conclude(causationId, asked, some));
    else this.#conclude(causationId, asked, read);
  }

  /** The time runs until here: a contract may take long to say what it thinks of a reply. */
  #conclude(id: string, asked: Asked, read: ReadData): void {
    if (!this.#asked.delete(id)) return;
    asked.cancelTimeout();
    if ('data' in read) asked.resolve(read.data);
    else
      asked.reject(
        new MessagingError('DB_MSG_INVALID_DATA', `reply on "${asked.channel.name}": ${read.fault}`),
      );
  }
}
