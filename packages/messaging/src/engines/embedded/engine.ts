/**
 * The embedded engine: a durable queue in one SQLite file, with no server. One process holds the file; a second one is refused
 * with DB_MSG_ENGINE_LOCKED unless all of them asked to share it.
 *
 * All operations of the process go through one writer as turns (`turn-queue.ts`), so that publish -> deliver costs one commit. With `share`
 * several processes of one machine use the file: one of them hosts the writer, the others speak to it over a local socket (`sharing/`).
 */
import type { DatabaseSync } from 'node:sqlite';
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
import type { EngineLacking } from '../../needs.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';
import { faultOfMessage, faultOfOutgoing } from '../../sound-outgoing.ts';
import { refuseUnbindable } from './bindable.ts';
import { wholeMs } from './positions.ts';
import { faultOfSettlement } from './sound-settlement.ts';
import type { HandOut, Operation, OperationValue, PublishRow, TurnReply, Writer } from './turn.ts';
import { TurnQueue } from './turn-queue.ts';
import { openSharedWriter } from './sharing/shared-writer.ts';
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
  /**
   * Several processes of this machine use the file at once: the first one hosts it, the others speak to it over a socket beside the file (mode
   * 0600), and when it ends another one takes over. All of them have to ask for it. Default: one process, the others are refused.
   */
  readonly share?: boolean;
}

const WEEK_MS = 7 * 86_400_000;
const MIB = 2 ** 20;

/** The durable engine on a file, with its writer in a thread of its own. */
export function createEmbeddedEngine(options: EmbeddedEngineOptions): EngineLacking<'broadcast'> {
  const { path, keepUnsubscribedMs = WEEK_MS, maxMessageBytes = MIB, share = false } = options;
  const store = { durable: true, keepUnsubscribedMs };
  return embeddedEngineOn(
    (context) =>
      share
        ? openSharedWriter({ path, store, maxMessageBytes }, context)
        : openWriterThread({ path, options: store }, context.onFatal),
    maxMessageBytes,
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

export class EmbeddedConnection implements EngineConnection {
  readonly capabilities: Capabilities;
  readonly deadLetters: DeadLetterStore;
  readonly #writer: Writer;
  readonly #queue: TurnQueue;
  readonly #receivers = new Map<number, (deliveries: readonly Delivery[]) => void>();
  #nextConsumer = 1;
  #closing: Promise<void> | undefined;

  constructor(writer: Writer, context: EngineContext, maxMessageBytes: number) {
    this.#writer = writer;
    this.#queue = new TurnQueue({
      writer,
      clock: context.clock,
      onHandOuts: (handOuts) => this.#handOut(handOuts),
      onLost: (error) => {
        if (!this.#closing) context.onFatal(error);
      },
    });
    writer.listen?.((handOuts) => this.#handOut(handOuts));
    this.capabilities = capabilitiesOf(writer, maxMessageBytes);
    this.deadLetters = {
      list: (filter, page) =>
        this.#ask({ op: 'listDead', filter, limit: wholeCount(page.limit), after: page.after }),
      redriveEdited: async (id, message, state) =>
        this.#ask({
          op: 'redriveEdited',
          id,
          state,
          body: this.#bodyOf(sound(message, faultOfMessage)),
          expiresAt: expiryOf(message),
        }),
      redrive: (filter, limit) => this.#ask({ op: 'redrive', filter, limit: wholeCount(limit) }),
      discard: (filter, limit) => this.#ask({ op: 'discard', filter, limit: wholeCount(limit) }),
    };
  }

  declare(topology: Topology): Promise<void> {
    return this.#ask({ op: 'declare', topology });
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    if (batch.length === 0) return [];
    await this.#ask({ op: 'publish', rows: batch.map((one) => this.#encode(one)) });
    const confirmedAt = this.#queue.endedAt;
    const { durability } = this.#writer;
    return batch.map(({ message }) => ({ id: message.id, durability, confirmedAt }));
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
    const rows = await this.#ask({ op: 'peek', channel, subscription: name, limit: wholeCount(limit) });
    return rows.map(({ offset, body }) => ({ offset, message: messageOf(body).message, raw: body }));
  }

  rewind(
    { channel, name }: SubscriptionName,
    from: ReplayPoint,
    { dryRun = false }: { readonly dryRun?: boolean } = {},
  ): Promise<void> {
    return this.#ask({ op: 'rewind', channel, subscription: name, from, dryRun });
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
      [...this.#receivers.keys()].map((consumer) => this.#queue.ask({ op: 'leave', consumer })),
    );
    this.#receivers.clear();
    this.#queue.rest();
    await this.#writer.close();
  }

  #ask<O extends Operation>(operation: O): Promise<OperationValue[O['op']]> {
    if (this.#closing)
      return Promise.reject(new MessagingError('DB_MSG_STOPPED', 'the engine has been closed'));
    try {
      refuseUnbindable(operation);
    } catch (error) {
      return Promise.reject(error as MessagingError);
    }
    return this.#queue.ask(operation);
  }

  #handOut(handOuts: TurnReply['handOuts']): void {
    for (const { consumer, items } of handOuts) this.#receivers.get(consumer)?.(items.map(deliveryOf));
  }

  #encode(outgoing: OutgoingMessage): PublishRow {
    const { channel, message, dueAt, priority = 0 } = sound(outgoing, faultOfOutgoing);
    return {
      channel,
      level: priority,
      key: message.key ?? null,
      expiresAt: expiryOf(message),
      dueAt: dueAt === undefined ? null : wholeMs(dueAt),
      body: this.#bodyOf(message),
    };
  }

  #bodyOf(message: Message): string {
    const body = textOf(message);
    if (body.length <= this.capabilities.maxMessageBytes) return body;
    throw new MessagingError(
      'DB_MSG_MESSAGE_TOO_LARGE',
      `message ${message.id} takes ${body.length} bytes; ${this.capabilities.maxMessageBytes} are allowed`,
    );
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
    const isSound = (one: Settlement): boolean => faultOfSettlement(one) === undefined;
    if (!settlements.every(isSound)) return this.#settleSound(settlements.filter(isSound), settlements);
    const whole = settlements.every(isWhole) ? settlements : settlements.map(inWholeMs);
    return this.#ask({ op: 'settle', consumer: this.#id, settlements: whole });
  }

  /** One that nobody can store takes none of the others along: they are settled, and then it is told. */
  async #settleSound(
    rest: readonly Settlement[],
    settlements: readonly Settlement[],
  ): Promise<readonly SettleResult[]> {
    if (rest.length > 0) await this.settle(rest);
    const faults = settlements.flatMap((one, index) => {
      const fault = faultOfSettlement(one);
      return fault === undefined ? [] : [`${index}: ${fault}`];
    });
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `not settled, by their place: ${faults.join('; ')}`);
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

