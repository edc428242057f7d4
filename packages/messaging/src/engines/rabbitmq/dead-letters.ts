/**
 * Dead letters of the subscriptions this connection knows: one queue each. Listing looks through the queue and puts all back; redriving publishes
 * to the subscription's queue alone, waits for the confirm and then takes the letter away, so that a crash between the two repeats and never loses.
 * A redriven message goes to the END of its queue: AMQP has no other place. What keeps the order of its key until it is there: `placeholders.ts`, `parked-keys.ts`.
 */
import type { ChannelModel } from 'amqplib';
import type { Clock } from '../../clock.ts';
import type { ChannelSpec, DeadLetterFilter, DeadLetterRecord, DeadLetterStore } from '../../engine.ts';
import type { Message } from '../../message.ts';
import type { Browsed, Turns } from './browse.ts';
import { isMeant } from '../../dead-letter-filter.ts';
import type { QueueCount } from './counting.ts';
import { letterReader, recordOf, type StoredLetter } from './letters.ts';
import { lookThrough } from './looking.ts';
import { type Names, partitionOf } from './names.ts';
import {
  byKey,
  encodePlaceholder,
  type Held,
  heldKeysOf,
  type HeldKeys,
  inSequence,
} from './placeholders.ts';
import type { TopologyBook } from './topology.ts';
import { copyOf, encodeDescendant, type Parcel, unpackParcel } from './wire.ts';

export interface DeadLetterParts {
  readonly clock: Clock;
  readonly names: Names;
  readonly book: TopologyBook;
  readonly partitions: number;
  readonly turns: Turns;
  readonly model: () => ChannelModel;
  readonly publish: (exchange: string, routingKey: string, parcel: Parcel) => Promise<void>;
  /** Names what comes back of one key in one redrive; never given again. */
  readonly nextRedrive: () => string;
  /** Letters of this subscription were taken away: what they held may go on. */
  readonly onDiscarded: (channel: string, subscription: string) => Promise<void>;
}

interface Place {
  readonly spec: ChannelSpec;
  readonly subscription: string;
  /** Whether it can be redriven; a removed subscription's letters can be read and discarded. */
  readonly alive: boolean;
}

/** What a walk through the letters shows. */
interface Seen {
  readonly letters: readonly Held[];
  readonly placeholders: readonly Held[];
  readonly take: Browsed['take'];
}
interface Moved {
  readonly moved: number;
  readonly remaining: number;
}

export class RabbitDeadLetters implements DeadLetterStore {
  readonly #parts: DeadLetterParts;
  readonly #groups = new Map<string, { readonly total: number; readonly counts: Map<string, number> }>();

  constructor(parts: DeadLetterParts) {
    this.#parts = parts;
  }

  async list(
    filter: DeadLetterFilter,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<readonly DeadLetterRecord[]> {
    // Not pushed as arguments: letters may be more than a call can have.
    let found: readonly StoredLetter[] = [];
    for (const place of this.#places(filter))
      await this.#look(place, async ({ letters }) => {
        found = found.concat(letters.map(({ letter }) => letter).filter((letter) => isMeant(letter, filter)));
      });
    const sorted = found.toSorted((a, b) => a.parkedAt - b.parkedAt);
    const start = page.after === undefined ? 0 : sorted.findIndex(({ id }) => id === page.after) + 1;
    return sorted.slice(start, start + page.limit).map(recordOf);
  }

