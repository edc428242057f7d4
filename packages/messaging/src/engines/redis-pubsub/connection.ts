/** One bus's link to the server: a connection that speaks and one that hears, because one that listens may do nothing else. */
import type { Clock } from '../../clock.ts';
import type {
  Capabilities,
  Consumer,
  ConsumerSpec,
  DeadLetterStore,
  Delivery,
  EngineConnection,
  EngineView,
  OutgoingMessage,
  PeekedMessage,
  PublishConfirmation,
  Topology,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { soonOver } from '../../redis/consuming.ts';
import { type Sender, senderOn } from '../../redis/sender.ts';
import { type ConnectRedis, redisFaultOf, type RedisLink } from '../../redis/server.ts';
import { capabilitiesOf, unsupported } from './capabilities.ts';
import { Listener } from './consumer.ts';
import { pubsubNameOf, type Settings } from './options.ts';
import { BroadcastPublisher } from './publisher.ts';
import { DeclaredChannels } from './topology.ts';
import { viewChannels } from './view.ts';

/** As the client knows it. */
interface Stopped {
  readonly name: string;
  readonly hear: (text: string) => void;
}

export class BroadcastConnection implements EngineConnection {
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
  readonly #speaker: Sender;
  readonly #ear: RedisLink;
  readonly #topology = new DeclaredChannels();
  readonly #publisher: BroadcastPublisher;
  readonly #listeners = new Set<Listener>();
  /** Stopped, and not known to be unsubscribed: the client subscribes all that it has again when it comes back. */
  readonly #stopped = new Set<Stopped>();
  #closed = false;

  static async open(connect: ConnectRedis, settings: Settings, clock: Clock): Promise<BroadcastConnection> {
    const { url, prefix, connectTimeoutMs } = settings;
    const speaker = await connect({ url, name: `${prefix}-speaker`, connectTimeoutMs, clock });
    let ear: RedisLink | undefined;
    try {
      let reconnected = (): void => {};
      const hearing = { url, name: `${prefix}-ear`, connectTimeoutMs, clock };
      ear = await connect(hearing, () => reconnected());
      const info = String(await speaker.client.sendCommand(['INFO', 'server']));
      const version = /redis_version:(\S+)/.exec(info)?.[1] ?? 'unknown';
      const connection = new BroadcastConnection(settings, clock, version, { speaker, ear });
      reconnected = () => connection.#reconnected();
      return connection;
    } catch (error) {
      speaker.end();
      ear?.end();
      throw redisFaultOf(error);
    }
  }

  private constructor(
    settings: Settings,
    clock: Clock,
    version: string,
    clients: { readonly speaker: RedisLink; readonly ear: RedisLink },
  ) {
    this.#settings = settings;
    this.#clock = clock;
    const { answerTimeoutMs } = settings;
    this.#speaker = senderOn(clients.speaker, { clock, answerTimeoutMs });
    this.#ear = clients.ear;
    this.#publisher = new BroadcastPublisher(this.#speaker, settings);
    this.capabilities = capabilitiesOf(version, settings.maxMessageBytes);
  }

  async declare(topology: Topology): Promise<void> {
    this.#refuseClosed();
    this.#topology.declare(topology);
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    this.#refuseClosed();
    await this.#publisher.publish(batch);
    const confirmedAt = this.#clock.now();
    return batch.map(({ message }) => ({ id: message.id, durability: 'none', confirmedAt }));
  }

  /** Hears what is published from here on. Consumers of one name do not compete: each hears everything. */
  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    this.#refuseClosed();
    const name = pubsubNameOf(this.#settings, spec.channel);
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
        // While the server stands still it hears no more all the same: the connection is its own bus's.
        await soonOver(this.#clock, this.#unsubscribe({ name, hear }));
      },
    });
    this.#listeners.add(listener);
    try {
      await this.#ear.client.subscribe(name, hear);
    } catch (error) {
      this.#listeners.delete(listener);
      throw redisFaultOf(error);
    }
    return listener;
  }

  /** Once more when the ear is back, where it is away or goes before the answer. */
  async #unsubscribe(stopped: Stopped): Promise<void> {
    this.#stopped.add(stopped);
    if (!this.#ear.client.isReady) return;
    await this.#ear.client.unsubscribe(stopped.name, stopped.hear);
    this.#stopped.delete(stopped);
  }

  #reconnected(): void {
    for (const one of this.#stopped) this.#unsubscribe(one).catch(() => {});
  }

  /** Nothing waits on the server, so there is nothing to show. */
  async peek(): Promise<readonly PeekedMessage[]> {
    this.#refuseClosed();
    return [];
  }

  async rewind(): Promise<void> {
    throw unsupported('replay: nothing is kept');
  }

  async inspect(): Promise<EngineView> {
    this.#refuseClosed();
    const channels = viewChannels(this.#topology.names(), [...this.#listeners]);
    return { engine: 'redis-pubsub', channels, storedBytes: undefined };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#listeners].map((one) => one.close().catch(() => {})));
    this.#ear.end();
    this.#speaker.end();
  }

  #refuseClosed(): void {
    if (this.#closed) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
  }
}
