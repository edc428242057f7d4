/** One bus's link to the server: the parts of the engine, put together; housekeeping; and what is done again after a reconnect. */
import type { Clock } from '../../clock.ts';
import type { Durability } from '../../channel.ts';
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
  ReplayPoint,
  SubscriptionName,
  Topology,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { createIds } from '../../ids.ts';
import type { OpenClient, RedisClient } from '../../redis/client.ts';
import { soonOver } from '../../redis/consuming.ts';
import { confirmOf, type Probe, probe } from '../../redis/probe.ts';
import { capabilitiesOf } from './capabilities.ts';
import { RedisConsumer } from './consumer.ts';
import { RedisDeadLetters } from './dead-letters.ts';
import { connectionName } from './peers.ts';
import { consumersOf, dropChannel, OURS, Presence, sweepSubscription } from './presence.ts';
import type { Settings } from './options.ts';
import { Publisher } from './publisher.ts';
import { BLOCK_MS } from './reader.ts';
import { peek, type ReplayParts, rewind } from './replay.ts';
import { type StreamScripts, streamScriptsOn } from './scripts.ts';
import { DeclaredTopology } from './topology.ts';
import { viewChannels } from './view.ts';

/** Beats between two looks at what a write is worth, and between two trims of channels that this process settled nothing of. */
const BEATS_PER_PROBE = 5;
const BEATS_PER_TRIM = 10;

export class RedisConnection implements EngineConnection {
  readonly deadLetters: DeadLetterStore;
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #instance: string;
  readonly #client: RedisClient;
  readonly #bell: RedisClient;
  readonly #scripts: StreamScripts;
  readonly #publisher: Publisher;
  readonly #presence: Presence;
  readonly #topology: DeclaredTopology;
  readonly #consumers = new Map<string, RedisConsumer>();
  readonly #toTrim = new Set<string>();
  #probe: Probe;
  #nextConsumer = 1;
  #nextNumber = 1;
  #closing: Promise<void> | undefined;

  static async open(
    open: OpenClient,
    settings: Settings,
    { clock }: EngineContext,
  ): Promise<RedisConnection> {
    const instance = createIds(clock).next();
    const { url, connectTimeoutMs, answerTimeoutMs } = settings;
    const name = connectionName(instance);
    let reconnected = (): void => {};
    const client = await open({ url, name, connectTimeoutMs, answerTimeoutMs, clock }, () => reconnected());
    let bell: RedisClient | undefined;
    try {
      const probed = await probe(client);
      bell = await client.another(0);
      const connection = new RedisConnection(settings, clock, instance, probed, { client, bell });
      reconnected = () => void connection.#reconnected();
      await connection.#start();
      return connection;
    } catch (error) {
      client.end();
      bell?.end();
      throw error;
    }
  }

