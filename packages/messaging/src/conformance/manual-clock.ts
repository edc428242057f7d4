import type { CancelTimer, Clock } from '../clock.ts';

/** A clock that stands still until it is told to move: for tests and simulations. */
export interface ManualClock extends Clock {
  /** Moves both clocks forward and runs what falls due, in order of time, then of setting. */
  advance(ms: number): void;
  /** Steps the wall clock alone, as an operator or NTP would. */
  step(ms: number): void;
  /** Monotonic time of the earliest timer, or undefined when none is set. */
  nextTimerAt(): number | undefined;
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly fn: () => void;
}

export function createManualClock(startMs = 1_700_000_000_000): ManualClock {
  const timers = new Set<Timer>();
  let elapsed = 0;
  let offset = startMs;
  let order = 0;

  const earliest = (): Timer | undefined => {
    let found: Timer | undefined;
    for (const timer of timers) {
      if (!found || timer.at < found.at || (timer.at === found.at && timer.order < found.order))
        found = timer;
    }
    return found;
  };

  return {
    now: () => Math.floor(offset + elapsed),
    monotonic: () => elapsed,
    setTimer(ms, fn): CancelTimer {
      const timer = { at: elapsed + Math.max(0, ms), order: order++, fn };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    advance(ms) {
      const end = elapsed + ms;
      for (let timer = earliest(); timer && timer.at <= end; timer = earliest()) {
        timers.delete(timer);
        elapsed = Math.max(elapsed, timer.at);
        timer.fn();
      }
      elapsed = end;
    },
    step(ms) {
      offset += ms;
    },
    nextTimerAt: () => earliest()?.at,
  };
}