/** Delays and clocks may have fractions; the columns of the store have none. */
function isWhole(one: Settlement): boolean {
  if (one.kind === 'deadLetter') return Number.isSafeInteger(one.letter.at);
  return one.kind !== 'retry' || Number.isSafeInteger(one.dueAt);
}

function inWholeMs(one: Settlement): Settlement {
  if (one.kind === 'deadLetter') return { ...one, letter: { ...one.letter, at: wholeMs(one.letter.at) } };
  return one.kind === 'retry' ? { ...one, dueAt: wholeMs(one.dueAt) } : one;
}

/** The value, if nothing is wrong with it. Throws DB_MSG_INVALID_OPTIONS. */
function sound<T>(value: T, faultOf: (value: T) => string | undefined): T {
  const fault = faultOf(value);
  if (fault === undefined) return value;
  throw new MessagingError('DB_MSG_INVALID_OPTIONS', fault);
}

/** Throws DB_MSG_INVALID_DATA for what JSON has no words for: a cycle, a BigInt. */
function textOf(message: Message): string {
  try {
    return encodeCloudEvent(message);
  } catch (cause) {
    if (cause instanceof MessagingError) throw cause;
    throw new MessagingError('DB_MSG_INVALID_DATA', `message ${message.id} cannot be written as JSON`, {
      cause,
    });
  }
}

/** How many of something, as people and programs ask for it: none for what is no number, all for infinity. */
function wholeCount(count: number): number {
  return Math.max(0, Math.min(Math.floor(count) || 0, Number.MAX_SAFE_INTEGER));
}

function deliveryOf(item: HandOut): Delivery {
  const { message, malformed } = messageOf(item.body);
  const delivery = {
    token: item.token,
    message,
    raw: item.body,
    state: item.state ?? undefined,
    abandoned: item.abandoned,
  };
  return malformed === undefined ? delivery : { ...delivery, malformed };
}

function expiryOf({ expiresAt }: Message): number | null {
  return expiresAt === undefined ? null : Date.parse(expiresAt);
}

function messageOf(body: string): { readonly message: Message | undefined; readonly malformed?: string } {
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
    deadLetters: 'native',
    processes: writer.shared ? 'many' : 'one',
    maxMessageBytes: Math.min(maxMessageBytes, writer.shared?.maxMessageBytes ?? maxMessageBytes),
  };
}
