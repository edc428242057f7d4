/**
 * What the topics of a channel can do that are there already. The engine's options hold for topics that it makes; one that was made with others, or by others, keeps its own, and what a confirmation
 * states and what a channel may require is decided by those. A channel with priorities has several topics, and is as good as the least of them.
 */
import { type Admin, type ClusterTopicMetadata, ConfigResourceTypes } from '@platformatic/kafka';
import type { Durability } from '../../channel.ts';
import { isWeaker } from '../../durability.ts';
import type { Capabilities, ChannelStanding } from '../../engine.ts';
import { faultOf } from './faults.ts';

export interface TopicStanding {
  readonly topic: string;
  readonly durability: Durability;
  readonly maxMessageBytes: number;
  /** What Kafka deletes by itself; undefined: nothing. */
  readonly retentionMs: number | undefined;
  readonly retentionBytes: number | undefined;
}

/** What a batch, a key and the toolkit's own headers take beside the message. */
export const OVERHEAD_BYTES = 1_024;

type Configs = ReadonlyMap<string, string>;

/** Of topics that are there, in one request. */
export async function standingOfTopics(
  admin: Admin,
  topics: ReadonlyMap<string, ClusterTopicMetadata>,
): Promise<readonly TopicStanding[]> {
  if (topics.size === 0) return [];
  const configs = await configsOf(admin, ConfigResourceTypes.TOPIC, [...topics.keys()]);
  return [...topics].map(([topic, found]) => standingOf(topic, found, configs.get(topic) ?? new Map()));
}

function standingOf(topic: string, { partitions }: ClusterTopicMetadata, own: Configs): TopicStanding {
  const copies = Math.min(...partitions.map(({ replicas }) => replicas.length));
  const deletes = own.get('cleanup.policy')?.includes('delete') ?? false;
  const limit = (name: string): number | undefined => {
    const value = Number(own.get(name) ?? -1);
    return deletes && value >= 0 ? value : undefined;
  };
  const least = Number(own.get('min.insync.replicas') ?? 1);
  return {
    topic,
    durability: durabilityOf(copies, least, own.get('flush.messages') === '1'),
    maxMessageBytes: Number(own.get('max.message.bytes') ?? Number.POSITIVE_INFINITY) - OVERHEAD_BYTES,
    retentionMs: limit('retention.ms'),
    retentionBytes: limit('retention.bytes'),
  };
}

export function durabilityOf(copies: number, leastInSync: number, flushes: boolean): Durability {
  if (copies > 1 && leastInSync > 1) return 'replicated';
  return flushes ? 'disk' : 'memory';
}

/** The one that gives least: whatever the priority of a message, it has at least that. */
export function weakestOf(topics: readonly TopicStanding[]): TopicStanding | undefined {
  return topics.toSorted((a, b) => byStrength(a.durability, b.durability))[0];
}

function byStrength(one: Durability, other: Durability): number {
  if (one === other) return 0;
  return isWeaker(one, other) ? -1 : 1;
}

/**
 * Of one channel, as the port speaks of it. Where not all of its topics are there yet, the others will be made as `capabilities` says; where that is less, nothing is said here.
 * More bytes than `capabilities` states nobody may publish.
 */
export function standingOfChannel(
  topics: readonly TopicStanding[],
  isWhole: boolean,
  { confirm, maxMessageBytes }: Capabilities,
): ChannelStanding {
  const weakest = weakestOf(topics);
  const [tightest] = topics.toSorted((a, b) => a.maxMessageBytes - b.maxMessageBytes);
  const place = ({ topic }: TopicStanding): string => `topic "${topic}", which keeps the settings it has`;
  return {
    ...(weakest && (isWhole || isWeaker(weakest.durability, confirm))
      ? { confirm: { durability: weakest.durability, place: place(weakest), remedies: STRONGER } }
      : {}),
    ...(tightest && tightest.maxMessageBytes < maxMessageBytes
      ? { size: { maxMessageBytes: tightest.maxMessageBytes, place: place(tightest), remedies: LARGER } }
      : {}),
  };
}

const STRONGER = [
  'for disk set flush.messages=1 on that topic',
  'for replicated give that topic more than one copy and a min.insync.replicas above 1',
];
const LARGER = [`set max.message.bytes of that topic to ${OVERHEAD_BYTES} more than that`];

/** By resource. */
export async function configsOf(
  admin: Admin,
  resourceType: (typeof ConfigResourceTypes)[keyof typeof ConfigResourceTypes],
  names: readonly string[],
): Promise<ReadonlyMap<string, Configs>> {
  try {
    const described = await admin.describeConfigs({
      resources: names.map((resourceName) => ({ resourceType, resourceName })),
    });
    return new Map(
      described.map(({ resourceName, configs }) => [
        resourceName,
        new Map(configs.map(({ name, value }) => [name, value ?? ''])),
      ]),
    );
  } catch (error) {
    throw faultOf(error, `asking for the settings of ${names.join(', ')}`);
  }
}
