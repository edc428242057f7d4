/**
 * Looking at what waits in a subscription, and moving it to another place of its logs. Both are done from outside the group: reading takes nothing from
 * it, and a group without members takes offsets from anybody.
 */
import type { Admin } from '@platformatic/kafka';
import type { Clock } from '../../clock.ts';
import type { PeekedMessage, ReplayPoint } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { isBound } from '../../routing.ts';
import { faultOf } from './faults.ts';
import { keptCopies } from './kept-copies.ts';
import { Ledger } from './ledger.ts';
import type { LogRecord } from './log-record.ts';
import { membersOf, type Place, type PlaceParts, placesOf } from './places.ts';
import type { Publisher } from './publisher.ts';
import type { Registry } from './registry.ts';
import type { KnownChannel } from './topology.ts';
import { rawOf, Received } from './wire.ts';

export interface ReplayParts extends PlaceParts {
  readonly admin: Admin;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly publisher: Publisher;
}

interface Found {
  readonly record: LogRecord;
  readonly received: Received;
  readonly place: Place;
}

interface Point {
  /** By topic, of each partition. */
  readonly offsets: ReadonlyMap<string, readonly number[]>;
  /** Its time, ms since the epoch; infinite at both ends. */
  readonly sinceMs: number;
}

interface LogPlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

const NO_MEMBER = -1;
/** As little as a broker gives. */
const ONE_BATCH = 1;
const OFFSET = /^(\d{1,9})\/(\d{1,15})(?:@(\d{1,3}))?$/;

export class Replay {
  readonly #parts: ReplayParts;

  constructor(parts: ReplayParts) {
    this.#parts = parts;
  }

