/**
 * What is declared on the broker for channels and subscriptions, and the memory of it, so that all of it can be declared again after a
 * lost connection or when somebody deleted a queue by mistake (what was in it is lost; reconciliation finds it).
 */
import type { Channel, ChannelModel, Options } from 'amqplib';
import type { Clock } from '../../clock.ts';
import type { ChannelSpec, ChannelStanding, SubscriptionSpec, Topology } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { type Channels, DECLARING_CHANNELS, inTurn, onChannels } from './channels.ts';
import { consumersOf, countedOn } from './consumers-of.ts';
import type { Ladder } from './delay-ladder.ts';
import { askWhetherDurable } from './foreign-queue.ts';
import { KEY_WINDOW } from './given-back.ts';
import type { Names, QueueType } from './names.ts';
import { NOTE_TTL_MS } from './notes.ts';
import type { Route } from './route.ts';
import { refuseUnfit } from './short-text.ts';

export interface TopologySettings {
  readonly clock: Clock;
  readonly names: Names;
  readonly ladder: Ladder;
  readonly partitions: number;
  readonly keepUnsubscribedMs: number;
  readonly queueTypeOf: (channel: string) => QueueType;
  readonly routes: readonly Route[];
  readonly deadLetterExchangeOf: (channel: string) => string | undefined;
  readonly onDeclared: (kind: 'queue' | 'exchange', name: string) => void;
  /** A queue of others was on disk and is not known to be any longer. */
  readonly onLessDurable: (channel: string, queue: string) => void;
}

export interface KnownChannel {
  readonly spec: ChannelSpec;
  /** With the bindings that were given here last; undefined where none were, then those on record count. */
  readonly subscriptions: Map<string, SubscriptionSpec['bindings']>;
  /** Gone, but with dead letters that stay. */
  readonly removed: Set<string>;
}

export class TopologyBook {
  readonly channels = new Map<string, KnownChannel>();
  readonly #settings: TopologySettings;
  /** Channels that stand for places of others, and whether what is in those survives a restart. */
  readonly #foreign = new Map<string, boolean>();
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

  /** Returns what takes it back: a declare that failed must not be made again at each connection, where everything else would wait for it. */
  remember(topology: Topology): () => void {
    const steps: (() => void)[] = [];
    const takeBack = (): void => {
      for (const step of steps.toReversed()) step();
    };
    try {
      this.#remember(topology, steps);
    } catch (error) {
      takeBack();
      throw error;
    }
    return takeBack;
  }

  #remember({ channels, subscriptions }: Topology, steps: (() => void)[]): void {
    for (const one of subscriptions) {
      const spec = channels.find(({ name }) => name === one.channel) ?? this.known(one.channel).spec;
      this.#refuseUnfit(spec, one);
    }
    for (const spec of channels) {
      this.#refuseImpossible(spec);
      steps.push(
        setting(this.channels, spec.name, {
          subscriptions: new Map(),
          removed: new Set(),
          ...this.channels.get(spec.name),
          spec,
        }),
      );
    }
    for (const { channel, name, bindings } of subscriptions) {
      const known = this.known(channel).subscriptions;
      if (this.#settings.names.existing(channel).queue !== undefined && known.size > 0 && !known.has(name))
        throw new MessagingError(
          'DB_MSG_INVALID_OPTIONS',
          `channel "${channel}" stands for one existing queue, and that is one subscription; "${name}" would be a second`,
        );
      steps.push(setting(known, name, bindings ?? known.get(name)));
    }
  }

