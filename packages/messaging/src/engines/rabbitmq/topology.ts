/**
 * What is declared on the broker for channels and subscriptions, and the memory of it, so that all of it can be declared again after a
 * lost connection or when somebody deleted a queue by mistake (what was in it is lost; reconciliation finds it).
 */
import type { Channel, Options } from 'amqplib';
import type { ChannelSpec, Topology } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { Ladder } from './delay-ladder.ts';
import type { Names, QueueType } from './names.ts';
import { NOTE_TTL_MS } from './notes.ts';

/** Messages of an exchange that others publish to, led into a channel. */
export interface Route {
  readonly channel: string;
  readonly exchange: string;
  readonly type: 'direct' | 'fanout' | 'topic' | 'headers';
  /** Binding key; ignored by `fanout` and `headers`. */
  readonly pattern?: string;
  /** Arguments of a `headers` binding, for instance `{ 'x-match': 'all', region: 'north' }`. */
  readonly arguments?: Readonly<Record<string, string>>;
}

export interface TopologySettings {
  readonly names: Names;
  readonly ladder: Ladder;
  readonly partitions: number;
  readonly keepUnsubscribedMs: number;
  readonly queueTypeOf: (channel: string) => QueueType;
  readonly routes: readonly Route[];
  readonly onDeclared: (kind: 'queue' | 'exchange', name: string) => void;
}

export interface KnownChannel {
  readonly spec: ChannelSpec;
  readonly subscriptions: Set<string>;
  /** Gone, but with dead letters that stay. */
  readonly removed: Set<string>;
}

export class TopologyBook {
  readonly channels = new Map<string, KnownChannel>();
  readonly #settings: TopologySettings;
  #ladderDeclared = false;

  constructor(settings: TopologySettings) {
    this.#settings = settings;
  }

  known(channel: string): KnownChannel {
    const found = this.channels.get(channel);
    if (!found)
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" was never declared here`);
    return found;
  }

  remember({ channels, subscriptions }: Topology): void {
    for (const spec of channels) {
      const known = this.channels.get(spec.name);
      this.channels.set(spec.name, {
        spec,
        subscriptions: known?.subscriptions ?? new Set(),
        removed: known?.removed ?? new Set(),
      });
    }
    for (const { channel, name } of subscriptions) this.known(channel).subscriptions.add(name);
  }

  forget({ removed = [] }: Topology): void {
    for (const { channel, name } of removed) {
      this.channels.get(channel)?.subscriptions.delete(name);
      this.channels.get(channel)?.removed.add(name);
    }
  }

  /** All that is known, for a broker that may have lost it. */
  all(): Topology {
    return {
      channels: [...this.channels.values()].map(({ spec }) => spec),
      subscriptions: [...this.channels.values()].flatMap(({ spec, subscriptions }) =>
        [...subscriptions].map((name) => ({ channel: spec.name, name })),
      ),
    };
  }

  isQuorum(spec: ChannelSpec): boolean {
    return !spec.ephemeral && spec.priorityLevels <= 1 && this.#settings.queueTypeOf(spec.name) === 'quorum';
  }

  async declareLadder(channel: Channel): Promise<void> {
    if (this.#ladderDeclared) return;
    await this.#settings.ladder.declare(channel);
    this.#ladderDeclared = true;
  }

  /** After a lost connection the broker may be another one, without a ladder. */
  doubtLadder(): void {
    this.#ladderDeclared = false;
  }

  async declareChannel(channel: Channel, spec: ChannelSpec): Promise<void> {
    if (spec.ephemeral) return;
    const { names, ladder, partitions, keepUnsubscribedMs, routes, onDeclared } = this.#settings;
    const exchange = names.exchange(spec.name);
    const unclaimed = names.unclaimed(spec.name);
    if (keepUnsubscribedMs > 0) {
      await channel.assertExchange(unclaimed, 'fanout', { durable: true });
      await this.#queue(channel, unclaimed, {
        arguments: { ...QUORUM, 'x-message-ttl': keepUnsubscribedMs, ...ONE_READER },
      });
      await channel.bindQueue(unclaimed, unclaimed, '');
      onDeclared('exchange', unclaimed);
    }
    const keyed = spec.order === 'key';
    if (keyed)
      await this.#queue(channel, names.partitionMark(spec.name), {
        arguments: { 'x-max-length': partitions },
      });
    await channel.assertExchange(exchange, keyed ? 'direct' : 'fanout', {
      durable: true,
      ...(keepUnsubscribedMs > 0 ? { alternateExchange: unclaimed } : {}),
    });
    onDeclared('exchange', exchange);
    await channel.bindExchange(exchange, ladder.out, ladder.pattern(exchange));
    for (const route of routes.filter((one) => one.channel === spec.name)) {
      await channel.assertExchange(route.exchange, route.type, { durable: true });
      await channel.bindExchange(exchange, route.exchange, route.pattern ?? '', route.arguments ?? {});
      onDeclared('exchange', route.exchange);
    }
  }

  async declareQueues(channel: Channel, spec: ChannelSpec, subscription: string): Promise<void> {
    const { names, ladder } = this.#settings;
    for (const queue of names.queues(spec, subscription)) {
      if (spec.ephemeral) {
        await this.#queue(channel, queue, { durable: false, exclusive: true, autoDelete: false });
        continue;
      }
      await this.#queue(channel, queue, { arguments: this.#argumentsOf(spec) });
      await channel.bindQueue(queue, ladder.out, ladder.pattern(queue));
    }
    if (spec.ephemeral) return;
    const quorum = { ...QUORUM, ...ONE_READER };
    await this.#queue(channel, names.dead(spec.name, subscription), { arguments: quorum });
    if (this.isQuorum(spec))
      await this.#queue(channel, names.notes(spec.name, subscription), {
        arguments: { ...quorum, 'x-message-ttl': NOTE_TTL_MS },
      });
  }

  /** The step after which new messages reach the subscription. */
  async bindQueues(channel: Channel, spec: ChannelSpec, subscription: string): Promise<void> {
    if (spec.ephemeral) return;
    const { names } = this.#settings;
    const exchange = names.exchange(spec.name);
    for (const [index, queue] of names.queues(spec, subscription).entries())
      await channel.bindQueue(queue, exchange, spec.order === 'key' ? String(index) : '');
  }

  /** Its backlog goes with it; its dead letters stay. */
  async removeQueues(channel: Channel, spec: ChannelSpec, subscription: string): Promise<void> {
    const { names } = this.#settings;
    for (const queue of names.queues(spec, subscription)) await channel.deleteQueue(queue);
    await channel.deleteQueue(names.notes(spec.name, subscription));
  }

  #argumentsOf(spec: ChannelSpec): Record<string, unknown> {
    const base = this.isQuorum(spec) ? QUORUM : { 'x-queue-type': 'classic' };
    if (spec.order === 'key') return { ...base, ...ONE_READER };
    return spec.priorityLevels > 1 ? { ...base, 'x-max-priority': spec.priorityLevels - 1 } : base;
  }

  async #queue(channel: Channel, name: string, options: Options.AssertQueue): Promise<void> {
    await channel.assertQueue(name, { durable: true, ...options });
    this.#settings.onDeclared('queue', name);
  }
}

const ONE_READER = { 'x-single-active-consumer': true };
/**
 * Without a limit a quorum queue puts a message that was given back to its END; with one, back to its place. The number only has to be out of reach
 * (the toolkit counts attempts itself), and newer brokers would otherwise drop a message after 20 returns.
 */
const QUORUM = { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000 };
