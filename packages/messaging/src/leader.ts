/**
 * Leader election on a lock: one of many processes does the work, another takes over when it ends.
 *
 *   campaigning --acquired--> leading --lock lost--> stepping down --work ended--> campaigning
 *                                '---- stop() ----> stepping down --work ended--> released --> stopped
 *                                                    '-- graceMs over: released all the same, and told
 *
 * As with the lock, two leaders for a moment are possible: the old one may not know yet that it is old. It is for efficiency; what the work writes
 * to has to check the fence (`lock.ts`). While the work of a former term still runs, this process does not campaign again.
 */
import { type Clock, pause, systemClock } from './clock.ts';
import { type HeldLock, type Locks, refuseBadLock } from './lock.ts';
import { type Log, safeLog } from './log.ts';
import { describeError, MessagingError } from './errors.ts';
import { DRAIN_MS, ENDLESS_MS, refuseBadNumbers, WAIT_MS } from './sound-numbers.ts';
import { withDefaults } from './with-defaults.ts';
import { endsWithin } from './work-loop.ts';

export interface LeaderOptions {
  readonly locks: Locks;
  /** The name of the lock: who campaigns for the same name competes. */
  readonly name: string;
  /** How long nobody leads after a leader died, ms. */
  readonly ttlMs: number;
  /**
   * The work of one term. `signal` aborts when the lock is lost or `stop` was called; then end soon: what goes on for longer than `graceMs` does so beside the
   * next leader, and only a resource that compares fences refuses its writes. When it ends by itself, or throws, the term is given back and this process
   * campaigns again after `restMs`.
   */
  readonly onElected: (signal: AbortSignal, fence: bigint) => Promise<void> | void;
  readonly clock?: Clock;
  readonly log?: Log;
  /** Default 1,000. */
  readonly restMs?: number;
  /**
   * How long the lock is kept for work that was told to end and has not, ms; then it is given back so that another may lead, and that is told. Default: the ttl. Infinity: it is
   * kept for as long as the work goes on, and only `view().overdueMs` says for how long that is.
   */
  readonly graceMs?: number;
}

export interface Leader {
  start(): void;
  /** Asks the work to end, waits for it up to `drainMs` (default 10,000) and hands over at once; work that goes on loses its lock after `graceMs`. */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  view(): {
    readonly state: 'new' | 'campaigning' | 'leading' | 'steppingDown' | 'stopped';
    readonly fence: bigint | undefined;
    readonly terms: number;
    /** Of the work, of the lock (lost, or its server out of reach), or work that does not end. It stays after that is over. */
    readonly lastError: string | undefined;
    /** For how long work goes on that was told to end, ms. */
    readonly overdueMs: number | undefined;
  };
}

const RULES = { restMs: WAIT_MS, graceMs: ENDLESS_MS } as const;
/** An outage of the lock's server is told again after so long. */
const TOLD_EVERY_MS = 60_000;
/** What answers at all does so by then. */
const LONGEST_RELEASE_MS = 5_000;

/** Throws DB_MSG_INVALID_OPTIONS for a name or a number out of its bounds. */
export function createLeader(options: LeaderOptions): Leader {
  const { name, ttlMs } = options;
  refuseBadLock(name, { ttlMs });
  const defaults = { clock: systemClock, restMs: 1_000, graceMs: ttlMs };
  const settings = withDefaults({ ...options, log: safeLog(options.log) }, defaults);
  refuseBadNumbers(`leader "${name}"`, settings, RULES);
  return new LockLeader(settings);
}

type State = ReturnType<Leader['view']>['state'];

class LockLeader implements Leader {
  readonly #options: Required<LeaderOptions>;
  readonly #stop = new AbortController();
  /** Once `stop` has drained. Not `#stop`, which is aborted while there is still somebody to tell. */
  readonly #gone = new AbortController();
  #running: Promise<void> | undefined;
  #state: State = 'new';
  #fence: bigint | undefined;
  #terms = 0;
  #lastError: string | undefined;
  /** On the monotonic clock: when the work that still runs was told to end. */
  #toldToEndAt: number | undefined;
  #awayToldAt = Number.NEGATIVE_INFINITY;

  constructor(options: Required<LeaderOptions>) {
    this.#options = options;
  }

