/** One bus's link to the server: the parts of the engine on lists, put together, and what is done again after a reconnect. */
import type { Clock } from '../../clock.ts';
import type {
  Capabilities,
  Consumer,
  ConsumerSpec,
  DeadLetterStore,
  Delivery,
  EngineConnection,
  EngineContext,
  EngineView,
  OutgoingMessage,
  PeekedMessage,
  PublishConfirmation,
  SubscriptionName,
  Topology,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { createIds } from '../../ids.ts';
import type { OpenClient, RedisClient } from '../../redis/client.ts';
import { soonOver } from '../../redis/consuming.ts';
import { confirmOf, type Probe, probe } from '../../redis/probe.ts';
import { capabilitiesOf, unsupported } from './capabilities.ts';
import { BLOCK_MS, ListsConsumer } from './consumer.ts';
import { ListsDeadLetters } from './dead-letters.ts';
import { ListReader } from './list-reader.ts';
import type { Settings } from './options.ts';
import { ListsPublisher } from './publisher.ts';
import { listsScripts, type ListsScripts } from './scripts.ts';
import { DeclaredLists } from './topology.ts';
import { type InspectReply, viewChannels } from './view.ts';

export class ListsConnection implements EngineConnection {
  readonly deadLetters: DeadLetterStore;
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #instance: string;
  readonly #client: RedisClient;
  readonly #scripts: ListsScripts;
  readonly #reader: ListReader;
  readonly #topology: DeclaredLists;
  readonly #publisher: ListsPublisher;
  readonly #consumers = new Set<ListsConsumer>();
  #probe: Probe;
  #nextConsumer = 1;
  #closing: Promise<void> | undefined;

  static async open(
    open: OpenClient,
    settings: Settings,
    { clock }: EngineContext,
  ): Promise<ListsConnection> {
    const instance = createIds(clock).next();
    let reconnected = (): void => {};
    const { url, connectTimeoutMs, answerTimeoutMs } = settings;
    const name = `doorbuster-${instance}`;
    const client = await open({ url, name, connectTimeoutMs, answerTimeoutMs, clock }, () => reconnected());
    try {
      const connection = new ListsConnection(settings, clock, instance, client, await probe(client));
      reconnected = () => void connection.#again().catch(() => {});
      await connection.#scripts.load();
      return connection;
    } catch (error) {
      client.end();
      throw error;
    }
  }

  private constructor(
    settings: Settings,
    clock: Clock,
    instance: string,
    client: RedisClient,
    probed: Probe,
  ) {
    this.#settings = settings;
    this.#clock = clock;
    this.#instance = instance;
    this.#client = client;
    this.#probe = probed;
    this.#scripts = listsScripts(client, settings.prefix);
    this.#reader = new ListReader(settings);
    this.#topology = new DeclaredLists(this.#scripts, this.#reader);
    this.#publisher = new ListsPublisher({
      scripts: this.#scripts,
      maxMessageBytes: settings.maxMessageBytes,
      knows: (channel) => this.#topology.knows(channel),
      declareAgain: () => this.#again(),
    });
    const letters = new ListsDeadLetters({
      client,
      scripts: this.#scripts,
      read: (channel, text, number) => this.#reader.read(channel, text, number),
      ring: (channel) => this.#ring(channel),
    });
    this.deadLetters = {
      list: async (filter, page) => this.#opened(letters).list(filter, page),
      redriveEdited: async (id, message, state) => this.#opened(letters).redriveEdited(id, message, state),
      redrive: async (filter, limit) => this.#opened(letters).redrive(filter, limit),
      discard: async (filter, limit) => this.#opened(letters).discard(filter, limit),
    };
  }

  get capabilities(): Capabilities {
    return capabilitiesOf(this.#probe, this.#settings.maxMessageBytes);
  }

  /** The server may be another one, or the same without its memory. */
  async #again(): Promise<void> {
    await this.#scripts.load();
    await this.#topology.again();
    this.#probe = { ...this.#probe, confirm: await confirmOf(this.#client) };
    for (const consumer of this.#consumers) consumer.look();
  }

  async declare(topology: Topology): Promise<void> {
    await this.#opened(this.#topology).declare(topology);
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    await this.#opened(this.#publisher).publish(batch);
    const confirmedAt = this.#clock.now();
    return batch.map(({ message }) => ({ id: message.id, durability: this.#probe.confirm, confirmedAt }));
  }

  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    const { channel, subscription } = spec;
    this.#opened(this.#topology).refuseUnknown(channel, subscription);
    const blocking = await this.#client.another(BLOCK_MS);
    // Closed while it was made: nobody else would end it.
    if (this.#closing) blocking.end();
    this.#opened(blocking);
    const consumer = new ListsConsumer(`${this.#instance}:${this.#nextConsumer++}`, spec, receive, {
      scripts: this.#scripts,
      client: this.#client,
      blocking,
      clock: this.#clock,
      list: this.#reader.listOf(channel),
      read: (text, number) => this.#reader.read(channel, text, number),
      declareAgain: () => this.#again(),
      left: (one) => this.#consumers.delete(one),
    });
    this.#consumers.add(consumer);
    consumer.look();
    return consumer;
  }

  async peek({ channel, name }: SubscriptionName, limit: number): Promise<readonly PeekedMessage[]> {
    const has = (await this.#opened(this.#scripts).run('listsInspect', [channel])) as InspectReply;
    if (has[5] !== name)
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `channel "${channel}" has no subscription "${name}"`,
      );
    const found = (await this.#scripts.run('listsPeek', [channel, limit])) as readonly [string, number][];
    return found.map(([raw, number]) => ({
      offset: undefined,
      message: this.#reader.tryRead(channel, raw, number),
      raw,
    }));
  }

  async rewind(): Promise<void> {
    throw unsupported('replay: what is settled is gone from a list');
  }

  async inspect(): Promise<EngineView> {
    const key = `${this.#settings.prefix}:lists`;
    const names = (await this.#opened(this.#client).send(['SMEMBERS', key])) as readonly string[];
    const parts = { scripts: this.#scripts, reader: this.#reader, clock: this.#clock };
    return {
      engine: 'redis-lists',
      channels: await viewChannels(parts, names),
      storedBytes: undefined,
      showsAll: true,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await soonOver(this.#clock, this.#leaveAll());
    this.#client.end();
  }

  async #leaveAll(): Promise<void> {
    await Promise.all([...this.#consumers].map((one) => one.close().catch(() => {})));
    for (const name of this.#topology.ephemeral())
      await this.#scripts.run('listsRemove', [name, '']).catch(() => {});
  }

  #ring(channel: string): void {
    for (const consumer of this.#consumers) if (consumer.spec.channel === channel) consumer.look();
  }

  #opened<T>(part: T): T {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
    return part;
  }
}
