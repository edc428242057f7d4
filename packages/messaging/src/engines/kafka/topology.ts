/**
 * Topics and groups of the channels this connection knows. Nothing is deleted by age: a topic keeps everything (`retention.ms=-1`) until every
 * subscription has settled it, and then `trim.ts` deletes it. Kafka's own retention would delete what a slow group has not read.
 */
import type { Admin, ClusterTopicMetadata } from '@platformatic/kafka';
import type { ChannelSpec, ChannelStanding, SubscriptionName, Topology } from '../../engine.ts';
import type { Durability } from '../../channel.ts';
import { MessagingError } from '../../errors.ts';
import type { Probe } from './capabilities.ts';
import { faultOf, says } from './faults.ts';
import type { Link } from './link.ts';
import type { Names } from './names.ts';
import type { KafkaSettings } from './options.ts';
import type { Registry } from './registry.ts';
import { standingOfChannel, standingOfTopics, weakestOf } from './standing.ts';
import { pause, type Clock } from '../../clock.ts';

export interface KnownChannel {
  readonly spec: ChannelSpec;
  /** By priority level. */
  readonly topics: readonly string[];
  readonly partitions: number;
  /** The least that any of its topics gives. */
  readonly durability: Durability;
  readonly subscriptions: Set<string>;
  /** Those that this process has forgotten, by the id of the log that went with each: their dead letters can still be looked at. */
  readonly removed: Map<string, string | undefined>;
}

export interface TopologyParts {
  readonly settings: KafkaSettings;
  readonly clock: Clock;
  readonly names: Names;
  readonly admin: Admin;
  readonly link: Link;
  readonly registry: Registry;
  readonly probe: Probe;
}

interface Wanted {
  readonly topic: string;
  readonly partitions: number;
  readonly configs: Readonly<Record<string, string>>;
}

const LEADER_WAIT_MS = 20;
const LEADER_LOOKS = 500;
/** Copies and letters carry histories beside the message. */
const ROOM_FOR_NOTES = 256 * 1024;
const UUID_TIME = /([0-9a-f]{8})-([0-9a-f]{4})-7/;
/** An owner of a reply channel that has only just begun may not be in its group yet. */
const YOUNG_MS = 600_000;

export class TopologyBook {
  readonly channels = new Map<string, KnownChannel>();
  readonly #parts: TopologyParts;
  #turn: Promise<void> = Promise.resolve();

  constructor(parts: TopologyParts) {
    this.#parts = parts;
  }

  known(channel: string): KnownChannel {
    const known = this.channels.get(channel);
    if (known) return known;
    throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" was never declared`);
  }

  /** Of the topics that are there already; none is made. */
  async standing(channels: readonly ChannelSpec[]): Promise<ReadonlyMap<string, ChannelStanding>> {
    if (channels.length === 0) return new Map();
    const { link, admin, probe } = this.#parts;
    const all = new Set(await this.allTopics());
    const found = channels.map(async (spec) => {
      const topics = this.#topicsOf(spec).map(({ topic }) => topic);
      const there = topics.filter((topic) => all.has(topic));
      const own = there.length === 0 ? [] : await standingOfTopics(admin, await link.topics(there));
      const isWhole = own.length === topics.length;
      return [spec.name, standingOfChannel(own, isWhole, probe.capabilities)] as const;
    });
    return new Map(await Promise.all(found));
  }

  /** One at a time: two that want the same topic would both find it missing. */
  declare(topology: Topology): Promise<void> {
    const mine = this.#turn.catch(() => {}).then(() => this.#declare(topology));
    this.#turn = mine;
    return mine;
  }

