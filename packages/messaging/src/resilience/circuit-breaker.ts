/**
 * A circuit breaker over a sliding window of calls.
 *
 *   closed    -- failures/calls >= threshold, at least minimumCalls --> open
 *   open      -- openMs passed, on the next call                    --> half-open
 *   half-open -- probes calls succeeded                             --> closed
 *   half-open -- one call failed, or took longer than probeMs      --> open, openMs doubled up to maxOpenMs
 *
 * A probe that never ends is looked for by the next call, as the end of openMs is: the breaker keeps no timers. It is not ended by that, and what comes of it later counts for nothing.
 * A refusal that says nothing about the provider's health (a bad phone number) is not a failure: `isFailure` decides.
 */
import type { Clock } from '../clock.ts';
import { describeError, MessagingError } from '../errors.ts';
import { callHook } from '../hook.ts';
import { type Log, safeLog } from '../log.ts';
import { COUNT, refuseBadNumbers, SPAN_MS } from '../sound-numbers.ts';
import { withDefaults } from '../with-defaults.ts';

export type BreakerState = 'closed' | 'open' | 'half-open';

export interface CircuitBreakerOptions {
  readonly clock: Clock;
  /** Share of failed calls in the window that opens it. Default 0.5. */
  readonly threshold?: number;
  /** Calls in the window before it may open. Default 10. */
  readonly minimumCalls?: number;
  /** Window in ms. Default 10,000. */
  readonly windowMs?: number;
  /** First time it stays open, ms. Default 5,000. */
  readonly openMs?: number;
  /** Longest time it stays open, ms; not below `openMs`; Infinity: it doubles without a bound. Default 60,000, or `openMs` where that is longer. */
  readonly maxOpenMs?: number;
  /** Successful calls in half-open that close it; as many run at once at most. Default 1. */
  readonly probes?: number;
  /** A probe that has not ended after it has failed, ms; longer than a good call takes. Infinity: it is waited for, and while it hangs everything else is refused. Default 60,000. */
  readonly probeMs?: number;
  /** Whether a thrown error, or a returned value, counts as a failure; where it throws itself, the default says. Default: every throw, no value. */
  readonly isFailure?: (result: { readonly error: unknown } | { readonly value: unknown }) => boolean;
  /** Told about each change of state, after it. What it throws or rejects with is logged and goes no further: the call that made the change was another matter. */
  readonly onChange?: (change: {
    readonly from: BreakerState;
    readonly to: BreakerState;
    readonly at: number;
  }) => void;
  readonly log?: Log;
}

export interface CircuitBreaker {
  /**
   * Calls `fn` and hands on what it does, or rejects with DB_MSG_BREAKER_OPEN without calling it: with `retryAfterMs` while it is open, without while it is
   * half-open and its probes run, because nobody knows how long they take.
   */
  run<T>(fn: () => Promise<T> | T): Promise<T>;
  readonly state: BreakerState;
  view(): {
    readonly state: BreakerState;
    readonly calls: number;
    readonly failures: number;
    /** 0 unless it is open. */
    readonly retryAfterMs: number;
  };
}

const RULES = {
  threshold: { from: 0, to: 1, above: true },
  minimumCalls: COUNT,
  windowMs: SPAN_MS,
  openMs: SPAN_MS,
  probes: COUNT,
  probeMs: { ...SPAN_MS, endless: true },
} as const;

const countsByDefault: Required<CircuitBreakerOptions>['isFailure'] = (result) => 'error' in result;

/** The window is kept as ten slices, so that it slides without a record per call. */
const SLICES = 10;

/** Throws DB_MSG_INVALID_OPTIONS for what is no number or out of its bounds. */
export function createCircuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  return new SlidingBreaker(options);
}

interface Call {
  readonly beganAt: number;
  /** The count of changes of state at which it was admitted. */
  readonly changes: number;
}

class SlidingBreaker implements CircuitBreaker {
  readonly #options: Required<CircuitBreakerOptions>;
  #slices: { start: number; calls: number; failures: number }[] = [];
  #state: BreakerState = 'closed';
  #openedFor: number;
  #reopensAt = 0;
  /** Under way, the oldest first. */
  #probing: Call[] = [];
  #succeeded = 0;
  /** Counts the changes of state: a call says something about the state it was admitted in only, also when it comes to the same one again. */
  #changes = 0;

