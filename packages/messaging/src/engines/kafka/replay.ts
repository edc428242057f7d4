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
import { Ledger } from './ledger.ts';
import type { LogRecord } from './log-record.ts';
import { membersOf, type Place, type PlaceParts, placesOf } from './places.ts';
import type { Registry } from './registry.ts';
import type { KnownChannel } from './topology.ts';
import { rawOf, Received } from './wire.ts';

export interface ReplayParts extends PlaceParts {
  readonly admin: Admin;
  readonly registry: Registry;
  readonly clock: Clock;
}

interface Found {
  readonly record: LogRecord;
  readonly received: Received;
  readonly place: Place;
}

const NO_MEMBER = -1;

export class Replay {
  readonly #parts: ReplayParts;

  constructor(parts: ReplayParts) {
    this.#parts = parts;
  }

  /** Oldest first; what was put off is left out until its time has come. */
  async peek(known: KnownChannel, subscription: string, limit: number): Promise<readonly PeekedMessage[]> {
    await this.#parts.registry.refresh();
    const found: Found[] = [];
    for (const place of await placesOf(this.#parts, known, subscription))
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
    if ((await membersOf(admin, group)) > 0 || this.#parts.readerOf(spec.name, subscription))
      throw new MessagingError(
        'DB_MSG_SUBSCRIPTION_BUSY',
        `"${subscription}" of "${spec.name}" has consumers`,
      );
    const later = names.later(spec.name, subscription);
    const targets = new Map<string, readonly number[]>([[later, await logs.ends(later)]]);
    for (const topic of known.topics) targets.set(topic, await this.#pointIn(topic, from));
    if (!dryRun) await this.#commit(group, targets);
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
