/**
 * What breaks where nobody awaits it (a pool of the module that nobody listens to) ends a run at once: whatever the command waits for may never come. A part that has done something
 * which must be told first (`reconcile --repair`) is `telling`: what it waits for through `unlessBroken` rejects instead, so that it comes to its end by itself and tells it.
 */
import { type Clock, pause } from '../clock.ts';

export class Unawaited {
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  /** In an object, because anything may be thrown. */
  #broke: { readonly error: unknown } | undefined;
  #telling: Promise<unknown> | undefined;
  #hasTold = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A telling part came to its end before something broke, so what it said stands on stdout. */
  get hasTold(): boolean {
    return this.#hasTold;
  }

  /** Only the first counts: what breaks after it comes of it. */
  broke(error: unknown): void {
    if (this.#broke) return;
    this.#broke = { error };
    for (const end of this.#waiting) end();
  }

  /** Rejects with what broke, before the work or in it, and `graceMs` later where it had better come to its end. */
  async unlessBroken<T>(work: () => Promise<T>, graceMs = 0): Promise<T> {
    if (this.#broke) throw this.#broke.error;
    const broken = Promise.withResolvers<void>();
    const over = new AbortController();
    const ended = broken.promise.then(async () => {
      if (graceMs > 0) await pause(this.#clock, graceMs, over.signal);
      throw this.#broke?.error;
    });
    this.#waiting.add(broken.resolve);
    try {
      return await Promise.race([work(), ended]);
    } finally {
      over.abort();
      this.#waiting.delete(broken.resolve);
    }
  }

  async telling<T>(work: () => Promise<T>): Promise<T> {
    const telling = work();
    this.#telling = telling;
    const told = await telling;
    this.#hasTold = this.#broke === undefined;
    return told;
  }

  /** The run, but no longer than until something breaks, and then as its telling part ends, where it is in one. What is only to be closed after that is not waited for. */
  async ending<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await this.unlessBroken(run);
    } catch (error) {
      if (!this.#broke || this.#hasTold || !this.#telling) throw error;
      return (await this.#telling) as T;
    }
  }
}