  constructor(options: CircuitBreakerOptions) {
    this.#options = withDefaults(
      { ...options, log: safeLog(options.log) },
      {
        threshold: 0.5,
        minimumCalls: 10,
        windowMs: 10_000,
        openMs: 5_000,
        maxOpenMs: Math.max(60_000, options.openMs ?? 0),
        probes: 1,
        probeMs: 60_000,
        isFailure: countsByDefault,
        onChange: () => {},
      },
    );
    refuseBadNumbers('a circuit breaker', this.#options, {
      ...RULES,
      maxOpenMs: { from: this.#options.openMs, endless: true },
    });
    this.#openedFor = this.#options.openMs;
  }

  get state(): BreakerState {
    return this.#state;
  }

  view(): { state: BreakerState; calls: number; failures: number; retryAfterMs: number } {
    const { calls, failures } = this.#sums();
    return { state: this.#state, calls, failures, retryAfterMs: this.#retryAfter() };
  }

  async run<T>(fn: () => Promise<T> | T): Promise<T> {
    this.#admit();
    const call: Call = { beganAt: this.#options.clock.monotonic(), changes: this.#changes };
    if (this.#state === 'half-open') this.#probing.push(call);
    let value: T;
    try {
      value = await fn();
    } catch (error) {
      this.#record(call, this.#isFailure({ error }));
      throw error;
    }
    this.#record(call, this.#isFailure({ value }));
    return value;
  }

  /** It must not make a failure of a call that was none: whoever called would do the work again. */
  #isFailure(result: { readonly error: unknown } | { readonly value: unknown }): boolean {
    try {
      return this.#options.isFailure(result);
    } catch (error) {
      this.#options.log.warn({ error: describeError(error) }, 'isFailure of a circuit breaker threw');
      return countsByDefault(result);
    }
  }

  #admit(): void {
    if (this.#state === 'open' && this.#retryAfter() === 0) {
      this.#probing = [];
      this.#succeeded = 0;
      this.#change('half-open');
    }
    if (this.#state === 'half-open' && this.#hasStuckProbe()) this.#openLonger();
    const refused =
      this.#state === 'open' || (this.#state === 'half-open' && this.#probing.length >= this.#options.probes);
    if (refused) {
      const known = this.#state === 'open' ? { retryAfterMs: this.#retryAfter() } : {};
      throw new MessagingError('DB_MSG_BREAKER_OPEN', `the circuit breaker is ${this.#state}`, known);
    }
  }

  #hasStuckProbe(): boolean {
    const [oldest] = this.#probing;
    return oldest !== undefined && this.#options.clock.monotonic() - oldest.beganAt >= this.#options.probeMs;
  }

  #record(call: Call, failed: boolean): void {
    if (call.changes !== this.#changes) return;
    if (this.#state === 'half-open') return this.#recordProbe(call, failed);
    const slice = this.#slice();
    slice.calls += 1;
    if (failed) slice.failures += 1;
    const { calls, failures } = this.#sums();
    if (failed && calls >= this.#options.minimumCalls && failures / calls >= this.#options.threshold)
      this.#open();
  }

  #recordProbe(call: Call, failed: boolean): void {
    this.#probing = this.#probing.filter((one) => one !== call);
    if (failed) return this.#openLonger();
    this.#succeeded += 1;
    if (this.#succeeded < this.#options.probes) return;
    this.#openedFor = this.#options.openMs;
    this.#slices = [];
    this.#change('closed');
  }

  #openLonger(): void {
    this.#openedFor = Math.min(this.#openedFor * 2, this.#options.maxOpenMs);
    this.#open();
  }

  #open(): void {
    this.#reopensAt = this.#options.clock.monotonic() + this.#openedFor;
    this.#change('open');
  }

  #retryAfter(): number {
    return this.#state === 'open' ? Math.max(0, this.#reopensAt - this.#options.clock.monotonic()) : 0;
  }

  #change(to: BreakerState): void {
    const from = this.#state;
    this.#state = to;
    this.#changes += 1;
    const { onChange, clock, log } = this.#options;
    callHook(
      () => onChange({ from, to, at: clock.now() }),
      (error) => log.warn({ from, to, error: describeError(error) }, 'a hook of a circuit breaker failed'),
    );
  }

  #slice(): { start: number; calls: number; failures: number } {
    const length = this.#options.windowMs / SLICES;
    const start = Math.floor(this.#options.clock.monotonic() / length) * length;
    const last = this.#slices.at(-1);
    if (last?.start === start) return last;
    const slice = { start, calls: 0, failures: 0 };
    this.#slices.push(slice);
    return slice;
  }

  #sums(): { calls: number; failures: number } {
    const oldest = this.#options.clock.monotonic() - this.#options.windowMs;
    while (this.#slices[0] && this.#slices[0].start <= oldest) this.#slices.shift();
    let calls = 0;
    let failures = 0;
    for (const slice of this.#slices) {
      calls += slice.calls;
      failures += slice.failures;
    }
    return { calls, failures };
  }
}
