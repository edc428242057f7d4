/** How seldom a channel that is not declared is tried, and when it is forgotten. */
import { expect, it } from 'vitest';
import { createManualClock } from './conformance/manual-clock.ts';
import { silentLog } from './log.ts';
import { UndeclaredChannels } from './undeclared-channels.ts';

function channels(undeclaredMs = 3_600_000) {
  const clock = createManualClock();
  const told: object[] = [];
  const undeclared = new UndeclaredChannels({
    clock,
    log: { ...silentLog, error: (fields) => told.push(fields) },
    backOffMs: 200,
    undeclaredMs,
  });
  return { clock, undeclared, told };
}

it('counts ten rows that are refused at once as one try', () => {
  const { clock, undeclared } = channels();
  for (let row = 0; row < 10; row += 1) expect(undeclared.refused('new')).toBe(false);
  clock.advance(199);
  expect(undeclared.waits('new')).toBe(true);
  clock.advance(1);
  expect(undeclared.waits('new')).toBe(false);
  for (let row = 0; row < 10; row += 1) undeclared.refused('new');
  clock.advance(399);
  expect(undeclared.waits('new')).toBe(true);
  clock.advance(1);
  expect(undeclared.waits('new')).toBe(false);
});

it('forgets a channel when it was published, and when none of its rows is held', () => {
  const { undeclared } = channels();
  for (const channel of ['held', 'discarded', 'published']) undeclared.refused(channel);
  undeclared.published('published');
  undeclared.keepOnly(new Set(['held', 'other']));
  expect(undeclared.names).toEqual(['held']);
  expect([undeclared.has('held'), undeclared.has('discarded')]).toEqual([true, false]);
});

it.each([
  [Number.POSITIVE_INFINITY, false, {}],
  [3_600_000, true, { parkedAfterMs: 3_600_000 }],
])('after %d ms it gives up on a channel, which for ever is never', (undeclaredMs, givesUp, more) => {
  const { clock, undeclared, told } = channels(undeclaredMs);
  expect(undeclared.refused('new')).toBe(false);
  clock.advance(1e12);
  expect(undeclared.waits('new')).toBe(false);
  expect(undeclared.refused('new')).toBe(givesUp);
  expect(told).toEqual([{ channel: 'new', ...more }]);
});