  private constructor(
    settings: Settings,
    clock: Clock,
    instance: string,
    probed: Probe,
    clients: { readonly client: RedisClient; readonly bell: RedisClient },
  ) {
    this.#settings = settings;
    this.#clock = clock;
    this.#instance = instance;
    this.#probe = probed;
    this.#client = clients.client;
    this.#bell = clients.bell;
    this.#scripts = streamScriptsOn(this.#client, settings.prefix);
    this.#topology = new DeclaredTopology(this.#scripts, instance, settings.shards);
    this.#publisher = new Publisher(this.#scripts, {
      maxMessageBytes: settings.maxMessageBytes,
      now: () => clock.now(),
      isPlainChannel: (channel) => this.#topology.isPlain(channel),
    });
    this.#presence = new Presence({
      scripts: this.#scripts,
      client: this.#client,
      clock,
      instance,
      times: settings.times,
      onBeat: (count) => this.#keepHouse(count),
    });
    const letters = new RedisDeadLetters(this.#client, this.#scripts);
    this.deadLetters = {
      list: async (filter, page) => this.#opened(letters).list(filter, page),
      redriveEdited: async (id, message, state) => this.#opened(letters).redriveEdited(id, message, state),
      redrive: async (filter, limit) => this.#opened(letters).redrive(filter, limit),
      discard: async (filter, limit) => this.#opened(letters).discard(filter, limit),
    };
  }

  /** As probed last: an operator may change what a write is worth while the server runs. */
  get capabilities(): Capabilities {
    return capabilitiesOf(this.#probe, this.#presence.seesConnections, this.#settings.maxMessageBytes);
  }

  async #start(): Promise<void> {
    await this.#scripts.load();
    await this.#bell.listen(`${this.#settings.prefix}:bell`, (channel) => {
      for (const consumer of this.#consumers.values()) if (consumer.spec.channel === channel) consumer.look();
    });
    await this.#presence.start();
  }

  /** The server may be another one, or the same without its memory. */
  async #reconnected(): Promise<void> {
    if (this.#closing) return;
    try {
      await this.#scripts.load();
      await this.#topology.again();
      await this.#weighConfirm();
    } catch {
      // It went away again: the next reconnect comes here.
    }
    for (const consumer of this.#consumers.values()) consumer.look();
  }

  async declare(topology: Topology): Promise<void> {
    this.#opened(this.#topology);
    await this.#topology.declare(topology);
    for (const one of topology.removed ?? []) {
      await this.#topology.forget(one);
      await sweepSubscription(this.#client, this.#settings.prefix, one.channel, one.name);
    }
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    this.#opened(this.#publisher);
    if (batch.length === 0) return [];
    try {
      await this.#publisher.publish(batch);
    } catch (error) {
      if (!this.#wasRemoved(error, batch)) throw error;
      await this.#topology.again();
      await this.#publisher.publish(batch);
    }
    const confirmedAt = this.#clock.now();
    const durability: Durability = this.#probe.confirm;
    return batch.map(({ message }) => ({ id: message.id, durability, confirmedAt }));
  }

  /** A channel of ours is gone from the server (it restarted without its data, or somebody deleted it). */
  #wasRemoved(error: unknown, batch: readonly OutgoingMessage[]): boolean {
    const { code } = error as { code?: string };
    return code === 'DB_MSG_UNKNOWN_CHANNEL' && batch.every(({ channel }) => this.#topology.knows(channel));
  }

  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    this.#opened(this.#topology).refuseUnknown(spec.channel, spec.subscription);
    const bell = await this.#client.another(BLOCK_MS);
    // Closed while it was made: nobody else would end it.
    if (this.#closing) bell.end();
    this.#opened(bell);
    // The length of its leases, for whoever ends them. The point ends the name, so that no name begins like another.
    const name = `${consumersOf(this.#instance)}${this.#nextConsumer++}~${Math.ceil(spec.leaseMs)}.`;
    const consumer = new RedisConsumer(name, spec, receive, {
      scripts: this.#scripts,
      client: this.#client,
      clock: this.#clock,
      bell,
      declareAgain: () => this.#topology.again(),
      nextNumber: () => this.#nextNumber++,
      leaseEnded: (owner, token) => this.#consumers.get(owner)?.forgetToken(token),
      settled: (channel) => this.#toTrim.add(channel),
      left: ({ name: gone }) => this.#consumers.delete(gone),
    });
    this.#consumers.set(name, consumer);
    consumer.look();
    return consumer;
  }

  async peek(subscription: SubscriptionName, limit: number): Promise<readonly PeekedMessage[]> {
    return peek(this.#opened(this.#replayParts()), subscription, limit);
  }

  async rewind(
    subscription: SubscriptionName,
    from: ReplayPoint,
    { dryRun = false }: { readonly dryRun?: boolean } = {},
  ): Promise<void> {
    return rewind(this.#opened(this.#replayParts()), subscription, from, dryRun);
  }

  #replayParts(): ReplayParts {
    return { client: this.#client, scripts: this.#scripts, clock: this.#clock };
  }

  async inspect(): Promise<EngineView> {
    const { prefix } = this.#opened(this.#settings);
    const names = (await this.#client.send(['SMEMBERS', `${prefix}:channels`])) as readonly string[];
    return {
      engine: 'redis',
      channels: await viewChannels(this.#client, this.#scripts, names),
      // The append-only file holds what others keep on this server too.
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
    this.#bell.end();
    this.#client.end();
  }

  async #leaveAll(): Promise<void> {
    await this.#presence.stop();
    // Out of reach: then the others find this instance gone by its connection and its beat.
    await Promise.all([...this.#consumers.values()].map((one) => one.close().catch(() => {})));
    await this.#leave().catch(() => {});
  }

  async #leave(): Promise<void> {
    const parts = { client: this.#client, scripts: this.#scripts };
    for (const channel of this.#topology.ephemeral()) await dropChannel(parts, channel, this.#instance);
    await this.#scripts.run('forget', [this.#instance, '']);
  }

  async #keepHouse(beats: number): Promise<void> {
    if (beats % BEATS_PER_PROBE === 0) await this.#weighConfirm();
    if (beats % BEATS_PER_TRIM === 0) for (const name of this.#topology.channels()) this.#toTrim.add(name);
    const channels = [...this.#toTrim];
    this.#toTrim.clear();
    const { strangerIdleMs, keepUnsubscribedMs } = this.#settings;
    for (const channel of channels)
      await this.#scripts.run('trim', [channel, OURS, strangerIdleMs, keepUnsubscribedMs]);
  }

  async #weighConfirm(): Promise<void> {
    this.#probe = { ...this.#probe, confirm: await confirmOf(this.#client) };
  }

  #opened<T>(part: T): T {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
    return part;
  }
}
