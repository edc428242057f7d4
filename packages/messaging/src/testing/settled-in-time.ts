/** For tests: time of a manual clock that goes on until some work is settled. */
import type { ManualClock } from '../conformance/manual-clock.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Advances the time until it is settled, a minute at most. */
export async function settledInTime<T>(clock: ManualClock, work: Promise<T>): Promise<T> {
  let ended = false;
  const end = (): void => {
    ended = true;
  };
  work.then(end, end);
  while (!ended && clock.monotonic() < 60_000) {
    clock.advance(500);
    await turn();
  }
  return ended ? work : Promise.reject(new Error('it still waits'));
}
