/**
 * The writer of a file that several processes share. One of them holds the file and hosts it; which one is decided by the file's lock alone.
 *
 *   seeking --somebody listens--> client --link ended--> seeking
 *   seeking --nobody, the file is free--> host
 *   seeking --nobody, the file is held--> a moment later seeking; the file is tried again more and more rarely
 *
 * A link that ends takes every lease with it. What was asked over it and never answered is told as unknown where doing it twice would be
 * seen (publish, settle, redrive), and asked again over the next link where it would not. Consumers are made again over each link; what
 * they were handed before is marked by the link's generation, so a late settlement is `lost` and can never meet another message.
 */
import type { Socket } from 'node:net';
import { type Clock, pause } from '../../../clock.ts';
import type { Durability } from '../../../channel.ts';
import type { ChannelSpec, EngineContext, SubscriptionSpec } from '../../../engine.ts';
import { MessagingError } from '../../../errors.ts';
import type { StoreOptions } from '../store.ts';
import type { Operation, OperationResult, OperationValue, Turn, TurnReply, Writer } from '../turn.ts';
import { openWriterThread } from '../writer.ts';
import { listenOn } from './host.ts';
import { type HandOuts, Hub } from './hub.ts';
import { dial, type Link, SILENT_HOST } from './link.ts';
import { allLeave, takeLeave, tryOver } from './restoring.ts';
import { socketPathOf } from './socket-path.ts';

export interface SharedWriterOptions {
  readonly path: string;
  readonly store: StoreOptions;
  readonly maxMessageBytes: number;
  /** For tests that break connections: told of each socket this process opens to a host. */
  readonly onSocket?: (socket: Socket) => void;
}

/** Between two looks for a host while the file is held and nobody listens: a host that starts or ends. */
const SEEK_MS = 25;
/** Between two tries for a file that is held: from `SEEK_MS` on twice as long each time, up to this. */
const MOST_REST_MS = 400;
/** So long an operation waits for a host before it is told that there is none; also how long `connect` seeks. */
export const PATIENCE_MS = 10_000;
/** Before what a new host refused for now is asked of it again. */
const RESTORE_AGAIN_MS = 500;
/** Generations are told apart modulo this; a hand-out would have to outlive a thousand links to be mistaken. */
const GENERATIONS = 1_024;

export async function openSharedWriter(
  options: SharedWriterOptions,
  context: EngineContext,
): Promise<Writer> {
  const writer = new SharedWriter(options, context);
  await writer.open();
  return writer;
}

type Subscribe = Extract<Operation, { op: 'subscribe' }>;

class SharedWriter implements Writer {
  durability: Durability = 'disk';
  shared = { maxMessageBytes: 0 };
  readonly #options: SharedWriterOptions;
  readonly #clock: Clock;
  readonly #onFatal: (error: Error) => void;
  readonly #socketPath: string;
  #receive: (handOuts: HandOuts) => void = () => {};
  #link: Link | undefined;
  #linked = Promise.withResolvers<void>();
  #generation = 0;
  readonly #closing = new AbortController();
  /** Resolves when the link that is sought after another one is used, or closed again. */
  #relinking: Promise<void> = Promise.resolve();
  /** Somebody listened, and gave no answer in time. */
  #wasHeard = false;
  /** What has to be made again over a new link: consumers by their number, and channels that go with a connection. */
  readonly #consumers = new Map<number, Subscribe>();
  readonly #paused = new Set<number>();
  readonly #ephemeral = new Map<string, ChannelSpec>();
  readonly #ephemeralSubscriptions: SubscriptionSpec[] = [];

  constructor(options: SharedWriterOptions, context: EngineContext) {
    this.#options = options;
    this.#clock = context.clock;
    this.#onFatal = context.onFatal;
    this.#socketPath = socketPathOf(options.path);
  }

