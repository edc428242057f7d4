/**
 * What was read of a log and not taken in yet, in the order of the log. It waits as the bytes that came, while what is taken in is some objects each:
 * made for all that is read ahead, they grow old before anybody wants them, and moving them about was a quarter of what a consumer cost.
 */
import type { LogRecord, RecordBatch, RecordRun } from './log-record.ts';

/** What was taken, and from where on nothing of it is left. */
export interface Stretch {
  readonly records: readonly LogRecord[];
  readonly next: number;
}

export class Unread {
  readonly #fetched: { readonly batches: RecordBatch[]; readonly next: number }[] = [];
  /** Of the first batch of the first one. */
  #run: RecordRun | undefined;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** There may be no record in it, only a gap of the log. */
  get isEmpty(): boolean {
    return this.#fetched.length === 0;
  }

  /** Where the log is to be read on; 0 when it is empty. */
  get end(): number {
    return this.#fetched.at(-1)?.next ?? 0;
  }

  /** Timestamp of the batch that is next. */
  get since(): number | undefined {
    return this.#fetched[0]?.batches[0]?.since;
  }

  keep(batches: readonly RecordBatch[], next: number): void {
    this.#fetched.push({ batches: [...batches], next });
    for (const { count } of batches) this.#count += count;
  }

  /** At most `most` of them, from one batch. */
  take(most: number): Stretch {
    const first = this.#fetched[0];
    if (!first) return { records: [], next: 0 };
    const [batch] = first.batches;
    this.#run ??= batch?.run();
    const records = this.#run?.take(most) ?? [];
    this.#count -= records.length;
    if (this.#run && this.#run.left > 0) return { records, next: (records.at(-1)?.offset ?? -1) + 1 };
    this.#run = undefined;
    first.batches.shift();
    if (batch && first.batches.length > 0) return { records, next: batch.lastOffset + 1 };
    this.#fetched.shift();
    return { records, next: first.next };
  }
}
