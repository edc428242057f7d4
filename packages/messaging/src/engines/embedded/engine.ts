/**
 * The embedded engine: a durable queue in one SQLite file, with no server. One process holds the file; a second one is refused
 * with DB_MSG_ENGINE_LOCKED.
 *
 * All operations of the process go through one writer as turns. A turn is sent as soon as the last one has ended and takes whatever
 * has gathered meanwhile (group commit without a timer); its answer brings the confirmations, the settlements and the
 * next deliveries together, so that publish -> deliver costs one commit.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { CancelTimer, Clock } from '../../clock.ts';
import { decodeCloudEvent, encodeCloudEvent } from '../../cloud-event.ts';
import type {
  Capabilities,
  Consumer,
  ConsumerSpec,
  DeadLetterStore,
  Delivery,
  DeliveryToken,
  Engine,
  EngineConnection,
  EngineContext,
  EngineView,
  OutgoingMessage,
  PeekedMessage,
  PublishConfirmation,
  ReplayPoint,
  Settlement,
  SettleResult,
  SubscriptionName,
  Topology,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';
import type { HandOut, Operation, OperationValue, PublishRow, TurnReply, Writer } from './turn.ts';
import { openInProcessWriter, openWriterThread } from './writer.ts';

export { openInProcessWriter } from './writer.ts';
export type { Operation, OperationResult, Turn, TurnReply, Writer } from './turn.ts';

export interface EmbeddedEngineOptions {
  /** The file; its folder is made if missing. */
  readonly path: string;
  /** How long a channel that nobody subscribed to keeps its messages, ms. Default 7 days. */
  readonly keepUnsubscribedMs?: number;
  /** Largest encoded message, bytes of UTF-16 text. Default 1 MiB. */
  readonly maxMessageBytes?: number;
}

const WEEK_MS = 7 * 86_400_000;
const MIB = 2 ** 20;
/** A turn stays short, or one large publish would hold up every settlement. */
const ROWS_PER_TURN = 4_000;
/** Two: one is being written while the next is on its way. Safe, because the writer decides serially. */
const TURNS_OUTSTANDING = 2;
/** Looked at least this often, so that a step of the wall clock is noticed. */
const LONGEST_WAIT_MS = 60_000;

/** The durable engine on a file, with its writer in a thread of its own. */
export function createEmbeddedEngine(options: EmbeddedEngineOptions): Engine {
  const store = { durable: true, keepUnsubscribedMs: options.keepUnsubscribedMs ?? WEEK_MS };
  return embeddedEngineOn(
    ({ onFatal }) => openWriterThread({ path: options.path, options: store }, onFatal),
    options.maxMessageBytes,
  );
}

/** The same store in this thread on a database of the caller's, for simulations: confirmations state `memory`. */
export function createInProcessEngine(database: DatabaseSync): Engine {
  return embeddedEngineOn(async () => openInProcessWriter(database));
}

/** The engine on any writer: for a simulator that delays turns, loses replies or crashes between them. */
export function embeddedEngineOn(
  openWriter: (context: EngineContext) => Promise<Writer>,
  maxMessageBytes = MIB,
): Engine {
  return {
    name: 'embedded',
    async connect(context) {
      return new EmbeddedConnection(await openWriter(context), context, maxMessageBytes);
    },
  };
}

interface Pending {
  readonly operation: Operation;
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

export class EmbeddedConnection implements EngineConnection {
  readonly capabilities: Capabilities;
  readonly deadLetters: DeadLetterStore;
  readonly #writer: Writer;
  readonly #clock: Clock;
  readonly #receivers = new Map<number, (deliveries: readonly Delivery[]) => void>();
  #pending: Pending[] = [];
  #outstanding = 0;
  #flushPlanned = false;
  #nextConsumer = 1;
  #wake: { readonly at: number; readonly cancel: CancelTimer } | undefined;
  #closing: Promise<void> | undefined;
  #fatal: ((error: Error) => void) | undefined;

  constructor(writer: Writer, context: EngineContext, maxMessageBytes: number) {
    this.#writer = writer;
    this.#clock = context.clock;
    this.#fatal = context.onFatal;
    this.capabilities = capabilitiesOf(writer, maxMessageBytes);
    this.deadLetters = {
      list: (filter, page) => this.#ask({ op: 'listDead', filter, limit: page.limit, after: page.after }),
      redriveEdited: async (id, message, state) =>
        this.#ask({ op: 'redriveEdited', id, state, ...this.#bodyOf(message) }),
      redrive: (filter, limit) => this.#ask({ op: 'redrive', filter, limit }),
      discard: (filter, limit) => this.#ask({ op: 'discard', filter, limit }),
    };
  }

