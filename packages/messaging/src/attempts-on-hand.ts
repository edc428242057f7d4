/**
 * What a running subscription holds: everything received and not known to be settled, which is what the heartbeat keeps.
 *
 * An array in which each knows its place, and no map by token: entering and leaving cost a write each, and nobody looks a token up. A map that is written to without
 * end leaves a chain of its former tables behind; once one of them is old, each collection of young objects keeps every message that hangs on the chain.
 */
import type { AttemptState } from './attempts.ts';
import type { Delivery } from './engine.ts';
import type { Message } from './message.ts';

/** One hand-out on its way through the subscription. */
export class Attempt {
  readonly delivery: Delivery;
  /** Once it was read and fits its contract. */
  message: Message | undefined;
  state: AttemptState;
  abort: AbortController | undefined;
  /** Among those on hand; below 0 when it has left. */
  place = -1;

  constructor(delivery: Delivery, state: AttemptState) {
    this.delivery = delivery;
    this.message = undefined;
    this.state = state;
    this.abort = undefined;
  }

  get isOnHand(): boolean {
    return this.place >= 0;
  }
}

export class AttemptsOnHand {
  readonly #all: Attempt[] = [];

  add(attempt: Attempt): void {
    attempt.place = this.#all.length;
    this.#all.push(attempt);
  }

  /** The last one takes its place. Nothing happens when it has left before. */
  remove(attempt: Attempt): void {
    const { place } = attempt;
    if (place < 0) return;
    attempt.place = -1;
    const last = this.#all.pop() as Attempt;
    if (last === attempt) return;
    last.place = place;
    this.#all[place] = last;
  }

  all(): readonly Attempt[] {
    return [...this.#all];
  }
}
