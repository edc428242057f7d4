/**
 * What was read of a log and not taken in yet, in the order of the log. It waits as bytes and a place in them, while what is taken in is some
 * objects each: made for all that is read ahead, they grow old before anybody wants them, and moving them about was a quarter of what a consumer cost.
 */
import type { LogRecord } from './log-record.ts';

export interface Stretch {
  readonly records: readonly LogRecord[];
  /** From here on nothing of it is left. */
  readonly next: number;
}

const NOTHING: Stretch = { records: [], next: 0 };

export class Unread {
  readonly #stretches: Stretch[] = [];
  /** Taken of the first one. */
  #taken = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** There may be no record in it, only a gap of the log. */
  get isEmpty(): boolean {
    return this.#stretches.length === 0;
  }

  /** Where the log is to be read on; 0 when it is empty. */
  get end(): number {
    return this.#stretches.at(-1)?.next ?? 0;
  }

  /** Timestamp of the first one. */
  get since(): number | undefined {
    return this.#stretches[0]?.records[this.#taken]?.timestamp;
  }

  keep(stretch: Stretch): void {
    this.#stretches.push(stretch);
    this.#count += stretch.records.length;
  }

  /** At most `most` of them. */
  take(most: number): Stretch {
    const first = this.#stretches[0];
    if (!first) return NOTHING;
    const from = this.#taken;
    const all = first.records;
    const records = all.slice(from, from + most);
    const to = from + records.length;
    this.#count -= records.length;
    if (to < all.length) {
      this.#taken = to;
      return { records, next: (all[to] as LogRecord).offset };
    }
    this.#stretches.shift();
    this.#taken = 0;
    return { records, next: first.next };
  }
}
