/** What a team may set about Kafka. Everything has a default but the address. */
import { MessagingError } from '../../errors.ts';
import { safeHook } from '../../hook.ts';
import { within } from '../../sound-numbers.ts';

export interface KafkaEngineOptions {
  /** `kafka://host:port`, several joined by commas. Either this or `brokers`. */
  readonly url?: string;
  /** `host:port` of some brokers; the others are found through them. */
  readonly brokers?: readonly string[];
  /** In front of every topic and group. Default `doorbuster.`; empty to give channels their bare names. */
  readonly prefix?: string;
  /**
   * Partitions of a channel's topic when it is made, 1 to 1,000. Default 6. One process owns a partition at a time, so this is how many can
   * share a subscription. A topic that exists keeps what it has.
   */
  readonly partitions?: number | ((channel: string) => number);
  /** Copies of each topic when it is made. Default: the brokers' own (`default.replication.factor`). */
  readonly replicationFactor?: number;
  /** Copies that have to have a message before it is confirmed, on topics that are made. Default: the brokers' own (`min.insync.replicas`). */
  readonly minInsyncReplicas?: number;
  /** Makes the broker sync each batch to its disk before the confirm (`flush.messages=1`), on topics that are made. Default false: Kafka trusts copies, not syncs. */
  readonly flushEachMessage?: boolean;
  /**
   * Channels whose topic keeps the latest message of each key for ever (`cleanup.policy=compact`). A record without a value is then
   * handed out as data null; elsewhere it is dropped and counted.
   */
  readonly compacted?: readonly string[];
  /**
   * What this process is called among those that share its subscriptions, the same after each of its starts and no other's at the same time
   * (`worker-3`, a pod's name in a stateful set): Kafka's `group.instance.id`. When it was killed and starts again, it takes its partitions back at once
   * and nobody else notices. 1 to 200 letters, digits, dots, dashes and underscores. Default: none, and what a killed process had waits for `sessionTimeoutMs`.
   */
  readonly memberName?: string;
  /** How long a silent member keeps its partitions, ms. Default 10,000; the broker bounds it (`group.min.session.timeout.ms`). */
  readonly sessionTimeoutMs?: number;
  /** Pause between a member's heartbeats, ms: by them it also learns that others came or went. Default: a third of the session, at most 1,000. */
  readonly heartbeatMs?: number;
  /** How long a rebalance waits for messages that are out to be settled, ms, below the session. Default: a third of the session. */
  readonly revokeGraceMs?: number;
  /** Longest life of one request, ms. Default 10,000. */
  readonly requestTimeoutMs?: number;
  /**
   * How long a publish waits for more of its topic to go with it in one request, ms, 0 to 1,000. Default 0: what is published while a request is under way goes together
   * anyway, so batches grow with the load by themselves. More makes fewer and larger requests, and each publish so much later; what the engine writes itself (copies for retries, dead letters) waits for nothing.
   */
  readonly lingerMs?: number;
  /** How often what every subscription has settled is deleted from the brokers, ms. Default 30,000; 0: never. */
  readonly trimEveryMs?: number;
  /** Credentials, when the brokers ask for them. */
  readonly sasl?: {
    readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512';
    readonly username: string;
    readonly password: string;
  };
  /** Encrypts the connections; values as `tls.connect` takes them. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** Tells what happens to groups and topics; for logs and tests. What it throws is passed over; the first time is a warning of the process. */
  readonly onNotice?: (notice: KafkaNotice) => void;
}

export type KafkaNotice =
  | { readonly kind: 'declared'; readonly topic: string }
  | {
      readonly kind: 'assigned';
      readonly channel: string;
      readonly subscription: string;
      readonly partitions: readonly number[];
    }
  | {
      readonly kind: 'revoked';
      readonly channel: string;
      readonly subscription: string;
      readonly partitions: readonly number[];
    }
  | { readonly kind: 'tombstone'; readonly channel: string; readonly subscription: string }
  /**
   * The log of a subscription is not what it was. `gap`: records it had not read are gone (a retention, `DeleteRecords`), and it goes on at `to`;
   * `lost` is how many at most. `truncated`: the log ends before what was settled (the topic was made anew, a broker lost its memory), and it begins
   * again at `to` with what there is. Without an `onNotice` both are warnings of the process.
   */
  | {
      readonly kind: 'gap' | 'truncated';
      readonly channel: string;
      readonly subscription: string;
      readonly topic: string;
      readonly partition: number;
      readonly from: number;
      readonly to: number;
      readonly lost: number;
    }
  /** A channel's topic was there before, and its brokers delete by age (ms) or size (of a partition, bytes) whether it has been handled or not. */
  | {
      readonly kind: 'retention';
      readonly topic: string;
      readonly retentionMs: number | undefined;
      readonly retentionBytes: number | undefined;
    }
  /**
   * What is on record as the bindings of a subscription is none: somebody else wrote it. `isKnown`: this process goes on with those it knew; else it refuses to consume the
   * subscription until they are declared again. Without an `onNotice` a warning of the process.
   */
  | {
      readonly kind: 'unreadableBindings';
      readonly channel: string;
      readonly subscription: string;
      readonly isKnown: boolean;
    }
  /** The client that is installed is not the one that this engine is tried with. Without an `onNotice` a warning of the process. */
  | { readonly kind: 'untriedClient'; readonly version: string; readonly tried: string }
  | { readonly kind: 'trimmed'; readonly topic: string; readonly partition: number; readonly before: number }
  | { readonly kind: 'trouble'; readonly during: string; readonly error: Error };

