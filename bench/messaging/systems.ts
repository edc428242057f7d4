/**
 * What is compared with what: the toolkit on each engine with the bare client of the same server, and the embedded engine with two job queues as well. The
 * settings are part of the output, so that nobody has to guess what was compared.
 */

export const engineNames = ['rabbitmq', 'kafka', 'redis', 'embedded'] as const;
export type EngineName = (typeof engineNames)[number];

export const phases = ['publish', 'consume'] as const;
export type Phase = (typeof phases)[number];

export type SystemName =
  | `toolkit-${EngineName}`
  | `bare-${EngineName}`
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

export const systems: Readonly<Record<SystemName, System>> = {
  'toolkit-rabbitmq': {
    needs: 'RABBITMQ_URL',
    stored: 60_000,
    settings: 'createRabbitEngine with its defaults: quorum queue, persistent, mandatory, confirms, noDelay',
  },
  'bare-rabbitmq': {
    needs: 'RABBITMQ_URL',
    stored: 60_000,
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

export const systemsOf = (engine: EngineName): readonly SystemName[] => [
  comparisons[engine].toolkit,
  ...Object.values(comparisons[engine].others),
];

/** `publish` and `consume` are over the bare client; the others say over what: `overBullmqPublish`. */
export function ratioName(other: string, phase: Phase): string {
  return other === 'bare' ? phase : `${other}${phase === 'publish' ? 'Publish' : 'Consume'}`;
}
