/**
 * Counts of a subscription, for people: how far behind it is, what waits and since when. Over its places (`places.ts`): of the partitions this process owns
 * its reader knows more than the group has committed, and says it (`reader-view.ts`).
 */
import type { Admin } from '@platformatic/kafka';
import type { Clock } from '../../clock.ts';
import type { ChannelView, SubscriptionView } from '../../engine.ts';
import type { DeadBook } from './dead-book.ts';
import type { LogRecord } from './log-record.ts';
import { membersOf, type Place, type PlaceParts, placesOf } from './places.ts';
import type { KnownChannel } from './topology.ts';
import { Received } from './wire.ts';

export interface ViewParts extends PlaceParts {
  readonly admin: Admin;
  readonly clock: Clock;
  readonly bookOf: (channel: string, subscription: string) => DeadBook;
}

/** As little as a broker gives: the batch that begins with the record. */
const ONE_BATCH = 1;

export class View {
  readonly #parts: ViewParts;
  /** Of partitions that are not ours: from where they wait, and since when. They are asked again when that has moved. */
  readonly #waiting = new Map<string, { readonly from: number; readonly since: number }>();

  constructor(parts: ViewParts) {
    this.#parts = parts;
  }

  async channel(known: KnownChannel): Promise<ChannelView> {
    const names = [...known.subscriptions];
    const subscriptions = await Promise.all(names.map((name) => this.#subscription(known, name)));
    // A delayed message waits in the log of each subscription, among those that were put off.
    return { name: known.spec.name, subscriptions, scheduled: undefined };
  }

  async #subscription(known: KnownChannel, name: string): Promise<SubscriptionView> {
    const { names, admin, readerOf, bookOf, clock } = this.#parts;
    const { spec } = known;
    const reader = readerOf(spec.name, name);
    const own = reader?.view();
    const book = spec.ephemeral ? undefined : bookOf(spec.name, name);
    const [members, places] = await Promise.all([
      membersOf(admin, names.group(spec.name, name)),
      placesOf(this.#parts, known, name),
      book?.refresh(),
    ]);
    const owned = new Set(own?.partitions.map(({ index }) => index));
    let unsettled = 0;
    let inFlight = own?.inFlight ?? 0;
    let delayed = own?.delayed ?? 0;
    let expired = 0;
    const foreign: Place[] = [];
    let mayHideOlder = false;
    for (const place of places) {
      const { ledger, partition, isLater, start, end } = place;
      const waiting = Math.max(0, end - Math.max(start, ledger.watermark) - ledger.settledAbove);
      unsettled += waiting;
      expired += ledger.expired;
      // What came back is in the order in which it failed: behind the first of it there may be an older one.
      if (isLater && waiting > (owned.has(partition) ? 0 : 1)) mayHideOlder = true;
      if (owned.has(partition)) continue;
      if (waiting > 0) foreign.push(place);
      inFlight += ledger.outCount;
      if (isLater) delayed += waiting - ledger.outCount;
    }
    const waitingForKey = own?.waitingForKey ?? 0;
    const times = await Promise.all(foreign.map((place) => this.#waitingSince(spec.name, name, place)));
    const oldestAt = times.reduce((a, b) => Math.min(a, b), own?.oldestAt ?? Number.POSITIVE_INFINITY);
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
      ...(mayHideOlder && { partial: ['oldestAgeMs'] as const }),
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
}