  /** Resolves with a host found or become; rejects when the file is held for long by somebody who does not share it, or whose answer does not come. */
  async open(): Promise<void> {
    const link = await this.#seek(this.#clock.monotonic() + PATIENCE_MS);
    if (!link && this.#wasHeard) throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', SILENT_HOST);
    if (!link)
      throw new MessagingError(
        'DB_MSG_ENGINE_LOCKED',
        'the file is held, and nobody listens on its socket: every engine on it has to say share: true, or its host has only just begun or is ending',
      );
    await this.#use(link);
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  listen(receive: (handOuts: HandOuts) => void): void {
    this.#receive = receive;
  }

  async run({ operations }: Turn): Promise<TurnReply> {
    const results: OperationResult[] = [];
    let todo = operations.map((operation, index) => ({ operation, index }));
    while (todo.length > 0) {
      const link = await this.#linkFor(todo.map(({ operation }) => operation));
      const generation = this.#generation;
      const sent = todo.map(({ operation }) => this.#untagged(operation, generation));
      const answers = await link?.run(sent);
      const again: typeof todo = [];
      todo.forEach((one, at) => {
        const answer = answers
          ? this.#answered(one.operation, answers[at])
          : this.#unanswered(one.operation, !link);
        if (answer) results[one.index] = answer;
        else again.push(one);
      });
      todo = again;
    }
    return { results, handOuts: [], nextDueAt: undefined, nextLeaseEnd: undefined };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#linked.resolve();
    // One that is being made is nobody's yet, and as host it holds the file.
    await this.#relinking;
    await this.#link?.close();
  }

  /** The link, waited for; undefined when there was none in time, or for what needs none. */
  async #linkFor(operations: readonly Operation[]): Promise<Link | undefined> {
    // Consumers and leases ended with the link: that can be told at once.
    const needNone = operations.every(({ op }) => op === 'leave' || op === 'extend');
    if (this.#link || this.#closed || needNone) return this.#link;
    const over = new AbortController();
    await Promise.race([this.#linked.promise, pause(this.#clock, PATIENCE_MS, over.signal)]);
    over.abort();
    return this.#link;
  }

  /** Takes the link, or closes it in order: what was made again over it would live as long as the link, and nobody would know. */
  async #use(link: Link): Promise<void> {
    const lost = this.#lostWithLink();
    let refused: readonly Operation[];
    try {
      refused = await tryOver(link, lost);
    } catch (error) {
      await takeLeave(link, lost);
      throw error;
    }
    if (this.#closed) return takeLeave(link, lost);
    // Who left meanwhile did not know of this link.
    const ended = lost.filter((operation) => !this.#isWanted(operation));
    void allLeave(link, ended);
    this.durability = link.durability;
    this.shared = { maxMessageBytes: link.maxMessageBytes };
    this.#link = link;
    this.#linked.resolve();
    void link.ended.then(() => this.#unlinked(link));
    void this.#tryAgain(link, refused);
  }

  /** Meanwhile the link is used: what is acknowledged over it may make room. */
  async #tryAgain(link: Link, refused: readonly Operation[]): Promise<void> {
    for (let left = refused; left.length > 0; ) {
      await pause(this.#clock, RESTORE_AGAIN_MS, this.#closing.signal);
      if (this.#link !== link || this.#closed) return;
      const wanted = left.filter((operation) => this.#isWanted(operation));
      try {
        left = await tryOver(link, wanted);
      } catch (error) {
        return this.#fail(error as Error);
      }
    }
  }

  /** No link comes any more: whoever waits for one is told at once. After a close nobody asks. */
  #fail(error: Error): void {
    this.#linked.resolve();
    if (!this.#closed) this.#onFatal(error);
  }

  /** Nobody has left it since. */
  #isWanted(operation: Operation): boolean {
    if (operation.op === 'subscribe') return this.#consumers.get(operation.consumer) === operation;
    return operation.op !== 'pause' || this.#consumers.has(operation.consumer);
  }

  #unlinked(link: Link): void {
    if (this.#link === link) {
      this.#link = undefined;
      this.#linked = Promise.withResolvers<void>();
    }
    if (!this.#closed) this.#relinking = this.#seekAgain();
  }

  async #seekAgain(): Promise<void> {
    while (!this.#closed) {
      try {
        const link = await this.#seek(Number.POSITIVE_INFINITY);
        if (link && this.#closed) return await link.close();
        if (link) return await this.#use(link);
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'DB_MSG_ENGINE_LOCKED') return this.#fail(error as Error);
        // A host of another version: it may go, and this one is of no use before.
        await pause(this.#clock, PATIENCE_MS / 10, this.#closing.signal);
      }
    }
  }

  /**
   * To look who listens costs next to nothing. To try for the file costs the start of a thread, which it takes from the very process that holds the file
   * and is about to listen: where several wait on a busy machine, their tries would be most of what it does. So these become rarer, and a file that is
   * free again is noticed `MOST_REST_MS` later at the latest.
   */
  async #seek(until: number): Promise<Link | undefined> {
    let restMs = SEEK_MS;
    let tryAt = Number.NEGATIVE_INFINITY;
    do {
      this.#generation += 1;
      const generation = this.#generation;
      const receive = (handOuts: HandOuts): void => this.#handOut(generation, handOuts);
      const { onSocket } = this.#options;
      const { signal } = this.#closing;
      const found = await dial(this.#socketPath, { clock: this.#clock, receive, onSocket, signal });
      if (found === 'silent') this.#wasHeard = true;
      if (typeof found !== 'string') return found;
      if (this.#clock.monotonic() >= tryAt) {
        const link = await this.#host(receive);
        if (link) return link;
        tryAt = this.#clock.monotonic() + restMs;
        restMs = Math.min(2 * restMs, MOST_REST_MS);
      }
      await pause(this.#clock, SEEK_MS, this.#closing.signal);
    } while (!this.#closed && this.#clock.monotonic() < until);
    return undefined;
  }

  /** This process as the host; undefined when another one holds the file. */
  async #host(receive: (handOuts: HandOuts) => void): Promise<Link | undefined> {
    const { path, store, maxMessageBytes } = this.#options;
    let abort = (): void => {};
    const onLost = (error: Error): void => {
      abort();
      this.#onFatal(error);
    };
    try {
      const writer = await openWriterThread({ path, options: store }, onLost);
      const hub = new Hub({ writer, clock: this.#clock, maxMessageBytes, onLost });
      const host = await listenOn(this.#socketPath, hub, this.#clock).catch(async (error: unknown) => {
        await hub.close();
        throw error;
      });
      abort = () => host.abort();
      const session = hub.join(receive);
      return {
        durability: hub.durability,
        maxMessageBytes,
        run: (operations) => session.run(operations),
        // The host's own link ends with its process, or fatally.
        ended: new Promise(() => {}),
        async close() {
          await host.close();
          await hub.close();
        },
      };
    } catch (error) {
      if ((error as { code?: unknown }).code === 'DB_MSG_ENGINE_LOCKED') return undefined;
      throw error;
    }
  }

  /** What has to be made again over a new link. */
  #lostWithLink(): readonly Operation[] {
    const operations: Operation[] = [];
    if (this.#ephemeral.size > 0) {
      const channels = [...this.#ephemeral.values()];
      operations.push({
        op: 'declare',
        topology: { channels, subscriptions: this.#ephemeralSubscriptions },
      });
    }
    for (const subscribe of this.#consumers.values()) operations.push(subscribe);
    for (const consumer of this.#paused) operations.push({ op: 'pause', consumer });
    return operations;
  }

  #handOut(generation: number, handOuts: HandOuts): void {
    if (generation !== this.#generation) return;
    const tag = generation % GENERATIONS;
    this.#receive(
      handOuts.map(({ consumer, items }) => ({
        consumer,
        items: items.map((item) => ({ ...item, token: item.token * GENERATIONS + tag })),
      })),
    );
  }

  /** The operation with the tokens as the host knows them; those of a former link become one that nobody has. */
  #untagged(operation: Operation, generation: number): Operation {
    const tag = generation % GENERATIONS;
    const untag = (token: number): number =>
      token % GENERATIONS === tag ? Math.floor(token / GENERATIONS) : NO_TOKEN;
    if (operation.op === 'extend') return { ...operation, tokens: operation.tokens.map(untag) };
    if (operation.op !== 'settle') return operation;
    return {
      ...operation,
      settlements: operation.settlements.map((one) => ({ ...one, token: untag(one.token as number) })),
    };
  }

  /** Notes what a later link has to know. */
  #answered(operation: Operation, result: OperationResult | undefined): OperationResult {
    if (!result || 'error' in result) return result ?? unreachable();
    if (operation.op === 'subscribe') this.#consumers.set(operation.consumer, operation);
    if (operation.op === 'pause') this.#paused.add(operation.consumer);
    if (operation.op === 'leave') this.#forget(operation.consumer);
    if (operation.op === 'declare') this.#noteEphemeral(operation);
    return result;
  }

  #noteEphemeral({ topology }: Extract<Operation, { op: 'declare' }>): void {
    for (const channel of topology.channels)
      if (channel.ephemeral) this.#ephemeral.set(channel.name, channel);
    for (const one of topology.subscriptions)
      if (this.#ephemeral.has(one.channel)) this.#ephemeralSubscriptions.push(one);
  }

  /** What becomes of an operation whose link ended (or of any, without a link in time); undefined: asked again. */
  #unanswered(operation: Operation, withoutLink: boolean): OperationResult | undefined {
    switch (operation.op) {
      case 'leave':
        // It left with the link.
        this.#forget(operation.consumer);
        return { value: undefined };
      case 'extend':
        return { value: operation.tokens.map(() => 'lost' as const) satisfies OperationValue['extend'] };
      case 'declare':
      case 'subscribe':
      case 'pause':
      case 'inspect':
      case 'peek':
      case 'listDead':
        return withoutLink ? unreachable() : undefined;
      default:
        return unreachable();
    }
  }

  #forget(consumer: number): void {
    this.#consumers.delete(consumer);
    this.#paused.delete(consumer);
  }
}

/** Tokens of a store begin at 1. */
const NO_TOKEN = 0;

function unreachable(): OperationResult {
  return {
    error: {
      code: 'DB_MSG_ENGINE_UNREACHABLE',
      message: 'the process that hosts the file ended or does not answer; whether it was done is not known',
    },
  };
}