  declare(topology: Topology): Promise<void> {
    return this.#ask({ op: 'declare', topology });
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    if (batch.length === 0) return [];
    await this.#ask({ op: 'publish', rows: batch.map((one) => this.#encode(one)) });
    const confirmedAt = this.#clock.now();
    return batch.map(({ message }) => ({ id: message.id, durability: this.#writer.durability, confirmedAt }));
  }

  /** Stores a text as it is: what a foreign or broken publisher might have left. For conformance tests. */
  publishRaw(channel: string, body: string): Promise<void> {
    return this.#ask({
      op: 'publish',
      rows: [{ channel, level: 0, key: null, expiresAt: null, dueAt: null, body }],
    });
  }

  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    const id = this.#nextConsumer++;
    this.#receivers.set(id, receive);
    try {
      await this.#ask({ op: 'subscribe', consumer: id, ...spec });
    } catch (error) {
      this.#receivers.delete(id);
      throw error;
    }
    return new EmbeddedConsumer(
      (operation) => this.#ask(operation),
      id,
      () => this.#receivers.delete(id),
    );
  }

  async peek({ channel, name }: SubscriptionName, limit: number): Promise<readonly PeekedMessage[]> {
    const rows = await this.#ask({ op: 'peek', channel, subscription: name, limit });
    return rows.map(({ offset, body }) => ({ offset, message: messageOf(body).message, raw: body }));
  }

  rewind({ channel, name }: SubscriptionName, from: ReplayPoint): Promise<void> {
    return this.#ask({ op: 'rewind', channel, subscription: name, from });
  }

  async inspect(): Promise<EngineView> {
    return { engine: 'embedded', ...(await this.#ask({ op: 'inspect' })) };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all(
      [...this.#receivers.keys()].map((consumer) => this.#enqueue({ op: 'leave', consumer })),
    );
    this.#receivers.clear();
    this.#wake?.cancel();
    this.#wake = undefined;
    await this.#writer.close();
  }

  #ask<O extends Operation>(operation: O): Promise<OperationValue[O['op']]> {
    if (this.#closing)
      return Promise.reject(new MessagingError('DB_MSG_STOPPED', 'the engine has been closed'));
    return this.#enqueue(operation);
  }

  #enqueue<O extends Operation>(operation: O): Promise<OperationValue[O['op']]> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ operation, resolve: resolve as (value: never) => void, reject });
      this.#planFlush();
    });
  }

  /** After the current task: what is asked in the same tick shares a turn. */
  #planFlush(): void {
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    queueMicrotask(() => {
      this.#flushPlanned = false;
      if (this.#pending.length > 0) this.#flush();
    });
  }

