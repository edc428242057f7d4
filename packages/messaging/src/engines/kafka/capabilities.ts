/**
 * What this cluster can do, asked of it. Kafka confirms when the copies that have to have a message do (`min.insync.replicas`), and does not sync to
 * a disk for it: on one broker a confirmed message is in the memory of that machine, and this engine says so.
 */
import { type Admin, ConfigResourceTypes } from '@platformatic/kafka';
import type { Capabilities } from '../../engine.ts';
import { configsOf, durabilityOf, OVERHEAD_BYTES } from './standing.ts';
import { faultOf } from './faults.ts';
import type { Link } from './link.ts';
import type { KafkaSettings } from './options.ts';
import type { VersionsAnswer } from './protocol.ts';

export interface Probe {
  readonly capabilities: Capabilities;
  readonly maxRecordBytes: number;
}

const DEFAULT_MAX_BYTES = 1_048_588;
const PRIORITY_LEVELS = 10;
const YEAR_MS = 365 * 86_400_000;

export async function probe(link: Link, admin: Admin, settings: KafkaSettings): Promise<Probe> {
  const { brokers } = await link.cluster(true);
  const [node] = brokers.keys();
  const name = String(node);
  const broker =
    (await configsOf(admin, ConfigResourceTypes.BROKER, [name])).get(name) ?? new Map<string, string>();
  const number = (setting: string, otherwise: number): number => Number(broker.get(setting) ?? otherwise);
  const maxRecordBytes = number('message.max.bytes', DEFAULT_MAX_BYTES);
  const copies = settings.replicationFactor ?? number('default.replication.factor', 1);
  const least = settings.minInsyncReplicas ?? number('min.insync.replicas', 1);
  const flushes = settings.flushEachMessage || broker.get('log.flush.interval.messages') === '1';
  return {
    maxRecordBytes,
    capabilities: {
      version: await versionOf(link),
      confirm: durabilityOf(copies, least, flushes),
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
  };
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
