/**
 * The broadcast engine on Redis Pub/Sub: every subscriber that is connected hears every message, at most once. It loses what nobody hears, what
 * is published while a subscriber is away, and what a process held when it ended; its confirmations state `none`. For notices whose next
 * edition makes the last one worthless (a price, a cache to be dropped), not for work.
 *
 * What it cannot promise it refuses, loudly: channels that require order, delay, priority, time to live or a durability are refused at the start; a publish with a due
 * time or a priority rejects; a dead letter is told (`onNotice`), because there is nowhere to keep it. A retry is kept in this process's memory alone.
 */
import { createClient } from 'redis';
import type { Clock } from '../../clock.ts';
import { encodeCloudEvent } from '../../cloud-event.ts';
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
  Topology,
} from '../../engine.ts';
import type { EngineLacking } from '../../needs.ts';
import { MessagingError } from '../../errors.ts';
import { Listener } from './listener.ts';

export interface RedisBroadcastOptions {
  /** `redis://[user:password@]host:port`, or `rediss://` for TLS. */
  readonly url: string;
  /** Of all Pub/Sub channels: `<prefix>:broadcast:<channel>`. Default `doorbuster`. */
  readonly prefix?: string;
  /** Largest encoded message, bytes of UTF-8. Default 1 MiB. */
  readonly maxMessageBytes?: number;
  /** Messages a slow subscriber may have waiting in its memory; beyond it the newest are dropped and counted as expired. Default 10,000. */
  readonly maxWaiting?: number;
  /** After this time without an answer the server counts as out of reach, ms. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** Default: a warning of the process. */
  readonly onNotice?: (notice: RedisBroadcastNotice) => void;
}

/** `lost`: handlers gave these messages up, and there is nowhere to keep them; a reason for each. */
export interface RedisBroadcastNotice {
  readonly kind: 'lost';
  readonly channel: string;
  readonly subscription: string;
  readonly reasons: readonly string[];
}

/** Whatever the server: nothing is kept. */
type BroadcastLacks =
  | 'confirm'
  | 'order'
  | 'delay'
  | 'priority'
  | 'ttl'
  | 'replay'
  | 'routing'
  | 'deadLetters';
type Client = ReturnType<typeof createClient>;
type Settings = Required<RedisBroadcastOptions>;

const DEFAULTS = {
  prefix: 'doorbuster',
  maxMessageBytes: 2 ** 20,
  maxWaiting: 10_000,
  connectTimeoutMs: 5_000,
  onNotice: warnOfLoss,
} as const;
const LONGEST_RECONNECT_MS = 1_000;

export function createRedisBroadcastEngine(options: RedisBroadcastOptions): EngineLacking<BroadcastLacks> {
  const settings: Settings = { ...DEFAULTS, ...options };
  return {
    name: 'redis-pubsub',
    async connect({ clock }: EngineContext) {
      const speaker = await openClient(settings, 'speaker');
      let ear: Client | undefined;
      try {
        ear = await openClient(settings, 'ear');
        const info = String(await speaker.sendCommand(['INFO', 'server']));
        const version = /redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown';
        return new BroadcastConnection(settings, clock, version, { speaker, ear });
      } catch (error) {
        speaker.destroy();
        ear?.destroy();
        throw unreachable(error);
      }
    },
  };
}

class BroadcastConnection implements EngineConnection {
  readonly capabilities: Capabilities;
  readonly deadLetters: DeadLetterStore = {
    // Nothing is ever kept, so nothing matches.
    list: async () => [],
    redriveEdited: async () => false,
    redrive: async () => ({ moved: 0, remaining: 0 }),
    discard: async () => ({ moved: 0, remaining: 0 }),
  };
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #speaker: Client;
  readonly #ear: Client;
  readonly #channels = new Set<string>();
  readonly #listeners = new Set<Listener>();
  #closed = false;

  constructor(
    settings: Settings,
    clock: Clock,
    version: string,
    clients: { readonly speaker: Client; readonly ear: Client },
  ) {
    this.#settings = settings;
    this.#clock = clock;
    this.#speaker = clients.speaker;
    this.#ear = clients.ear;
    this.capabilities = capabilitiesOf(version, settings.maxMessageBytes);
  }

