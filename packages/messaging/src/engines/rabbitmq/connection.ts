/** One engine connection: joins the two links, the topology, the publisher and the consumers, and brings all of them back together. */
import type { ChannelModel } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import type {
  Capabilities,
  ChannelSpec,
  Consumer,
  ConsumerSpec,
  Delivery,
  EngineConnection,
  EngineContext,
  EngineView,
  OutgoingMessage,
  PeekedMessage,
  PublishConfirmation,
  ChannelStanding,
  SubscriptionName,
  Topology,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { refuseAbove } from '../../message-size.ts';
import { answered } from './answered.ts';
import { asMessagingError, isMissing } from './broker-fault.ts';
import { Turns } from './browse.ts';
import { capabilitiesOf } from './capabilities.ts';
import { LONGEST_CLOSE_MS } from './closing.ts';
import { RabbitConsumer } from './consumer.ts';
import { RabbitDeadLetters } from './dead-letters.ts';
import { Declaring } from './declaring.ts';
import { createLadder, type Ladder, type LateKey } from './delay-ladder.ts';
import { GrowingWait } from './growing-wait.ts';
import { HeldUp, type Refused } from './held-up.ts';
import { type Hint, Hints } from './hints.ts';
import { Link } from './link.ts';
import { KeptNotes } from './kept-notes.ts';
import { lookThrough } from './looking.ts';
import { type Names, namesOf, partitionOf } from './names.ts';
import { encodeNotes, type Note, type QueueNotes, SharedNotes } from './notes.ts';
import type { RabbitSettings } from './options.ts';
import { peekQueues } from './peek.ts';
import { Publisher } from './publisher.ts';
import { TopologyBook } from './topology.ts';
import { judgeServer, nameOf } from './version.ts';
import { inspectTopology } from './view.ts';
import { encodeMessage, type Parcel, rawOf, type Received } from './wire.ts';

const REOPENINGS = { firstMs: 50, longestMs: 5_000 };
/** What AMQP allows. */
const ROUTING_KEY_BYTES = 255;

export class RabbitConnection implements EngineConnection {
  readonly deadLetters: RabbitDeadLetters;
  readonly #settings: RabbitSettings;
  readonly #clock: Clock;
  readonly #names: Names;
  readonly #ladder: Ladder;
  readonly #book: TopologyBook;
  readonly #declaring: Declaring;
  readonly #heldUp: HeldUp;
  readonly #publisher: Publisher;
  readonly #publishLink: Link;
  readonly #consumeLink: Link;
  readonly #turns = new Turns();
  readonly #hints: Hints;
  readonly #consumers = new Set<RabbitConsumer>();
  #capabilities: Capabilities | undefined;
  #nextToken = 1;
  #nextConsumer = 1;
  #restoring: Promise<void> | undefined;
  /** Restores and tries of what is held up. */
  readonly #restores = new Turns();
  readonly #ended = new WeakSet<ChannelModel>();
  #reopening = false;
  /** Of the consuming connection. */
  #isComingUp = false;
  #lostMeanwhile = false;
  readonly #reopenings: GrowingWait;
  readonly #gone = new AbortController();
  #closing: Promise<void> | undefined;

  constructor(settings: RabbitSettings, { clock }: EngineContext) {
    this.#settings = settings;
    this.#clock = clock;
    this.#reopenings = new GrowingWait(clock, REOPENINGS);
    this.#names = namesOf(settings.prefix, settings.partitions, settings.existing);
    this.#ladder = createLadder(settings.ladderPrefix);
    this.#book = new TopologyBook({
      ...settings,
      clock,
      names: this.#names,
      ladder: this.#ladder,
      onDeclared: (what, name) => settings.onNotice({ kind: 'declared', what, name }),
      onLessDurable: (channel, queue) => settings.onNotice({ kind: 'lessDurable', channel, queue }),
    });
    this.#publisher = new Publisher({
      clock,
      confirmTimeoutMs: settings.confirmTimeoutMs,
      onMissing: () => void this.#restore(),
      onOpened: () => this.#hints.leaveOwedWill(),
      onTrouble: (error) => this.#tellTrouble(error),
      onBlocked: (reason) => {
        if (reason === undefined) this.#hints.leaveOwedWill();
        settings.onNotice(reason === undefined ? { kind: 'unblocked' } : { kind: 'blocked', reason });
      },
    });
    this.#declaring = new Declaring({
      clock,
      names: this.#names,
      ladder: this.#ladder,
      book: this.#book,
      turns: this.#turns,
      publish: (exchange, routingKey, parcel) => this.#publisher.publish(exchange, routingKey, parcel),
    });
    this.#heldUp = new HeldUp({
      clock,
      ended: this.#gone.signal,
      tryAgain: () => this.#restores.run('', () => this.#tryHeldUp()),
    });
    this.#hints = new Hints({
      clock,
      names: this.#names,
      publish: (exchange, routingKey, parcel) => this.#publisher.publish(exchange, routingKey, parcel),
      onDeclared: (what, name) => settings.onNotice({ kind: 'declared', what, name }),
      onHint: (hint) => this.#hear(hint),
      onTrouble: (error) => this.#tellTrouble(error),
    });
    this.#publishLink = this.#link('publish', {
      onUp: (model) => this.#publisher.open(model),
      onDown: () => this.#publisher.down(),
    });
    this.#consumeLink = this.#link('consume', {
      onUp: (model) => this.#consumeUp(model),
      onDown: () => this.#book.doubtLadder(),
    });
    this.deadLetters = new RabbitDeadLetters({
      clock,
      names: this.#names,
      book: this.#book,
      partitions: settings.partitions,
      turns: this.#turns,
      model: () => this.#consumeLink.model(),
      publish: (exchange, routingKey, parcel) => this.#publisher.publish(exchange, routingKey, parcel),
      nextRedrive: () => `${this.#hints.queue}/${this.#nextToken++}`,
      onDiscarded: (channel, subscription) => this.#hints.tellDiscarded({ channel, subscription }),
    });
  }

  get capabilities(): Capabilities {
    if (!this.#capabilities) throw new MessagingError('DB_MSG_NOT_STARTED', 'not connected yet');
    return this.#capabilities;
  }

  async open(): Promise<void> {
    try {
      await Promise.all([this.#publishLink.open(), this.#consumeLink.open()]);
    } catch (error) {
      // Nobody holds this connection who could close it later: what would come back by itself goes on for as long as the process lives.
      await this.close();
      throw error;
    }
  }

  async standing(channels: readonly ChannelSpec[]): Promise<ReadonlyMap<string, ChannelStanding>> {
    this.#refuseClosed();
    try {
      return await this.#book.standing(this.#consumeLink.model(), channels);
    } catch (error) {
      throw asMessagingError(error);
    }
  }

  async declare(topology: Topology): Promise<void> {
    this.#refuseClosed();
    const takeBack = this.#book.remember(topology);
    try {
      await this.#declaring.all(this.#consumeLink.model(), topology, (spec) =>
        this.#book.refuseWrongWord(spec),
      );
    } catch (error) {
      takeBack();
      throw error;
    }
    this.#book.forget(topology);
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    this.#refuseClosed();
    const [first] = batch;
    // The way of every single publish, so without the cost of lists.
    if (first && batch.length === 1) {
      await this.#send(first, this.#encode(first));
      return [this.#confirmationOf(first, this.#clock.now())];
    }
    const parcels = batch.map((one) => this.#encode(one));
    await Promise.all(batch.map((one, index) => this.#send(one, parcels[index] as Parcel)));
    const confirmedAt = this.#clock.now();
    return batch.map((one) => this.#confirmationOf(one, confirmedAt));
  }

  #confirmationOf({ channel, message }: OutgoingMessage, confirmedAt: number): PublishConfirmation {
    const spec = this.#book.channels.get(channel)?.spec;
    return { id: message.id, durability: spec && this.#book.isOnDisk(spec) ? 'disk' : 'memory', confirmedAt };
  }

  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    this.#refuseClosed();
    const { spec: channelSpec } = this.#book.known(spec.channel);
    const names = this.#names;
    const consumer = new RabbitConsumer(
      {
        clock: this.#clock,
        spec,
        channelSpec,
        queues: names.queues(channelSpec, spec.subscription),
        deadQueue: names.dead(spec.channel, spec.subscription),
        deadLetterExchange: this.#settings.deadLetterExchangeOf(spec.channel),
        notesOf: (queue, model) => this.#notesOf(channelSpec, spec.subscription, queue, model),
        publish: (exchange, routingKey, parcel) => this.#publisher.publish(exchange, routingKey, parcel),
        publishLater: (queue, delayMs, parcel) => this.#publishLater(queue, delayMs, parcel),
        longestDelayMs: this.#ladder.maxMs,
        heldKeys: (arrived) =>
          this.#orDeclared(this.deadLetters.heldKeys(channelSpec, spec.subscription, arrived)),
        number: this.#nextConsumer++,
        nextToken: () => this.#nextToken++,
        leaveWill: () => this.#hints.leaveWill(),
        tellMembers: (hint, to) => this.#hints.tellMembers({ ...spec, ...hint }, to),
        onGone: () => {
          this.#settings.onNotice({
            kind: 'consumerLost',
            channel: spec.channel,
            subscription: spec.subscription,
          });
          this.#hearLoss();
        },
        onTrouble: (error) => this.#tellTrouble(error),
        onClosed: () => this.#consumers.delete(consumer),
      },
      receive,
    );
    this.#consumers.add(consumer);
    try {
      await consumer.open(this.#consumeLink.model(), this.#hints.queue);
    } catch (error) {
      this.#consumers.delete(consumer);
      throw asMessagingError(error);
    }
    return consumer;
  }

  #notesOf(
    spec: ChannelSpec,
    subscription: string,
    index: number,
    model: ChannelModel,
  ): QueueNotes | undefined {
    if (!this.#book.isQuorum(spec)) return undefined;
    const queue = this.#names.notes(spec, subscription)[index] as string;
    const write = (notes: readonly Note[], by?: string): Promise<void> =>
      this.#publisher.publish('', queue, encodeNotes(notes, by));
    return spec.order === 'key'
      ? new KeptNotes({
          clock: this.#clock,
          queue,
          model,
          write,
          nextMark: () => `${this.#hints.queue}/${this.#nextToken++}`,
          onMissing: () => this.#hearLoss(),
        })
      : new SharedNotes({
          write,
          browse: (look) =>
            this.#orDeclared(
              this.#turns.run(queue, () =>
                lookThrough(model, this.#clock, queue, async ({ messages }) => look(messages)),
              ),
            ),
        });
  }

  /** What this process's consumers hold ready or waiting for its key comes first: it is older than what is still in the queue. */
  async peek({ channel, name }: SubscriptionName, limit: number): Promise<readonly PeekedMessage[]> {
    this.#refuseClosed();
    const { spec } = this.#book.known(channel);
    const queues = this.#names.queues(spec, name);
    const held = [...this.#consumers]
      .filter((one) => one.spec.channel === channel && one.spec.subscription === name)
      .flatMap((one) => one.waiting());
    const stored = await peekQueues(
      this.#consumeLink.model(),
      {
        clock: this.#clock,
        queues,
        isSingleConsumer: spec.order === 'key',
        notesQueues: this.#book.isQuorum(spec) ? this.#names.notes(spec, name) : undefined,
        publish: (exchange, routingKey, parcel) => this.#publisher.publish(exchange, routingKey, parcel),
      },
      limit,
    );
    // Each partition is in order by itself; between them only the time tells.
    const timeOf = ({ message }: Received): string => message?.time ?? '';
    const found = queues.length === 1 ? stored : stored.toSorted((a, b) => (timeOf(a) < timeOf(b) ? -1 : 1));
    return [...held, ...found]
      .slice(0, limit)
      .map((received) => ({ offset: undefined, message: received.message, raw: rawOf(received) }));
  }

  async rewind(): Promise<void> {
    throw new MessagingError('DB_MSG_UNSUPPORTED_CAPABILITY', 'this engine keeps no log to replay');
  }

  async inspect(): Promise<EngineView> {
    this.#refuseClosed();
    return inspectTopology({
      clock: this.#clock,
      model: this.#consumeLink.model(),
      book: this.#book,
      names: this.#names,
      consumers: [...this.#consumers],
      deadLetters: this.deadLetters,
    });
  }

  close(): Promise<void> {
    this.#gone.abort();
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    await answered(this.#clock, LONGEST_CLOSE_MS, this.#hints.close());
    this.#publisher.stop();
    await Promise.all([this.#publishLink.close(), this.#consumeLink.close()]);
    this.#publisher.down();
  }

  #hear(hint: Hint): void {
    for (const consumer of this.#consumers)
      if (hint.kind === 'ended') consumer.doubt(hint.queue);
      else if (consumer.spec.channel !== hint.channel || consumer.spec.subscription !== hint.subscription)
        continue;
      else if (hint.kind === 'discarded') void consumer.recheck().catch(() => {});
      else consumer.hear(hint);
  }

  #refuseClosed(): void {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
  }

  #link(
    connection: 'publish' | 'consume',
    on: { readonly onUp: (model: ChannelModel) => Promise<void>; readonly onDown: () => void },
  ): Link {
    return new Link({
      urls: this.#settings.urls,
      clock: this.#clock,
      name: `doorbuster ${connection}`,
      onUp: async (model) => {
        await on.onUp(model);
        this.#settings.onNotice({ kind: 'connected', connection });
      },
      onDown: () => {
        on.onDown();
        this.#settings.onNotice({ kind: 'disconnected', connection });
      },
      onTrouble: (error) => this.#tellTrouble(error),
    });
  }

  async #consumeUp(model: ChannelModel): Promise<void> {
    this.#probe(model);
    // What was refused on the former connection may be as it should be on this one.
    this.#heldUp.take();
    model.once('close', () => this.#ended.add(model));
    this.#isComingUp = true;
    this.#lostMeanwhile = false;
    try {
      await this.#declareSound(model, this.#book.all());
      await this.#hints.listen(model);
      await this.#openSound(model);
    } finally {
      this.#isComingUp = false;
    }
    if (this.#lostMeanwhile) void this.#reopen();
  }

  /** While the connection comes up, its consumer may have been opened already, and the connection is up only when the slowest has answered: so what is lost is opened again behind that. */
  #hearLoss(): void {
    if (this.#isComingUp) this.#lostMeanwhile = true;
    else void this.#reopen();
  }

  /** What consumers look at beside their queue: where it was deleted it is declared again, before they ask again. */
  async #orDeclared<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (isMissing(error)) this.#hearLoss();
      throw error;
    }
  }

  /** Declares what the broker takes. What it refuses is told and held up, with the subscriptions that need it. Rejects when the connection is gone, or for what all need. */
  async #declareSound(model: ChannelModel, topology: Topology): Promise<void> {
    await this.#declaring.sound(model, topology, {
      hasEnded: () => this.#ended.has(model),
      onRefused: (refused, error) => this.#holdUp(refused, error),
    });
  }

  #holdUp(refused: Refused, error: unknown): void {
    this.#heldUp.add(refused);
    this.#tellTrouble(error);
  }

  /** Side by side: a queue that does not answer is waited for by its own consumer alone. */
  async #openSound(model: ChannelModel): Promise<void> {
    const opening = [...this.#consumers].map(async (consumer) => {
      const { channel, subscription: name } = consumer.spec;
      if (this.#heldUp.has({ channel, name })) return consumer.standAside(model);
      try {
        await consumer.open(model, this.#hints.queue);
      } catch (error) {
        if (this.#ended.has(model)) throw error;
        this.#holdUp({ channel, name }, asMessagingError(error));
      }
    });
    const failed = (await Promise.allSettled(opening)).find((one) => one.status === 'rejected');
    if (failed) throw failed.reason;
  }

  /** On every connection: a cluster may be of several versions. Throws DB_MSG_ENGINE_UNSAFE. */
  #probe(model: ChannelModel): void {
    const { serverProperties } = model.connection;
    const { maxMessageBytes, onNotice } = this.#settings;
    if (judgeServer(serverProperties) === 'untried')
      onNotice({ kind: 'untried', server: nameOf(serverProperties) });
    this.#capabilities ??= capabilitiesOf(model, { maxMessageBytes, ladder: this.#ladder });
  }

  #encode({ channel, message, priority }: OutgoingMessage): Parcel {
    const parcel = encodeMessage(message);
    if (this.#book.channels.get(channel)?.spec.routing === 'headers' && parcel.options.headers === undefined)
      throw new MessagingError(
        'DB_MSG_MESSAGE_TOO_LARGE',
        `the headers of message ${message.id} do not fit into an AMQP header table, where "${channel}" is routed by them`,
      );
    refuseAbove(this.#settings.maxMessageBytes, parcel.content.length, message.id);
    const durable = this.#isDurable(channel);
    if (durable && !priority) return parcel;
    return {
      ...parcel,
      options: { ...parcel.options, persistent: durable, ...(priority ? { priority } : {}) },
    };
  }

  /** A channel that was not declared here is the reply channel of somebody else. */
  #isDurable(channel: string): boolean {
    return this.#book.channels.get(channel)?.spec.ephemeral === false;
  }

  #send({ channel, message, dueAt }: OutgoingMessage, parcel: Parcel): Promise<void> {
    const spec = this.#book.channels.get(channel)?.spec;
    if (!spec || spec.ephemeral) return this.#sendToEphemeral(channel, parcel);
    const { queue } = this.#names.existing(channel);
    const exchange = this.#names.exchange(channel);
    const delayMs = dueAt === undefined ? 0 : dueAt - this.#clock.now();
    const { routing } = spec;
    const routingKey =
      spec.order === 'key'
        ? String(partitionOf(message.key ?? '', this.#settings.partitions))
        : (message.routingKey ?? '');
    if (delayMs > 0) {
      const byKey = routing === 'direct' || routing === 'topic';
      return this.#publishLater(
        queue ?? exchange,
        delayMs,
        parcel,
        byKey ? { routing, text: routingKey } : undefined,
      );
    }
    return queue === undefined
      ? this.#publisher.publish(exchange, routingKey, parcel)
      : this.#publisher.publish('', queue, parcel);
  }

  async #sendToEphemeral(channel: string, parcel: Parcel): Promise<void> {
    try {
      await this.#publisher.publish('', this.#names.ephemeral(channel), parcel);
    } catch (error) {
      if (!(error instanceof MessagingError) || error.code !== 'DB_MSG_UNROUTABLE') throw error;
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `nobody has the channel "${channel}"`, {
        cause: error,
      });
    }
  }

  #publishLater(target: string, delayMs: number, parcel: Parcel, key?: LateKey): Promise<void> {
    const { maxMs, entry, routeFor } = this.#ladder;
    const refuse = (detail: string): Promise<never> =>
      Promise.reject(new MessagingError('DB_MSG_INVALID_OPTIONS', detail));
    if (delayMs > maxMs) return refuse(`a delay of ${delayMs} ms is longer than ${maxMs} ms`);
    const route = routeFor(delayMs, target, key);
    if (Buffer.byteLength(route) > ROUTING_KEY_BYTES)
      return refuse(
        `"${target}" and the routing key take ${Buffer.byteLength(route)} bytes on the delay ladder; ${ROUTING_KEY_BYTES} are allowed`,
      );
    return this.#publisher.publish(entry, route, parcel);
  }

  /** After the broker closed a channel or lost a queue while the connection lives. What is lost in one wait is opened by one run. */
  async #reopen(): Promise<void> {
    if (this.#reopening) return;
    this.#reopening = true;
    await pause(this.#clock, this.#reopenings.next(), this.#gone.signal);
    this.#reopening = false;
    // One that is under way may have been past what was lost.
    await this.#restoring;
    await this.#restore();
  }

  /**
   * Declares all again and opens what is closed, but for what is held up, which is tried by itself. Never rejects. One at a time, because many consumers lose their
   * queues together: who comes while one is under way gets that one.
   */
  #restore(): Promise<void> {
    this.#restoring ??= this.#restores
      .run('', () => this.#restoreOnce())
      .finally(() => {
        this.#restoring = undefined;
      });
    return this.#restoring;
  }

  async #restoreOnce(): Promise<void> {
    while (!this.#closing && this.#consumeLink.up) {
      try {
        this.#book.doubtLadder();
        const model = this.#consumeLink.model();
        await this.#declareSound(model, this.#heldUp.without(this.#book.all()));
        await this.#openSound(model);
        return;
      } catch (error) {
        this.#tellTrouble(error);
        // The link brings all back when the connection is what failed.
        await pause(this.#clock, this.#reopenings.next(), this.#gone.signal);
      }
    }
  }

  /** Never rejects. */
  async #tryHeldUp(): Promise<void> {
    if (this.#closing || !this.#consumeLink.up) return;
    const topology = this.#heldUp.of(this.#book.all());
    const held = this.#heldUp.take();
    try {
      const model = this.#consumeLink.model();
      await this.#declareSound(model, topology);
      await this.#openSound(model);
    } catch (error) {
      for (const one of held) this.#heldUp.add(one);
      this.#tellTrouble(error);
    }
  }

  /** Not of what ends because this connection is being closed. */
  #tellTrouble(error: unknown): void {
    if (!this.#closing) this.#settings.onNotice({ kind: 'trouble', error });
  }
}
