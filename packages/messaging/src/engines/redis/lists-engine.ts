/**
 * The engine on Redis lists, for teams whose work already lies in lists and who cannot move it to streams: LPUSH on one side, a move into a list of the
 * consumer's own on the other. It is the weakest durable engine of the toolkit and says so: a list is one queue, so a channel has one subscription, and
 * there is no order per key, no delay, no priority, no replay and no routing. What it does keep is at least once: leases with a fence,
 * counted attempts, retries with their state, dead letters with their history. docs/messaging/engines/redis-lists.md has the mapping.
 */
import type { Clock } from '../../clock.ts';
import { decodeCloudEvent, encodeCloudEvent } from '../../cloud-event.ts';
import type {
  Capabilities,
  ChannelSpec,
  ChannelView,
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
  SubscriptionName,
  Topology,
} from '../../engine.ts';
import type { EngineLacking } from '../../needs.ts';
import { MessagingError } from '../../errors.ts';
import { createIds } from '../../ids.ts';
import type { Message } from '../../message.ts';
import { type ClientOptions, openClient, type RedisClient } from './client.ts';
import { ListsConsumer } from './lists-consumer.ts';
import { ListsDeadLetters } from './lists-dead-letters.ts';
import { listsScripts, type ListsScripts } from './lists-scripts.ts';
import { confirmOf, type Probe, probe } from './probe.ts';

export interface RedisListsEngineOptions {
  /** `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS. */
  readonly url: string;
  /** Of the keys that the toolkit adds beside the lists. Default `doorbuster`. */
  readonly prefix?: string;
  /** The key of the list of a channel, where a team has one already. Default `<prefix>:list:<channel>`. */
  readonly lists?: Readonly<Record<string, string>>;
  /**
   * What becomes of JSON that is no CloudEvent: `refuse` makes it a dead letter that says so, `wrap` makes it the data of a message with the id
   * `<list>/<number of its first hand-out>`. Default `refuse`. What is no JSON is always a dead letter.
   */
  readonly foreign?: 'refuse' | 'wrap';
  /** Largest encoded message, bytes of UTF-8. Default 1 MiB. */
  readonly maxMessageBytes?: number;
  /** After this time without an answer the server counts as out of reach, ms. Default 5,000. */
  readonly connectTimeoutMs?: number;
}

const DEFAULTS = {
  prefix: 'doorbuster',
  lists: {},
  foreign: 'refuse',
  maxMessageBytes: 2 ** 20,
  connectTimeoutMs: 5_000,
} as const;
const PREFIX = /^[A-Za-z0-9._-]{0,60}$/;

/** Whatever the server: a list is one queue. */
type ListsLack = 'order' | 'delay' | 'priority' | 'replay' | 'routing' | 'broadcast';
type Settings = Required<RedisListsEngineOptions>;
type OpenClient = (options: ClientOptions, onReady: () => void) => Promise<RedisClient>;
type InspectReply = readonly [
  ready: number,
  delayed: number,
  inFlight: number,
  expired: number,
  consumers: number,
  subscription: string,
  groups: readonly (readonly [string, number])[],
  oldest: string,
];

/** Throws DB_MSG_INVALID_OPTIONS when the prefix could not be told from the rest of a key. */
export function createRedisListsEngine(options: RedisListsEngineOptions): EngineLacking<ListsLack> {
  return redisListsEngineOn(openClient, options);
}

/** The engine on connections of the caller's making: for tests that plant defects on the way. */
export function redisListsEngineOn(open: OpenClient, options: RedisListsEngineOptions): Engine {
  const settings: Settings = { ...DEFAULTS, ...options };
  if (!PREFIX.test(settings.prefix))
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `prefix "${settings.prefix}" does not fit ${PREFIX}`);
  return {
    name: 'redis-lists',
    async connect({ clock }: EngineContext) {
      const instance = createIds(clock).next();
      let reconnected = (): void => {};
      const { url, connectTimeoutMs } = settings;
      const client = await open({ url, name: `doorbuster-${instance}`, connectTimeoutMs }, () =>
        reconnected(),
      );
      try {
        const connection = new ListsConnection(settings, clock, instance, client, await probe(client));
        reconnected = () => void connection.again().catch(() => {});
        await connection.load();
        return connection;
      } catch (error) {
        client.end();
        throw error;
      }
    },
  };
}

