/**
 * What this cluster can do, asked of it. Kafka confirms when the copies that have to have a message do (`min.insync.replicas`), and does not sync to
 * a disk for it: on one broker a confirmed message is in the memory of that machine, and this engine says so.
 */
import { type Admin, type ClusterPartitionMetadata, ConfigResourceTypes } from '@platformatic/kafka';
import type { Durability } from '../../channel.ts';
import type { Capabilities } from '../../engine.ts';
import { faultOf } from './faults.ts';
import type { Link } from './link.ts';
import type { KafkaSettings } from './options.ts';
import type { VersionsAnswer } from './protocol.ts';

export interface Probe {
  readonly capabilities: Capabilities;
  readonly maxRecordBytes: number;
  readonly standingOf: (
    topic: string,
    partitions: readonly ClusterPartitionMetadata[],
  ) => Promise<TopicStanding>;
}

export interface TopicStanding {
  readonly durability: Durability;
  /** What Kafka deletes by itself; undefined: nothing. */
  readonly retentionMs: number | undefined;
  readonly retentionBytes: number | undefined;
}

/** What a batch, a key and the toolkit's own headers take beside the message. */
const OVERHEAD_BYTES = 1_024;
const DEFAULT_MAX_BYTES = 1_048_588;
const PRIORITY_LEVELS = 10;
const YEAR_MS = 365 * 86_400_000;

export async function probe(link: Link, admin: Admin, settings: KafkaSettings): Promise<Probe> {
  const { brokers } = await link.cluster(true);
  const [node] = brokers.keys();
  const broker = await configsOf(admin, ConfigResourceTypes.BROKER, String(node));
  const number = (name: string, otherwise: number): number => Number(broker.get(name) ?? otherwise);
  const maxRecordBytes = number('message.max.bytes', DEFAULT_MAX_BYTES);
  const copies = settings.replicationFactor ?? number('default.replication.factor', 1);
  const least = settings.minInsyncReplicas ?? number('min.insync.replicas', 1);
  const flushes = settings.flushEachMessage || broker.get('log.flush.interval.messages') === '1';
  return {
    maxRecordBytes,
    capabilities: {
      version: await versionOf(link),
      confirm: durability(copies, least, flushes),
      orderPerKey: 'native',
      delay: { support: 'emulated', maxMs: YEAR_MS, resolutionMs: 1 },
      priority: { support: 'emulated', levels: PRIORITY_LEVELS },
      ttl: { support: 'emulated', granularity: 'message' },
      replay: 'native',
      routing: { direct: 'emulated', fanout: 'native', topic: 'emulated', headers: 'emulated' },
      broadcast: 'none',
      deadLetters: 'native',
      processes: 'many',
      maxMessageBytes: maxRecordBytes - OVERHEAD_BYTES,
    },
    async standingOf(topic, partitions) {
      const own = await configsOf(admin, ConfigResourceTypes.TOPIC, topic);
      const fewest = partitions.reduce(
        (least, { replicas }) => Math.min(least, replicas.length),
        Number.POSITIVE_INFINITY,
      );
      const deletes = own.get('cleanup.policy')?.includes('delete') ?? false;
      const limit = (name: string): number | undefined => {
        const value = Number(own.get(name) ?? -1);
        return deletes && value >= 0 ? value : undefined;
      };
      return {
        durability: durability(
          fewest,
          Number(own.get('min.insync.replicas') ?? 1),
          own.get('flush.messages') === '1',
        ),
        retentionMs: limit('retention.ms'),
        retentionBytes: limit('retention.bytes'),
      };
    },
  };
}

function durability(copies: number, least: number, flushes: boolean): Durability {
  if (copies > 1 && least > 1) return 'replicated';
  return flushes ? 'disk' : 'memory';
}

async function configsOf(
  admin: Admin,
  resourceType: (typeof ConfigResourceTypes)[keyof typeof ConfigResourceTypes],
  resourceName: string,
): Promise<ReadonlyMap<string, string>> {
  try {
    const [described] = await admin.describeConfigs({ resources: [{ resourceType, resourceName }] });
    return new Map((described?.configs ?? []).map(({ name, value }) => [name, value ?? '']));
  } catch (error) {
    throw faultOf(error, `asking for the settings of ${resourceName}`);
  }
}

/** Brokers do not tell their release; the level of the cluster's metadata is what they agree on. */
async function versionOf(link: Link): Promise<string> {
  const { run } = await link.onAny<[string, string], VersionsAnswer>('ApiVersions');
  try {
    const { finalizedFeatures = [] } = await run('doorbuster', '1');
    const level = finalizedFeatures.find(({ name }) => name === 'metadata.version')?.maxVersionLevel;
    return level === undefined ? 'Kafka' : `Kafka (metadata.version ${level})`;
  } catch (error) {
    throw faultOf(error, 'asking for the version');
  }
}
