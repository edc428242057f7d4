/**
 * Locks with fencing tokens, for efficiency and not for correctness: a lock keeps two processes from doing the same work most of the time.
 * No lock with a lease can do more, because a process may stop (a long pause, SIGSTOP, a frozen machine) after it looked and before it
 * writes. What protects a resource is the fence: a number that grows with each grant, which the resource itself compares and refuses when
 * it is lower than one it has seen.
 *
 *   free --acquire--> held --renew every third of the ttl--> held
 *                      |-- release, close of the locks --> free
 *                      '-- renewal refused, engine says so, or ttl over on the monotonic clock --> lost (signal aborts)
 *
 * What is lost is given back too, as far as it is still there: an engine whose grants last as long as its session would else keep the name from everybody while the holder lives.
 *
 * Time of the lease is counted from before the request that got it, so this side gives up no later than the server does. It is neither fair
 * nor re-entrant. The engines are in `locks/`; `conformance/lock-cases.ts` holds what each of them promises.
 */
import { type CancelTimer, type Clock, pause, systemClock } from './clock.ts';
import { describeError, MessagingError } from './errors.ts';
import { createIds, drawFraction, type Ids, type Randomness, systemRandomness } from './ids.ts';
import { callHook } from './hook.ts';
import { type Log, safeLog } from './log.ts';
import { refuseBadNumbers, SPAN_MS } from './sound-numbers.ts';
import { withDefaults } from './with-defaults.ts';
import { endsWithin } from './work-loop.ts';

/** What one grant is known by; `owner` is unique per attempt to acquire, so a release can never hit another's grant. */
export interface Lease {
  readonly name: string;
  readonly owner: string;
  readonly fence: bigint;
}

export interface LockGrant {
  /** Higher than that of every earlier grant of this name, also after releases, expiries and restarts of the server. */
  readonly fence: bigint;
  /** How long the grant lasts without a renewal, counted from when it was asked for; never longer than was asked. */
  readonly ttlMs: number;
  /** Aborts when the engine learns by itself that the grant is gone, for instance with its session. */
  readonly gone?: AbortSignal;
}

/** THE port of the locks. Calls reject with a MessagingError when the server is out of reach; whether anything was done is then unknown. */
export interface LockEngine {
  readonly name: string;
  /** One try: the grant, or undefined while another holds the name. */
  tryAcquire(name: string, owner: string, ttlMs: number): Promise<LockGrant | undefined>;
  /** The grant lasts `ttlMs` from now. False when it is not this lease any more, for good; an expired one is never revived after another had it. */
  renew(lease: Lease, ttlMs: number): Promise<boolean>;
  /** Frees the name if, and only if, this very lease holds it. False when it did not. */
  release(lease: Lease): Promise<boolean>;
  /** Resolves when the name may be free, or `signal` aborts. Without it a waiter looks every now and then. */
  freed?(name: string, signal: AbortSignal): Promise<void>;
  /** Lets go of what the engine itself opened. Grants end with their ttl. */
  close(): Promise<void>;
}

export interface LockOptions {
  readonly engine: LockEngine;
  readonly clock?: Clock;
  readonly ids?: Ids;
  readonly randomness?: Randomness;
  readonly log?: Log;
  /** A waiter looks again after this long, ms, up to a half more at random. Default 250. */
  readonly retryMs?: number;
}

export interface AcquireOptions {
  /** The lease, ms, 100 to 3,600,000: how long the name stays taken after its holder died. */
  readonly ttlMs: number;
  /** Waits so long for a name that is held, ms. Default 0: one try. `Infinity`: until `signal` aborts or the locks are closed. */
  readonly waitMs?: number;
  /** Ends the wait. */
  readonly signal?: AbortSignal;
  /** Told of each try that failed while it waits, for instance because the server is out of reach; it is tried again. With it the log is not told. */
  readonly onFailedTry?: (error: unknown) => void;
  /** Told when the lock is lost, right after `signal` aborted. With it the log is not told. */
  readonly onLost?: (error: MessagingError) => void;
  /** Renews by itself every third of the ttl. Default true. */
  readonly autoRenew?: boolean;
}

