/**
 * The bus: what an application talks to. It checks contracts, publishes, runs subscriptions, asks and answers, shows and drains.
 * It owns no store and no connection; an `Engine` does, and the bus makes every engine behave alike where that is possible
 * and refuses to start where it is not.
 */
import type { Publish } from './causation.ts';
import type {
  Answerable,
  Channel,
  ChannelInput,
  PublishArguments,
  PublishItem,
  Replayable,
  ReplyData,
  RequestOptions,
} from './channel.ts';
import { type Clock, steadyClock, systemClock } from './clock.ts';
import type {
  Capabilities,
  ChannelView,
  Engine,
  EngineConnection,
  EngineView,
  OutgoingMessage,
  PeekedMessage,
  PublishConfirmation,
  ReplayPoint,
} from './engine.ts';
import { describeError, MessagingError } from './errors.ts';
import { refuseBadLimit } from './dead-letter-filter.ts';
import { type DecisionLog, rewindNoted } from './dead-letter-decisions.ts';
import { type DeadLetters, DeadLetterDesk } from './dead-letter-desk.ts';
import { createIds, type Ids, type Randomness, systemRandomness } from './ids.ts';
import { callHook } from './hook.ts';
import { type Log, safeLog } from './log.ts';
import type { Message } from './message.ts';
import type { EngineLacking, Feature, Fitting } from './needs.ts';
import { type LooseOptions, makeMessage, type MessageParts } from './outgoing.ts';
import { Requester } from './requester.ts';
import { asksOfItsPlace, refuseUnmet } from './requirements.ts';
import { faultOfOutgoing } from './sound-outgoing.ts';
import { DRAIN_MS, refuseBadNumbers } from './sound-numbers.ts';
import { faultOfText } from './sound-text.ts';
import { refuseBadPoint } from './replay-point.ts';
import { isReplyChannel, makeReply } from './reply-channel.ts';
import type { BatchSubscribeOptions, SubscribeOptions } from './subscribe-options.ts';
import { refuseBadName, settingsOf } from './subscription-settings.ts';
import { type HandlingCounts, RunningSubscription } from './subscription.ts';
import { specOf, specOfSubscription } from './specs.ts';
import type { BusTelemetry, Telemetry } from './telemetry.ts';

export interface BusOptions {
  readonly engine: Engine;
  /** CloudEvents `source` of what this bus publishes: a URI or a path such as `/shop/admission`. */
  readonly source: string;
  /** Default: the clock of this machine. */
  readonly clock?: Clock;
  /** Default: UUIDv7 from the clock and the system's randomness. */
  readonly ids?: Ids;
  /** For the jitter of retries. Default: the system's. */
  readonly randomness?: Randomness;
  readonly log?: Log;
  /** Notes what people decide here (discard, edit, rewind), so that a reconciliation does not take it for lost. Default: nobody notes it. */
  readonly decisions?: DecisionLog;
  /** W3C trace context for what is published without one; of no use beside `telemetry`, which gives its own. */
  readonly traceparent?: () => string | undefined;
  /** Spans and metrics, for instance `openTelemetry()` of `@doorbuster/messaging/telemetry`. Default: none, and nothing spent on it. */
  readonly telemetry?: Telemetry;
  /** The engine failed for good: nothing works from here on. Default: the error is thrown out of the event loop and ends the process. */
  readonly onFatal?: (error: Error) => void;
}

export interface Subscription {
  /** Resolves once messages can come; rejects when the engine refused. */
  readonly started: Promise<void>;
  /** Drains and leaves; what is not handled stays for others. */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
}

export interface BusView {
  readonly engine: string;
  readonly source: string;
  readonly state: 'new' | 'starting' | 'running' | 'draining' | 'stopped';
  readonly capabilities: Capabilities | undefined;
  readonly storedBytes: number | undefined;
  readonly channels: readonly ChannelView[];
  /** Whether `channels` has all that the store has, or only what was declared on this bus. */
  readonly showsAll: boolean;
  /** Of this process. */
  readonly subscriptions: readonly ({
    readonly channel: string;
    readonly name: string;
  } & HandlingCounts)[];
}

