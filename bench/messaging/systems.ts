/**
 * What is compared with what: the toolkit on each engine with the bare client of the same server, and the embedded engine with two job queues as well. The
 * settings are part of the output, so that nobody has to guess what was compared.
 */

export const engineNames = ['rabbitmq', 'kafka', 'redis', 'embedded'] as const;
export type EngineName = (typeof engineNames)[number];

export const phases = ['publish', 'consume'] as const;
export type Phase = (typeof phases)[number];

/** Messages with keys. */
export type KeyedSystemName = `toolkit-${EngineName}-keyed` | `bare-${EngineName}-keyed`;

export type SystemName =
  | `toolkit-${EngineName}`
  | `bare-${EngineName}`
  | KeyedSystemName
  | 'bullmq-everysec'
  | 'bullmq-always'
  | 'graphile';

export type ServerVariable = 'RABBITMQ_URL' | 'KAFKA_URL' | 'REDIS_URL' | 'DATABASE_URL';

export interface System {
  /** Where it finds its server; `own-redis` is started by the bench. */
  readonly needs: ServerVariable | 'own-redis' | null;
  /** Messages that `consume` finds at the start. */
  readonly stored: number;
  readonly settings: string;
}

export const inFlight = 128;
export const concurrency = 128;
/** What the bus takes: twice its concurrency. */
export const prefetch = 2 * concurrency;

const unkeyed: Readonly<Record<Exclude<SystemName, KeyedSystemName>, System>> = {
  'toolkit-rabbitmq': {
    needs: 'RABBITMQ_URL',
    stored: 240_000,
    settings: 'createRabbitEngine with its defaults: quorum queue, persistent, mandatory, confirms, noDelay',
  },
  'bare-rabbitmq': {
    needs: 'RABBITMQ_URL',
    stored: 240_000,
    settings:
      'amqplib: fanout exchange, quorum queue, persistent, mandatory, confirm channel, noDelay, prefetch 256, one multiple ack a turn',
  },
  'toolkit-kafka': {
    needs: 'KAFKA_URL',
    stored: 240_000,
    settings: 'createKafkaEngine with its defaults',
  },
  'bare-kafka': {
    needs: 'KAFKA_URL',
    stored: 240_000,
    settings:
      '@platformatic/kafka: 6 partitions, idempotent, acks=all, one send a turn, no autocommit, a commit for each prefetch and each 250 ms, fetches of 256 KiB',
  },
  'toolkit-redis': {
    needs: 'REDIS_URL',
    stored: 240_000,
    settings: 'createRedisEngine with its defaults; one channel, one subscription',
  },
  'bare-redis': {
    needs: 'REDIS_URL',
    stored: 240_000,
    settings:
      'node-redis: XADD (pipelined), XREADGROUP COUNT 256 sent together with one XACK of the last batch',
  },
  'toolkit-embedded': {
    needs: null,
    stored: 240_000,
    settings: 'createEmbeddedEngine with its defaults: WAL, synchronous=FULL, a commit for each group',
  },
  'bare-embedded': {
    needs: null,
    stored: 240_000,
    settings:
      'node:sqlite: WAL, synchronous=FULL, prepared inserts in a group commit a turn; 256 rows behind a cursor, then one DELETE and its commit',
  },
  'bullmq-everysec': {
    needs: 'own-redis',
    stored: 40_000,
    settings:
      'BullMQ: addBulk of what is published in one turn, Worker with concurrency 128, removeOnComplete; Redis with appendfsync everysec',
  },
  'bullmq-always': {
    needs: 'own-redis',
    stored: 40_000,
    settings: 'the same; Redis with appendfsync always, so that an answer means synced',
  },
  graphile: {
    needs: 'DATABASE_URL',
    stored: 40_000,
    settings:
      'graphile-worker: addJobs of what is published in one turn, pool of 20; concurrentJobs 128, localQueue of 500, completions in batches (delay 0); PostgreSQL with its defaults',
  },
};

