/** One engine connection: joins the topology, the publisher and the readers, one reader for each subscription that has consumers here. */
import { Admin } from '@platformatic/kafka';
import type { Clock } from '../../clock.ts';
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
  ReplayPoint,
  ChannelStanding,
  SubscriptionName,
  Topology,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { refuseAbove } from '../../message-size.ts';
import { type Probe, probe } from './capabilities.ts';
import { tellOfUntriedClient } from './client-version.ts';
import { KafkaConsumer } from './consumer.ts';
import { DeadBook } from './dead-book.ts';
import { type DeadLetterPlace, KafkaDeadLetters } from './dead-letters.ts';
import { Farewell, FAREWELL_MS } from './farewell.ts';
import { heard } from './heard.ts';
import { clientOptions, Link } from './link.ts';
import { Logs } from './logs.ts';
import { type Names, namesOf, partitionOf } from './names.ts';
import { PartitionTurns } from './partition-turns.ts';
import type { KafkaSettings } from './options.ts';
import { type Item, Publisher } from './publisher.ts';
import { Reader } from './reader.ts';
import { Registry } from './registry.ts';
import { Replay } from './replay.ts';
import { Takeover } from './takeover.ts';
import { type KnownChannel, TopologyBook } from './topology.ts';
import { Trimmer } from './trim.ts';
import { View } from './view.ts';
import { copyOf, encodeMessage, sizeOf } from './wire.ts';

export class KafkaConnection implements EngineConnection {
  readonly capabilities: Capabilities;
  readonly deadLetters: KafkaDeadLetters;
  readonly #settings: KafkaSettings;
  readonly #clock: Clock;
  readonly #farewell: Farewell;
  readonly #names: Names;
  readonly #link: Link;
  readonly #admin: Admin;
  readonly #logs: Logs;
  readonly #publisher: Publisher;
  readonly #registry: Registry;
  readonly #book: TopologyBook;
  readonly #view: View;
  readonly #replay: Replay;
  readonly #trimmer: Trimmer;
  readonly #books = new Map<string, DeadBook>();
  readonly #readers = new Map<string, Promise<Reader>>();
  readonly #opened = new Map<string, Reader>();
  readonly #turns = new PartitionTurns();
  #nextToken = 1;
  #closing: Promise<void> | undefined;

  static async open(settings: KafkaSettings, { clock }: EngineContext): Promise<KafkaConnection> {
    tellOfUntriedClient(settings.onNotice);
    const link = new Link(settings, clock);
    const admin = heard(new Admin(clientOptions(settings)));
    try {
      const probed = await probe(link, admin, settings);
      return new KafkaConnection(settings, clock, link, admin, probed);
    } catch (error) {
      await Promise.all([link.close(), admin.close().catch(() => {})]);
      throw error;
    }
  }

