/** One engine connection: joins the two links, the topology, the publisher and the consumers, and brings all of them back together. */
import type { Channel, ChannelModel } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import type {
  Capabilities,
  Consumer,
  ConsumerSpec,
  Delivery,
  EngineConnection,
  EngineContext,
  EngineView,
  OutgoingMessage,
  PeekedMessage,
  PublishConfirmation,
  Topology,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { browse, Turns } from './browse.ts';
import { capabilitiesOf } from './capabilities.ts';
import { RabbitConsumer } from './consumer.ts';
import { RabbitDeadLetters } from './dead-letters.ts';
import { createLadder, type Ladder } from './delay-ladder.ts';
import { inspectTopology } from './inspect.ts';
import { Link, unreachable } from './link.ts';
import { type Names, namesOf, partitionOf } from './names.ts';
import type { RabbitSettings } from './options.ts';
import { Publisher } from './publisher.ts';
import { TopologyBook } from './topology.ts';
import { decodeMessage, encodeMessage, type Parcel } from './wire.ts';

const REOPEN_MS = 50;

export class RabbitConnection implements EngineConnection {
  readonly deadLetters: RabbitDeadLetters;
  readonly #settings: RabbitSettings;
  readonly #clock: Clock;
  readonly #names: Names;
  readonly #ladder: Ladder;
  readonly #book: TopologyBook;
  readonly #publisher: Publisher;
  readonly #publishLink: Link;
  readonly #consumeLink: Link;
  readonly #turns = new Turns();
  readonly #consumers = new Set<RabbitConsumer>();
  #capabilities: Capabilities | undefined;
  #nextToken = 1;
  #restoring: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(settings: RabbitSettings, { clock }: EngineContext) {
    this.#settings = settings;
    this.#clock = clock;
    this.#names = namesOf(settings.prefix, settings.partitions);
    this.#ladder = createLadder(settings.ladderPrefix);
    this.#book = new TopologyBook({
      ...settings,
      names: this.#names,
      ladder: this.#ladder,
      onDeclared: (what, name) => settings.onNotice({ kind: 'declared', what, name }),
    });
    this.#publisher = new Publisher({
      clock,
      confirmTimeoutMs: settings.confirmTimeoutMs,
      onMissing: () => void this.#restore().catch(() => {}),
      onBlocked: (reason) =>
        settings.onNotice(reason === undefined ? { kind: 'unblocked' } : { kind: 'blocked', reason }),
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
      onDiscarded: (channel, subscription) => this.#tellDiscarded(channel, subscription),
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
      await Promise.all([this.#publishLink.close(), this.#consumeLink.close()]);
      if (error instanceof MessagingError) throw error;
      throw unreachable(`no connection to the broker: ${(error as Error).message}`, error);
    }
  }

  async declare(topology: Topology): Promise<void> {
    this.#refuseClosed();
    this.#book.remember(topology);
    await this.#declareOn(this.#consumeLink.model(), topology);
    this.#book.forget(topology);
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    this.#refuseClosed();
    const parcels = batch.map((one) => this.#encode(one));
    await Promise.all(batch.map((one, index) => this.#send(one, parcels[index] as Parcel)));
    const confirmedAt = this.#clock.now();
    return batch.map(({ channel, message }) => ({
      id: message.id,
      durability: this.#isDurable(channel) ? 'disk' : 'memory',
      confirmedAt,
    }));
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
        notesQueue: this.#book.isQuorum(channelSpec)
          ? names.notes(spec.channel, spec.subscription)
          : undefined,
        publish: (exchange, routingKey, parcel) => this.#publisher.publish(exchange, routingKey, parcel),
        publishLater: (queue, delayMs, parcel) => this.#publishLater(queue, delayMs, parcel),
        readNotes: (queue, read) =>
          this.#turns.run(queue, () =>
            browse(this.#consumeLink.model(), this.#clock, queue, async ({ messages }) => read(messages)),
          ),
        heldKeys: () => this.deadLetters.heldKeys(channelSpec, spec.subscription),
        nextToken: () => this.#nextToken++,
        onGone: () => {
          this.#settings.onNotice({
            kind: 'consumerLost',
            channel: spec.channel,
            subscription: spec.subscription,
          });
          void this.#reopen();
        },
        onClosed: () => this.#consumers.delete(consumer),
      },
      receive,
    );
    this.#consumers.add(consumer);
    try {
      await consumer.open(this.#consumeLink.model());
    } catch (error) {
      this.#consumers.delete(consumer);
      throw asMessagingError(error);
    }
    return consumer;
  }

  async peek(): Promise<readonly PeekedMessage[]> {
    throw new MessagingError('DB_MSG_UNSUPPORTED_CAPABILITY', 'this engine cannot show what waits');
  }

  async rewind(): Promise<void> {
    throw new MessagingError('DB_MSG_UNSUPPORTED_CAPABILITY', 'this engine keeps no log to replay');
  }

  async inspect(): Promise<EngineView> {
    this.#refuseClosed();
    return inspectTopology({
      model: this.#consumeLink.model(),
      book: this.#book,
      names: this.#names,
      consumers: [...this.#consumers],
      deadLetters: this.deadLetters,
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.close()));
    this.#publisher.stop();
    await Promise.all([this.#publishLink.close(), this.#consumeLink.close()]);
    this.#publisher.down();
  }

  #refuseClosed(): void {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
  }

  #link(
    connection: 'publish' | 'consume',
    on: { readonly onUp: (model: ChannelModel) => Promise<void>; readonly onDown: () => void },
  ): Link {
    return new Link({
      url: this.#settings.url,
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
    });
  }

  async #consumeUp(model: ChannelModel): Promise<void> {
    this.#capabilities ??= capabilitiesOf(model, {
      maxMessageBytes: this.#settings.maxMessageBytes,
      ladder: this.#ladder,
    });
    await this.#declareOn(model, this.#book.all());
    await this.#listenForHints(model);
    for (const consumer of this.#consumers) await consumer.open(model);
  }

  async #declareOn(model: ChannelModel, { channels, subscriptions, removed = [] }: Topology): Promise<void> {
    await onChannel(model, async (channel) => {
      if (channels.some(({ ephemeral }) => !ephemeral)) await this.#book.declareLadder(channel);
      for (const spec of channels) await this.#book.declareChannel(channel, spec);
      for (const { channel: name, name: subscription } of subscriptions)
        await this.#book.declareQueues(channel, this.#book.known(name).spec, subscription);
      await this.#claim(model, channel, subscriptions);
      for (const { channel: name, name: subscription } of subscriptions)
        await this.#book.bindQueues(channel, this.#book.known(name).spec, subscription);
      // What came between the last look and the binding; it is a moment, and only there order may suffer.
      await this.#claim(model, channel, subscriptions);
      for (const { channel: name, name: subscription } of removed) {
        const known = this.#book.channels.get(name);
        if (known) await this.#book.removeQueues(channel, known.spec, subscription);
      }
    });
  }

  /** Moves what was published while nobody had subscribed into the queues of those that subscribe now. */
  async #claim(
    model: ChannelModel,
    channel: Channel,
    subscriptions: Topology['subscriptions'],
  ): Promise<void> {
    if (this.#settings.keepUnsubscribedMs === 0) return;
    for (const name of new Set(subscriptions.map((one) => one.channel))) {
      const { spec } = this.#book.known(name);
      if (spec.ephemeral) continue;
      const queue = this.#names.unclaimed(name);
      const { messageCount } = await channel.checkQueue(queue);
      if (messageCount === 0) continue;
      const targets = subscriptions.filter((one) => one.channel === name);
      await this.#turns.run(queue, () =>
        browse(model, this.#clock, queue, async ({ messages, take }) => {
          const moved = messages.map(async (message) => {
            const { parcel, message: event } = decodeMessage(message);
            for (const target of targets) {
              const queues = this.#names.queues(spec, target.name);
              const index = spec.order === 'key' ? partitionOf(event?.key ?? '', queues.length) : 0;
              await this.#publisher.publish('', queues[index] as string, parcel);
            }
            take(message);
          });
          await Promise.all(moved);
        }),
      );
    }
  }

  #encode({ channel, message, priority }: OutgoingMessage): Parcel {
    const parcel = encodeMessage(message);
    const { maxMessageBytes } = this.#settings;
    if (parcel.content.length > maxMessageBytes)
      throw new MessagingError(
        'DB_MSG_MESSAGE_TOO_LARGE',
        `message ${message.id} takes ${parcel.content.length} bytes; ${maxMessageBytes} are allowed`,
      );
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

  async #send({ channel, message, dueAt }: OutgoingMessage, parcel: Parcel): Promise<void> {
    const spec = this.#book.channels.get(channel)?.spec;
    if (!spec || spec.ephemeral) return this.#sendToEphemeral(channel, parcel);
    const exchange = this.#names.exchange(channel);
    const delayMs = dueAt === undefined ? 0 : dueAt - this.#clock.now();
    if (delayMs > 0) return this.#publishLater(exchange, delayMs, parcel);
    const routingKey =
      spec.order === 'key' ? String(partitionOf(message.key ?? '', this.#settings.partitions)) : '';
    return this.#publisher.publish(exchange, routingKey, parcel);
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

  #publishLater(target: string, delayMs: number, parcel: Parcel): Promise<void> {
    const { maxMs, entry, routeFor } = this.#ladder;
    if (delayMs > maxMs)
      return Promise.reject(
        new MessagingError('DB_MSG_INVALID_OPTIONS', `a delay of ${delayMs} ms is longer than ${maxMs} ms`),
      );
    return this.#publisher.publish(entry, routeFor(delayMs, target), parcel);
  }

  /** After the broker closed a channel or lost a queue while the connection lives. */
  async #reopen(): Promise<void> {
    await pause(this.#clock, REOPEN_MS);
    await this.#restore().catch(() => {});
  }

  /** Declares all again and opens what is closed; one at a time, because many consumers lose their queues together. */
  #restore(): Promise<void> {
    this.#restoring ??= this.#restoreOnce().finally(() => {
      this.#restoring = undefined;
    });
    return this.#restoring;
  }

  async #restoreOnce(): Promise<void> {
    while (!this.#closing && this.#consumeLink.up) {
      try {
        this.#book.doubtLadder();
        const model = this.#consumeLink.model();
        await this.#declareOn(model, this.#book.all());
        for (const consumer of this.#consumers) await consumer.open(model);
        return;
      } catch {
        // The link brings all back when the connection is what failed.
        await pause(this.#clock, REOPEN_MS);
      }
    }
  }

  async #listenForHints(model: ChannelModel): Promise<void> {
    const channel = await model.createChannel();
    channel.on('error', () => {});
    await channel.assertExchange(this.#names.hints, 'fanout', { durable: true });
    this.#settings.onNotice({ kind: 'declared', what: 'exchange', name: this.#names.hints });
    const { queue } = await channel.assertQueue('', { exclusive: true, durable: false });
    await channel.bindQueue(queue, this.#names.hints, '');
    await channel.consume(
      queue,
      (message) => {
        if (!message) return;
        const hint = JSON.parse(message.content.toString()) as { channel: string; subscription: string };
        for (const consumer of this.#consumers) {
          const { channel: name, subscription } = consumer.spec;
          if (name === hint.channel && subscription === hint.subscription)
            void consumer.recheck().catch(() => {});
        }
      },
      { noAck: true },
    );
  }

  async #tellDiscarded(channel: string, subscription: string): Promise<void> {
    await this.#publisher
      .publish(this.#names.hints, '', {
        content: Buffer.from(JSON.stringify({ channel, subscription })),
        options: { contentType: 'application/json' },
      })
      .catch(() => {});
  }
}

async function onChannel(model: ChannelModel, work: (channel: Channel) => Promise<void>): Promise<void> {
  let channel: Channel | undefined;
  try {
    channel = await model.createChannel();
    channel.on('error', () => {});
    await work(channel);
  } catch (error) {
    throw asMessagingError(error);
  } finally {
    await channel?.close().catch(() => {});
  }
}

const PRECONDITION_FAILED = 406;

function asMessagingError(error: unknown): Error {
  if (error instanceof MessagingError) return error;
  const { code, message } = error as { code?: unknown; message: string };
  if (code === PRECONDITION_FAILED)
    return new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `the broker has it with other settings: ${message}. Use the same settings or delete it there`,
      { cause: error },
    );
  return unreachable(`the broker refused or is gone: ${message}`, error);
}