class ListsConnection implements EngineConnection {
  readonly deadLetters: DeadLetterStore;
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #instance: string;
  readonly #client: RedisClient;
  readonly #scripts: ListsScripts;
  readonly #channels = new Map<string, ChannelSpec>();
  /** Channel -> the subscription that was declared here. */
  readonly #subscriptions = new Map<string, string>();
  readonly #consumers = new Set<ListsConsumer>();
  #probe: Probe;
  #nextConsumer = 1;
  #closing: Promise<void> | undefined;

  constructor(settings: Settings, clock: Clock, instance: string, client: RedisClient, probed: Probe) {
    this.#settings = settings;
    this.#clock = clock;
    this.#instance = instance;
    this.#client = client;
    this.#probe = probed;
    this.#scripts = listsScripts(client, settings.prefix);
    const letters = new ListsDeadLetters({
      client,
      scripts: this.#scripts,
      read: (channel, text, number) => this.#read(channel, text, number),
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

  load(): Promise<void> {
    return this.#scripts.load();
  }

  /** The server may be another one, or the same without its memory. */
  async again(): Promise<void> {
    await this.#scripts.load();
    for (const spec of this.#channels.values()) await this.#declare(spec, '');
    for (const [channel, name] of this.#subscriptions)
      await this.#declare(this.#channels.get(channel) as ChannelSpec, name);
    this.#probe = { ...this.#probe, confirm: await confirmOf(this.#client) };
    for (const consumer of this.#consumers) consumer.look();
  }

  async declare({ channels, subscriptions, removed = [] }: Topology): Promise<void> {
    this.#opened(this.#channels);
    for (const spec of channels) {
      refuseUnsupported(spec);
      await this.#declare(spec, '');
      this.#channels.set(spec.name, spec);
    }
    for (const { channel, name } of removed) await this.#scripts.run('listsRemove', [channel, name]);
    for (const { channel, name } of subscriptions) {
      const spec = this.#channels.get(channel);
      if (!spec)
        throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" was never declared`);
      await this.#declare(spec, name);
      this.#subscriptions.set(channel, name);
    }
  }

  async #declare({ name: channel, ephemeral }: ChannelSpec, subscription: string): Promise<void> {
    const args = [channel, this.#listOf(channel), subscription, ephemeral ? 1 : 0];
    const has = await this.#scripts.run('listsDeclare', args);
    if (subscription !== '' && has !== subscription)
      throw unsupported(
        `channel "${channel}" is one list and belongs to subscription "${String(has)}"; "${subscription}" needs an engine with streams, or a channel of its own`,
      );
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    this.#opened(this.#scripts);
    const encoded = batch.map((one) => this.#encode(one));
    for (let from = 0; from < encoded.length; ) {
      const { channel } = batch[from] as OutgoingMessage;
      let end = from;
      while (end < encoded.length && batch[end]?.channel === channel) end += 1;
      await this.#push(channel, encoded.slice(from, end));
      from = end;
    }
    const confirmedAt = this.#clock.now();
    return batch.map(({ message }) => ({ id: message.id, durability: this.#probe.confirm, confirmedAt }));
  }

  async #push(channel: string, texts: readonly string[]): Promise<void> {
    if ((await this.#scripts.run('listsPublish', [channel, ...texts])) === 1) return;
    const known = this.#channels.has(channel);
    if (known) await this.again();
    if (!known || (await this.#scripts.run('listsPublish', [channel, ...texts])) !== 1)
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `channel "${channel}" does not exist on this server`,
      );
  }

  #encode({ message, dueAt, priority }: OutgoingMessage): string {
    if (dueAt !== undefined) throw unsupported('a due time');
    if (priority !== undefined) throw unsupported('a priority');
    const text = encodeCloudEvent(message);
    const bytes = Buffer.byteLength(text);
    if (bytes > this.#settings.maxMessageBytes)
      throw new MessagingError(
        'DB_MSG_MESSAGE_TOO_LARGE',
        `message ${message.id} takes ${bytes} bytes; ${this.#settings.maxMessageBytes} are allowed`,
      );
    return text;
  }

  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    const { channel, subscription } = spec;
    if (this.#opened(this.#subscriptions).get(channel) !== subscription)
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `subscription "${subscription}" of channel "${channel}" was never declared on this connection`,
      );
    const blocking = await this.#client.another();
    const consumer = new ListsConsumer(`${this.#instance}:${this.#nextConsumer++}`, spec, receive, {
      scripts: this.#scripts,
      client: this.#client,
      blocking,
      clock: this.#clock,
      list: this.#listOf(channel),
      read: (text, number) => this.#read(channel, text, number),
      declareAgain: () => this.again(),
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
      message: this.#tryRead(channel, raw, number),
      raw,
    }));
  }

  async rewind(): Promise<void> {
    throw unsupported('replay: what is settled is gone from a list');
  }

  async inspect(): Promise<EngineView> {
    const names = (await this.#opened(this.#client).send([
      'SMEMBERS',
      `${this.#settings.prefix}:lists`,
    ])) as readonly string[];
    const channels = await Promise.all(names.toSorted().map((name) => this.#viewOf(name)));
    return { engine: 'redis-lists', channels, storedBytes: undefined, showsAll: true };
  }

  async #viewOf(name: string): Promise<ChannelView> {
    const [ready, delayed, inFlight, expired, consumers, subscription, groups, oldest] =
      (await this.#scripts.run('listsInspect', [name])) as InspectReply;
    if (subscription === '') return { name, subscriptions: [], scheduled: 0 };
    const time = Date.parse(this.#tryRead(name, oldest, 0)?.time ?? '');
    const view = {
      name: subscription,
      ready,
      delayed,
      waitingForKey: 0,
      inFlight,
      // A list knows no times: only what the first one in it says of itself, and one that is out or waits for a time may be older.
      oldestAgeMs: Number.isNaN(time) ? undefined : Math.max(0, this.#clock.now() - time),
      deadLetters: groups
        .map(([group, count]) => ({ group, count }))
        .sort((a, b) => b.count - a.count || (a.group < b.group ? -1 : 1)),
      expired,
      consumers,
      partial: ['oldestAgeMs'] as const,
    };
    return { name, subscriptions: [view], scheduled: 0 };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers].map((one) => one.close().catch(() => {})));
    for (const { name, ephemeral } of this.#channels.values())
      if (ephemeral) await this.#scripts.run('listsRemove', [name, '']).catch(() => {});
    this.#client.end();
  }

  #ring(channel: string): void {
    for (const consumer of this.#consumers) if (consumer.spec.channel === channel) consumer.look();
  }

  #listOf(channel: string): string {
    return this.#settings.lists[channel] ?? `${this.#settings.prefix}:list:${channel}`;
  }

  #read(channel: string, text: string, number: number): Message {
    if (this.#settings.foreign === 'refuse') return decodeCloudEvent(text);
    const data: unknown = JSON.parse(text);
    if (typeof data === 'object' && data !== null && 'specversion' in data) return decodeCloudEvent(text);
    const source = `redis-list:${this.#listOf(channel)}`;
    return {
      id: `${this.#listOf(channel)}/${number}`,
      type: channel,
      version: 1,
      source,
      time: '',
      data,
      headers: {},
    };
  }

  #tryRead(channel: string, text: string, number: number): Message | undefined {
    try {
      return this.#read(channel, text, number);
    } catch {
      return undefined;
    }
  }

  #opened<T>(part: T): T {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
    return part;
  }
}

/** The bus asks the capabilities first; who uses the engine alone is refused here. */
function refuseUnsupported({ name, order, priorityLevels, routing, keepMs }: ChannelSpec): void {
  if (order === 'key') throw unsupported(`channel "${name}": order per key`);
  if (priorityLevels > 1) throw unsupported(`channel "${name}": priorities`);
  if (routing !== 'fanout') throw unsupported(`channel "${name}": routing`);
  if (keepMs !== undefined) throw unsupported(`channel "${name}": replay`);
}

function capabilitiesOf({ version, confirm }: Probe, maxMessageBytes: number): Capabilities {
  return {
    version: `Redis ${version} lists`,
    confirm,
    orderPerKey: 'none',
    delay: { support: 'none', maxMs: 0, resolutionMs: 0 },
    priority: { support: 'none', levels: 1 },
    ttl: { support: 'emulated', granularity: 'message' },
    replay: 'none',
    routing: { direct: 'none', fanout: 'none', topic: 'none', headers: 'none' },
    broadcast: 'none',
    deadLetters: 'native',
    processes: 'many',
    maxMessageBytes,
  };
}

function unsupported(what: string): MessagingError {
  return new MessagingError('DB_MSG_UNSUPPORTED_CAPABILITY', `Redis lists cannot do it: ${what}`);
}