export interface HeldLock {
  readonly name: string;
  /** Hand it to the resource with every write; the resource refuses a lower one than it has seen. */
  readonly fence: bigint;
  /** Aborts with DB_MSG_LOCK_LOST when the lock is lost, and with DB_MSG_STOPPED when it is released, by itself or with all that its locks hold. */
  readonly signal: AbortSignal;
  /** Asks the monotonic clock, not only the signal: right after a long pause no timer has run yet. */
  held(): boolean;
  /** False when the lock is lost; `signal` is then aborted. Rejects while the server is out of reach and the ttl not over. */
  renew(): Promise<boolean>;
  /** Gives it back. `lost`: it was lost before, and has been given back then. Rejects when the server is out of reach: the ttl will free it. */
  release(): Promise<'released' | 'lost'>;
}

export interface Locks {
  /** Undefined when the name stayed taken for `waitMs`. Rejects with a retryable error when the server is out of reach at the last try. */
  acquire(name: string, options: AcquireOptions): Promise<HeldLock | undefined>;
  /**
   * Gives back what is still held, or granted meanwhile (5 s at most; then the ttl frees it), ends every wait with DB_MSG_STOPPED, and closes the engine. Stop leaders
   * first: they would go on asking, and log each refusal.
   */
  close(): Promise<void>;
}

export function createLocks(options: LockOptions): Locks {
  const clock = options.clock ?? systemClock;
  const parts = withDefaults(
    { ...options, log: safeLog(options.log) },
    {
      clock,
      ids: createIds(clock),
      randomness: systemRandomness,
      retryMs: 250,
    },
  );
  refuseBadNumbers('locks', parts, { retryMs: SPAN_MS });
  return new EngineLocks(parts);
}

type Parts = Required<LockOptions>;

/** Names end up in keys and paths of every engine. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,119}$/;

/** A server that stands still is waited for no longer by who leaves. */
const LONGEST_LEAVE_MS = 5_000;

const TRIED_AGAIN = 'a lock could not be asked for; it is tried again while it is waited for';

