/**
 * The dead letters of one subscription as its compacted topic tells them: a record with a value is a letter, one without ends it. The book is
 * read from the beginning once and then only on; the owner of a partition feeds it as it reads, and whoever looks first reads up to the end.
 */
import type { Clock } from '../../clock.ts';
import type { LogRecord } from './log-record.ts';
import { decodeLetter, type StoredLetter } from './letters.ts';
import type { Logs } from './logs.ts';

/** Ends of letters are kept by Kafka for a day only; a book that was not read for half a day is read anew. */
const STALE_AFTER_MS = 12 * 3_600_000;

/** Whose letters they are. */
export type LetterLog = Pick<StoredLetter, 'channel' | 'subscription'>;

/** The letters that hold one key. */
interface Holders {
  /** By the letter's id. */
  readonly ranks: Map<string, number>;
  /** Asked for at every hand-out; undefined when the letter that had it went and nobody has asked since. */
  lowest: number | undefined;
}

export class DeadBook {
  readonly topic: string;
  readonly #logs: Logs;
  readonly #clock: Clock;
  readonly #of: LetterLog;
  #letters = new Map<string, StoredLetter>();
  /** Per partition and key. */
  #held = new Map<string, Holders>();
  /** Ended, and the end has not been read. */
  readonly #released = new Set<string>();
  #positions: number[] = [];
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  constructor(topic: string, logs: Logs, clock: Clock, of: LetterLog) {
    this.#of = of;
    this.topic = topic;
    this.#logs = logs;
    this.#clock = clock;
  }

  /** Oldest first. */
  letters(): readonly StoredLetter[] {
    return [...this.#letters.values()].sort(
      (a, b) => a.parkedAt - b.parkedAt || a.partition - b.partition || a.offset - b.offset,
    );
  }

  get(id: string): StoredLetter | undefined {
    return this.#letters.get(id);
  }

  /** The lowest rank that holds the key. */
  heldFrom(partition: number, key: string): number | undefined {
    const holders = this.#held.get(`${partition}/${key}`);
    if (holders) holders.lowest ??= lowestOf(holders.ranks.values());
    return holders?.lowest;
  }

  groups(): readonly { readonly group: string; readonly count: number }[] {
    const counts = new Map<string, number>();
    for (const { group } of this.#letters.values()) counts.set(group, (counts.get(group) ?? 0) + 1);
    return [...counts].map(([group, count]) => ({ group, count }));
  }

  positionOf(partition: number): number {
    return this.#positions[partition] ?? 0;
  }

  /** In the order of the log; what is behind was applied before. */
  apply(partition: number, records: readonly LogRecord[], next: number): void {
    const from = this.positionOf(partition);
    for (const record of records) if (record.offset >= from) this.#applyOne(partition, record);
    this.#positions[partition] = Math.max(from, next);
  }

  /** A letter this process has just written, before the log is read up to it. */
  foresee(letter: StoredLetter): void {
    if (letter.offset >= this.positionOf(letter.partition)) this.#put(letter);
  }

  /** Letters this process has just ended: they are gone, also when they have not been read yet. */
  forget(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.#letters.has(id)) this.#released.add(id);
      this.#remove(id);
    }
  }

  /** Its redriven message was read, which may be before its end is: it holds its key no longer. */
  release(id: string): void {
    const letter = this.#letters.get(id);
    this.#released.add(id);
    if (letter) this.#unhold(letter);
  }

  /** Its redriven message was read, its end was not. */
  awaitsEnd(id: string): boolean {
    return this.#released.has(id);
  }

  /** Reads up to what the topic held when this was called. */
  refresh(): Promise<void> {
    // One that has begun may have looked at the end before the caller's own write.
    const before = this.#reading ?? Promise.resolve();
    const mine = before
      .catch(() => {})
      .then(() => this.#read())
      .finally(() => {
        if (this.#reading === mine) this.#reading = undefined;
      });
    this.#reading = mine;
    return mine;
  }

  async #read(): Promise<void> {
    const now = this.#clock.monotonic();
    if (now - this.#readAt <= STALE_AFTER_MS || this.#positions.length === 0) await this.#readOn([]);
    else {
      const anew = new DeadBook(this.topic, this.#logs, this.#clock, this.#of);
      await anew.#readOn(this.#positions);
      this.#letters = anew.#letters;
      this.#held = anew.#held;
      this.#positions = anew.#positions;
    }
    this.#readAt = now;
  }

  /** To the end, and at least to these positions. */
  async #readOn(least: readonly number[]): Promise<void> {
    const ends = await this.#logs.ends(this.topic);
    for (const [partition, atEnd] of ends.entries()) {
      const end = Math.max(atEnd, least[partition] ?? 0);
      if (this.positionOf(partition) >= end) continue;
      await this.#logs.read(this.topic, partition, this.positionOf(partition), end, (records, next) =>
        this.apply(partition, records, next),
      );
    }
  }

  #applyOne(partition: number, record: LogRecord): void {
    const id = record.key?.toString() ?? '';
    if (record.value === null) {
      this.#released.delete(id);
      return this.#remove(id);
    }
    this.#put(decodeLetter(record, { ...this.#of, partition }));
  }

  #put(letter: StoredLetter): void {
    this.#letters.set(letter.id, letter);
    const { inLane, key, partition, rank, id } = letter;
    if (!inLane || key === undefined || this.#released.has(id)) return;
    this.#unhold(letter);
    const place = `${partition}/${key}`;
    const holders = this.#held.get(place) ?? { ranks: new Map<string, number>(), lowest: rank };
    this.#held.set(place, holders);
    holders.ranks.set(id, rank);
    if (holders.lowest !== undefined) holders.lowest = Math.min(holders.lowest, rank);
  }

  #remove(id: string): void {
    const letter = this.#letters.get(id);
    this.#letters.delete(id);
    if (letter) this.#unhold(letter);
  }

  #unhold({ id, partition, key }: StoredLetter): void {
    const place = `${partition}/${key}`;
    const holders = this.#held.get(place);
    if (!holders) return;
    if (holders.ranks.get(id) === holders.lowest) holders.lowest = undefined;
    holders.ranks.delete(id);
    if (holders.ranks.size === 0) this.#held.delete(place);
  }
}

/** A loop, because a call cannot have as many arguments as a key may have followers. */
function lowestOf(ranks: Iterable<number>): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (const rank of ranks) if (rank < lowest) lowest = rank;
  return lowest;
}
