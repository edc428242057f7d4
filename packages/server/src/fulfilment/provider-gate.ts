/**
 * The gate in front of one provider (a voucher source or a messenger): circuit breaker, bulkhead, rate cap and a time limit per call.
 *
 * A call that the gate does not let through is `paused`: nothing was said to the provider, so the delivery is merely due later and no
 * attempt counts against its limit. A call that was made and did not come back in time is `hung`: its outcome is unknown. The gate knows
 * nothing of deliveries and never calls twice.
 */
import {
  type Clock,
  createBulkhead,
  createCircuitBreaker,
  createRateCap,
  MessagingError,
} from '@doorbuster/messaging';
import { abortGraceMs, defaultTimeoutMs, longestCapWaitMs } from './longest-run.ts';

export interface ProviderLimits {
  /** The call is aborted after this long and its outcome is unknown, ms. Default 10,000. */
  readonly timeoutMs?: number;
  /** Calls per second to this provider from this process; null (default): no cap. */
  readonly ratePerSecond?: number | null;
  /** Calls at the same time. Default 16. */
  readonly concurrency?: number;
  /** The breaker opens when half of at least this many calls in ten seconds failed. Default 20. */
  readonly breakerMinimumCalls?: number;
  /** How long the breaker stays open at first, ms; doubled up to 60 s while probes fail. Default 5,000. */
  readonly breakerOpenMs?: number;
}

export type GateResult<T> =
  | { readonly kind: 'done'; readonly value: T }
  | { readonly kind: 'paused'; readonly retryAfterMs: number; readonly reason: string }
  | { readonly kind: 'hung'; readonly detail: string };

/** Makes the one call of a passage under the time limit. Rejects with `CallHung` when the adapter outlives the abort signal. */
export type Caller = <T>(call: (signal: AbortSignal) => Promise<T>) => Promise<T>;

export interface ProviderGate {
  readonly name: string;
  readonly concurrency: number;
  /** Waits for a place and a turn, then runs `passage`, which may first record something and then calls through `caller`. */
  enter<T>(passage: (caller: Caller) => Promise<T>): Promise<GateResult<T>>;
  /** The provider asked for silence: nothing passes for `ms`. */
  backOff(ms: number): void;
  /** Aborts the calls under way, for a stop that has waited long enough. */
  abort(): void;
  view(): {
    readonly running: number;
    readonly waiting: number;
    readonly breaker: 'closed' | 'open' | 'half-open';
  };
}

export interface GateOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly limits?: ProviderLimits;
  /** Whether what a call gave back speaks against the provider's health. */
  readonly isTrouble: (value: unknown) => boolean;
  readonly onBreaker?: (state: 'closed' | 'open' | 'half-open') => void;
}

/** A half-open breaker names no time; its probe is under way. */
const SHORTEST_PAUSE_MS = 250;

class CallHung extends Error {
  override readonly name = 'CallHung';
}

export function createProviderGate(options: GateOptions): ProviderGate {
  const { clock, name, limits = {} } = options;
  const timeoutMs = limits.timeoutMs ?? defaultTimeoutMs;
  const concurrency = limits.concurrency ?? 16;
  const stopping = new AbortController();
  const bulkhead = createBulkhead({ concurrency, queue: concurrency * 4 });
  const cap = createRateCap(capOptions(clock, limits.ratePerSecond ?? null));
  const breaker = createCircuitBreaker({
    clock,
    minimumCalls: limits.breakerMinimumCalls ?? 20,
    openMs: limits.breakerOpenMs ?? 5_000,
    isFailure: (result) =>
      'error' in result ? result.error instanceof CallHung : options.isTrouble(result.value),
    onChange: ({ to }) => options.onBreaker?.(to),
  });
  const caller: Caller = (call) => callWithin(clock, timeoutMs, stopping.signal, call);

  return {
    name,
    concurrency,
    async enter(passage) {
      const { state, retryAfterMs } = breaker.view();
      if (state === 'open' && retryAfterMs > 0) return paused(retryAfterMs, 'the circuit breaker is open');
      try {
        const value = await bulkhead.run(async () => {
          await cap.take(stopping.signal);
          return breaker.run(() => passage(caller));
        });
        return { kind: 'done', value };
      } catch (error) {
        if (error instanceof CallHung) return { kind: 'hung', detail: error.message };
        if (error instanceof MessagingError && PAUSES.has(error.code))
          return paused(error.retryAfterMs ?? 0, error.message);
        if (stopping.signal.aborted && error === stopping.signal.reason)
          return paused(0, 'the process is stopping');
        throw error;
      }
    },
    backOff: (ms) => cap.backOff(ms),
    abort: () => stopping.abort(),
    view: () => ({
      running: bulkhead.view().running,
      waiting: bulkhead.view().waiting,
      breaker: breaker.state,
    }),
  };
}

const PAUSES: ReadonlySet<string> = new Set([
  'DB_MSG_BREAKER_OPEN',
  'DB_MSG_BULKHEAD_FULL',
  'DB_MSG_RATE_CAP_FULL',
]);

function paused(retryAfterMs: number, reason: string): GateResult<never> {
  return { kind: 'paused', retryAfterMs: Math.max(SHORTEST_PAUSE_MS, retryAfterMs), reason };
}

/** Without a limit of its own the cap is still there, so that `backOff` silences every provider the same way. */
function capOptions(clock: Clock, ratePerSecond: number | null) {
  const permits = ratePerSecond ?? 1_000_000;
  return { clock, permits, burst: Math.max(1, Math.ceil(permits / 10)), maxWaitMs: longestCapWaitMs };
}

/** One controller per call: `AbortSignal.any` on a signal that lives as long as the process would collect its dependants. */
async function callWithin<T>(
  clock: Clock,
  timeoutMs: number,
  stopping: AbortSignal,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const abort = (): void => own.abort();
  stopping.addEventListener('abort', abort, { once: true });
  let cancel = (): void => {};
  const hung = new Promise<never>((_resolve, reject) => {
    cancel = clock.setTimer(timeoutMs, () => {
      own.abort();
      cancel = clock.setTimer(abortGraceMs, () => reject(new CallHung(`no answer within ${timeoutMs} ms`)));
    });
  });
  if (stopping.aborted) own.abort();
  try {
    return await Promise.race([call(own.signal), hung]);
  } finally {
    cancel();
    stopping.removeEventListener('abort', abort);
  }
}
