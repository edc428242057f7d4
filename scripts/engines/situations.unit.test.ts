// A situation is shown by the tests that bring it about, and by no others; where an engine cannot come into it a reason stands instead of a number.

import { expect, it } from 'vitest';
import { situations, situationsOf } from './situations.ts';
import { engineSuites } from './suites.ts';

const inOrder = 'x: messages arrive once, oldest first, with everything they were published with';
const retried =
  'x: order per key holds while a message is retried (blockKey, sequencedDlq); skip lets the others pass';

it('a case in which nothing is out of order shows no reordering', () => {
  expect(situationsOf('kafka', [inOrder])['reordering']).toBe(0);
  expect(situationsOf('kafka', [inOrder, retried])['reordering']).toBe(1);
  for (const engine of ['redisLists', 'broadcast'])
    expect(situationsOf(engine, [inOrder])['reordering']).toMatch(/^no order per key is promised: /);
});

it('a test that shows it counts for more than the reason why none would', () => {
  expect(situationsOf('redisLists', [retried])['reordering']).toBe(1);
});

it('reasons are of engines that there are', () => {
  const names = engineSuites.map(({ name }) => name);
  expect(names).toEqual(
    expect.arrayContaining(situations.flatMap(({ without }) => Object.keys(without ?? {}))),
  );
});
