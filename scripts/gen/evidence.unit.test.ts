// What docs/evidence.md makes of figures: no bound where something was found, and no figure called reached that is not.

import { expect, test } from 'vitest';
import type { Recorded } from '../evidence.ts';
import { soakEngines } from '../../chaos/messaging/engines.ts';
import { bound, figureRow, soakSection } from './evidence.ts';
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

const recordOf = (engines: object, reached?: boolean): Recorded => ({
  command: 'npm run -s soak -- --engine redis --json',
  commit: '0123456789',
  clean: true,
  measuredOn: '2026-11-29',
  seconds: 1,
  ...(reached === undefined ? {} : { reached }),
  machine: { processor: 'any', cores: 2, memoryGiB: 4, system: 'linux x64', node: '26' },
  result: { engines },
});

const all = { name: 'soak', of: soakEngines };

const soakOf = (reached: boolean | undefined, rate: number, violations: readonly string[]): string =>
  soakSection(recordOf({ redis: { kills: 74, lost: 0, rate, violations } }, reached), all).join('\n');

test('a run that did not reach what is wanted says so, with the figure and what fell short', () => {
  const short = soakOf(false, 0.42, ['with kills 0.42 of the undisturbed rate, 0.5 is wanted']);
  expect(short).toContain('Not all that is wanted was reached in this run');
  expect(short).toContain('| **0.42**, 0.5 is not reached |');
  expect(short).toContain('- redis: with kills 0.42 of the undisturbed rate, 0.5 is wanted');
  for (const reached of [true, undefined])
    expect(soakOf(reached, 0.61, [])).not.toMatch(/not reached|Not all/);
});

test('what was not judged shows no figure, and engines that were not in the run are named', () => {
  const lists = { lost: 0, handledTwice: 0, orderBroken: null, violations: [] };
  const record = recordOf({ kafka: { ...lists, orderBroken: 0 }, 'redis-lists': lists });
  const page = soakSection(record, all).join('\n');
  expect(page).toMatch(/\| redis-lists \|.* 0 \| 0 \| - \|/);
  expect(page).toMatch(/\| kafka \|.* 0 \| 0 \| 0 \|/);
  expect(page).toContain('no order is promised there, so none was judged');
  expect(page).toContain('Not in this run: embedded, rabbitmq, redis.');
  expect(soakOf(true, 0.61, [])).not.toContain('no order is promised');
});

test('a run that killed the host stands beside the other, with a rate that nobody judged, and says how it is made while there is none', () => {
  const host = { name: 'soak-host', of: ['embedded'] } as const;
  expect(soakSection(null, host)).toEqual(['Not recorded yet: `npm run -s evidence -- soak-host`.']);
  const figures = {
    kills: 11,
    publisherKills: 3,
    orderBroken: 0,
    rate: 0.41,
    leastRate: null,
    violations: [],
  };
  const page = soakSection(recordOf({ embedded: figures }), host);
  expect(page[0]).toContain('(soak-host)');
  expect(page.at(-1)).toMatch(/^\| embedded \|.* 11 \| 3 \| .* \| 0\.41, not judged \|$/);
});

test('every promise that is claimed has a test and a control, and their titles stand in the files', () => {
  for (const [number = '', , , tested = ''] of promiseRows())
    expect(tested, number).toMatch(number === 'I7' ? /^-$/ : /`[^`]+\.ts`.*; control: \*/);
});
