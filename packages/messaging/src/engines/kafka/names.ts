/**
 * Names on the brokers. A channel's name has no capitals, so a capital letter between dashes cannot be part of one: what the engine adds to a
 * name never meets another channel's.
 */
import { murmur2 } from '@platformatic/kafka';

export interface Names {
  /** Where a channel's messages of one priority are; level 0 has the bare name, which others may write to and read. */
  readonly topic: (channel: string, level?: number) => string;
  readonly ephemeral: (channel: string) => string;
  /** Messages of one subscription that left their place: retried, delayed, redriven. */
  readonly later: (channel: string, subscription: string) => string;
  readonly dead: (channel: string, subscription: string) => string;
  readonly group: (channel: string, subscription: string) => string;
  /** Compacted: what is written down about subscriptions. */
  readonly registry: string;
  /** The subscriptions of a channel, from the names of all topics. */
  readonly subscriptionsIn: (topics: Iterable<string>, channel: string) => readonly string[];
  /** The channel of a topic made for replies; undefined for others. */
  readonly ephemeralIn: (topic: string) => string | undefined;
}

const LATER = '-L';
const DEAD = '-D';
const SUBSCRIPTION = '-S-';
const EPHEMERAL = '-E';

export function namesOf(prefix: string): Names {
  const within = (channel: string, subscription: string): string =>
    `${prefix}${channel}${SUBSCRIPTION}${encodeText(subscription)}`;
  return {
    topic: (channel, level = 0) => `${prefix}${channel}${level === 0 ? '' : `-P${level}`}`,
    ephemeral: (channel) => `${prefix}${channel}${EPHEMERAL}`,
    later: (channel, subscription) => within(channel, subscription) + LATER,
    dead: (channel, subscription) => within(channel, subscription) + DEAD,
    group: within,
    registry: `${prefix}-R`,
    subscriptionsIn: (topics, channel) => {
      const start = `${prefix}${channel}${SUBSCRIPTION}`;
      return [...topics]
        .filter((topic) => topic.startsWith(start) && topic.endsWith(LATER))
        .map((topic) => decodeText(topic.slice(start.length, -LATER.length)));
    },
    ephemeralIn: (topic) =>
      topic.startsWith(prefix) && topic.endsWith(EPHEMERAL)
        ? topic.slice(prefix.length, -EPHEMERAL.length)
        : undefined,
  };
}

/** Small letters, digits and dots stay; everything else is `_` and its code: a topic's name takes no other signs. */
function encodeText(text: string): string {
  return text.replace(/[^a-z0-9.]/gu, (sign) => `_${(sign.codePointAt(0) ?? 0).toString(16).toUpperCase()}_`);
}

function decodeText(text: string): string {
  return text.replace(/_([0-9A-F]+)_/g, (_, code: string) => String.fromCodePoint(Number.parseInt(code, 16)));
}

/** As Java's default partitioner counts, so that foreign producers and this one send a key to the same partition. */
export function partitionOf(key: string, partitions: number): number {
  return (murmur2(Buffer.from(key), false) & 0x7fffffff) % partitions;
}
