/**
 * Looks at subscriptions from outside their groups: how far behind they are, what waits in them; and moves them. What the group committed is the
 * truth for everybody; of the partitions this process owns it knows more, and says it.
 */
import type { Admin } from '@platformatic/kafka';
import type { Clock } from '../../clock.ts';
import type { ChannelView, PeekedMessage, ReplayPoint, SubscriptionView } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { isBound } from '../../routing.ts';
import type { DeadBook } from './dead-book.ts';
import { faultOf } from './faults.ts';
import type { LogRecord } from './log-record.ts';
import { Ledger } from './ledger.ts';
import type { Link } from './link.ts';
import type { Logs } from './logs.ts';
import type { Names } from './names.ts';
import type { Reader } from './reader.ts';
import type { Registry } from './registry.ts';
import { committedOf } from './takeover.ts';
import type { KnownChannel } from './topology.ts';
import { rawOf, Received } from './wire.ts';

export interface LookParts {
  readonly link: Link;
  readonly logs: Logs;
  readonly admin: Admin;
  readonly names: Names;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly readerOf: (channel: string, subscription: string) => Reader | undefined;
  readonly bookOf: (channel: string, subscription: string) => DeadBook;
}

interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly isLater: boolean;
  readonly ledger: Ledger;
  readonly start: number;
  readonly end: number;
}

interface Found {
  readonly record: LogRecord;
  readonly received: Received;
  readonly place: Place;
}

const NO_MEMBER = -1;
/** As little as a broker gives: the batch that begins with the record. */
const ONE_BATCH = 1;

export class Look {
  readonly #parts: LookParts;
  /** Of partitions that are not ours: from where they wait, and since when. They are asked again when that has moved. */
  readonly #waiting = new Map<string, { readonly from: number; readonly since: number }>();

  constructor(parts: LookParts) {
    this.#parts = parts;
  }