class EngineLocks implements Locks {
  readonly #parts: LeaseParts;
  readonly #held = new Set<HeldLock>();
  /** Tries and releases: what a server may still grant, and what it has not taken back. */
  readonly #asking = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#parts = { ...parts, releasing: (release) => this.#underWay(release) };
  }

  async acquire(name: string, options: AcquireOptions): Promise<HeldLock | undefined> {
    refuseBadLock(name, options);
    const { clock } = this.#parts;
    const end = clock.monotonic() + (options.waitMs ?? 0);
    let isTold = false;
    for (;;) {
      if (this.#isClosing) throw closed();
      const left = (): number => end - clock.monotonic();
      const tried = await this.#underWay(this.#attempt(name, options)).catch((error: unknown) => {
        if (this.#isClosing) throw closed();
        if ((error as MessagingError).retryable !== true || left() <= 0) throw error;
        if (options.onFailedTry) tell(this.#parts.log, name, options.onFailedTry, error);
        else if (!isTold) this.#parts.log.warn({ lock: name, error: describeError(error) }, TRIED_AGAIN);
        isTold = true;
        return undefined;
      });
      if (this.#isClosing) throw closed();
      if (tried) return tried;
      if (options.signal?.aborted || left() <= 0) return undefined;
      await this.#lookAgain(name, left(), options.signal);
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  async #close(): Promise<void> {
    const { engine, clock } = this.#parts;
    this.#closing.abort();
    for (const lock of this.#held) void lock.release().catch(() => {});
    await endsWithin(clock, this.#answered(), LONGEST_LEAVE_MS);
    await engine.close();
  }

  /** Whatever came of it: what could not be given back is freed by its ttl. */
  async #answered(): Promise<void> {
    while (this.#asking.size > 0) await Promise.allSettled(this.#asking);
  }

  #underWay<T>(asking: Promise<T>): Promise<T> {
    this.#asking.add(asking);
    const forget = (): void => void this.#asking.delete(asking);
    asking.then(forget, forget);
    return asking;
  }

  /** One try. A grant that nobody wants any more goes back. */
  async #attempt(name: string, options: AcquireOptions): Promise<HeldLock | undefined> {
    const lock = await this.#try(name, options);
    if (!lock) return undefined;
    if (!options.signal?.aborted && !this.#isClosing) return this.#keep(lock);
    await lock.release().catch(() => {});
    return undefined;
  }

  #keep(lock: HeldLock): HeldLock {
    this.#held.add(lock);
    const forget = (): void => void this.#held.delete(lock);
    if (lock.signal.aborted) forget();
    else lock.signal.addEventListener('abort', forget, { once: true });
    return lock;
  }

  async #try(name: string, { ttlMs, autoRenew, onLost }: AcquireOptions): Promise<HeldLock | undefined> {
    const { engine, clock, ids } = this.#parts;
    const owner = ids.next();
    const asked = clock.monotonic();
    const grant = await engine.tryAcquire(name, owner, ttlMs);
    if (!grant) return undefined;
    const lease = { name, owner, fence: grant.fence };
    const lock = new LeasedLock(this.#parts, lease, grant, asked, onLost);
    if (lock.held()) {
      if (autoRenew !== false) lock.keepRenewing();
      return lock;
    }
    // The answer took longer than the lease: it may be somebody else's already.
    await lock.release().catch(() => {});
    return undefined;
  }

  async #lookAgain(name: string, leftMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { engine, clock, randomness, retryMs } = this.#parts;
    const over = new AbortController();
    const ends = [over.signal, this.#closing.signal];
    const either = AbortSignal.any(signal ? [signal, ...ends] : ends);
    const wait = retryMs * (1 + drawFraction(randomness) / 2);
    const looks = [pause(clock, Math.min(wait, leftMs), either)];
    if (engine.freed) looks.push(engine.freed(name, either).catch(() => pause(clock, wait, either)));
    await Promise.race(looks);
    over.abort();
  }
}

const closed = (): MessagingError => new MessagingError('DB_MSG_STOPPED', 'the locks have been closed');

/** A hook that throws must not end a wait or the renewing. */
function tell<E>(log: Log, lock: string, hook: (error: E) => void, error: E): void {
  callHook(
    () => hook(error),
    (thrown) => log.warn({ lock, error: describeError(thrown) }, 'a hook of a lock threw'),
  );
}

const RULES = { ttlMs: { from: 100, to: 3_600_000 }, waitMs: { from: 0, endless: true } } as const;

/** Throws DB_MSG_INVALID_OPTIONS for a name or a time that no lock can have. */
export function refuseBadLock(name: string, { ttlMs, waitMs = 0 }: AcquireOptions): void {
  if (typeof name !== 'string' || !NAME.test(name))
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `lock "${name}": the name has to be letters, digits, dots, dashes, underscores and colons, at most 120`,
    );
  refuseBadNumbers(`lock "${name}"`, { ttlMs, waitMs }, RULES);
}

interface LeaseParts extends Parts {
  /** Told of each release that is under way; gives it back. */
  readonly releasing: (release: Promise<boolean>) => Promise<boolean>;
}

class LeasedLock implements HeldLock {
  readonly #parts: LeaseParts;
  readonly #lease: Lease;
  readonly #ttlMs: number;
  readonly #onLost: AcquireOptions['onLost'];
  readonly #over = new AbortController();
  /** On the monotonic clock. */
  #until: number;
  /** Of a lost one: what is left of it at the server goes back. Never rejects. */
  #givenBack: Promise<void> | undefined;
  #cancelExpiry: CancelTimer = () => {};
  #cancelRenewal: CancelTimer = () => {};

  constructor(
    parts: LeaseParts,
    lease: Lease,
    grant: LockGrant,
    asked: number,
    onLost: AcquireOptions['onLost'],
  ) {
    this.#parts = parts;
    this.#onLost = onLost;
    this.#lease = lease;
    this.#ttlMs = grant.ttlMs;
    this.#until = asked + grant.ttlMs;
    this.#watchExpiry();
    const gone = (): void => this.#end('DB_MSG_LOCK_LOST', 'the engine says that it is gone');
    if (grant.gone?.aborted) gone();
    else grant.gone?.addEventListener('abort', gone, { once: true, signal: this.#over.signal });
  }

  get name(): string {
    return this.#lease.name;
  }
  get fence(): bigint {
    return this.#lease.fence;
  }
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  held(): boolean {
    if (!this.#over.signal.aborted && this.#parts.clock.monotonic() >= this.#until) this.#expired();
    return !this.#over.signal.aborted;
  }

  async renew(): Promise<boolean> {
    if (!this.held()) return false;
    const asked = this.#parts.clock.monotonic();
    const renewed = await this.#parts.engine.renew(this.#lease, this.#ttlMs);
    if (!renewed) this.#end('DB_MSG_LOCK_LOST', 'the renewal was refused');
    // A renewal that was answered after the lease came too late to count: work may have been told to stop already.
    if (!this.held()) return false;
    this.#until = Math.max(this.#until, asked + this.#ttlMs);
    this.#watchExpiry();
    return true;
  }

  async release(): Promise<'released' | 'lost'> {
    if (this.held()) this.#end('DB_MSG_STOPPED', 'it was released');
    if (this.#givenBack) {
      // Whoever closes the connection next does not cut it off.
      await this.#givenBack;
      return 'lost';
    }
    return (await this.#askRelease()) ? 'released' : 'lost';
  }

  keepRenewing(): void {
    this.#cancelRenewal = this.#parts.clock.setTimer(this.#ttlMs / 3, () => {
      this.renew()
        .catch((error: unknown) =>
          this.#parts.log.warn(
            { lock: this.name, error: describeError(error) },
            'a lock could not be renewed; it is tried again while it lasts',
          ),
        )
        .finally(() => {
          if (!this.#over.signal.aborted) this.keepRenewing();
        });
    });
  }

  #watchExpiry(): void {
    this.#cancelExpiry();
    const left = this.#until - this.#parts.clock.monotonic();
    this.#cancelExpiry = this.#parts.clock.setTimer(left, () => void this.held());
  }

  #expired(): void {
    this.#end('DB_MSG_LOCK_LOST', `it was not renewed within ${this.#ttlMs} ms`);
  }

  #end(code: 'DB_MSG_LOCK_LOST' | 'DB_MSG_STOPPED', why: string): void {
    if (this.#over.signal.aborted) return;
    this.#cancelExpiry();
    this.#cancelRenewal();
    const error = new MessagingError(code, `lock "${this.name}": ${why}`);
    const isLost = code === 'DB_MSG_LOCK_LOST';
    // Known before anybody hears of the end: a release then waits for it.
    if (isLost) this.#givenBack = this.#giveBack();
    // Whoever works under it hears first, whatever comes of the telling.
    this.#over.abort(error);
    if (isLost) this.#tellLost(error, why);
  }

  /** Whoever has lost it has nothing that must go back, so a server out of reach is no news. */
  async #giveBack(): Promise<void> {
    try {
      await this.#askRelease();
    } catch {}
  }

  #askRelease(): Promise<boolean> {
    const { engine, releasing } = this.#parts;
    return releasing(engine.release(this.#lease));
  }

  #tellLost(error: MessagingError, why: string): void {
    const { log } = this.#parts;
    if (this.#onLost) tell(log, this.name, this.#onLost, error);
    else log.warn({ lock: this.name, fence: String(this.fence), why }, 'a lock was lost');
  }
}