  /** Before anything is remembered or sent: what was remembered is declared again and again. */
  #refuseUnfit(spec: ChannelSpec, { channel, name, bindings = [] }: SubscriptionSpec): void {
    const { names, ladder } = this.#settings;
    names.dead(channel, name);
    if (spec.ephemeral) return;
    const retried = ladder.routeFor(ladder.maxMs, names.queues(spec, name).at(-1) as string);
    refuseUnfit(`the way of a retry for subscription "${name.slice(0, 40)}"`, retried);
    const routing = spec.routing === 'topic' ? 'topic' : 'direct';
    for (const text of bindings)
      if (typeof text === 'string')
        refuseUnfit('a binding', ladder.latePattern(names.exchange(channel), { routing, text }));
  }

  /** An existing queue has no exchange in front of it, and its arguments are not ours. */
  #refuseImpossible({ name, order, priorityLevels, routing }: ChannelSpec): void {
    const { queue, exchange } = this.#settings.names.existing(name);
    const asked = [
      order === 'key' && 'order per key',
      queue !== undefined && priorityLevels > 1 && 'priorities',
      queue !== undefined && routing !== 'fanout' && 'bindings',
    ].find((one) => one !== false);
    if ((queue ?? exchange) !== undefined && asked !== undefined)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `channel "${name}" stands for "${queue ?? exchange}" of somebody else and cannot have ${asked}`,
      );
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
        [...subscriptions].map(([name, bindings]) => ({
          channel: spec.name,
          name,
          ...(bindings === undefined ? {} : { bindings }),
        })),
      ),
    };
  }

  /** Whether its queues are ours and count hand-outs. */
  isQuorum(spec: ChannelSpec): boolean {
    const { names, queueTypeOf } = this.#settings;
    if (spec.ephemeral || spec.priorityLevels > 1 || names.existing(spec.name).queue !== undefined)
      return false;
    return queueTypeOf(spec.name) === 'quorum';
  }

  /** Whether what the broker confirms there is on its disk. Of a place of others only where that is known. */
  isOnDisk({ name, ephemeral }: ChannelSpec): boolean {
    const { queue, exchange } = this.#settings.names.existing(name);
    if (ephemeral) return false;
    return (queue ?? exchange) === undefined || this.#foreign.get(name) === true;
  }

  /** Of a channel that stands for a place of others; asked on each connection, because others may have made it anew. Tells when it was on disk and is no longer. */
  async learnForeign(model: ChannelModel, { name }: ChannelSpec): Promise<void> {
    const { queue, exchange, durable } = this.#settings.names.existing(name);
    if ((queue ?? exchange) === undefined) return;
    const told = queue === undefined ? undefined : await askWhetherDurable(model, queue);
    const was = this.#foreign.get(name);
    const isDurable = told ?? durable ?? false;
    this.#foreign.set(name, isDurable);
    if (queue !== undefined && was === true && !isDurable) this.#settings.onLessDurable(name, queue);
  }

  /**
   * Throws DB_MSG_INVALID_OPTIONS when the team says that the queue is durable and the broker, as last learnt, that it is not. For whoever starts or declares: a
   * connection that comes back is not refused, because the channel's consumers would stay away for a word.
   */
  refuseWrongWord({ name }: ChannelSpec): void {
    const { queue, durable } = this.#settings.names.existing(name);
    if (queue !== undefined && durable === true && this.#foreign.get(name) === false)
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `channel "${name}" stands for the queue "${queue}", which is not durable: its \`durable\` says otherwise`,
      );
  }

  /** What channels that stand for places of others can give. */
  async standing(
    model: ChannelModel,
    channels: readonly ChannelSpec[],
  ): Promise<ReadonlyMap<string, ChannelStanding>> {
    const found = new Map<string, ChannelStanding>();
    for (const spec of channels) {
      const { queue, exchange } = this.#settings.names.existing(spec.name);
      if ((queue ?? exchange) === undefined) continue;
      await this.learnForeign(model, spec);
      this.refuseWrongWord(spec);
      const place = queue === undefined ? `exchange "${exchange}"` : `queue "${queue}"`;
      const durability = this.isOnDisk(spec) ? 'disk' : 'memory';
      found.set(spec.name, {
        confirm: {
          durability,
          place: `the ${place} of others`,
          remedies: SURER[queue === undefined ? 'exchange' : 'queue'],
        },
      });
    }
    return found;
  }

  /** Keeps what nobody has subscribed to yet. With routing it would hide that a message is unroutable, and an exchange of others has its own. */
  keepsUnclaimed({ name, ephemeral, routing }: ChannelSpec): boolean {
    const { queue, exchange } = this.#settings.names.existing(name);
    const isOurs = queue === undefined && exchange === undefined;
    return this.#settings.keepUnsubscribedMs > 0 && !ephemeral && routing === 'fanout' && isOurs;
  }

  /** Most starts find it whole: 24 queues with their bindings would be the larger part of what a start asks of the broker. */
  async declareLadder(model: ChannelModel): Promise<void> {
    if (this.#ladderDeclared) return;
    const { check, declare } = this.#settings.ladder;
    try {
      await onChannels(model, DECLARING_CHANNELS, check);
    } catch (error) {
      if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
      await onChannels(model, 1, ([channel]) => declare(channel));
    }
    this.#ladderDeclared = true;
  }

  /** Somebody else's as a rule, and then it stays as it is. */
  async declareDeadLetterExchange(model: ChannelModel, { name, ephemeral }: ChannelSpec): Promise<void> {
    const exchange = this.#settings.deadLetterExchangeOf(name);
    if (exchange === undefined || ephemeral) return;
    try {
      await onChannels(model, 1, ([channel]) => channel.checkExchange(exchange));
    } catch (error) {
      if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
      await onChannels(model, 1, ([channel]) => channel.assertExchange(exchange, 'topic', { durable: true }));
      this.#settings.onDeclared('exchange', exchange);
    }
  }

  /**
   * A quorum queue, because it has to be there while any node is down: whoever starts declares it. Throws 406 when the channel has another number of partitions.
   * Those made before were classic: one with the same number is replaced, and one whose home node is down cannot be told from one with another number before
   * that node is back.
   */
  async declarePartitionMark(model: ChannelModel, { name, order }: ChannelSpec): Promise<void> {
    if (order !== 'key') return;
    const mark = this.#settings.names.partitionMark(name);
    const length = { 'x-max-length': this.#settings.partitions };
    const declare = (): Promise<void> =>
      onChannels(model, 1, ([channel]) =>
        this.#queue(channel, mark, { arguments: { ...QUORUM, ...length } }),
      );
    try {
      await declare();
    } catch (error) {
      if ((error as { code?: unknown }).code !== PRECONDITION_FAILED) throw error;
      await onChannels(model, 1, async ([channel]) => {
        await channel.assertQueue(mark, { durable: true, arguments: length });
        await channel.deleteQueue(mark, { ifUnused: true, ifEmpty: true });
      });
      await declare();
    }
  }

  /** After a lost connection the broker may be another one, without a ladder. */
  doubtLadder(): void {
    this.#ladderDeclared = false;
  }

  async declareChannel(channel: Channel, spec: ChannelSpec): Promise<void> {
    if (spec.ephemeral) return;
    const { names, ladder, routes, onDeclared } = this.#settings;
    const existing = names.existing(spec.name);
    if (existing.queue !== undefined) return void (await channel.checkQueue(existing.queue));
    const exchange = names.exchange(spec.name);
    if (this.keepsUnclaimed(spec)) await this.#declareUnclaimed(channel, spec);
    if (existing.exchange !== undefined) await channel.checkExchange(exchange);
    else {
      await channel.assertExchange(exchange, spec.order === 'key' ? 'direct' : spec.routing, {
        durable: true,
        ...(this.keepsUnclaimed(spec) ? { alternateExchange: names.unclaimed(spec.name) } : {}),
      });
      onDeclared('exchange', exchange);
    }
    // By keys the queues are bound to the end of the ladder themselves.
    if (spec.routing === 'fanout' || spec.routing === 'headers')
      await channel.bindExchange(exchange, ladder.out, ladder.pattern(exchange));
    for (const route of routes.filter((one) => one.channel === spec.name)) {
      await channel.assertExchange(route.exchange, route.type, { durable: true });
      await channel.bindExchange(exchange, route.exchange, route.pattern ?? '', route.arguments ?? {});
      onDeclared('exchange', route.exchange);
    }
  }

  async #declareUnclaimed(channel: Channel, { name }: ChannelSpec): Promise<void> {
    const { names, keepUnsubscribedMs, onDeclared } = this.#settings;
    const unclaimed = names.unclaimed(name);
    await channel.assertExchange(unclaimed, 'fanout', { durable: true });
    await this.#queue(channel, unclaimed, {
      arguments: { ...QUORUM, 'x-message-ttl': keepUnsubscribedMs, ...ONE_READER },
    });
    await channel.bindQueue(unclaimed, unclaimed, '');
    onDeclared('exchange', unclaimed);
  }

  /** With order per key there are many, and each waits for its answer: so several channels ask side by side. */
  async declareQueues(channels: Channels, spec: ChannelSpec, subscription: string): Promise<void> {
    const { names } = this.#settings;
    if (spec.ephemeral) {
      const exclusive = { durable: false, exclusive: true, autoDelete: false };
      for (const queue of names.queues(spec, subscription)) await this.#queue(channels[0], queue, exclusive);
      return;
    }
    const quorum = { ...QUORUM, ...ONE_READER };
    const beside: [string, Record<string, unknown>][] = [[names.dead(spec.name, subscription), quorum]];
    if (spec.routing !== 'fanout') beside.push([names.bindings(spec.name, subscription), quorum]);
    if (this.isQuorum(spec))
      for (const notes of names.notes(spec, subscription))
        beside.push([notes, { ...quorum, 'x-message-ttl': NOTE_TTL_MS }]);
    await inTurn(channels, names.queues(spec, subscription), (channel, queue) =>
      this.#declareQueue(channel, spec, queue),
    );
    await inTurn(channels, beside, (channel, [name, arguments_]) =>
      this.#queue(channel, name, { arguments: arguments_ }),
    );
  }

  async #declareQueue(channel: Channel, spec: ChannelSpec, queue: string): Promise<void> {
    const { names, ladder } = this.#settings;
    if (names.existing(spec.name).queue === undefined)
      await this.#queue(channel, queue, { arguments: this.#argumentsOf(spec) });
    await channel.bindQueue(queue, ladder.out, ladder.pattern(queue));
  }

  /** The step after which new messages reach the subscription; `bindings.ts` takes it on channels with routing. */
  async bindQueues(channels: Channels, spec: ChannelSpec, subscription: string): Promise<void> {
    const { names } = this.#settings;
    if (spec.ephemeral || names.existing(spec.name).queue !== undefined) return;
    const exchange = names.exchange(spec.name);
    const queues = names.queues(spec, subscription).map((queue, index) => ({ queue, index }));
    await inTurn(channels, queues, async (channel, { queue, index }) => {
      await channel.bindQueue(queue, exchange, spec.order === 'key' ? String(index) : '');
    });
  }

  /**
   * Its backlog goes with it; its dead letters stay. A queue of others stays with all that is in it, and what the delay ladder still has for it goes to the ladder's `lost` when it is due, as
   * with queues of ours: the ladder cannot be asked what it has for whom.
   */
  async removeQueues(
    model: ChannelModel,
    channel: Channel,
    spec: ChannelSpec,
    subscription: string,
  ): Promise<void> {
    const { names, ladder } = this.#settings;
    await this.#refuseBusy(model, spec, subscription);
    const existing = names.existing(spec.name).queue;
    if (existing !== undefined)
      return void (await channel.unbindQueue(existing, ladder.out, ladder.pattern(existing)));
    for (const queue of names.queues(spec, subscription)) await channel.deleteQueue(queue);
    for (const notes of names.notes(spec, subscription)) await channel.deleteQueue(notes);
    await channel.deleteQueue(names.bindings(spec.name, subscription));
  }

  /**
   * Asked, because a quorum queue knows no deletion that depends on it: who begins to consume in between is not seen. On a queue of others every consumer counts, also one of its owner's: the broker does
   * not tell whose it is.
   */
  async #refuseBusy(model: ChannelModel, spec: ChannelSpec, subscription: string): Promise<void> {
    const { names, clock } = this.#settings;
    const lent = spec.order === 'key' ? KEY_WINDOW : 1;
    const queues = names.queues(spec, subscription).map((queue) => ({ clock, model, queue, lent }));
    for (const one of queues) if ((await countedOn(one)) > 0) throw busy(spec, subscription);
    // A queue of others stays, and what it is asked with would come to them twice.
    if (names.existing(spec.name).queue !== undefined) return;
    for (const one of queues) if ((await consumersOf(one)) > 0) throw busy(spec, subscription);
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

const busy = ({ name }: ChannelSpec, subscription: string): MessagingError =>
  new MessagingError(
    'DB_MSG_SUBSCRIPTION_BUSY',
    `subscription "${subscription}" of channel "${name}" has consumers; stop them everywhere before it is forgotten`,
  );

/** Returns what makes it as it was. */
function setting<K, V>(map: Map<K, V>, key: K, value: V): () => void {
  const had = map.has(key);
  const was = map.get(key) as V;
  map.set(key, value);
  return () => void (had ? map.set(key, was) : map.delete(key));
}

const SURER = {
  queue: [
    'have its owner make it durable',
    'say `durable: true` in `existing` where it is, and this user may not ask the broker',
  ],
  exchange: ['say `durable: true` in `existing` where every queue that is bound to it is durable'],
};
const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;
const ONE_READER = { 'x-single-active-consumer': true };
/**
 * Without a limit a quorum queue puts a message that was given back to its END; with one, back to its place. The number only has to be out of reach
 * (the toolkit counts attempts itself), and newer brokers would otherwise drop a message after 20 returns.
 */
const QUORUM = { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000 };
