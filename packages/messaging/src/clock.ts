/**
 * Time as a port. Everything in this package asks a `Clock`, so the same code runs against the real one and
 * inside a deterministic simulator. `now` may step (it is the wall clock); durations use `monotonic`.
 */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. May step in either direction. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonic(): number;
  /** Calls `fn` once, not before `ms` milliseconds have passed. The returned function cancels it. */
  setTimer(ms: number, fn: () => void): CancelTimer;
}

export type CancelTimer = () => void;

/** Node's timers overflow beyond 2^31 - 1 ms and would then fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Node counts a timer in whole milliseconds of its event loop and fires one in twenty up to a millisecond early by the clock. Whoever looks at the clock then, as a lock does whether it has
 * expired, would find that nothing is due yet and not be called again.
 */
function setSystemTimer(ms: number, fn: () => void): CancelTimer {
  const due = performance.now() + ms;
  let timer: NodeJS.Timeout;
  const arm = (): void => {
    const wait = Math.max(0, Math.ceil(due - performance.now()));
    timer = setTimeout(fire, Math.min(wait, LONGEST_TIMER_MS));
  };
  const fire = (): void => {
    if (performance.now() < due) arm();
    else fn();
  };
  arm();
  return () => clearTimeout(timer);
}

/** The real clock of this machine. */
export const systemClock: Clock = Object.freeze({
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimer: setSystemTimer,
});

/** Resolves after `ms` on the given clock; at once when `signal` is aborted (it does not reject). */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const finish = (): void => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = clock.setTimer(ms, finish);
    signal?.addEventListener('abort', finish, { once: true });
  });
}

/**
 * A clock whose wall clock cannot be stepped: that of its making, and the monotonic time since. For waits that are stored as points in time: measured on it, a
 * clock that was wrong for a while and is set right neither holds a retry back for the length of the step nor lets it go early.
 *
 * It is never set again, because a machine that slept cannot be told from a wall clock that was stepped: on Linux the monotonic clock stands still while the machine
 * is suspended, so what waits comes late by the time it slept, until the process starts again (docs/messaging/patterns/retries-and-dead-letters.md).
 */
export function steadyClock(clock: Clock): Clock {
  const start = clock.now() - clock.monotonic();
  return {
    now: () => Math.floor(start + clock.monotonic()),
    monotonic: () => clock.monotonic(),
    setTimer: (ms, fn) => clock.setTimer(ms, fn),
  };
}