  start(): void {
    if (this.#state !== 'new') throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'a leader is started once');
    this.#state = 'campaigning';
    this.#running = this.#campaign();
  }

  async stop({ drainMs = 10_000 }: { readonly drainMs?: number } = {}): Promise<void> {
    refuseBadNumbers('the stop of a leader', { drainMs }, { drainMs: DRAIN_MS });
    this.#stop.abort(new MessagingError('DB_MSG_STOPPED', 'the leader is stopping'));
    const over = new AbortController();
    await Promise.race([this.#running, pause(this.#options.clock, drainMs, over.signal)]);
    over.abort();
    this.#state = 'stopped';
    this.#gone.abort();
  }

  view() {
    return {
      state: this.#state,
      fence: this.#fence,
      terms: this.#terms,
      lastError: this.#lastError,
      overdueMs: this.#overdueMs(),
    };
  }

  async #campaign(): Promise<void> {
    const { locks, name, ttlMs, clock, restMs } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#enter('campaigning');
      try {
        const lock = await locks.acquire(name, {
          ttlMs,
          waitMs: Number.POSITIVE_INFINITY,
          signal,
          onFailedTry: (error) => this.#away(error),
          onLost: (error) => this.#failed(error, 'the lock of a leader was lost'),
        });
        if (lock) await this.#lead(lock);
      } catch (error) {
        this.#failed(error, 'campaigning failed');
      }
      await pause(clock, restMs, signal);
    }
  }

  async #lead(lock: HeldLock): Promise<void> {
    const signal = AbortSignal.any([lock.signal, this.#stop.signal]);
    // Told to end between the answer of the lock and here: a listener would not hear of it any more.
    if (signal.aborted) return this.#giveBack(lock);
    const ended = new AbortController();
    const steppingDown = (): void => {
      this.#enter('steppingDown');
      this.#toldToEndAt = this.#options.clock.monotonic();
      void this.#watchOverdue(lock, ended.signal);
    };
    signal.addEventListener('abort', steppingDown, { once: true });
    this.#enter('leading');
    this.#terms += 1;
    this.#fence = lock.fence;
    this.#options.log.info(this.#fields(), 'elected');
    try {
      await this.#options.onElected(signal, lock.fence);
    } catch (error) {
      if (!signal.aborted) this.#failed(error, 'the work of a leader failed');
    } finally {
      signal.removeEventListener('abort', steppingDown);
      ended.abort();
      this.#toldToEndAt = undefined;
      this.#fence = undefined;
      const giving = lock.release().catch((error: unknown) => describeError(error));
      // One who does not answer must not keep this process from campaigning: the lock ends by itself.
      const isGiven = await endsWithin(this.#options.clock, giving, LONGEST_RELEASE_MS);
      const given = isGiven ? await giving : 'no answer';
      this.#options.log.info({ ...this.#fields(), given }, 'stepped down');
    }
  }

  /** Work that does not end would keep the lock from everybody for as long as it likes: renewing goes on by itself. Told again and again, each time after twice as long. */
  async #watchOverdue(lock: HeldLock, ended: AbortSignal): Promise<void> {
    const { clock, graceMs } = this.#options;
    // There is nothing to wait for: a timer would keep the process for work whose lock is lost already.
    if (graceMs === Number.POSITIVE_INFINITY) return;
    await pause(clock, graceMs, ended);
    if (ended.aborted) return;
    // An answer that does not come must not keep anybody from being told.
    const isLost = lock.signal.aborted;
    await Promise.all([isLost ? undefined : this.#giveBack(lock), this.#tellOverdue(lock, isLost, ended)]);
  }

  async #giveBack(lock: HeldLock): Promise<void> {
    const given = lock
      .release()
      .catch((error: unknown) =>
        this.#failed(error, 'the lock of a leader could not be given back; it ends with its ttl'),
      );
    await endsWithin(this.#options.clock, given, LONGEST_RELEASE_MS);
  }

  async #tellOverdue({ fence }: HeldLock, isLost: boolean, ended: AbortSignal): Promise<void> {
    const lock = isLost ? 'the lock was lost' : 'the lock is kept no longer';
    // When the leader is gone nobody looks any more, and a timer would keep the process.
    const over = AbortSignal.any([ended, this.#gone.signal]);
    let waitMs = Math.max(this.#options.graceMs, 1_000);
    do {
      const ms = Math.round(this.#overdueMs() ?? 0);
      this.#failed(
        `its work goes on ${ms} ms after it was told to end: ${lock}, another may lead, and what it writes is refused only where fences are compared (its own: ${fence})`,
        'the work of a leader does not end',
      );
      await pause(this.#options.clock, waitMs, over);
      waitMs *= 2;
    } while (!over.aborted);
  }

  #overdueMs(): number | undefined {
    return this.#toldToEndAt === undefined ? undefined : this.#options.clock.monotonic() - this.#toldToEndAt;
  }

  #away(error: unknown): void {
    const now = this.#options.clock.monotonic();
    this.#lastError = describeError(error);
    if (now - this.#awayToldAt < TOLD_EVERY_MS) return;
    this.#awayToldAt = now;
    this.#failed(error, 'the lock of a leader cannot be asked for; it is tried again');
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
