/**
 * Which of the messages that may be what kills their process are handled now. A bare one at a time would be safest and far too slow: a process
 * killed from outside leaves hundreds of innocents behind. So each that went well doubles how many may be in, a new process begins
 * at one again, and one that has a single life left is handled without any other: company costs nobody his last.
 */
import type { Attempt } from './attempts-on-hand.ts';

export class Quarantine {
  /** Hand-outs that may end without a settlement before a message is a dead letter. */
  readonly #lives: number;
  readonly #mostCompany: number;
  readonly #in = new Set<Attempt>();
  /** How many may be in at once. */
  #company = 1;
  #isLastIn = false;

  constructor(lives: number, mostCompany: number) {
    this.#lives = lives;
    this.#mostCompany = mostCompany;
  }

  /** True when it is in now and may be handled; false when it has to be put off. */
  letIn(attempt: Attempt): boolean {
    const isLast = (attempt.delivery.abandoned ?? 0) >= this.#lives - 1;
    const hasRoom = isLast ? this.#in.size === 0 : this.#in.size < this.#company;
    if (this.#isLastIn || !hasRoom) return false;
    this.#in.add(attempt);
    this.#isLastIn = isLast;
    return true;
  }

  /** It is gone and the process lives. Nothing happens when it was never in. */
  letOut(attempt: Attempt): void {
    if (!this.#in.delete(attempt)) return;
    this.#isLastIn = false;
    this.#company = Math.min(this.#company * 2, this.#mostCompany);
  }
}
