// What docs/evidence.md makes of figures: no bound where something was found, and no figure called reached that is not.

import { expect, test } from 'vitest';
import { bound, figureRow } from './evidence.ts';
import { promiseRows } from './evidence-promises.ts';

test('a bound stands only where there were runs and none of them found anything', () => {
  expect(bound(3_000, 0)).toBe('0 in 3,000, so below 0.0010 a run');
  expect(bound(3_000, 1)).toBe('-');
  expect(bound(0, 0)).toBe('-');
  expect(bound(3_000, undefined)).toBe('-');
});

test.each([
  ['admissionOverBare', 0.8, 'yes'],
  ['admissionOverBare', 0.79, '**no**'],
  ['recoveryMs', 5_000, 'yes'],
  ['recoveryMs', 5_001, '**no**'],
  ['recoveryMs', null, 'not measured'],
  ['crowdOverBare', 1.3, '-'],
])('%s of %s: reached %s', (name, value, reached) => {
  expect(figureRow([name, value]).at(-1)).toBe(reached);
});

test('every promise that is claimed has a test and a control, and their titles stand in the files', () => {
  for (const [number = '', , , tested = ''] of promiseRows())
    expect(tested, number).toMatch(number === 'I7' ? /^-$/ : /`[^`]+\.ts`.*; control: \*/);
});
