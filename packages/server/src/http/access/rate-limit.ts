/**
 * A fixed window of requests per caller, in memory and bounded. It protects the operator's routes from a script that runs wild and from
 * guessing keys; members are held by the turnstile, not by this. A window, not a bucket, because the RateLimit header fields
 * (draft-ietf-httpapi-ratelimit-headers) can then say exactly what is left and when it is full again.
 */
import type { Clock } from '@doorbuster/messaging';

export interface RateState {
  readonly allowed: boolean;
  readonly remaining: number;
  /** Seconds until the window ends. */
  readonly resetSeconds: number;
}

export interface RateLimit {
  readonly quota: number;
  readonly windowSeconds: number;
  /** Counts one request of this caller. */
  take(caller: string): RateState;
  /** Looks without counting. */
  peek(caller: string): RateState;
}

interface Window {
  used: number;
  endsAt: number;
}

const maxCallers = 10_000;

export function createRateLimit(clock: Clock, quota: number, windowSeconds: number): RateLimit {
  const windows = new Map<string, Window>();

  function current(caller: string): Window {
    const now = clock.monotonic();
    const known = windows.get(caller);
    if (known && known.endsAt > now) return known;
    windows.delete(caller);
    // The oldest window goes first: at worst a caller among ten thousand begins a new one early.
    if (windows.size >= maxCallers) windows.delete(windows.keys().next().value!);
    const fresh = { used: 0, endsAt: now + windowSeconds * 1000 };
    windows.set(caller, fresh);
    return fresh;
  }

  function stateOf(window: Window, allowed: boolean): RateState {
    const resetSeconds = Math.max(1, Math.ceil((window.endsAt - clock.monotonic()) / 1000));
    return { allowed, remaining: Math.max(0, quota - window.used), resetSeconds };
  }

  return {
    quota,
    windowSeconds,
    take(caller) {
      const window = current(caller);
      if (window.used >= quota) return stateOf(window, false);
      window.used += 1;
      return stateOf(window, true);
    },
    peek(caller) {
      const window = current(caller);
      return stateOf(window, window.used < quota);
    },
  };
}