const keyedChannel = "the same; a channel with order: 'key', 1,000 keys";

export const systems: Readonly<Record<SystemName, System>> = {
  ...unkeyed,
  'toolkit-rabbitmq-keyed': { ...unkeyed['toolkit-rabbitmq'], settings: keyedChannel },
  'bare-rabbitmq-keyed': {
    ...unkeyed['bare-rabbitmq'],
    settings:
      'the same, but a direct exchange and 8 quorum queues by the hash of the key, each with a single active consumer and a prefetch of 32, all on one channel',
  },
  'toolkit-kafka-keyed': { ...unkeyed['toolkit-kafka'], settings: keyedChannel },
  'bare-kafka-keyed': {
    ...unkeyed['bare-kafka'],
    settings: 'the same, with the key as the key of the record',
  },
  'toolkit-redis-keyed': { ...unkeyed['toolkit-redis'], settings: keyedChannel },
  'bare-redis-keyed': {
    ...unkeyed['bare-redis'],
    settings:
      'node-redis: XADD (pipelined) to one of 8 streams by the hash of the key, one XREADGROUP COUNT 32 of all 8 sent together with one XACK for each stream',
  },
  'toolkit-embedded-keyed': { ...unkeyed['toolkit-embedded'], settings: keyedChannel },
  'bare-embedded-keyed': {
    ...unkeyed['bare-embedded'],
    settings: 'the same, with a column for the key; each batch is handled from a list for each key',
  },
};

export interface Comparison {
  /** What stands above the line of each ratio. */
  readonly toolkit: SystemName;
  /** The name of the ratio (the phase is put behind it, but for `bare`), and what stands below the line. */
  readonly others: Readonly<Record<string, SystemName>>;
}

export const comparisons: Readonly<Record<EngineName, Comparison>> = {
  rabbitmq: { toolkit: 'toolkit-rabbitmq', others: { bare: 'bare-rabbitmq' } },
  kafka: { toolkit: 'toolkit-kafka', others: { bare: 'bare-kafka' } },
  redis: { toolkit: 'toolkit-redis', others: { bare: 'bare-redis' } },
  embedded: {
    toolkit: 'toolkit-embedded',
    others: {
      bare: 'bare-embedded',
      overBullmq: 'bullmq-everysec',
      overBullmqAlways: 'bullmq-always',
      overGraphile: 'graphile',
    },
  },
};

export const keyedComparisons: Readonly<Record<EngineName, Comparison>> = {
  rabbitmq: { toolkit: 'toolkit-rabbitmq-keyed', others: { bare: 'bare-rabbitmq-keyed' } },
  kafka: { toolkit: 'toolkit-kafka-keyed', others: { bare: 'bare-kafka-keyed' } },
  redis: { toolkit: 'toolkit-redis-keyed', others: { bare: 'bare-redis-keyed' } },
  embedded: { toolkit: 'toolkit-embedded-keyed', others: { bare: 'bare-embedded-keyed' } },
};

/** Which messages are measured: those without keys, those with keys, or first the ones and then the others. */
export type Kind = 'plain' | 'keyed';

export const comparisonOf = (engine: EngineName, kind: Kind): Comparison =>
  (kind === 'keyed' ? keyedComparisons : comparisons)[engine];

export const systemsOf = (engine: EngineName, kinds: readonly Kind[]): readonly SystemName[] =>
  kinds.flatMap((kind) => {
    const { toolkit, others } = comparisonOf(engine, kind);
    return [toolkit, ...Object.values(others)];
  });

/** `publish` and `consume` are over the bare client; the others say over what: `overBullmqPublish`. */
export function ratioName(other: string, phase: Phase): string {
  return other === 'bare' ? phase : `${other}${phase === 'publish' ? 'Publish' : 'Consume'}`;
}

/** What a ratio has to be at least, without keys: nine tenths of the bare client, twice a job queue. */
export const leastRatio = (other: string): number => (other === 'bare' ? 0.9 : 2);
