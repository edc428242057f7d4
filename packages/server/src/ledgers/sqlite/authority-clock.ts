/**
 * The authority's clock: late rather than early. Of the wall clock and the monotonic clock since start the earlier one is taken, so a campaign opens only
 * when both have passed its time, whichever was stepped. Never goes back.
 */
import type { EpochMs } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';

/** Clocks that drift apart by less are not worth a word to the operator. */
const toleranceMs = 1000;

export class AuthorityClock {
  readonly #clock: Clock;
  readonly #startWall: number;
  readonly #startMonotonic: number;
  #latest = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startWall = clock.now();
    this.#startMonotonic = clock.monotonic();
  }

  /** How far the wall clock was stepped ahead since start, in ms; 0 while the clocks agree. */
  aheadMs(): number {
    const ahead = this.#clock.now() - this.#expected();
    return ahead > toleranceMs ? Math.ceil(ahead) : 0;
  }

  now(): EpochMs {
    const agreed = Math.floor(Math.min(this.#clock.now(), this.#expected()));
    this.#latest = Math.max(this.#latest, agreed);
    return this.#latest;
  }

  #expected(): number {
    return this.#startWall + (this.#clock.monotonic() - this.#startMonotonic);
  }
}