  /** What is parked behind the letter goes back with it, in order, as a redrive would send it. */
  async redriveEdited(id: string, message: Message, state: string): Promise<boolean> {
    for (const place of this.#places({})) {
      if (!place.alive) continue;
      const isThere = await this.#look(place, async (seen) => {
        const edited = seen.letters.find(({ letter }) => letter.id === id)?.letter;
        if (!edited) return false;
        await this.#sendBack(place, withSequences(seen.letters, [edited]), seen, (letter) =>
          letter === edited
            ? { parcel: encodeDescendant(message), state }
            : { parcel: unpackParcel(letter.parcel), state: letter.stateOnRedrive },
        );
        return true;
      });
      if (isThere) return true;
    }
    return false;
  }

  redrive(filter: DeadLetterFilter, limit: number): Promise<Moved> {
    return this.#each(filter, limit, async (place, seen, left) => {
      const { letters } = seen;
      const chosen = place.alive ? wholeSequences(letters, filter, left) : [];
      await this.#sendBack(place, chosen, seen, ({ parcel, stateOnRedrive }) => ({
        parcel: unpackParcel(parcel),
        state: stateOnRedrive,
      }));
      const matching = letters.filter(({ letter }) => isMeant(letter, filter));
      const stuck = place.alive ? 0 : matching.length;
      return {
        moved: chosen.length,
        remaining: matching.filter((one) => !chosen.includes(one)).length - stuck,
      };
    });
  }

  discard(filter: DeadLetterFilter, limit: number): Promise<Moved> {
    return this.#each(
      filter,
      limit,
      async (_, { letters, take }, left) => {
        const matching = letters.filter(({ letter }) => isMeant(letter, filter));
        const chosen = matching.slice(0, left);
        for (const { amqp } of chosen) take(amqp);
        return { moved: chosen.length, remaining: matching.length - chosen.length };
      },
      // A redrive says nothing here: its messages free their key themselves, at their place in the queue.
      ({ spec, subscription }) => this.#parts.onDiscarded(spec.name, subscription),
    );
  }

  /** What holds keys now. The last copies of the redrives `arrived` are in the partition's reader, so their placeholders are taken. */
  heldKeys(spec: ChannelSpec, subscription: string, arrived: ReadonlySet<string>): Promise<HeldKeys> {
    return this.#look({ spec, subscription, alive: true }, async ({ letters, placeholders, take }) => {
      const { keys, served } = heldKeysOf([...letters, ...placeholders], arrived);
      for (const amqp of served) take(amqp);
      return keys;
    });
  }

  /** Counts by group; looks only when the number of letters has changed since the last time, as far as it is known. */
  async groups(
    spec: ChannelSpec,
    subscription: string,
    state: QueueCount | undefined,
  ): Promise<readonly { readonly group: string; readonly count: number }[]> {
    const queue = this.#parts.names.dead(spec.name, subscription);
    const known = this.#groups.get(queue);
    const beingRead = state && state.consumerCount > 0 && known !== undefined;
    if (state && !beingRead && known?.total !== state.messageCount)
      await this.#look({ spec, subscription, alive: true }, async () => {});
    return [...(this.#groups.get(queue)?.counts ?? [])].map(([group, count]) => ({ group, count }));
  }

  async #each(
    filter: DeadLetterFilter,
    limit: number,
    work: (place: Place, seen: Seen, left: number) => Promise<Moved>,
    after: (place: Place) => Promise<void> = async () => {},
  ): Promise<Moved> {
    let moved = 0;
    let remaining = 0;
    for (const place of this.#places(filter)) {
      const done = await this.#look(place, (seen) => work(place, seen, Math.max(0, limit - moved)));
      moved += done.moved;
      remaining += done.remaining;
      if (done.moved > 0) await after(place);
    }
    return { moved, remaining };
  }

  /**
   * Publishes copies, each sequence in its order and all of them at once, so that little can come between two of a key; then, when they are stored, the
   * placeholders; then the letters may leave. A crash before the placeholders leaves all letters, one behind them some: what they are of comes twice, and its key
   * stays held until the next redrive.
   */
  async #sendBack(place: Place, chosen: readonly Held[], seen: Seen, contentOf: ContentOf): Promise<void> {
    const { publish, names, nextRedrive } = this.#parts;
    const ordered = inSequence(chosen);
    const sequences = byKey(ordered);
    const redrives = new Map([...sequences.keys()].map((key) => [key, nextRedrive()]));
    const lasts = new Set([...sequences.values()].map((some) => some.at(-1)?.letter));
    await Promise.all(
      ordered.map(({ letter }) => {
        const { inLane, key, turn } = letter;
        const { parcel, state } = contentOf(letter);
        const sequence = inLane && { redrive: redrives.get(key ?? ''), isLast: lasts.has(letter) };
        const copy = copyOf(parcel, { state, turn: turn + 1, redriven: inLane, ...sequence });
        return publish('', this.#queueOf(place, letter), copy);
      }),
    );
    const dead = names.dead(place.spec.name, place.subscription);
    await Promise.all(
      [...sequences].map(([key, some]) =>
        publish('', dead, encodePlaceholder(some, redrives.get(key) ?? '')),
      ),
    );
    for (const { amqp } of chosen) seen.take(amqp);
  }

  #look<T>(place: Place, look: (seen: Seen) => Promise<T>): Promise<T> {
    const { names, clock, turns, model } = this.#parts;
    const queue = names.dead(place.spec.name, place.subscription);
    return turns.run(queue, () =>
      lookThrough(model(), clock, queue, async ({ messages, take }) => {
        const read = letterReader({ channel: place.spec.name, subscription: place.subscription });
        const left = new Map(messages.map((amqp) => [amqp, read(amqp)]));
        const held = [...left].map(([amqp, letter]) => ({ amqp, letter }));
        const result = await look({
          letters: held.filter(({ letter }) => letter.returning === undefined),
          placeholders: held.filter(({ letter }) => letter.returning !== undefined),
          take(amqp) {
            left.delete(amqp);
            take(amqp);
          },
        });
        this.#count(queue, [...left.values()]);
        return result;
      }),
    );
  }

  #count(queue: string, letters: readonly StoredLetter[]): void {
    const counts = new Map<string, number>();
    for (const { group, returning } of letters)
      if (returning === undefined) counts.set(group, (counts.get(group) ?? 0) + 1);
    this.#groups.set(queue, { total: letters.length, counts });
  }

  #places(filter: DeadLetterFilter): readonly Place[] {
    const places: Place[] = [];
    for (const { spec, subscriptions, removed } of this.#parts.book.channels.values()) {
      if (spec.ephemeral || (filter.channel !== undefined && filter.channel !== spec.name)) continue;
      for (const subscription of subscriptions.keys()) places.push({ spec, subscription, alive: true });
      for (const subscription of removed) places.push({ spec, subscription, alive: false });
    }
    return places.filter(
      ({ subscription }) => filter.subscription === undefined || filter.subscription === subscription,
    );
  }

  #queueOf({ spec, subscription }: Place, letter: StoredLetter): string {
    const { names, partitions } = this.#parts;
    const queues = names.queues(spec, subscription);
    return queues[spec.order === 'key' ? partitionOf(letter.key ?? '', partitions) : 0] as string;
  }
}

/** A message as it goes back: as it came, or the one that takes its place. */
type ContentOf = (letter: StoredLetter) => { readonly parcel: Parcel; readonly state: string | undefined };

/** At most `limit` that match, and with each the rest of its parked sequence; in the order of the queue. */
function wholeSequences(held: readonly Held[], filter: DeadLetterFilter, limit: number): readonly Held[] {
  const matching = held.map(({ letter }) => letter).filter((letter) => isMeant(letter, filter));
  return withSequences(held, matching.slice(0, limit));
}

function withSequences(held: readonly Held[], first: readonly StoredLetter[]): readonly Held[] {
  const chosen = new Set(first);
  const keys = new Set(first.filter(({ inLane }) => inLane).map(({ key }) => key));
  return held.filter(({ letter }) => chosen.has(letter) || (letter.inLane && keys.has(letter.key)));
}