  private constructor(settings: KafkaSettings, clock: Clock, link: Link, admin: Admin, probed: Probe) {
    this.#settings = settings;
    this.#clock = clock;
    this.#link = link;
    this.#admin = admin;
    this.#farewell = new Farewell(clock);
    this.capabilities = probed.capabilities;
    this.#names = namesOf(settings.prefix);
    this.#logs = new Logs(admin, link);
    this.#publisher = new Publisher(settings, clock, probed.maxRecordBytes);
    this.#registry = new Registry({
      topic: this.#names.registry,
      logs: this.#logs,
      publisher: this.#publisher,
      onNotice: settings.onNotice,
    });
    const parts = { settings, clock, link, admin, logs: this.#logs, names: this.#names };
    this.#book = new TopologyBook({ ...parts, registry: this.#registry, probe: probed });
    this.#trimmer = new Trimmer({ ...parts, book: this.#book });
    const looking = {
      ...parts,
      readerOf: (channel: string, name: string) => this.#opened.get(this.#names.group(channel, name)),
    };
    this.#view = new View({ ...looking, bookOf: (channel, name) => this.#deadBook(channel, name) });
    this.#replay = new Replay({ ...looking, registry: this.#registry, publisher: this.#publisher });
    this.deadLetters = new KafkaDeadLetters({
      publisher: this.#publisher,
      places: () => this.#deadLetterPlaces(),
      onEnded: (channel, name) => this.#opened.get(this.#names.group(channel, name))?.recheck(),
    });
    this.#trimmer.start();
  }

  async standing(channels: readonly ChannelSpec[]): Promise<ReadonlyMap<string, ChannelStanding>> {
    this.#refuseClosed();
    return this.#book.standing(channels);
  }

  async declare(topology: Topology): Promise<void> {
    this.#refuseClosed();
    await this.#book.declare(topology);
    // A reply channel of a process that was killed is nobody's: whoever makes one looks for such.
    if (topology.channels.some(({ ephemeral }) => ephemeral)) void this.#book.sweep().catch(() => {});
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    this.#refuseClosed();
    const [first] = batch;
    if (first && batch.length === 1) return [await this.#publishOne(first)];
    const channels = new Map<string, KnownChannel>();
    for (const { channel } of batch)
      if (!channels.has(channel))
        channels.set(channel, this.#book.channels.get(channel) ?? (await this.#book.foreign(channel)));
    const byTopic = new Map<string, Item[]>();
    for (const one of batch) {
      const known = channels.get(one.channel) as KnownChannel;
      const topic = topicOf(known, one);
      const items = byTopic.get(topic) ?? [];
      byTopic.set(topic, items);
      items.push(this.#item(known, one));
    }
    await Promise.all(
      [...byTopic].map(([topic, items]) => this.#publisher.send(topic, items, { lingers: true })),
    );
    const confirmedAt = this.#clock.now();
    return batch.map(({ channel, message }) => ({
      id: message.id,
      durability: channels.get(channel)?.durability ?? 'memory',
      confirmedAt,
    }));
  }

  /** The common way, without maps of one. */
  async #publishOne(one: OutgoingMessage): Promise<PublishConfirmation> {
    const known = this.#book.channels.get(one.channel) ?? (await this.#book.foreign(one.channel));
    await this.#publisher.send(topicOf(known, one), [this.#item(known, one)], { lingers: true });
    return { id: one.message.id, durability: known.durability, confirmedAt: this.#clock.now() };
  }

  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    this.#refuseClosed();
    let reader = await this.#readerFor(spec);
    // Its last consumer may have closed it between the answer and here.
    while (reader.isClosing) {
      this.#refuseClosed();
      reader = await this.#readerFor(spec);
    }
    this.#refuseClosed();
    const consumer = new KafkaConsumer(
      {
        clock: this.#clock,
        spec,
        nextToken: () => this.#nextToken++,
        settle: (pairs) => reader.settle(pairs),
        onLeaseEnd: (entry) => reader.endLease(entry),
        onCapacity: () => reader.capacityChanged(),
        onClose: async (closed, held) => {
          reader.consumers.delete(closed);
          reader.giveBack(held);
          if (reader.isEmpty) await this.#closeReader(spec, reader);
          else await this.#farewell.endsWithin(FAREWELL_MS, reader.flush());
        },
      },
      receive,
    );
    reader.consumers.add(consumer);
    reader.capacityChanged();
    return consumer;
  }

  async inspect(): Promise<EngineView> {
    this.#refuseClosed();
    await this.#book.lookAround();
    const known = [...this.#book.channels.values()].filter(({ spec }) => !spec.ephemeral);
    const channels = await Promise.all(known.map((one) => this.#view.channel(one)));
    return { engine: 'kafka', channels, storedBytes: undefined };
  }

  async peek({ channel, name }: SubscriptionName, limit: number): Promise<readonly PeekedMessage[]> {
    this.#refuseClosed();
    return this.#replay.peek(this.#book.known(channel), name, limit);
  }

  async rewind(
    { channel, name }: SubscriptionName,
    from: ReplayPoint,
    { dryRun = false }: { readonly dryRun?: boolean } = {},
  ): Promise<void> {
    this.#refuseClosed();
    return this.#replay.rewind(this.#book.known(channel), name, from, dryRun);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#trimmer.stop();
    // One without consumers is still joining, and whoever waits for that is told of the stop.
    await Promise.all(
      [...this.#opened.values()].flatMap((reader) =>
        reader.isEmpty ? [reader.close()] : [...reader.consumers].map((consumer) => consumer.close()),
      ),
    );
    await this.#farewell.endsWithin(FAREWELL_MS, this.#book.dropEphemeral());
    await Promise.all([this.#publisher.close(), this.#link.close(), this.#farewell.close(this.#admin)]);
  }

  #refuseClosed(): void {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
  }

  #item(known: KnownChannel, { message, dueAt }: OutgoingMessage): Item {
    const { spec, partitions } = known;
    const plain = encodeMessage(message, this.#settings.isCompacted(spec.name));
    const parcel = dueAt === undefined || dueAt <= this.#clock.now() ? plain : copyOf(plain, { dueAt });
    refuseAbove(this.capabilities.maxMessageBytes, sizeOf(parcel), message.id);
    if (message.key !== undefined) return { partition: partitionOf(message.key, partitions), parcel };
    return { partition: this.#turns.of(known), parcel };
  }

  /** Consumers of one subscription share a reader; the first one opens it. */
  async #readerFor({ channel, subscription }: ConsumerSpec): Promise<Reader> {
    const group = this.#names.group(channel, subscription);
    let opening = this.#readers.get(group);
    if (!opening) {
      opening = this.#openReader(this.#book.known(channel), subscription, group);
      this.#readers.set(group, opening);
      opening.catch(() => this.#readers.delete(group));
    }
    return opening;
  }

  async #openReader(known: KnownChannel, subscription: string, group: string): Promise<Reader> {
    const { spec, topics } = known;
    const name = { channel: spec.name, name: subscription };
    if (spec.routing !== 'fanout' && this.#registry.bindingsOf(name) === undefined)
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `what "${subscription}" of "${spec.name}" is bound to is not known: what is on record is none of this toolkit's; declare its bindings`,
      );
    const later = spec.ephemeral ? undefined : this.#names.later(spec.name, subscription);
    const book = spec.ephemeral ? undefined : this.#deadBook(spec.name, subscription);
    const shared = { link: this.#link, spec, group, topics, later, book };
    const reader = new Reader({
      ...shared,
      settings: this.#settings,
      clock: this.#clock,
      publisher: this.#publisher,
      subscription,
      bindings: () => this.#registry.bindingsOf(name),
      takeover: new Takeover({
        ...shared,
        subscription,
        logs: this.#logs,
        admin: this.#admin,
        onNotice: this.#settings.onNotice,
      }),
    });
    this.#opened.set(group, reader);
    try {
      await reader.open();
      return reader;
    } catch (error) {
      this.#opened.delete(group);
      await reader.close();
      throw error;
    }
  }

  async #closeReader({ channel, subscription }: ConsumerSpec, reader: Reader): Promise<void> {
    const group = this.#names.group(channel, subscription);
    this.#readers.delete(group);
    await reader.close();
    if (this.#opened.get(group) === reader) this.#opened.delete(group);
  }

  #deadBook(channel: string, subscription: string): DeadBook {
    const topic = this.#names.dead(channel, subscription);
    let book = this.#books.get(topic);
    if (!book) {
      book = new DeadBook(topic, this.#logs, this.#clock, { channel, subscription });
      this.#books.set(topic, book);
    }
    return book;
  }

  async #deadLetterPlaces(): Promise<readonly DeadLetterPlace[]> {
    await this.#book.lookAround();
    const places: DeadLetterPlace[] = [];
    for (const { spec, subscriptions, removed } of this.#book.channels.values()) {
      if (spec.ephemeral) continue;
      const { name: channel } = spec;
      const place = (subscription: string, later: string | undefined): void => {
        places.push({ channel, subscription, later, book: this.#deadBook(channel, subscription) });
      };
      for (const name of subscriptions) place(name, this.#names.later(channel, name));
      for (const name of removed.keys()) place(name, undefined);
    }
    return places;
  }
}

const topicOf = ({ topics }: KnownChannel, { priority = 0 }: OutgoingMessage): string =>
  topics[Math.min(priority, topics.length - 1)] ?? '';
