/**
 * How long to wait before the next of a row of vain tries: twice as long as before the last, and short again after a time without any. What fails each time (a queue
 * with other arguments, a refused login) is then asked for now and then, and what fails once is back at once.
 */
import type { Clock } from '../../clock.ts';

export interface Waits {
  readonly firstMs: number;
  readonly longestMs: number;
}

/** A try may take so much longer than the wait before it, and is of the row all the same. */
const QUIET_MS = 1_000;

export class GrowingWait {
  readonly #clock: Clock;
  readonly #waits: Waits;
  #waitMs = 0;
  /** When the last wait ends, on the monotonic clock. */
  #until = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, waits: Waits) {
    this.#clock = clock;
    this.#waits = waits;
  }

  get over(): boolean {
    return this.#clock.monotonic() >= this.#until;
  }

  /** How long the next wait is, ms; it begins now. A row ends when nothing has failed for as long as its last wait again behind that wait, and for `QUIET_MS` at least. */
  next(): number {
    const { firstMs, longestMs } = this.#waits;
    const now = this.#clock.monotonic();
    const isRow = now <= this.#until + Math.max(QUIET_MS, this.#waitMs);
    this.#waitMs = isRow && this.#waitMs > 0 ? Math.min(longestMs, this.#waitMs * 2) : firstMs;
    this.#until = now + this.#waitMs;
    return this.#waitMs;
  }
}
