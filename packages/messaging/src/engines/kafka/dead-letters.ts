/**
 * Dead letters of all subscriptions of the channels this connection knows, also of those that others declared since: a compacted topic each. A redrive writes the messages to the subscription's `later` log, with
 * the rank they had, and ends the letters then: a crash between the two never loses. Nor does it repeat, and nor do two that redrive at once: the owner of the partition takes
 * one copy of each letter (`taken-back.ts`), and ends the letter itself before it settles that copy. A parked sequence of a key goes as a whole.
 */
import { isMeant } from '../../dead-letter-filter.ts';
import type { DeadLetterFilter, DeadLetterRecord, DeadLetterStore } from '../../engine.ts';
import type { Message } from '../../message.ts';
import type { DeadBook } from './dead-book.ts';
import { recordOf, revived, type StoredLetter, tombstoneOf } from './letters.ts';
import type { Publisher } from './publisher.ts';
import { copyOf, encodeDescendant } from './wire.ts';

export interface DeadLetterPlace {
  readonly channel: string;
  readonly subscription: string;
  readonly book: DeadBook;
  /** Where redriven messages go; undefined when the subscription was forgotten: its letters can be read and discarded. */
  readonly later: string | undefined;
}

export interface DeadLetterParts {
  readonly publisher: Publisher;
  /** As the brokers have them now. */
  readonly places: () => Promise<readonly DeadLetterPlace[]>;
  /** Letters of this subscription were ended: what they held may go on. */
  readonly onEnded: (channel: string, subscription: string) => void;
}

interface Moved {
  readonly moved: number;
  readonly remaining: number;
}

type Choose = (letters: readonly StoredLetter[], limit: number) => readonly StoredLetter[];

export class KafkaDeadLetters implements DeadLetterStore {
  readonly #parts: DeadLetterParts;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(parts: DeadLetterParts) {
    this.#parts = parts;
  }

  async list(
    filter: DeadLetterFilter,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<readonly DeadLetterRecord[]> {
    let found: readonly StoredLetter[] = [];
    for (const { book } of await this.#placesFor(filter)) {
      await book.refresh();
      found = found.concat(book.letters().filter((letter) => isMeant(letter, filter)));
    }
    // Stable: those of one moment stay in the order of their logs.
    const sorted = found.toSorted((a, b) => a.parkedAt - b.parkedAt);
    const start = page.after === undefined ? 0 : sorted.findIndex(({ id }) => id === page.after) + 1;
    return sorted.slice(start, start + page.limit).map(recordOf);
  }

  redrive(filter: DeadLetterFilter, limit: number): Promise<Moved> {
    const choose: Choose = (letters, left) => wholeSequences(letters, filter, left);
    return this.#each(filter, limit, choose, async ({ later, book }, chosen) => {
      if (later === undefined) return [];
      await this.#parts.publisher.send(
        later,
        chosen.map((letter) => ({ partition: letter.partition, parcel: revived(letter) })),
      );
      await this.#end(book, chosen);
      return chosen;
    });
  }

  discard(filter: DeadLetterFilter, limit: number): Promise<Moved> {
    const choose: Choose = (letters, left) => letters.filter((one) => isMeant(one, filter)).slice(0, left);
    return this.#each(filter, limit, choose, async ({ book }, chosen) => {
      await this.#end(book, chosen);
      return chosen;
    });
  }

  redriveEdited(id: string, message: Message, state: string): Promise<boolean> {
    return this.#inTurn(async () => {
      for (const { book, later, channel, subscription } of await this.#parts.places()) {
        if (later === undefined) continue;
        await book.refresh();
        const letter = book.get(id);
        if (!letter) continue;
        const { rank, priority } = letter;
        const edited = copyOf(encodeDescendant(message), { state, rank, priority, redriven: id });
        const sequence = sequenceOf(book.letters(), [letter]);
        await this.#parts.publisher.send(
          later,
          sequence.map((one) => ({
            partition: one.partition,
            parcel: one === letter ? edited : revived(one),
          })),
        );
        await this.#end(book, sequence);
        this.#parts.onEnded(channel, subscription);
        return true;
      }
      return false;
    });
  }

  async #placesFor(filter: DeadLetterFilter): Promise<readonly DeadLetterPlace[]> {
    return (await this.#parts.places()).filter(
      ({ channel, subscription }) =>
        (filter.channel === undefined || filter.channel === channel) &&
        (filter.subscription === undefined || filter.subscription === subscription),
    );
  }

  #each(
    filter: DeadLetterFilter,
    limit: number,
    choose: Choose,
    work: (place: DeadLetterPlace, chosen: readonly StoredLetter[]) => Promise<readonly StoredLetter[]>,
  ): Promise<Moved> {
    return this.#inTurn(async () => {
      let moved = 0;
      let remaining = 0;
      for (const place of await this.#placesFor(filter)) {
        await place.book.refresh();
        const letters = place.book.letters();
        const chosen = choose(letters, Math.max(0, limit - moved));
        const done = chosen.length === 0 ? [] : await work(place, chosen);
        moved += done.length;
        const cannot = chosen.length > 0 && done.length === 0;
        if (!cannot) remaining += letters.filter((one) => isMeant(one, filter) && !done.includes(one)).length;
        if (done.length > 0) this.#parts.onEnded(place.channel, place.subscription);
      }
      return { moved, remaining };
    });
  }

  async #end(book: DeadBook, letters: readonly StoredLetter[]): Promise<void> {
    await this.#parts.publisher.send(
      book.topic,
      letters.map(({ id, partition }) => ({ partition, parcel: tombstoneOf(id) })),
    );
    book.forget(letters.map(({ id }) => id));
  }

  /** Two redrives at once in this process would move the same letters twice. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.catch(() => {}).then(work);
    this.#turn = mine;
    return mine;
  }
}

/** At most `limit` that match, and with each the rest of its parked sequence; a key's own in the order of the key. */
export function wholeSequences(
  letters: readonly StoredLetter[],
  filter: DeadLetterFilter,
  limit: number,
): readonly StoredLetter[] {
  return sequenceOf(letters, letters.filter((letter) => isMeant(letter, filter)).slice(0, limit));
}

function sequenceOf(
  letters: readonly StoredLetter[],
  first: readonly StoredLetter[],
): readonly StoredLetter[] {
  const laneOf = ({ partition, key }: StoredLetter): string => `${partition}/${key}`;
  const lanes = new Set(first.filter(({ inLane }) => inLane).map(laneOf));
  const chosen = new Set(first);
  return letters
    .filter((letter) => chosen.has(letter) || (letter.inLane && lanes.has(laneOf(letter))))
    .toSorted((a, b) => a.partition - b.partition || a.rank - b.rank);
}
