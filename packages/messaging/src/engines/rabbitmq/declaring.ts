/**
 * Brings onto the broker what the book knows: all of it or none (who starts or subscribes has to hear of it), or as much as the broker takes (a connection that
 * comes back: what is refused there holds up nobody else).
 */
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import type { Clock } from '../../clock.ts';
import type { ChannelSpec, SubscriptionSpec, Topology } from '../../engine.ts';
import { applyBindings } from './bindings.ts';
import { asMessagingError } from './broker-fault.ts';
import type { Browsed, Turns } from './browse.ts';
import { type Channels, DECLARING_CHANNELS, onChannels } from './channels.ts';
import { countOf } from './counting.ts';
import type { Ladder } from './delay-ladder.ts';
import type { Refused } from './held-up.ts';
import { lookThrough } from './looking.ts';
import { type Names, partitionOf } from './names.ts';
import type { TopologyBook } from './topology.ts';
import { decodeMessage, type Parcel } from './wire.ts';

export interface DeclaringParts {
  readonly clock: Clock;
  readonly names: Names;
  readonly ladder: Ladder;
  readonly book: TopologyBook;
  readonly turns: Turns;
  readonly publish: (exchange: string, routingKey: string, parcel: Parcel) => Promise<void>;
}

export interface Apart {
  readonly onRefused: (refused: Refused, error: unknown) => void;
  /** Whether the connection is gone: then nothing was refused, and nothing can be told apart. */
  readonly hasEnded: () => boolean;
}

/** While a publisher is as fast as the move, the rest has to go after the binding. */
const MOVING_ROUNDS = 20;

export class Declaring {
  readonly #parts: DeclaringParts;

  constructor(parts: DeclaringParts) {
    this.#parts = parts;
  }

  /**
   * What the broker takes; what it refuses is told. All together first, which is the faster way and as a rule the only one. Rejects when the connection is gone, and where
   * the delay ladder is refused, which all need.
   */
  async sound(model: ChannelModel, { channels, subscriptions }: Topology, apart: Apart): Promise<void> {
    if (channels.length === 0) return;
    await this.#ladder(model, channels);
    if (
      channels.length > 1 &&
      !(await this.#refusal(apart, () => this.all(model, { channels, subscriptions })))
    )
      return;
    await Promise.all(
      channels.map((spec) =>
        this.#soundOf(
          model,
          spec,
          subscriptions.filter(({ channel }) => channel === spec.name),
          apart,
        ),
      ),
    );
  }

