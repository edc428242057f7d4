import { expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { GrowingWait } from './growing-wait.ts';

it('doubles in a row of vain tries up to the longest, and is short again after a quiet time', () => {
  const clock = createManualClock();
  const wait = new GrowingWait(clock, { firstMs: 50, longestMs: 300 });
  const row = Array.from({ length: 5 }, () => {
    const ms = wait.next();
    expect(wait.over).toBe(false);
    clock.advance(ms);
    expect(wait.over).toBe(true);
    return ms;
  });
  expect(row).toEqual([50, 100, 200, 300, 300]);
  clock.advance(1_001);
  expect(wait.next()).toBe(50);
});

it('doubles too when a try takes longer than the wait before it', () => {
  const clock = createManualClock();
  const wait = new GrowingWait(clock, { firstMs: 50, longestMs: 5_000 });
  const row = Array.from({ length: 4 }, () => {
    const ms = wait.next();
    clock.advance(ms + 150);
    return ms;
  });
  expect(row).toEqual([50, 100, 200, 400]);
});