  /** Names of all topics that begin with the prefix. */
  async allTopics(): Promise<readonly string[]> {
    try {
      const all = await this.#parts.admin.listTopics();
      return all.filter((topic) => topic.startsWith(this.#parts.settings.prefix));
    } catch (error) {
      throw faultOf(error, 'listing topics');
    }
  }

  /** The reply channel of another process; rejects with DB_MSG_UNKNOWN_CHANNEL when it is gone. */
  async foreign(channel: string): Promise<KnownChannel> {
    const topic = this.#parts.names.ephemeral(channel);
    const found = (await this.#parts.link.topics([topic])).get(topic);
    if (!found) throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `nobody has the channel "${channel}"`);
    const spec = {
      name: channel,
      order: 'none',
      onFailure: 'skip',
      priorityLevels: 1,
      ephemeral: true,
      routing: 'fanout',
      keepMs: undefined,
    } as const;
    return {
      spec,
      topics: [topic],
      partitions: found.partitionsCount,
      durability: 'memory',
      subscriptions: new Set(),
      removed: new Map(),
    };
  }

  /** Deletes reply channels of this process. */
  async dropEphemeral(): Promise<void> {
    const own = [...this.channels.values()].filter(({ spec }) => spec.ephemeral);
    for (const { topics } of own) await this.#delete(topics);
  }

  /** Deletes reply channels whose owner has gone. */
  async sweep(): Promise<void> {
    const { names, admin, clock } = this.#parts;
    for (const topic of await this.allTopics()) {
      const channel = names.ephemeralIn(topic);
      const time = channel === undefined ? null : UUID_TIME.exec(channel);
      if (channel === undefined || !time || this.channels.has(channel)) continue;
      if (clock.now() - Number.parseInt(`${time[1]}${time[2]}`, 16) < YOUNG_MS) continue;
      const group = names.group(channel, 'replies');
      const members = (await admin.describeGroups({ groups: [group] })).get(group)?.members.size ?? 0;
      if (members === 0) await this.#delete([topic]);
    }
  }

  async #declare({ channels, subscriptions, removed = [] }: Topology): Promise<void> {
    const { registry } = this.#parts;
    const wanted: Wanted[] = [
      { topic: registry.topic, partitions: 1, configs: { 'cleanup.policy': 'compact', ...this.#sure() } },
      ...channels.flatMap((spec) => this.#topicsOf(spec)),
    ];
    const there = await this.#create(wanted);
    for (const spec of channels) await this.#learn(spec, there);
    await this.#create(subscriptions.flatMap((one) => this.#topicsOfSubscription(one)));
    for (const { channel, name } of subscriptions) {
      const known = this.known(channel);
      known.subscriptions.add(name);
      known.removed.delete(name);
    }
    await registry.refresh();
    for (const one of subscriptions) if (one.bindings) await registry.bind(one, one.bindings);
    for (const one of removed) await this.#remove(one);
    await this.lookAround();
  }

  /** Learns of subscriptions that other processes have declared since: their dead letters are there to be looked at from here too. */
  async lookAround(): Promise<void> {
    const all = await this.allTopics();
    for (const known of this.channels.values())
      for (const name of this.#parts.names.subscriptionsIn(all, known.spec.name))
        if (!known.removed.has(name) || (await this.isAnew(known, name))) {
          known.removed.delete(name);
          known.subscriptions.add(name);
        }
  }

  /** Of one that was forgotten here and is listed: declared again by another process, or still listed for a moment, as its log tells. */
  async isAnew({ spec, removed }: KnownChannel, name: string): Promise<boolean> {
    const id = await this.#idOf(this.#parts.names.later(spec.name, name));
    return id !== undefined && id !== removed.get(name);
  }

  /** Each topic that is made has one of its own; undefined when there is none. */
  async #idOf(topic: string): Promise<string | undefined> {
    return (await this.#parts.link.topics([topic], { fresh: true })).get(topic)?.id;
  }

  #topicsOf(spec: ChannelSpec): readonly Wanted[] {
    const { names, settings } = this.#parts;
    const partitions = spec.ephemeral ? 1 : settings.partitionsOf(spec.name);
    const policy = settings.isCompacted(spec.name) ? 'compact' : 'delete';
    const configs = { 'cleanup.policy': policy, ...this.#lasting() };
    if (spec.ephemeral) return [{ topic: names.ephemeral(spec.name), partitions, configs }];
    return Array.from({ length: spec.priorityLevels }, (_, level) => ({
      topic: names.topic(spec.name, level),
      partitions,
      configs,
    }));
  }

  #topicsOfSubscription({ channel, name }: SubscriptionName): readonly Wanted[] {
    const { names, probe } = this.#parts;
    const { spec, partitions } = this.known(channel);
    if (spec.ephemeral) return [];
    const room = { 'max.message.bytes': String(probe.maxRecordBytes + ROOM_FOR_NOTES) };
    return [
      {
        topic: names.later(channel, name),
        partitions,
        configs: { 'cleanup.policy': 'delete', ...this.#lasting(), ...room },
      },
      {
        topic: names.dead(channel, name),
        partitions,
        configs: { 'cleanup.policy': 'compact', ...this.#sure(), ...room },
      },
    ];
  }

  #lasting(): Readonly<Record<string, string>> {
    return { 'retention.ms': '-1', 'retention.bytes': '-1', ...this.#sure() };
  }

  /** What a confirm stands for. For every topic: a message that becomes a dead letter is not to be kept worse than it was. */
  #sure(): Readonly<Record<string, string>> {
    const { minInsyncReplicas, flushEachMessage } = this.#parts.settings;
    return {
      ...(minInsyncReplicas === undefined ? {} : { 'min.insync.replicas': String(minInsyncReplicas) }),
      ...(flushEachMessage ? { 'flush.messages': '1' } : {}),
    };
  }

  /** Creates what is missing and waits until each partition has a leader. */
  async #create(wanted: readonly Wanted[]): Promise<ReadonlyMap<string, ClusterTopicMetadata>> {
    if (wanted.length === 0) return new Map();
    const all = wanted.map(({ topic }) => topic);
    const existing = new Set(await this.allTopics());
    for (const one of wanted) if (!existing.has(one.topic)) await this.#createOne(one);
    return this.#led(all);
  }

  async #createOne({ topic, partitions, configs }: Wanted): Promise<void> {
    const { admin, settings } = this.#parts;
    try {
      await admin.createTopics({
        topics: [{ topic, partitions, replicas: settings.replicationFactor ?? -1 }],
        configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
      });
      settings.onNotice({ kind: 'declared', topic });
    } catch (error) {
      if (!says(error, 'TOPIC_ALREADY_EXISTS')) throw faultOf(error, `creating ${topic}`);
    }
  }

  async #led(topics: readonly string[]): Promise<ReadonlyMap<string, ClusterTopicMetadata>> {
    const { link, clock } = this.#parts;
    for (let look = 0; ; look += 1) {
      const found = await link.topics(topics, { fresh: look > 0 });
      const isLed = ({ partitions }: ClusterTopicMetadata): boolean =>
        partitions.every(({ leader }) => leader >= 0);
      if (topics.every((topic) => found.has(topic) && isLed(found.get(topic) as ClusterTopicMetadata)))
        return found;
      if (look >= LEADER_LOOKS)
        throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', `nobody leads all of ${topics.join(', ')}`);
      await pause(clock, LEADER_WAIT_MS);
    }
  }

  async #learn(spec: ChannelSpec, there: ReadonlyMap<string, ClusterTopicMetadata>): Promise<void> {
    const topics = this.#topicsOf(spec).map(({ topic }) => topic);
    const [topic = ''] = topics;
    const first = there.get(topic) as ClusterTopicMetadata;
    const before = this.channels.get(spec.name);
    const { admin, settings } = this.#parts;
    const own = new Map(topics.map((one) => [one, there.get(one) as ClusterTopicMetadata]));
    const standing = spec.ephemeral ? [] : await standingOfTopics(admin, own);
    this.channels.set(spec.name, {
      spec,
      topics,
      partitions: first.partitionsCount,
      durability: weakestOf(standing)?.durability ?? 'memory',
      subscriptions: before?.subscriptions ?? new Set(),
      removed: before?.removed ?? new Map(),
    });
    if (before) return;
    for (const { topic: one, retentionMs, retentionBytes } of standing)
      if (retentionMs !== undefined || retentionBytes !== undefined)
        settings.onNotice({ kind: 'retention', topic: one, retentionMs, retentionBytes });
  }

  /** Its backlog goes, its dead letters stay. */
  async #remove({ channel, name }: SubscriptionName): Promise<void> {
    const { names, admin, registry } = this.#parts;
    try {
      await admin.deleteGroups({ groups: [names.group(channel, name)] });
    } catch (error) {
      if (says(error, 'NON_EMPTY_GROUP'))
        throw new MessagingError('DB_MSG_SUBSCRIPTION_BUSY', `"${name}" of "${channel}" has consumers`, {
          cause: error,
        });
      if (!says(error, 'GROUP_ID_NOT_FOUND')) throw faultOf(error, `forgetting ${name}`);
    }
    // Only now: of one that is refused, this is what waits.
    const later = names.later(channel, name);
    const id = await this.#idOf(later);
    await this.#delete([later]);
    await registry.forget({ channel, name });
    const known = this.channels.get(channel);
    known?.subscriptions.delete(name);
    known?.removed.set(name, id);
  }

  async #delete(topics: readonly string[]): Promise<void> {
    try {
      await this.#parts.admin.deleteTopics({ topics: [...topics] });
    } catch (error) {
      if (!says(error, 'UNKNOWN_TOPIC_OR_PARTITION')) throw faultOf(error, `deleting ${topics.join(', ')}`);
    }
  }
}
