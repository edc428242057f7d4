import { expect, it } from 'vitest';
import { judge } from './audit.ts';
import type { Tick } from './part.ts';
import { stoppingWhereItHarms } from './placed-kill.ts';

const batch = (...numbers: readonly number[]): readonly Tick[] =>
  numbers.map((n) => ({ id: String(n), data: { n, key: n % 4 } }) as unknown as Tick);

it('work that is left for later is done behind that of the next of its keys, once, and the judge finds it out of order', async () => {
  const done: { n: number; key: number }[] = [];
  const leftAfter: number[] = [];
  const handler = stoppingWhereItHarms(
    'work-later',
    (messages) => void done.push(...messages.map(({ data }) => data)),
    async () => void leftAfter.push(done.length),
  );
  const answers = [];
  for (const messages of [batch(0, 1), batch(2, 3), batch(4, 6), batch(5, 7)])
    answers.push((await handler(messages)).length);
  expect(answers, 'everything is acknowledged').toEqual([2, 2, 2, 2]);
  expect(done.map(({ n }) => n)).toEqual([2, 3, 4, 6, 0, 1, 5, 7]);
  expect(leftAfter, 'once, when the work that was held is done').toEqual([6]);
  expect(judge(done, 8, { order: true })).toEqual({ lost: 0, handledTwice: 0, orderBroken: 1 });
});
