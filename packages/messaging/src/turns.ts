/**
 * Turns of the event loop for work that never waits for it. What `node:sqlite` answers is there at once, so a loop of awaits on it runs in promise jobs alone: no timer of the
 * process fires and no socket is read until all is done, which costs heartbeats, leases and the chance to ask for a stop.
 *
 * A timer of the clock is the probe: has it fired since it was set, the event loop has turned by itself (a server was asked, or there was a rest) and nothing has to wait. It is a timer
 * because time comes through the port; where a simulated clock stands still during the work there is nothing to wait for, so the order of things stays what it was.
 */
import { type Clock, pause } from './clock.ts';

/** So long timers may be late, ms, beside a single step. */
const LONGEST_MS = 10;

export class Turns {
  readonly #clock: Clock;
  #probedAt = Number.NEGATIVE_INFINITY;
  #probe: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Asked between two steps: what to wait for first, or undefined. */
  due(): Promise<void> | undefined {
    if (this.#clock.monotonic() - this.#probedAt < LONGEST_MS) return undefined;
    if (this.#probe) return this.#probe;
    this.#probedAt = this.#clock.monotonic();
    this.#probe = pause(this.#clock, 0).then(() => {
      this.#probe = undefined;
    });
    return undefined;
  }
}