  async declare({ channels }: Topology): Promise<void> {
    this.#refuseClosed();
    for (const { name, order, priorityLevels } of channels) {
      if (order === 'key') throw unsupported(`channel "${name}": order per key`);
      if (priorityLevels > 1) throw unsupported(`channel "${name}": priorities`);
      this.#channels.add(name);
    }
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    this.#refuseClosed();
    const encoded = batch.map((one) => this.#encode(one));
    try {
      await Promise.all(
        encoded.map(({ channel, body }) =>
          this.#speaker.sendCommand(['PUBLISH', this.#nameOf(channel), body]),
        ),
      );
    } catch (error) {
      throw unreachable(error);
    }
    const confirmedAt = this.#clock.now();
    return batch.map(({ message }) => ({ id: message.id, durability: 'none', confirmedAt }));
  }

  /** Hears what is published from here on. Consumers of one name do not compete: each hears everything. */
  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    this.#refuseClosed();
    const name = this.#nameOf(spec.channel);
    const hear = (text: string): void => listener.hear(text);
    const listener = new Listener(spec, receive, {
      clock: this.#clock,
      maxWaiting: this.#settings.maxWaiting,
      onLost: (reasons) =>
        this.#settings.onNotice({
          kind: 'lost',
          channel: spec.channel,
          subscription: spec.subscription,
          reasons,
        }),
      left: async () => {
        this.#listeners.delete(listener);
        if (this.#ear.isReady) await this.#ear.unsubscribe(name, hear);
      },
    });
    this.#listeners.add(listener);
    try {
      await this.#ear.subscribe(name, hear);
    } catch (error) {
      this.#listeners.delete(listener);
      throw unreachable(error);
    }
    return listener;
  }

  /** Nothing waits on the server, so there is nothing to show. */
  async peek(): Promise<readonly PeekedMessage[]> {
    this.#refuseClosed();
    return [];
  }

  async rewind(): Promise<void> {
    throw unsupported('replay: nothing is kept');
  }

  /** Of this process: nobody knows what the others hear. */
  async inspect(): Promise<EngineView> {
    this.#refuseClosed();
    const channels = [...this.#channels].toSorted().map((name) => ({
      name,
      scheduled: 0,
      subscriptions: [...this.#listeners]
        .filter(({ spec }) => spec.channel === name)
        .map((one) => one.view()),
    }));
    return { engine: 'redis-pubsub', channels, storedBytes: undefined };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#listeners].map((one) => one.close().catch(() => {})));
    this.#ear.destroy();
    this.#speaker.destroy();
  }

  #encode({ channel, message, dueAt, priority }: OutgoingMessage): { channel: string; body: string } {
    if (dueAt !== undefined) throw unsupported('a due time');
    if (priority !== undefined) throw unsupported('a priority');
    const body = encodeCloudEvent(message);
    const bytes = Buffer.byteLength(body);
    if (bytes > this.#settings.maxMessageBytes)
      throw new MessagingError(
        'DB_MSG_MESSAGE_TOO_LARGE',
        `message ${message.id} takes ${bytes} bytes; ${this.#settings.maxMessageBytes} are allowed`,
      );
    return { channel, body };
  }

  #nameOf(channel: string): string {
    return `${this.#settings.prefix}:broadcast:${channel}`;
  }

  #refuseClosed(): void {
    if (this.#closed) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
  }
}

function capabilitiesOf(version: string, maxMessageBytes: number): Capabilities {
  return {
    version: `Redis ${version} Pub/Sub`,
    confirm: 'none',
    orderPerKey: 'none',
    delay: { support: 'none', maxMs: 0, resolutionMs: 0 },
    priority: { support: 'none', levels: 1 },
    ttl: { support: 'none', granularity: 'message' },
    replay: 'none',
    routing: { direct: 'none', fanout: 'native', topic: 'none', headers: 'none' },
    broadcast: 'native',
    deadLetters: 'none',
    processes: 'many',
    maxMessageBytes,
  };
}

/** What is lost is never lost in silence. */
function warnOfLoss({ channel, subscription, reasons }: RedisBroadcastNotice): void {
  process.emitWarning(
    `Redis Pub/Sub keeps no dead letters; subscription "${subscription}" of "${channel}" lost ${reasons.length}: ${reasons.join('; ')}`,
    { type: 'DoorbusterRedisWarning' },
  );
}

async function openClient({ url, prefix, connectTimeoutMs }: Settings, part: string): Promise<Client> {
  let connected = false;
  const client = createClient({
    url,
    name: `${prefix}-${part}`,
    RESP: 2,
    // A notice that waits in a queue for a reconnect is stale, and whether it was heard would be unknown.
    disableOfflineQueue: true,
    socket: {
      connectTimeout: connectTimeoutMs,
      reconnectStrategy: (retries, cause) =>
        connected ? Math.min(20 * 2 ** Math.min(retries, 10), LONGEST_RECONNECT_MS) : cause,
    },
  });
  client.on('error', () => {});
  try {
    await client.connect();
  } catch (error) {
    client.destroy();
    throw unreachable(error);
  }
  connected = true;
  return client as Client;
}

function unreachable(cause: unknown): MessagingError {
  if (cause instanceof MessagingError) return cause;
  const detail = cause instanceof Error ? cause.message : String(cause);
  const refused = /^(NOAUTH|WRONGPASS|NOPERM)\b/.test(detail);
  if (/^ERR (DB index is out of range|invalid DB index)/.test(detail))
    return new MessagingError('DB_MSG_INVALID_OPTIONS', `redis: ${detail}`, { cause });
  return new MessagingError(
    refused ? 'DB_MSG_ENGINE_REFUSED' : 'DB_MSG_ENGINE_UNREACHABLE',
    `redis: ${detail}`,
    { cause },
  );
}

export function unsupported(what: string): MessagingError {
  return new MessagingError('DB_MSG_UNSUPPORTED_CAPABILITY', `Redis Pub/Sub cannot promise it: ${what}`);
}
