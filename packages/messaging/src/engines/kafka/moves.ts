/**
 * What is written when a message leaves its place: a copy in the subscription's own log (retried, delayed), or a letter (dead, parked). Each call is
 * one request that is stored as a whole or unknown; the caller settles the original when it resolves.
 */
import type { ChannelSpec, Settlement } from '../../engine.ts';
import type { DeadBook } from './dead-book.ts';
import {
  encodeLetter,
  type LetterPlace,
  type LetterText,
  type StoredLetter,
  tombstoneOf,
} from './letters.ts';
import type { Entry } from './partition.ts';
import type { Publisher } from './publisher.ts';
import { copyOf, rawOf } from './wire.ts';

export interface MovesParts {
  readonly publisher: Publisher;
  readonly spec: ChannelSpec;
  readonly subscription: string;
  /** Undefined on ephemeral channels: nothing is moved there. */
  readonly later: string | undefined;
  readonly book: DeadBook | undefined;
}

const PARKED = {
  reason: 'parked behind the dead letter at the head of its key',
  group: 'parked behind its key',
  history: [],
} as const;

type Retry = Extract<Settlement, { kind: 'retry' }>;

export class Moves {
  readonly #parts: MovesParts;

  constructor(parts: MovesParts) {
    this.#parts = parts;
  }

  async retried(retried: readonly (readonly [Retry, Entry])[]): Promise<void> {
    const { later, publisher } = this.#parts;
    if (later === undefined) return;
    await publisher.send(
      later,
      retried.map(([{ dueAt, state }, entry]) => ({
        partition: entry.source.partition,
        parcel: copyOf(entry.received.parcel, {
          state,
          dueAt,
          abandoned: entry.abandonedBefore + entry.source.ledger.countOf(entry.offset),
          rank: entry.rank,
          priority: entry.level,
        }),
      })),
    );
  }

  /** Published to be handed out later. */
  async delayed(entries: readonly Entry[]): Promise<void> {
    const { later, publisher } = this.#parts;
    if (later === undefined) return;
    await publisher.send(
      later,
      entries.map(({ received, level, source }) => ({
        partition: source.partition,
        parcel: copyOf(received.parcel, { ...received.note, priority: level }),
      })),
    );
  }

  /** The book knows the letters from here on, before their log is read. */
  async dead(dead: readonly (readonly [LetterText, Entry])[]): Promise<void> {
    const { book, publisher } = this.#parts;
    if (!book || dead.length === 0) return;
    const made = dead.map(([letter, entry]) => ({ letter, entry, place: this.#placeOf(entry) }));
    const offsets = await publisher.send(
      book.topic,
      made.map(({ letter, entry, place }) => ({
        partition: place.partition,
        parcel: encodeLetter(entry.received, letter, place),
      })),
    );
    made.forEach(({ letter, entry, place }, index) => {
      book.foresee(storedOf(letter, entry, place, offsets[index] ?? 0));
    });
  }

  /** Followers of a dead letter of their key; again with the same letters when it is not known whether they were stored. */
  async parked(entries: readonly Entry[], at: number): Promise<void> {
    const { subscription } = this.#parts;
    await this.dead(
      entries.map((entry) => {
        // Its own for each copy: the end of a former letter of the message may be on its way.
        const { kind, partition } = entry.source;
        const id = `${subscription}-${entry.received.message?.id ?? ''}-${kind}.${partition}.${entry.offset}`;
        return [{ ...PARKED, id, at, stateOnRedrive: entry.state }, entry] as const;
      }),
    );
    await this.endLetters(entries);
  }

  /**
   * Ends the letters that these copies take the place of, before the copies are settled: a redrive that was killed between the two would leave letters whose
   * messages have been handled. Mostly the redrive has done it, and on keyed channels that was read.
   */
  async endLetters(entries: readonly Entry[]): Promise<void> {
    const { book, publisher } = this.#parts;
    if (!book) return;
    const ends = entries.flatMap(({ received: { note }, source: { partition, owner } }) =>
      note.redriven !== undefined && (!owner.holds || book.awaitsEnd(note.redriven))
        ? [{ partition, parcel: tombstoneOf(note.redriven) }]
        : [],
    );
    if (ends.length > 0) await publisher.send(book.topic, ends);
  }

  #placeOf({ source, rank, level, key }: Entry): LetterPlace {
    const { spec, subscription } = this.#parts;
    return {
      channel: spec.name,
      subscription,
      partition: source.partition,
      rank,
      priority: level,
      inLane: source.owner.holds && key !== undefined,
    };
  }
}

function storedOf(letter: LetterText, entry: Entry, place: LetterPlace, offset: number): StoredLetter {
  const { received } = entry;
  return {
    ...letter,
    ...place,
    messageId: received.message?.id ?? '',
    key: received.message?.key,
    parkedAt: letter.at,
    raw: rawOf(received),
    offset,
    parcel: received.parcel,
  };
}
