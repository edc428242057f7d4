/** When a server counts as standing still. */
import { expect, it } from 'vitest';
import { createManualClock } from '../conformance/manual-clock.ts';
import { AnswerWatch } from './answer-watch.ts';

function watching() {
  const clock = createManualClock();
  let still = 0;
  const watch = new AnswerWatch(clock, 1_000, () => {
    still += 1;
  });
  /** In steps, as time goes. */
  const pass = (ms: number): void => {
    for (let left = ms; left > 0; left -= 50) clock.advance(50);
  };
  return { watch, pass, still: () => still };
}

it('one that answers nothing of what waits is told after the limit, and again while it goes on', () => {
  const { watch, pass, still } = watching();
  watch.asked();
  pass(950);
  expect(still()).toBe(0);
  pass(100);
  expect(still()).toBe(1);
  pass(1_000);
  expect(still()).toBe(2);
});

it('one that answers anything at all goes on, however much waits', () => {
  const { watch, pass, still } = watching();
  watch.asked();
  for (let n = 0; n < 20; n += 1) {
    watch.asked();
    pass(700);
    watch.answered();
  }
  expect(still()).toBe(0);
});

it('a silence in which nothing was asked is none', () => {
  const { watch, pass, still } = watching();
  watch.asked();
  watch.answered();
  pass(10_000);
  watch.asked();
  pass(900);
  watch.answered();
  pass(10_000);
  expect(still()).toBe(0);
});

it('nothing is told after the end', () => {
  const { watch, pass, still } = watching();
  watch.asked();
  watch.end();
  watch.asked();
  pass(10_000);
  expect(still()).toBe(0);
});
