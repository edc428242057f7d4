/**
 * Whether the work at hand is better done as one turn after the other, or divided between two. Divided, the messages of one turn are made or handled on this side
 * while the writer commits the other; it costs a commit more. With `work` the time of this side, `commit` the fixed part of a turn:
 *
 *   one after the other: work + writing + commit        divided: the longer of work and (writing + 2 commits)
 *
 * so dividing pays where a commit takes less time than the work. Both are measured as the turns pass, because a sync takes 0.1 ms on one disk and 10 ms on another, or
 * on the same one an hour later. Where nobody measures commits nothing is divided, which is what a simulator relies on.
 */

/** Fewer rows are not divided, and say nothing about the work. */
export const LEAST_SHARE = 64;
/** Weight of the latest turn in the running means. */
const LATEST = 0.2;

export class TurnPace {
  #commitMs: number | undefined;
  #workMsARow = 0;
  #answeredAt: number | undefined;

  /** An answer came. `at` is monotonic ms. */
  answered(commitMs: number | undefined, at: number): void {
    this.#answeredAt = at;
    if (commitMs !== undefined) this.#commitMs = mean(this.#commitMs, commitMs);
  }

  /** A turn of so many rows goes: what passed since the last answer was the work on them. */
  sent(rows: number, at: number): void {
    if (rows < LEAST_SHARE || this.#answeredAt === undefined) return;
    this.#workMsARow = mean(this.#workMsARow || undefined, (at - this.#answeredAt) / rows);
    this.#answeredAt = undefined;
  }

  /** How so many rows, asked and not answered, go best; undefined where nobody measures. */
  orderFor(rows: number): 'divided' | 'gathered' | undefined {
    if (this.#commitMs === undefined) return undefined;
    return rows >= LEAST_SHARE && this.#commitMs < this.#workMsARow * rows ? 'divided' : 'gathered';
  }
}

function mean(before: number | undefined, latest: number): number {
  return before === undefined ? latest : before + LATEST * (latest - before);
}
