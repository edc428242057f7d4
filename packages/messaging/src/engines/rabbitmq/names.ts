/**
 * How the toolkit's words become names on the broker. A slash never occurs in a channel's name, so what is derived from one channel cannot meet
 * another channel. The names are part of the wire: two versions that disagree here would not see each other's messages.
 */
import type { ChannelSpec } from '../../engine.ts';
import { refuseIllFormed, refuseUnfit } from './short-text.ts';

/** What the engine asks of a queue; `quorum` unless a channel needs what quorum queues of this broker refuse. */
export type QueueType = 'quorum' | 'classic';

/** What somebody else has on the broker: used as it is, never made, changed or deleted. */
export type ExistingPlace = ({ readonly queue: string } | { readonly exchange: string }) & {
  /** The team says that what is published there survives a restart of the broker. */
  readonly durable?: boolean;
};

export interface Names {
  /** Set where a channel stands for a queue or an exchange of somebody else. */
  readonly existing: (channel: string) => {
    readonly queue?: string;
    readonly exchange?: string;
    readonly durable?: boolean;
  };
  readonly exchange: (channel: string) => string;
  /** Keeps what is published while nobody has subscribed yet: the alternate exchange and its queue have this name. */
  readonly unclaimed: (channel: string) => string;
  /** One queue, or one for each partition on channels with order per key. */
  readonly queues: (spec: ChannelSpec, subscription: string) => readonly string[];
  readonly dead: (channel: string, subscription: string) => string;
  /** One for each of its queues with order per key, else one. */
  readonly notes: (spec: ChannelSpec, subscription: string) => readonly string[];
  /** Which bindings a subscription has: the broker does not tell over AMQP. */
  readonly bindings: (channel: string, subscription: string) => string;
  /** Never used as a queue: its length limit records the number of partitions, so that two processes cannot disagree. */
  readonly partitionMark: (channel: string) => string;
  /** Queue of an ephemeral channel; whoever replies knows nothing but the channel's name. */
  readonly ephemeral: (channel: string) => string;
  /** Tells other connections that dead letters were discarded, and who is there. */
  readonly hints: string;
  /** Keeps the last will of the connection that has this queue of hints. */
  readonly will: (hintQueue: string) => string;
}

/** The longest of what follows a subscription: one that is refused must have none of its queues made. */
const LONGEST_ENDING = '/notes/999';

/** What names a subscription throws DB_MSG_INVALID_OPTIONS when the broker has no room for that name. */
export function namesOf(
  prefix: string,
  partitions: number,
  places: Readonly<Record<string, ExistingPlace>> = {},
): Names {
  const existing: Names['existing'] = (channel) => places[channel] ?? {};
  const subscriptionOf = (channel: string, name: string): string => {
    refuseIllFormed('the name of a subscription', name);
    const base = `${prefix}${channel}/s/${encodeURIComponent(name)}`;
    refuseUnfit(`the queue of subscription "${name.slice(0, 40)}"`, base + LONGEST_ENDING);
    return base;
  };
  return {
    existing,
    exchange: (channel) => existing(channel).exchange ?? `${prefix}${channel}`,
    unclaimed: (channel) => `${prefix}${channel}/unclaimed`,
    queues: (spec, subscription) => {
      const { queue } = existing(spec.name);
      if (queue !== undefined) return [queue];
      const base = subscriptionOf(spec.name, subscription);
      if (spec.ephemeral) return [`${prefix}${spec.name}/reply`];
      if (spec.order === 'none') return [base];
      return Array.from({ length: partitions }, (_, index) => `${base}/${index}`);
    },
    dead: (channel, subscription) => `${subscriptionOf(channel, subscription)}/dead`,
    notes: ({ name, order }, subscription) => {
      const base = `${subscriptionOf(name, subscription)}/notes`;
      return order === 'key' ? Array.from({ length: partitions }, (_, index) => `${base}/${index}`) : [base];
    },
    bindings: (channel, subscription) => `${subscriptionOf(channel, subscription)}/bindings`,
    partitionMark: (channel) => `${prefix}${channel}/partitions`,
    ephemeral: (channel) => `${prefix}${channel}/reply`,
    hints: `${prefix}/hints`,
    will: (hintQueue) => `${prefix}/will/${hintQueue}`,
  };
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** FNV-1a over the key's UTF-8: small, the same in every process and in every language. */
export function partitionOf(key: string, partitions: number): number {
  return hashOf(key) % partitions;
}

export function hashOf(text: string): number {
  let hash = FNV_OFFSET;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, FNV_PRIME) >>> 0;
  return hash;
}
