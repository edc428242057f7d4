/** Something done again and again: the next time is planned when the last one has ended, and one that failed is tried again by the next. */
import type { CancelTimer, Clock } from '../../clock.ts';

export class Round {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #work: () => Promise<void>;
  #cancel: CancelTimer = () => {};
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(clock: Clock, everyMs: number, work: () => Promise<void>) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#work = work;
  }

  /** The first time is after one interval. */
  start(): void {
    if (this.#stopped) return;
    this.#cancel = this.#clock.setTimer(this.#everyMs, () => {
      this.#running = this.#work()
        // Out of reach for now.
        .catch(() => {})
        .finally(() => this.start());
    });
  }

  /** Nothing of it is under way afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#running;
  }
}
