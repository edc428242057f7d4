/**
 * Dead letters of the subscriptions this connection knows: one queue each. Listing looks through the queue and puts all back; redriving publishes
 * to the subscription's queue alone, waits for the confirm and then takes the letter away, so that a crash between the two repeats and never loses.
 * A redriven message goes to the END of its queue: AMQP has no other place.
 */
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import type { Clock } from '../../clock.ts';
import type { ChannelSpec, DeadLetterFilter, DeadLetterRecord, DeadLetterStore } from '../../engine.ts';
import type { Message } from '../../message.ts';
import { browse, type Browsed, type Turns } from './browse.ts';
import { isMeant } from '../../dead-letter-filter.ts';
import { decodeLetter, recordOf, type StoredLetter } from './letters.ts';
import { type Names, partitionOf } from './names.ts';
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
  /** Letters of this subscription were taken away: what they held may go on. */
  readonly onDiscarded: (channel: string, subscription: string) => Promise<void>;
}

interface Place {
  readonly spec: ChannelSpec;
  readonly subscription: string;
  /** Whether it can be redriven; a removed subscription's letters can be read and discarded. */
  readonly alive: boolean;
}

type Held = readonly (readonly [StoredLetter, ConsumeMessage])[];
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
    const found: StoredLetter[] = [];
    for (const place of this.#places(filter))
      await this.#look(place, async (held) => {
        found.push(...held.map(([letter]) => letter).filter((letter) => isMeant(letter, filter)));
      });
    found.sort((a, b) => a.parkedAt - b.parkedAt);
    const start = page.after === undefined ? 0 : found.findIndex(({ id }) => id === page.after) + 1;
    return found.slice(start, start + page.limit).map(recordOf);
  }

  /** What is parked behind the letter goes back with it, in order, as a redrive would send it. */
  async redriveEdited(id: string, message: Message, state: string): Promise<boolean> {
    for (const place of this.#places({})) {
      if (!place.alive) continue;
      const isThere = await this.#look(place, async (held, take) => {
        const edited = held.find(([letter]) => letter.id === id)?.[0];
        if (!edited) return false;
        for (const [letter, amqp] of withSequences(held, [edited])) {
          const parcel = letter === edited ? replacement(edited, message, state) : revived(letter);
          await this.#parts.publish('', this.#queueOf(place, letter), parcel);
          take(amqp);
        }
        return true;
      });
      if (isThere) return true;
    }
    return false;
  }

  redrive(filter: DeadLetterFilter, limit: number): Promise<Moved> {
    return this.#each(filter, limit, async (place, held, take, left) => {
      const chosen = place.alive ? wholeSequences(held, filter, left) : [];
      for (const [letter, message] of chosen) {
        await this.#parts.publish('', this.#queueOf(place, letter), revived(letter));
        take(message);
      }
      const matching = held.filter(([letter]) => isMeant(letter, filter));
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
      async (_, held, take, left) => {
        const matching = held.filter(([letter]) => isMeant(letter, filter));
        const chosen = matching.slice(0, left);
        for (const [, message] of chosen) take(message);
        return { moved: chosen.length, remaining: matching.length - chosen.length };
      },
      // A redrive says nothing here: its messages free their key themselves, at their place in the queue.
      ({ spec, subscription }) => this.#parts.onDiscarded(spec.name, subscription),
    );
  }

  /** Keys that a letter holds. */
  async heldKeys(spec: ChannelSpec, subscription: string): Promise<ReadonlySet<string>> {
    const keys = new Set<string>();
    await this.#look({ spec, subscription, alive: true }, async (held) => {
      for (const [{ inLane, key }] of held) if (inLane && key !== undefined) keys.add(key);
    });
    return keys;
  }

  /** Counts by group; looks only when the number of letters has changed since the last time. */
  async groups(
    spec: ChannelSpec,
    subscription: string,
    state: { readonly messageCount: number; readonly consumerCount: number },
  ): Promise<readonly { readonly group: string; readonly count: number }[]> {
    const queue = this.#parts.names.dead(spec.name, subscription);
    const known = this.#groups.get(queue);
    const beingRead = state.consumerCount > 0 && known !== undefined;
    if (!beingRead && known?.total !== state.messageCount)
      await this.#look({ spec, subscription, alive: true }, async () => {});
    return [...(this.#groups.get(queue)?.counts ?? [])].map(([group, count]) => ({ group, count }));
  }

  async #each(
    filter: DeadLetterFilter,
    limit: number,
    work: (place: Place, held: Held, take: (message: ConsumeMessage) => void, left: number) => Promise<Moved>,
    after: (place: Place) => Promise<void> = async () => {},
  ): Promise<Moved> {
    let moved = 0;
    let remaining = 0;
    for (const place of this.#places(filter)) {
      const done = await this.#look(place, (held, take) =>
        work(place, held, take, Math.max(0, limit - moved)),
      );
      moved += done.moved;
      remaining += done.remaining;
      if (done.moved > 0) await after(place);
    }
    return { moved, remaining };
  }

  #look<T>(place: Place, look: (held: Held, take: Browsed['take']) => Promise<T>): Promise<T> {
    const { names, clock, turns, model } = this.#parts;
    const queue = names.dead(place.spec.name, place.subscription);
    return turns.run(queue, () =>
      browse(model(), clock, queue, async ({ messages, take }) => {
        const held = messages.map((message) => [decodeLetter(message), message] as const);
        const taken = new Set<ConsumeMessage>();
        const result = await look(held, (message) => {
          taken.add(message);
          take(message);
        });
        this.#count(
          queue,
          held.filter(([, message]) => !taken.has(message)).map(([letter]) => letter),
        );
        return result;
      }),
    );
  }

  #count(queue: string, letters: readonly StoredLetter[]): void {
    const counts = new Map<string, number>();
    for (const { group } of letters) counts.set(group, (counts.get(group) ?? 0) + 1);
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

/** At most `limit` that match, and with each the rest of its parked sequence; in the order of the queue. */
function wholeSequences(held: Held, filter: DeadLetterFilter, limit: number): Held {
  const matching = held.map(([letter]) => letter).filter((letter) => isMeant(letter, filter));
  return withSequences(held, matching.slice(0, limit));
}

function withSequences(held: Held, first: readonly StoredLetter[]): Held {
  const chosen = new Set(first);
  const keys = new Set(first.filter(({ inLane }) => inLane).map(({ key }) => key));
  return held.filter(([letter]) => chosen.has(letter) || (letter.inLane && keys.has(letter.key)));
}

/** The new message begins a life of its own, so its copies count from the start. */
function replacement({ inLane }: StoredLetter, message: Message, state: string): Parcel {
  return copyOf(encodeDescendant(message), { state, turn: 1, redriven: inLane });
}

function revived(letter: StoredLetter): Parcel {
  return copyOf(unpackParcel(letter.parcel), {
    state: letter.stateOnRedrive,
    turn: letter.turn + 1,
    redriven: letter.inLane,
  });
}