  /** Of one channel. */
  async #soundOf(
    model: ChannelModel,
    spec: ChannelSpec,
    subscriptions: Topology['subscriptions'],
    apart: Apart,
  ): Promise<void> {
    const attempt = (part: Topology): Promise<{ readonly error: unknown } | undefined> =>
      this.#refusal(apart, () => this.all(model, part));
    if (!(await attempt({ channels: [spec], subscriptions }))) return;
    const bare = await attempt({ channels: [spec], subscriptions: [] });
    if (bare) return apart.onRefused({ channel: spec.name }, bare.error);
    const withQueues: SubscriptionSpec[] = [];
    for (const one of subscriptions) {
      const refusal = await this.#refusal(apart, () => this.#queuesOf(model, spec, one));
      if (refusal) apart.onRefused(one, refusal.error);
      else withQueues.push(one);
    }
    const together = await attempt({ channels: [], subscriptions: withQueues });
    if (!together) return;
    for (const one of withQueues) {
      // What nobody had claimed goes to all of them or stays: one by one, the first would have it alone.
      const refusal =
        spec.routing === 'fanout' ? together : await attempt({ channels: [], subscriptions: [one] });
      if (refusal) apart.onRefused(one, refusal.error);
    }
  }

  async #queuesOf(model: ChannelModel, spec: ChannelSpec, { name }: SubscriptionSpec): Promise<void> {
    try {
      await onChannels(model, DECLARING_CHANNELS, (several) =>
        this.#parts.book.declareQueues(several, spec, name),
      );
    } catch (error) {
      throw asMessagingError(error);
    }
  }

  /** Undefined where there was none. Rejects when the connection is gone. */
  async #refusal(
    { hasEnded }: Apart,
    work: () => Promise<void>,
  ): Promise<{ readonly error: unknown } | undefined> {
    try {
      await work();
      return undefined;
    } catch (error) {
      if (hasEnded()) throw error;
      return { error };
    }
  }

  async #ladder(model: ChannelModel, channels: readonly ChannelSpec[]): Promise<void> {
    if (channels.every(({ ephemeral }) => ephemeral)) return;
    try {
      await this.#parts.book.declareLadder(model);
    } catch (error) {
      throw asMessagingError(error);
    }
  }

  /** All of it, or rejects. `judge` may throw for what has been learnt of a place of others. */
  async all(
    model: ChannelModel,
    { channels, subscriptions, removed = [] }: Topology,
    judge: (learnt: ChannelSpec) => void = () => {},
  ): Promise<void> {
    try {
      if (channels.some(({ ephemeral }) => !ephemeral)) await this.#parts.book.declareLadder(model);
      for (const spec of channels) {
        await this.#parts.book.learnForeign(model, spec);
        judge(spec);
        await this.#parts.book.declareDeadLetterExchange(model, spec);
        await this.#parts.book.declarePartitionMark(model, spec);
      }
      await onChannels(model, DECLARING_CHANNELS, async (several) => {
        const [channel] = several;
        for (const spec of channels) await this.#parts.book.declareChannel(channel, spec);
        for (const { channel: name, name: subscription } of subscriptions)
          await this.#parts.book.declareQueues(several, this.#parts.book.known(name).spec, subscription);
        await this.#claim(model, several, subscriptions);
        for (const one of subscriptions) await this.#bind(model, several, one);
        // What came between the last look and the binding; it is a moment, and only there order may suffer.
        await this.#claim(model, several, subscriptions);
        for (const { channel: name, name: subscription } of removed) {
          const known = this.#parts.book.channels.get(name);
          if (known) await this.#parts.book.removeQueues(model, channel, known.spec, subscription);
        }
      });
    } catch (error) {
      throw asMessagingError(error);
    }
  }

  async #bind(
    model: ChannelModel,
    several: Channels,
    { channel: name, name: subscription }: SubscriptionSpec,
  ): Promise<void> {
    const { spec, subscriptions } = this.#parts.book.known(name);
    if (spec.routing === 'fanout') return this.#parts.book.bindQueues(several, spec, subscription);
    await applyBindings(
      {
        names: this.#parts.names,
        ladder: this.#parts.ladder,
        publish: (exchange, routingKey, parcel) => this.#parts.publish(exchange, routingKey, parcel),
        browse: (queue, look) =>
          this.#parts.turns.run(queue, () => lookThrough(model, this.#parts.clock, queue, look)),
      },
      several[0],
      { spec, subscription, wanted: subscriptions.get(subscription) },
    );
  }

  /**
   * Moves what was published while nobody had subscribed into the queues of those that subscribe now, and binds these while nobody else can look: whoever
   * comes meanwhile waits for its turn and does not bind in front of what is still being moved, or new messages would come before older ones of their key.
   */
  async #claim(
    model: ChannelModel,
    several: Channels,
    subscriptions: Topology['subscriptions'],
  ): Promise<void> {
    for (const name of new Set(subscriptions.map((one) => one.channel))) {
      const { spec } = this.#parts.book.known(name);
      if (!this.#parts.book.keepsUnclaimed(spec)) continue;
      const queue = this.#parts.names.unclaimed(name);
      const counted = await countOf({ clock: this.#parts.clock, channel: several[0], queue });
      if (counted && counted.messageCount + counted.consumerCount === 0) continue;
      const targets = subscriptions.filter((one) => one.channel === name);
      await this.#parts.turns.run(queue, () =>
        lookThrough(model, this.#parts.clock, queue, async (browsed) => {
          const moved = await this.#moveClaimed(spec, targets, browsed, 0);
          for (const target of targets) await this.#bind(model, several, target);
          await this.#moveClaimed(spec, targets, browsed, moved);
        }),
      );
    }
  }

  /** From the given place on, and what comes while it moves, so that little is left for after the binding. Returns how far it came. */
  async #moveClaimed(
    spec: ChannelSpec,
    targets: Topology['subscriptions'],
    { messages, take }: Browsed,
    from: number,
  ): Promise<number> {
    let next = from;
    for (let round = 0; round < MOVING_ROUNDS && next < messages.length; round += 1) {
      const some = messages.slice(next);
      next = messages.length;
      await Promise.all(some.map((message) => this.#publishClaimed(spec, targets, message)));
      for (const message of some) take(message);
    }
    return next;
  }

  async #publishClaimed(
    spec: ChannelSpec,
    targets: Topology['subscriptions'],
    claimed: ConsumeMessage,
  ): Promise<void> {
    const { parcel, message } = decodeMessage(claimed);
    await Promise.all(
      targets.map(({ name }) => {
        const queues = this.#parts.names.queues(spec, name);
        const index = spec.order === 'key' ? partitionOf(message?.key ?? '', queues.length) : 0;
        return this.#parts.publish('', queues[index] as string, parcel);
      }),
    );
  }
}
