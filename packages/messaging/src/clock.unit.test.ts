import { expect, it } from 'vitest';
import { systemClock } from './clock.ts';

type SetTimer = (ms: number, fn: () => void) => unknown;

/** What each wait is short of, ms, of many that begin at different parts of a millisecond; nothing when all of it has passed. */
function shortfalls(setTimer: SetTimer, count: number): Promise<readonly number[]> {
  const { promise, resolve } = Promise.withResolvers<readonly number[]>();
  const short: number[] = [];
  let ended = 0;
  const begin = (index: number): void => {
    const ms = 10 + (index % 97) / 97;
    const from = performance.now();
    setTimer(ms, () => {
      const passed = performance.now() - from;
      if (passed < ms) short.push(ms - passed);
      ended += 1;
      if (ended === count) resolve(short);
    });
    if (index < count) setTimeout(begin, 1, index + 1);
  };
  begin(1);
  return promise;
}

it('a timer fires when its time has passed by the monotonic clock, never before', async () => {
  expect(await shortfalls(systemClock.setTimer, 500)).toEqual([]);
});

it("control: Node's own fires some of them early", async () => {
  expect(await shortfalls((ms, fn) => setTimeout(fn, Math.ceil(ms)), 500)).not.toEqual([]);
});

it('a timer that was cancelled does not fire', async () => {
  const fired: string[] = [];
  const cancel = systemClock.setTimer(5, () => fired.push('cancelled'));
  await new Promise<void>((resolve) => {
    systemClock.setTimer(6, () => {
      fired.push('kept');
      resolve();
    });
    cancel();
  });
  expect(fired).toEqual(['kept']);
});