/** `Lacks`: what the type of its engine says that it has not; channels that require it do not compile in `declare`. */
export interface Bus<Lacks extends Feature = never> {
  /** Names the channels this bus uses; before `start`. */
  declare<const C extends readonly Channel[]>(channels: C & Fitting<C, Lacks>): void;
  /**
   * Connects, refuses unmet requirements with UnsupportedCapabilityError, creates what is missing and starts the subscriptions.
   * `forget` names subscriptions that are gone for good: their backlog goes with them, else it is kept for ever. They have to be stopped everywhere first
   * (DB_MSG_SUBSCRIPTION_BUSY).
   */
  start(options?: {
    readonly forget?: readonly { readonly channel: string; readonly name: string }[];
  }): Promise<void>;
  /** Resolves when the message has the durability that the confirmation states. Rejects with DB_MSG_INVALID_DATA before anything is stored. */
  publish<C extends Channel>(
    channel: C,
    data: ChannelInput<C>,
    ...options: PublishArguments<C>
  ): Promise<PublishConfirmation>;
  /** All in this order and, on the embedded engine, all or none. */
  publishBatch<C extends Channel>(
    channel: C,
    items: readonly PublishItem<C>[],
  ): Promise<readonly PublishConfirmation[]>;
  /**
   * Publishes messages that were made before (by an outbox): ids, times and data stay as they are. All are refused for one that no engine could
   * carry (DB_MSG_INVALID_OPTIONS).
   */
  forward(messages: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]>;
  subscribe<C extends Channel>(channel: C, options: BatchSubscribeOptions<C>): Subscription;
  subscribe<C extends Channel>(channel: C, options: SubscribeOptions<C>): Subscription;
  /** Publishes and waits for the handler's `reply(data)`. Rejects with DB_MSG_REQUEST_TIMEOUT; the request then expires unhandled if it can. */
  request<C extends Channel>(
    channel: C & Answerable<C>,
    data: ChannelInput<C>,
    options: RequestOptions<C>,
  ): Promise<ReplyData<C>>;
  /**
   * Stops taking messages, waits up to `drainMs` (default 10,000) for handlers, then closes the engine. What is unfinished is handed out again later. Everything is
   * let go of, also where the engine refuses a part of it: it then rejects with the first refusal. After `onFatal` it does the same and does not reject.
   */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  view(): Promise<BusView>;
  readonly deadLetters: DeadLetters;
  /** What waits in a subscription, oldest first, without taking it. Default `limit` 20. */
  peek(channel: Channel, subscription: string, limit?: number): Promise<readonly PeekedMessage[]>;
  /**
   * Hands out again what the channel keeps from there on (`requires.replay`), also what was settled: an inbox that knows the ids will skip it. What waits before it is skipped:
   * `latest` skips all that waits, a time in the future is refused (DB_MSG_INVALID_OPTIONS).
   * The subscription has to be stopped everywhere first (DB_MSG_SUBSCRIPTION_BUSY).
   */
  rewind<C extends Channel>(
    channel: C & Replayable<C>,
    subscription: string,
    from: ReplayPoint,
  ): Promise<void>;
}

const DEFAULT_DRAIN_MS = 10_000;

export function createBus<Lacks extends Feature = never>(
  options: BusOptions & { readonly engine: EngineLacking<Lacks> },
): Bus<Lacks> {
  return new EngineBus(options);
}

function refuseBadDrain(drainMs: number): void {
  refuseBadNumbers('a stop', { drainMs }, { drainMs: DRAIN_MS });
}

/** A subscription that was made before the start, and who waits for it. */
interface Prepared {
  readonly running: RunningSubscription;
  readonly begun: PromiseWithResolvers<void>;
}