  /** Oldest first; what was put off is left out until its time has come. */
  async peek(known: KnownChannel, subscription: string, limit: number): Promise<readonly PeekedMessage[]> {
    await this.#refuseUnknown(known, subscription);
    await this.#parts.registry.refresh();
    let found: readonly Found[] = [];
    for (const place of await placesOf(this.#parts, known, subscription))
      found = found.concat(await this.#unsettled(known, subscription, place, limit));
    return found
      .toSorted(
        (a, b) =>
          Number(b.place.isLater) - Number(a.place.isLater) || a.record.timestamp - b.record.timestamp,
      )
      .slice(0, limit)
      .map(({ record, received, place }) => ({
        offset: place.isLater ? undefined : offsetText(known, place, record.offset),
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
    await this.#refuseUnknown(known, subscription);
    const group = names.group(spec.name, subscription);
    if ((await membersOf(admin, group)) > 0 || this.#parts.readerOf(spec.name, subscription))
      throw new MessagingError(
        'DB_MSG_SUBSCRIPTION_BUSY',
        `"${subscription}" of "${spec.name}" has consumers; stop them everywhere first`,
      );
    const later = names.later(spec.name, subscription);
    // What a redrive stores from here on lies behind this, and is read.
    const ends = await logs.ends(later);
    const { offsets, sinceMs } = await this.#pointOf(known, from);
    if (dryRun) return;
    if (sinceMs < Number.POSITIVE_INFINITY) await this.#keep(known, subscription, offsets, { ends, sinceMs });
    await this.#commit(group, new Map([[later, ends], ...offsets]));
  }

  /** Stores again, behind where the subscription's own log ended, what no log would bring. */
  async #keep(
    known: KnownChannel,
    subscription: string,
    offsets: ReadonlyMap<string, readonly number[]>,
    { ends, sinceMs }: { readonly ends: readonly number[]; readonly sinceMs: number },
  ): Promise<void> {
    const { logs, publisher } = this.#parts;
    const { spec, topics } = known;
    const goals = topics.map((topic) => ({ topic, offsets: offsets.get(topic) ?? [] }));
    for (const place of await placesOf(this.#parts, known, subscription)) {
      if (!place.isLater) continue;
      const own = { ...place, end: ends[place.partition] ?? 0 };
      await publisher.send(place.topic, await keptCopies(logs, spec.name, own, goals, sinceMs));
    }
  }

  /** One that somebody else made since is known by its log. */
  async #refuseUnknown({ spec }: KnownChannel, subscription: string): Promise<void> {
    if (spec.ephemeral) return;
    const { names, link } = this.#parts;
    if ((await link.topics([names.later(spec.name, subscription)])).size > 0) return;
    throw new MessagingError(
      'DB_MSG_UNKNOWN_CHANNEL',
      `channel "${spec.name}" has no subscription "${subscription}": declare it first, or look for its name in the view`,
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
        const isOurs =
          isLater ||
          bindings === undefined ||
          message === undefined ||
          isBound(spec.routing, bindings, message);
        const isRepeat = note.kept !== undefined && note.kept >= Math.max(start, ledger.watermark);
        if (isDue && isOurs && !tombstone && !isRepeat) found.push({ record, received, place });
      }
      return found.length < limit;
    });
    return found;
  }

  /** An offset names one log; the others go to the time of the message that is there. */
  async #pointOf(known: KnownChannel, from: ReplayPoint): Promise<Point> {
    const { logs } = this.#parts;
    const each = async (sinceMs: number, find: (topic: string) => Promise<readonly number[]>) => ({
      sinceMs,
      offsets: new Map(
        await Promise.all(known.topics.map(async (topic) => [topic, await find(topic)] as const)),
      ),
    });
    const latest = () => each(Number.POSITIVE_INFINITY, (topic) => logs.ends(topic));
    const since = (timeMs: number) => each(timeMs, (topic) => logs.since(topic, timeMs));
    if (from === 'earliest') return each(Number.NEGATIVE_INFINITY, (topic) => logs.starts(topic));
    if (from === 'latest') return latest();
    if ('timeMs' in from) return since(from.timeMs);
    const at = offsetIn(known, from.offset);
    const timestamp = await this.#timestampAt(known, at, from.offset);
    const point = await (timestamp === undefined ? latest() : since(timestamp));
    const own = point.offsets.get(at.topic) ?? [];
    point.offsets.set(
      at.topic,
      own.map((one, index) => (index === at.partition ? at.offset : one)),
    );
    return point;
  }

  /** Of the first record from there on, which may lie further when the broker has compacted; undefined at the end. Refuses a place that the log has not. */
  async #timestampAt(
    { spec }: KnownChannel,
    { topic, partition, offset }: LogPlace,
    text: string,
  ): Promise<number | undefined> {
    const { logs } = this.#parts;
    const [starts, ends] = await Promise.all([logs.starts(topic), logs.ends(topic)]);
    const [start = 0, end = 0] = [starts[partition], ends[partition]];
    if (offset < start || offset > end)
      throw badOffset(spec.name, text, `partition ${partition} begins at ${start} and ends at ${end}`);
    let timestamp: number | undefined;
    const visit = (records: readonly LogRecord[]): boolean => {
      timestamp = records.find((one) => one.offset >= offset)?.timestamp;
      return timestamp === undefined;
    };
    await logs.read(topic, partition, offset, end, visit, ONE_BATCH);
    return timestamp;
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

/** `partition/offset`, and behind an @ the priority where it is not the lowest: each has a log of its own. */
function offsetText({ topics }: KnownChannel, { topic, partition }: Place, offset: number): string {
  const level = topics.indexOf(topic);
  return `${partition}/${offset}${level > 0 ? `@${level}` : ''}`;
}

function offsetIn({ spec, topics, partitions }: KnownChannel, text: string): LogPlace {
  const [, partition, offset, level = 0] = OFFSET.exec(text)?.map((one) => Number(one ?? 0)) ?? [];
  if (partition === undefined || offset === undefined)
    throw badOffset(spec.name, text, 'an offset is written "partition/offset"');
  const topic = topics[level];
  if (topic === undefined) throw badOffset(spec.name, text, `its priorities are 0 to ${topics.length - 1}`);
  if (partition >= partitions) throw badOffset(spec.name, text, `its partitions are 0 to ${partitions - 1}`);
  return { topic, partition, offset };
}

function badOffset(channel: string, text: string, why: string): MessagingError {
  return new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    `"${text}" is no offset of channel "${channel}": ${why}. Take one that peek shows, a time, "earliest" or "latest"`,
  );
}