export interface KafkaSettings {
  readonly brokers: readonly string[];
  readonly prefix: string;
  readonly partitionsOf: (channel: string) => number;
  readonly replicationFactor: number | undefined;
  readonly minInsyncReplicas: number | undefined;
  readonly flushEachMessage: boolean;
  readonly isCompacted: (channel: string) => boolean;
  readonly memberName: string | undefined;
  readonly sessionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly revokeGraceMs: number;
  readonly requestTimeoutMs: number;
  readonly lingerMs: number;
  readonly trimEveryMs: number;
  readonly sasl: KafkaEngineOptions['sasl'];
  readonly tls: KafkaEngineOptions['tls'];
  readonly onNotice: (notice: KafkaNotice) => void;
}

const WHAT = 'the Kafka engine';
const DEFAULT_PARTITIONS = 6;
const HEARTBEAT_MS = 1_000;
const PREFIX = /^[a-zA-Z0-9._-]{0,60}$/;
const BROKER = /^(\[[\da-fA-F:.]+\]|[^\s@:/?#[\]]+)(:\d{1,5})?$/;
const MEMBER_NAME = /^[a-zA-Z0-9._-]{1,200}$/;

/** Throws DB_MSG_INVALID_OPTIONS with the first value that is out of its bounds. */
export function settingsOf(options: KafkaEngineOptions): KafkaSettings {
  const { partitions = DEFAULT_PARTITIONS, prefix = 'doorbuster.' } = options;
  if (!PREFIX.test(prefix))
    throw invalid('prefix has at most 60 letters, digits, dots, dashes and underscores');
  if (options.memberName !== undefined && !MEMBER_NAME.test(options.memberName))
    throw invalid('memberName has 1 to 200 letters, digits, dots, dashes and underscores');
  const sessionTimeoutMs = within(
    WHAT,
    'sessionTimeoutMs',
    options.sessionTimeoutMs ?? 10_000,
    100,
    1_800_000,
  );
  const third = Math.floor(sessionTimeoutMs / 3);
  return {
    brokers: brokersOf(options),
    prefix,
    partitionsOf: (channel) =>
      within(WHAT, 'partitions', typeof partitions === 'number' ? partitions : partitions(channel), 1, 1_000),
    replicationFactor: optional('replicationFactor', options.replicationFactor, 1, 100),
    minInsyncReplicas: optional('minInsyncReplicas', options.minInsyncReplicas, 1, 100),
    flushEachMessage: options.flushEachMessage ?? false,
    isCompacted: (channel) => options.compacted?.includes(channel) ?? false,
    memberName: options.memberName,
    sessionTimeoutMs,
    heartbeatMs: within(
      WHAT,
      'heartbeatMs',
      options.heartbeatMs ?? Math.min(third, HEARTBEAT_MS),
      10,
      sessionTimeoutMs,
    ),
    revokeGraceMs: within(WHAT, 'revokeGraceMs', options.revokeGraceMs ?? third, 0, sessionTimeoutMs),
    requestTimeoutMs: within(WHAT, 'requestTimeoutMs', options.requestTimeoutMs ?? 10_000, 500, 600_000),
    lingerMs: within(WHAT, 'lingerMs', options.lingerMs ?? 0, 0, 1_000),
    trimEveryMs: within(WHAT, 'trimEveryMs', options.trimEveryMs ?? 30_000, 0, 86_400_000),
    sasl: options.sasl,
    tls: options.tls,
    onNotice: safeHook('onNotice of the Kafka engine', options.onNotice ?? warn),
  };
}

/** What nobody may overlook: a loss, and a client or a record that may cause one. */
function warn(notice: KafkaNotice): void {
  if (notice.kind === 'untriedClient')
    return process.emitWarning(
      `@platformatic/kafka ${notice.version} is not the version that the Kafka engine is tried with, ${notice.tried}, and it builds on parts of it that may change in any release`,
      { type: 'DoorbusterKafkaWarning' },
    );
  if (notice.kind === 'unreadableBindings')
    return process.emitWarning(
      `subscription "${notice.subscription}" of "${notice.channel}": what is on record as its bindings is none; ${notice.isKnown ? 'those that were known stay in force' : 'declare them'}`,
      { type: 'DoorbusterKafkaWarning' },
    );
  if (notice.kind !== 'gap' && notice.kind !== 'truncated') return;
  const { kind, channel, subscription, topic, partition, from, to, lost } = notice;
  const what =
    kind === 'gap'
      ? `up to ${lost} messages were deleted before they were read; it goes on at offset ${to} instead of ${from}`
      : `the log ends before offset ${from}, which was settled; it begins again at ${to}`;
  process.emitWarning(`subscription "${subscription}" of "${channel}", ${topic}/${partition}: ${what}`, {
    type: 'DoorbusterKafkaWarning',
  });
}

function brokersOf({ url, brokers }: KafkaEngineOptions): readonly string[] {
  const all = brokers ?? url?.split(',') ?? [];
  const found = all
    .map((one) =>
      one
        .trim()
        .replace(/^kafka:\/\//, '')
        .replace(/\/$/, ''),
    )
    .filter(Boolean);
  if (found.length === 0) throw invalid('url or brokers is needed');
  // Not repeated in the error: what is refused may be a password.
  if (!found.every((one) => BROKER.test(one)))
    throw invalid('a broker is host or host:port, and nothing else; user and password go into `sasl`');
  return found;
}

function optional(name: string, value: number | undefined, low: number, high: number): number | undefined {
  return value === undefined ? undefined : within(WHAT, name, value, low, high);
}

function invalid(detail: string): MessagingError {
  return new MessagingError('DB_MSG_INVALID_OPTIONS', detail);
}