class EngineBus implements Bus {
  readonly deadLetters: DeadLetters;
  readonly #engine: Engine;
  readonly #source: string;
  readonly #clock: Clock;
  /** For everything that waits; `#clock` is for what is said to others. */
  readonly #steady: Clock;
  readonly #ids: Ids;
  readonly #log: Log;
  readonly #randomness: Randomness;
  readonly #messageParts: MessageParts;
  readonly #traceparent: () => string | undefined;
  readonly #onFatal: (error: Error) => void;
  readonly #telemetry: BusTelemetry | undefined;
  readonly #channels = new Map<string, Channel>();
  readonly #running: RunningSubscription[] = [];
  /** What was subscribed before the start, which declares it. */
  readonly #prepared: Prepared[] = [];
  /** The bus runs, or why it never will. */
  readonly #opened = Promise.withResolvers<void>();
  readonly #publish: Publish = (channel, data, ...options) => this.publish(channel, data, ...options);
  readonly #decisions: DecisionLog | undefined;
  #requester: Requester | undefined;
  #connection: EngineConnection | undefined;
  #starting: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  /** Whether the bus may be used; what has to be let go of is there until `#tearDown`. */
  #state: BusView['state'] = 'new';
  #isTornDown = false;
  #fatal: Error | undefined;