  #flush(): void {
    if (this.#outstanding >= TURNS_OUTSTANDING) return;
    const batch = this.#takeBatch();
    this.#outstanding += 1;
    const turn = {
      now: this.#clock.now(),
      monotonic: this.#clock.monotonic(),
      operations: batch.map((one) => one.operation),
    };
    this.#writer.run(turn).then(
      (reply) => this.#ended(batch, reply),
      (error: Error) => this.#failed(batch, error),
    );
  }

  #takeBatch(): Pending[] {
    let rows = 0;
    let count = 0;
    while (count < this.#pending.length && rows < ROWS_PER_TURN) {
      const { operation } = this.#pending[count] as Pending;
      rows +=
        operation.op === 'publish'
          ? operation.rows.length
          : operation.op === 'settle'
            ? operation.settlements.length
            : 1;
      count += 1;
    }
    return this.#pending.splice(0, count);
  }

  #ended(batch: readonly Pending[], reply: TurnReply): void {
    this.#outstanding -= 1;
    batch.forEach((pending, index) => {
      const result = reply.results[index];
      if (result && 'value' in result) pending.resolve(result.value as never);
      else if (result) pending.reject(new MessagingError(result.error.code, result.error.message));
    });
    for (const { consumer, items } of reply.handOuts) this.#receivers.get(consumer)?.(items.map(deliveryOf));
    this.#planWake(reply);
    if (this.#pending.length > 0) this.#planFlush();
  }

  #failed(batch: readonly Pending[], error: Error): void {
    this.#outstanding -= 1;
    const cause =
      error instanceof MessagingError
        ? error
        : new MessagingError('DB_MSG_ENGINE_FAILED', `the store failed: ${error.message}`, { cause: error });
    for (const pending of batch) pending.reject(cause);
    for (const pending of this.#pending.splice(0)) pending.reject(cause);
    this.#wake?.cancel();
    if (!this.#closing) this.#fatal?.(cause);
    this.#fatal = undefined;
  }

  #planWake(reply: TurnReply): void {
    this.#wake?.cancel();
    this.#wake = undefined;
    if (this.#closing) return;
    const untilDue =
      reply.nextDueAt === undefined ? Number.POSITIVE_INFINITY : reply.nextDueAt - this.#clock.now();
    const monotonic = this.#clock.monotonic();
    const untilLease =
      reply.nextLeaseEnd === undefined ? Number.POSITIVE_INFINITY : reply.nextLeaseEnd - monotonic;
    const wait = Math.min(untilDue, untilLease);
    if (wait === Number.POSITIVE_INFINITY) return;
    const ms = Math.max(0, Math.min(wait, LONGEST_WAIT_MS));
    if (ms === 0 && this.#outstanding === 0) return this.#flush();
    this.#wake = { at: monotonic + ms, cancel: this.#clock.setTimer(ms, () => this.#flush()) };
  }

  #encode({ channel, message, dueAt, priority }: OutgoingMessage): PublishRow {
    return {
      channel,
      level: priority ?? 0,
      key: message.key ?? null,
      // The columns of the store are whole milliseconds.
      dueAt: dueAt === undefined ? null : Math.ceil(dueAt),
      ...this.#bodyOf(message),
    };
  }

  #bodyOf(message: Message): { readonly body: string; readonly expiresAt: number | null } {
    const body = encodeCloudEvent(message);
    if (body.length > this.capabilities.maxMessageBytes) {
      throw new MessagingError(
        'DB_MSG_MESSAGE_TOO_LARGE',
        `message ${message.id} takes ${body.length} bytes; ${this.capabilities.maxMessageBytes} are allowed`,
      );
    }
    return { body, expiresAt: message.expiresAt === undefined ? null : Date.parse(message.expiresAt) };
  }
}

class EmbeddedConsumer implements Consumer {
  readonly #ask: <O extends Operation>(operation: O) => Promise<OperationValue[O['op']]>;
  readonly #id: number;
  readonly #left: () => void;

  constructor(
    ask: <O extends Operation>(operation: O) => Promise<OperationValue[O['op']]>,
    id: number,
    left: () => void,
  ) {
    this.#ask = ask;
    this.#id = id;
    this.#left = left;
  }

  settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    return this.#ask({ op: 'settle', consumer: this.#id, settlements });
  }

  extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]> {
    return this.#ask({ op: 'extend', consumer: this.#id, tokens: tokens as readonly number[] });
  }

  pause(): Promise<void> {
    return this.#ask({ op: 'pause', consumer: this.#id });
  }

  async close(): Promise<void> {
    this.#left();
    await this.#ask({ op: 'leave', consumer: this.#id });
  }
}

function deliveryOf(item: HandOut): Delivery {
  return {
    token: item.token,
    raw: item.body,
    state: item.state ?? undefined,
    abandoned: item.abandoned,
    ...messageOf(item.body),
  };
}

function messageOf(body: string): Pick<Delivery, 'message' | 'malformed'> {
  try {
    return { message: decodeCloudEvent(body) };
  } catch (error) {
    return { message: undefined, malformed: (error as Error).message };
  }
}

function capabilitiesOf(writer: Writer, maxMessageBytes: number): Capabilities {
  return {
    version: `SQLite ${process.versions.sqlite ?? ''}`.trim(),
    confirm: writer.durability,
    orderPerKey: 'native',
    delay: { support: 'native', maxMs: Number.MAX_SAFE_INTEGER, resolutionMs: 1 },
    priority: { support: 'native', levels: 10 },
    ttl: { support: 'native', granularity: 'message' },
    replay: 'native',
    routing: { direct: 'native', fanout: 'native', topic: 'native', headers: 'native' },
    broadcast: 'none',
    processes: 'one',
    maxMessageBytes,
  };
}
