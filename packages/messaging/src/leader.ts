/**
 * Leader election on a lock: one of many processes does the work, another takes over when it ends.
 *
 *   campaigning --acquired--> leading --lock lost--> stepping down --work ended--> campaigning
 *                                '---- stop() ----> stepping down --work ended--> released --> stopped
 *
 * As with the lock, two leaders for a moment are possible: the old one may not know yet that it is old. It is for efficiency; what the work writes
 * to has to check the fence (`lock.ts`). While the work of a former term still runs, this process does not campaign again.
 */
import { describeError } from './attempts.ts';
import { type Clock, pause, systemClock } from './clock.ts';
import type { HeldLock, Locks } from './lock.ts';
import { type Log, silentLog } from './log.ts';
import { MessagingError } from './errors.ts';
import { withDefaults } from './with-defaults.ts';

export interface LeaderOptions {
  readonly locks: Locks;
  /** The name of the lock: who campaigns for the same name competes. */
  readonly name: string;
  /** How long nobody leads after a leader died, ms. */
  readonly ttlMs: number;
  /**
   * The work of one term. `signal` aborts when the lock is lost or `stop` was called; then end soon. When it ends by itself, or throws, the
   * term is given back and this process campaigns again after `restMs`.
   */
  readonly onElected: (signal: AbortSignal, fence: bigint) => Promise<void> | void;
  readonly clock?: Clock;
  readonly log?: Log;
  /** Default 1,000. */
  readonly restMs?: number;
}

export interface Leader {
  start(): void;
  /** Asks the work to end, waits for it up to `drainMs` (default 10,000) and hands over at once; work that goes on loses its lock by the ttl. */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  view(): {
    readonly state: 'new' | 'campaigning' | 'leading' | 'steppingDown' | 'stopped';
    readonly fence: bigint | undefined;
    readonly terms: number;
    readonly lastError: string | undefined;
  };
}

export function createLeader(options: LeaderOptions): Leader {
  return new LockLeader(withDefaults(options, { clock: systemClock, log: silentLog, restMs: 1_000 }));
}

type State = ReturnType<Leader['view']>['state'];

class LockLeader implements Leader {
  readonly #options: Required<LeaderOptions>;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #state: State = 'new';
  #fence: bigint | undefined;
  #terms = 0;
  #lastError: string | undefined;

  constructor(options: Required<LeaderOptions>) {
    this.#options = options;
  }

  start(): void {
    if (this.#state !== 'new') throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'a leader is started once');
    this.#state = 'campaigning';
    this.#running = this.#campaign();
  }

  async stop({ drainMs = 10_000 }: { readonly drainMs?: number } = {}): Promise<void> {
    this.#stop.abort(new MessagingError('DB_MSG_STOPPED', 'the leader is stopping'));
    const over = new AbortController();
    await Promise.race([this.#running, pause(this.#options.clock, drainMs, over.signal)]);
    over.abort();
    this.#state = 'stopped';
  }

  view() {
    return {
      state: this.#state,
      fence: this.#fence,
      terms: this.#terms,
      lastError: this.#lastError,
    };
  }

  async #campaign(): Promise<void> {
    const { locks, name, ttlMs, clock, restMs } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#enter('campaigning');
      try {
        const lock = await locks.acquire(name, { ttlMs, waitMs: Number.POSITIVE_INFINITY, signal });
        if (lock) await this.#lead(lock);
      } catch (error) {
        this.#failed(error, 'campaigning failed');
      }
      await pause(clock, restMs, signal);
    }
  }

  async #lead(lock: HeldLock): Promise<void> {
    const signal = AbortSignal.any([lock.signal, this.#stop.signal]);
    this.#enter('leading');
    this.#terms += 1;
    this.#fence = lock.fence;
    this.#options.log.info(this.#fields(), 'elected');
    const steppingDown = (): void => this.#enter('steppingDown');
    signal.addEventListener('abort', steppingDown, { once: true });
    try {
      await this.#options.onElected(signal, lock.fence);
    } catch (error) {
      if (!signal.aborted) this.#failed(error, 'the work of a leader failed');
    } finally {
      signal.removeEventListener('abort', steppingDown);
      this.#fence = undefined;
      const given = await lock.release().catch((error: unknown) => describeError(error));
      this.#options.log.info({ ...this.#fields(), given }, 'stepped down');
    }
  }

  #enter(state: State): void {
    if (this.#state !== 'stopped') this.#state = state;
  }

  #failed(error: unknown, what: string): void {
    this.#lastError = describeError(error);
    this.#options.log.error({ ...this.#fields(), error: this.#lastError }, what);
  }

  #fields() {
    return { leader: this.#options.name, fence: String(this.#fence ?? '') };
  }
}