  constructor(options: BusOptions) {
    // Nobody may be waiting for it.
    this.#opened.promise.catch(() => {});
    this.#engine = options.engine;
    this.#source = options.source;
    const fault = faultOfText(options.source);
    if (fault !== undefined) throw new MessagingError('DB_MSG_INVALID_OPTIONS', `source ${fault}`);
    this.#clock = options.clock ?? systemClock;
    this.#steady = steadyClock(this.#clock);
    this.#ids = options.ids ?? createIds(this.#clock);
    this.#randomness = options.randomness ?? systemRandomness;
    this.#log = safeLog(options.log);
    this.#traceparent = options.traceparent ?? (() => undefined);
    this.#onFatal = options.onFatal ?? throwLater;
    this.#telemetry = options.telemetry?.attach({
      engine: this.#engine.name,
      source: this.#source,
      server: this.#engine.server,
      consumerGroupOf: ({ channel, subscription }) =>
        this.#engine.consumerGroupOf?.({ channel, name: subscription }),
      view: () => this.#inspect(),
    });
    this.#messageParts = { clock: this.#clock, ids: this.#ids, source: this.#source };
    this.deadLetters = new DeadLetterDesk({
      store: () => this.#connected().deadLetters,
      view: async () => (await this.#connected().inspect()).channels,
      channel: (name) => this.#channels.get(name),
      message: this.#messageParts,
      now: () => this.#steady.now(),
      decisions: async () => options.decisions,
    });
    this.#decisions = options.decisions;
  }

  declare(channels: readonly Channel[]): void {
    if (this.#state !== 'new')
      throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'declare channels before the bus is started');
    for (const channel of channels) {
      const known = this.#channels.get(channel.name);
      if (known && known !== channel)
        throw new MessagingError('DB_MSG_ALREADY_DECLARED', `two channels are called "${channel.name}"`);
      this.#channels.set(channel.name, channel);
    }
  }

  start(
    options: { readonly forget?: readonly { readonly channel: string; readonly name: string }[] } = {},
  ): Promise<void> {
    if (this.#state !== 'new')
      return Promise.reject(new MessagingError('DB_MSG_INVALID_OPTIONS', 'a bus is started once'));
    this.#state = 'starting';
    this.#starting = this.#start(options.forget ?? []);
    return this.#starting;
  }

  async #start(forget: readonly { readonly channel: string; readonly name: string }[]): Promise<void> {
    let connection: EngineConnection | undefined;
    try {
      connection = await this.#engine.connect({
        clock: this.#steady,
        onFatal: (error) => this.#failed(error),
      });
      const channels = [...this.#channels.values()];
      const standing = await connection.standing?.(channels.filter(asksOfItsPlace).map(specOf));
      refuseUnmet(this.#engine.name, connection.capabilities, channels, standing);
      // What is subscribed from here on declares itself once the bus runs; what was stopped before is not declared.
      const subscriptions = this.#prepared
        .filter(({ running }) => this.#running.includes(running))
        .map(({ running }) => specOfSubscription(running.settings));
      await connection.declare({ channels: channels.map(specOf), subscriptions, removed: forget });
      if (this.#fatal) throw this.#fatal;
      this.#connection = connection;
      this.#state = 'running';
      this.#telemetry?.started();
      this.#opened.resolve();
      await this.#startPrepared(connection);
    } catch (error) {
      this.#state = 'stopped';
      for (const fault of await this.#tearDown(connection, 0, error)) this.#unclosed(fault);
      throw error;
    }
  }

  /** Waits for all of them, so that none begins after the others were stopped. */
  async #startPrepared(connection: EngineConnection): Promise<void> {
    const all = await Promise.allSettled(
      this.#prepared.map(async ({ running, begun }) => {
        // One that was stopped before the start never begins, and that is no error.
        if (this.#running.includes(running)) await running.start(connection);
        begun.resolve();
      }),
    );
    for (const one of all) if (one.status === 'rejected') throw one.reason;
  }

  async publish<C extends Channel>(
    channel: C,
    data: ChannelInput<C>,
    ...[options]: PublishArguments<C>
  ): Promise<PublishConfirmation> {
    const outgoing = this.#outgoing(channel, data, options ?? {});
    const [confirmation] = await this.#send([outgoing instanceof Promise ? await outgoing : outgoing]);
    return confirmation as PublishConfirmation;
  }

  async publishBatch<C extends Channel>(
    channel: C,
    items: readonly PublishItem<C>[],
  ): Promise<readonly PublishConfirmation[]> {
    const outgoing = await Promise.all(
      items.map(async (item) => this.#outgoing(channel, item.data, item.options ?? {})),
    );
    return this.#send(outgoing);
  }

  async forward(messages: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    for (const one of messages) {
      const fault = faultOfOutgoing(one);
      if (fault !== undefined) throw new MessagingError('DB_MSG_INVALID_OPTIONS', `forward: ${fault}`);
      this.#declared(one.channel);
    }
    return this.#send(messages);
  }

  subscribe<C extends Channel>(
    channel: C,
    options: BatchSubscribeOptions<C> | SubscribeOptions<C>,
  ): Subscription {
    this.#declared(channel.name);
    const settings = settingsOf(channel, options, {
      randomness: this.#randomness,
      sendReply: (request, data) => this.#sendReply(channel, request, data),
      publish: this.#publish,
    });
    const running = new RunningSubscription(settings, {
      clock: this.#steady,
      ids: this.#ids,
      log: this.#log,
      telemetry: this.#telemetry,
    });
    this.#running.push(running);
    const started = this.#startSubscription(running);
    return {
      started,
      stop: async ({ drainMs = DEFAULT_DRAIN_MS } = {}) => {
        refuseBadDrain(drainMs);
        // Stopping one that never began is no error; whoever wants to know why awaits `started`.
        if (this.#state !== 'new') await started.catch(() => {});
        await this.#stopSubscription(running, drainMs);
      },
    };
  }

  async request<C extends Channel>(
    channel: C,
    data: ChannelInput<C>,
    options: RequestOptions<C>,
  ): Promise<ReplyData<C>> {
    if (!channel.checkReply)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `channel "${channel.name}": a request needs a channel with a reply schema`,
      );
    if ((options as LooseOptions).id !== undefined)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `channel "${channel.name}": a request has no id of its own: its reply finds it by one that nobody else has`,
      );
    this.#requester ??= new Requester({
      connection: this.#connected(),
      send: (batch) => this.#send(batch),
      clock: this.#clock,
      ids: this.#ids,
    });
    const { timeoutMs, ...publishOptions } = options;
    const outgoing = await this.#outgoing(channel, data, publishOptions as LooseOptions);
    return (await this.#requester.ask(channel, outgoing, timeoutMs)) as ReplyData<C>;
  }

  async stop({ drainMs = DEFAULT_DRAIN_MS }: { readonly drainMs?: number } = {}): Promise<void> {
    refuseBadDrain(drainMs);
    // Whoever asks again waits for the same end.
    this.#stopped ??= this.#stop(drainMs);
    await this.#stopped;
  }

  async #stop(drainMs: number): Promise<void> {
    // A start under way would leave a running bus behind; why it failed is told to whoever started.
    await this.#starting?.catch(() => {});
    if (this.#state === 'running') this.#state = 'draining';
    const stopped = new MessagingError('DB_MSG_STOPPED', 'the bus has been stopped');
    const faults = await this.#tearDown(this.#connection, drainMs, stopped);
    this.#state = 'stopped';
    // After a failure for good the owner knows more than any of these could tell.
    const [first, ...others] = this.#fatal ? [undefined, ...faults] : faults;
    for (const fault of others) this.#unclosed(fault);
    if (first !== undefined) throw first;
  }

  /** Lets go of everything, once, whatever a part of it refuses; returns what was refused. */
  async #tearDown(
    connection: EngineConnection | undefined,
    drainMs: number,
    reason: unknown,
  ): Promise<readonly unknown[]> {
    if (this.#isTornDown) return [];
    this.#isTornDown = true;
    for (const { begun } of this.#prepared) begun.reject(reason);
    this.#opened.reject(reason);
    const stopped = await Promise.allSettled(this.#running.map((one) => one.stop(drainMs)));
    this.#requester?.stop();
    callHook(
      () => this.#telemetry?.stopped(),
      (error) => this.#unclosed(error),
    );
    const closed = await Promise.allSettled([connection?.close()]);
    return [...stopped, ...closed].flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
  }

  #unclosed(error: unknown): void {
    this.#log.warn({ error: describeError(error) }, 'a part of the bus could not be closed');
  }

  async peek(channel: Channel, subscription: string, limit = 20): Promise<readonly PeekedMessage[]> {
    this.#declared(channel.name);
    refuseBadName(subscription);
    refuseBadLimit(limit);
    return this.#connected().peek({ channel: channel.name, name: subscription }, limit);
  }

  async rewind(channel: Channel, subscription: string, from: ReplayPoint): Promise<void> {
    refuseBadPoint(from, this.#clock.now());
    this.#declared(channel.name);
    refuseBadName(subscription);
    const place = { channel: channel.name, name: subscription };
    return rewindNoted(this.#connected(), this.#decisions, place, from, this.#clock.now());
  }

  async view(): Promise<BusView> {
    const engine = await this.#inspect();
    return {
      engine: this.#engine.name,
      source: this.#source,
      state: this.#state,
      capabilities: this.#connection?.capabilities,
      storedBytes: engine?.storedBytes,
      channels: engine?.channels ?? [],
      showsAll: engine?.showsAll ?? false,
      subscriptions: this.#running.map((one) => ({
        channel: one.settings.channel.name,
        name: one.settings.name,
        ...one.counts(),
      })),
    };
  }

  async #inspect(): Promise<EngineView | undefined> {
    return this.#state === 'running' || this.#state === 'draining' ? this.#connection?.inspect() : undefined;
  }

  #send(batch: readonly OutgoingMessage[], temporary = false): Promise<readonly PublishConfirmation[]> {
    const connection = this.#connected();
    if (!this.#telemetry) return connection.publish(batch);
    return this.#telemetry.publish(batch, temporary, (sent) => connection.publish(sent));
  }

  #outgoing(
    channel: Channel,
    data: unknown,
    options: LooseOptions,
  ): OutgoingMessage | Promise<OutgoingMessage> {
    this.#declared(channel.name);
    const traceparent = options.traceparent ?? this.#traceparent();
    const message = makeMessage(
      this.#messageParts,
      channel,
      data,
      traceparent === undefined ? options : { ...options, traceparent },
    );
    if (message instanceof Promise) {
      const asked = { ...options };
      return message.then((made) => this.#due(channel, made, asked));
    }
    return this.#due(channel, message, options);
  }

  #due({ name }: Channel, message: Message, { delayMs, priority }: LooseOptions): OutgoingMessage {
    const outgoing: { channel: string; message: Message; dueAt?: number; priority?: number } = {
      channel: name,
      message,
    };
    if (delayMs !== undefined) outgoing.dueAt = this.#steady.now() + Math.ceil(delayMs);
    if (priority !== undefined) outgoing.priority = priority;
    return outgoing;
  }

  /** `channel` is the one that was subscribed to: a request of another application need not be named as it. */
  async #sendReply(channel: Channel, request: Message, data: unknown): Promise<void> {
    const to = request.headers.replyto;
    if (to === undefined) return;
    if (!isReplyChannel(to)) {
      this.#log.warn(
        { channel: channel.name, messageId: request.id, replyto: to },
        'a request names no reply channel: its reply goes nowhere',
      );
      return;
    }
    const message = await makeReply(this.#messageParts, request, channel, data);
    try {
      await this.#send([{ channel: to, message }], true);
    } catch (error) {
      // The asker's process is gone and its reply channel with it: nobody is left to tell.
      if ((error as { code?: unknown }).code !== 'DB_MSG_UNKNOWN_CHANNEL') throw error;
    }
  }

  #startSubscription(running: RunningSubscription): Promise<void> {
    if (this.#state === 'new') {
      const begun = Promise.withResolvers<void>();
      this.#prepared.push({ running, begun });
      // `start` rejects with the same error; who only awaits that one must not meet an unhandled rejection.
      begun.promise.catch(() => {});
      return begun.promise;
    }
    const started = this.#join(running);
    started.catch((error: unknown) => {
      // What never began is not shown, and whoever tries again has another one.
      this.#remove(running);
      this.#log.error(
        {
          channel: running.settings.channel.name,
          subscription: running.settings.name,
          error: describeError(error),
        },
        'a subscription could not start',
      );
    });
    return started;
  }

  async #join(running: RunningSubscription): Promise<void> {
    if (this.#state === 'starting') await this.#opened.promise;
    if (this.#state !== 'running') throw new MessagingError('DB_MSG_STOPPED', 'the bus has been stopped');
    const connection = this.#connected();
    await connection.declare({ channels: [], subscriptions: [specOfSubscription(running.settings)] });
    await running.start(connection);
  }

  async #stopSubscription(running: RunningSubscription, drainMs: number): Promise<void> {
    try {
      await running.stop(drainMs);
    } finally {
      this.#remove(running);
    }
  }

  #remove(running: RunningSubscription): void {
    const index = this.#running.indexOf(running);
    if (index >= 0) this.#running.splice(index, 1);
  }

  #declared(name: string): void {
    if (!this.#channels.has(name))
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${name}" was never declared on this bus`);
  }

  #connected(): EngineConnection {
    if (this.#connection && this.#state !== 'stopped') return this.#connection;
    const stopped = this.#state === 'stopped';
    throw new MessagingError(
      stopped ? 'DB_MSG_STOPPED' : 'DB_MSG_NOT_STARTED',
      stopped ? 'the bus has been stopped' : 'the bus has not been started',
    );
  }

  #failed(error: Error): void {
    this.#log.error({ error: error.message }, 'the engine failed');
    this.#fatal ??= error;
    this.#state = 'stopped';
    this.#requester?.stop();
    this.#onFatal(error);
  }
}

function throwLater(error: Error): void {
  queueMicrotask(() => {
    throw error;
  });
}
