/** For tests: a clock whose timers can be held back and let go again. What waits before it tries again then never does. */
import { type Clock, systemClock } from '../clock.ts';

export function stallingClock() {
  const held: (() => void)[] = [];
  let stalled = false;
  const clock: Clock = {
    ...systemClock,
    setTimer: (ms, fn) => systemClock.setTimer(ms, () => (stalled ? void held.push(fn) : fn())),
  };
  return {
    clock,
    stall: () => {
      stalled = true;
    },
    letGo: () => {
      stalled = false;
      for (const fn of held.splice(0)) fn();
    },
  };
}
