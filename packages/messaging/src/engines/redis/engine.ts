/**
 * The engine on Redis Streams: a stream per channel and priority level, a consumer group per subscription, and every move of a message one Lua
 * script. Several processes may use one server, told apart from other users of it by the prefix.
 *
 * How each sentence of the port is kept, and what was rejected, is in docs/messaging/engines/redis.md; the keys are listed in lua/prelude.ts.
 */
import type { Clock } from '../../clock.ts';
import type { Durability } from '../../channel.ts';
import type {
  Capabilities,
  Consumer,
  ConsumerSpec,
  DeadLetterStore,
  Delivery,
  Engine,
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
import type { EngineLacking } from '../../needs.ts';
import { MessagingError } from '../../errors.ts';
import { createIds } from '../../ids.ts';
import { type ClientOptions, openClient, type RedisClient } from './client.ts';
import { RedisConsumer } from './consumer.ts';
import { RedisDeadLetters } from './dead-letter-store.ts';
import { connectionName } from './connections.ts';
import {
  consumersOf,
  dropChannel,
  OURS,
  Presence,
  PRESENCE_TIMES,
  type PresenceTimes,
  sweepSubscription,
} from './presence.ts';
import { capabilitiesOf, confirmOf, type Probe, probe } from './probe.ts';
import { Publisher } from './publisher.ts';
import { peek, type ReplayParts, rewind } from './replay.ts';
import { ScriptRunner } from './scripts.ts';
import { DeclaredTopology } from './topology.ts';
import { viewChannels } from './view.ts';

export interface RedisEngineOptions {
  /** `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS. */
  readonly url: string;
  /** Of all keys; a bus finds the messages of those with the same prefix. Default `doorbuster`; empty: keys begin with their colon. */
  readonly prefix?: string;
  /** Largest encoded message, bytes of UTF-8. Default 1 MiB. */
  readonly maxMessageBytes?: number;
  /** How long a channel that nobody subscribed to keeps its messages, ms. Default 7 days. */
  readonly keepUnsubscribedMs?: number;
  /** After this time without an answer the server counts as out of reach, ms. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** Idle time after which an entry that a stranger read in one of our groups is taken over, ms. Default 60,000. */
  readonly strangerIdleMs?: number;
}

const DEFAULTS = {
  prefix: 'doorbuster',
  maxMessageBytes: 2 ** 20,
  keepUnsubscribedMs: 7 * 86_400_000,
  connectTimeoutMs: 5_000,
  strangerIdleMs: 60_000,
} as const;
const PREFIX = /^[A-Za-z0-9._-]{0,60}$/;
/** Beats between two looks at what a write is worth, and between two trims of channels that this process settled nothing of. */
const BEATS_PER_PROBE = 5;
const BEATS_PER_TRIM = 10;

type Settings = Required<RedisEngineOptions> & { readonly times: PresenceTimes };

/** Throws DB_MSG_INVALID_OPTIONS when the prefix could not be told from the rest of a key. */
export function createRedisEngine(options: RedisEngineOptions): EngineLacking<'broadcast'> {
  return redisEngineOn(openClient, options);
}

/** How a connection is made: `onReady` is called after each reconnect. */
export type OpenClient = (options: ClientOptions, onReady: () => void) => Promise<RedisClient>;

/** The engine on connections of the caller's making: for tests that lose answers, plant defects on the way, or see by one sign only that somebody is gone. */
export function redisEngineOn(
  open: OpenClient,
  options: RedisEngineOptions,
  times: Partial<PresenceTimes> = {},
): Engine {
  const settings: Settings = { ...DEFAULTS, ...options, times: { ...PRESENCE_TIMES, ...times } };
  if (!PREFIX.test(settings.prefix))
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `prefix "${settings.prefix}" does not fit ${PREFIX}`);
  return { name: 'redis', connect: (context) => RedisConnection.open(open, settings, context) };
}

class RedisConnection implements EngineConnection {
  readonly deadLetters: DeadLetterStore;
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #instance: string;
  readonly #client: RedisClient;
  readonly #bell: RedisClient;
  readonly #scripts: ScriptRunner;
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
    const { url, connectTimeoutMs } = settings;
    const name = connectionName(instance);
    let reconnected = (): void => {};
    const client = await open({ url, name, connectTimeoutMs }, () => reconnected());
    let bell: RedisClient | undefined;
    try {
      const probed = await probe(client);
      bell = await client.another();
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
    this.#scripts = new ScriptRunner(this.#client, settings.prefix);
    this.#topology = new DeclaredTopology(this.#scripts, instance);
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
    for (const { channel, name } of topology.removed ?? []) {
      await this.#scripts.run('removeSubscription', [channel, name]);
      await sweepSubscription(this.#client, this.#settings.prefix, channel, name);
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
    const bell = await this.#client.another();
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
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#presence.stop();
    // Out of reach: then the others find this instance gone by its connection and its beat.
    await Promise.all([...this.#consumers.values()].map((one) => one.close().catch(() => {})));
    await this.#leave().catch(() => {});
    this.#bell.end();
    this.#client.end();
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