  async channel(known: KnownChannel): Promise<ChannelView> {
    const names = [...known.subscriptions];
    const subscriptions = await Promise.all(names.map((name) => this.#subscription(known, name)));
    return { name: known.spec.name, subscriptions, scheduled: 0 };
  }

  /** Oldest first; what was put off is left out until its time has come. */
  async peek(known: KnownChannel, subscription: string, limit: number): Promise<readonly PeekedMessage[]> {
    await this.#parts.registry.refresh();
    const found: Found[] = [];
    for (const place of await this.#places(known, subscription))
      found.push(...(await this.#unsettled(known, subscription, place, limit)));
    return found
      .sort(
        (a, b) =>
          Number(b.place.isLater) - Number(a.place.isLater) || a.record.timestamp - b.record.timestamp,
      )
      .slice(0, limit)
      .map(({ record, received, place }) => ({
        offset: place.isLater ? undefined : `${place.partition}/${record.offset}`,
        message: received.message,
        raw: rawOf(received),
      }));
  }

  async rewind(known: KnownChannel, subscription: string, from: ReplayPoint, dryRun: boolean): Promise<void> {
    const { names, admin, logs } = this.#parts;
    const { spec } = known;
    if (spec.keepMs === undefined)
      throw new MessagingError(
        'DB_MSG_UNSUPPORTED_CAPABILITY',
        `channel "${spec.name}" keeps nothing for replay`,
      );
    const group = names.group(spec.name, subscription);
    const members = (await described(admin, group))?.members.size ?? 0;
    if (members > 0 || this.#parts.readerOf(spec.name, subscription))
      throw new MessagingError(
        'DB_MSG_SUBSCRIPTION_BUSY',
        `"${subscription}" of "${spec.name}" has consumers`,
      );
    const later = names.later(spec.name, subscription);
    const targets = new Map<string, readonly number[]>([[later, await logs.ends(later)]]);
    for (const topic of known.topics) targets.set(topic, await this.#pointIn(topic, from));
    if (!dryRun) await this.#commit(group, targets);
  }

  async #subscription(known: KnownChannel, name: string): Promise<SubscriptionView> {
    const { names, admin, readerOf, bookOf, clock } = this.#parts;
    const { spec } = known;
    const reader = readerOf(spec.name, name);
    const own = reader?.view();
    const book = spec.ephemeral ? undefined : bookOf(spec.name, name);
    const [group, places] = await Promise.all([
      described(admin, names.group(spec.name, name)),
      this.#places(known, name),
      book?.refresh(),
    ]);
    const owned = new Set(own?.partitions.map(({ index }) => index));
    let unsettled = 0;
    let inFlight = own?.inFlight ?? 0;
    let delayed = own?.delayed ?? 0;
    let expired = 0;
    const foreign: Place[] = [];
    for (const place of places) {
      const { ledger, partition, isLater, start, end } = place;
      const waiting = Math.max(0, end - Math.max(start, ledger.watermark) - ledger.settledAbove);
      unsettled += waiting;
      expired += ledger.expired;
      if (owned.has(partition)) continue;
      if (waiting > 0) foreign.push(place);
      inFlight += ledger.outCount;
      if (isLater) delayed += waiting - ledger.outCount;
    }
    const waitingForKey = own?.waitingForKey ?? 0;
    const members = group?.members.size ?? 0;
    const times = await Promise.all(foreign.map((place) => this.#waitingSince(spec.name, name, place)));
    const oldestAt = Math.min(own?.oldestAt ?? Number.POSITIVE_INFINITY, ...times);
    return {
      name,
      ready: Math.max(0, unsettled - inFlight - delayed - waitingForKey),
      delayed,
      waitingForKey,
      inFlight,
      oldestAgeMs: oldestAt === Number.POSITIVE_INFINITY ? undefined : Math.max(0, clock.now() - oldestAt),
      deadLetters: book?.groups() ?? [],
      expired,
      consumers: reader ? members - 1 + reader.consumers.size : members,
    };
  }

  /** When the first that waits in a partition of somebody else, or of nobody, was published; Infinity when the broker does not show it. */
  async #waitingSince(channel: string, subscription: string, place: Place): Promise<number> {
    const { topic, partition, ledger, start, end, isLater } = place;
    const from = Math.max(start, ledger.watermark);
    const name = `${this.#parts.names.group(channel, subscription)} ${topic}/${partition}`;
    const known = this.#waiting.get(name);
    if (known?.from === from) return known.since;
    let since = Number.POSITIVE_INFINITY;
    const visit = (records: readonly LogRecord[]): boolean => {
      const first = records.find(({ offset }) => !ledger.isSettled(offset));
      if (!first) return true;
      since = first.timestamp;
      if (isLater) {
        const { madeAt } = new Received(first, { channel, text: '' });
        since = Math.min(since, madeAt || since);
      }
      return false;
    };
    await this.#parts.logs.read(topic, partition, from, end, visit, ONE_BATCH);
    if (since !== Number.POSITIVE_INFINITY) this.#waiting.set(name, { from, since });
    return since;
  }

  /** Every log of the subscription with what is settled in it: of owned partitions as it is now, of others as committed. */
  async #places(known: KnownChannel, subscription: string): Promise<readonly Place[]> {
    const { link, logs, names, readerOf } = this.#parts;
    const { spec, partitions, topics } = known;
    const later = spec.ephemeral ? [] : [names.later(spec.name, subscription)];
    const all = [...topics, ...later];
    const indexes = Array.from({ length: partitions }, (_, index) => index);
    const [committed, starts, ends] = await Promise.all([
      committedOf(link, names.group(spec.name, subscription), new Map(all.map((topic) => [topic, indexes]))),
      Promise.all(all.map((topic) => logs.starts(topic))),
      Promise.all(all.map((topic) => logs.ends(topic))),
    ]);
    const sources = readerOf(spec.name, subscription)
      ?.view()
      .partitions.flatMap((partition) => partition.sources);
    return all.flatMap((topic, at) =>
      indexes.map((partition) => {
        const own = sources?.find((source) => source.topic === topic && source.partition === partition);
        const text = committed.get(`${topic}/${partition}`);
        const start = starts[at]?.[partition] ?? 0;
        const ledger =
          own?.ledger ?? (text ? Ledger.decode(text.watermark, text.text).ledger : new Ledger(start));
        return {
          topic,
          partition,
          isLater: later.includes(topic),
          ledger,
          start,
          end: ends[at]?.[partition] ?? 0,
        };
      }),
    );
  }

  async #unsettled(
    { spec }: KnownChannel,
    subscription: string,
    place: Place,
    limit: number,
  ): Promise<readonly Found[]> {
    const { logs, registry, clock } = this.#parts;
    const { topic, partition, ledger, isLater, start, end } = place;
    const bindings = registry.bindingsOf({ channel: spec.name, name: subscription });
    const found: Found[] = [];
    await logs.read(topic, partition, Math.max(start, ledger.watermark), end, (records) => {
      for (const record of records) {
        if (ledger.isSettled(record.offset) || ledger.isOut(record.offset) || found.length >= limit) continue;
        const received = new Received(record, {
          channel: spec.name,
          text: `${topic}/${partition}/${record.offset}`,
        });
        const { message, note, tombstone } = received;
        const isDue = (note.dueAt ?? 0) <= clock.now();
        const isOurs = isLater || message === undefined || isBound(spec.routing, bindings, message);
        if (isDue && isOurs && !tombstone) found.push({ record, received, place });
      }
      return found.length < limit;
    });
    return found;
  }

  /** An offset names one partition; the others go to the time of that message. */
  async #pointIn(topic: string, from: ReplayPoint): Promise<readonly number[]> {
    const { logs } = this.#parts;
    if (from === 'earliest') return logs.starts(topic);
    if (from === 'latest') return logs.ends(topic);
    if ('timeMs' in from) return logs.since(topic, from.timeMs);
    const [, partition, offset] = /^(\d+)\/(\d+)$/.exec(from.offset)?.map(Number) ?? [];
    if (partition === undefined || offset === undefined)
      throw new MessagingError('DB_MSG_INVALID_OPTIONS', `"${from.offset}" is no offset of this engine`);
    let timestamp: number | undefined;
    await logs.read(topic, partition, offset, offset + 1, (records) => {
      timestamp ??= records[0]?.timestamp;
    });
    const others = timestamp === undefined ? await logs.ends(topic) : await logs.since(topic, timestamp);
    return others.map((one, index) => (index === partition ? offset : one));
  }

  /** A group without members takes offsets from anybody. */
  async #commit(group: string, targets: ReadonlyMap<string, readonly number[]>): Promise<void> {
    const topics = [...targets].map(([name, offsets]) => ({
      name,
      partitions: offsets.map((offset, partitionIndex) => ({
        partitionIndex,
        committedOffset: BigInt(offset),
        committedLeaderEpoch: -1,
        committedMetadata: new Ledger(offset).encode('').text,
      })),
    }));
    try {
      await this.#parts.link.atCoordinator<[string, number, string, null, typeof topics], unknown>(
        group,
        'OffsetCommit',
        group,
        NO_MEMBER,
        '',
        null,
        topics,
      );
    } catch (error) {
      throw faultOf(error, `moving ${group}`);
    }
  }
}

type Described = Awaited<ReturnType<Admin['describeGroups']>> extends Map<string, infer G> ? G : never;

async function described(admin: Admin, group: string): Promise<Described | undefined> {
  try {
    return (await admin.describeGroups({ groups: [group] })).get(group);
  } catch (error) {
    throw faultOf(error, `asking who is in ${group}`);
  }
}
