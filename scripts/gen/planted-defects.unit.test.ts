// The page of planted defects from what `test:engines --json` says: one that escaped is not hidden, and a run without a list says that it has none.

import { readFileSync } from 'node:fs';
import { conformanceCases } from '@doorbuster/messaging/conformance';
import { expect, it } from 'vitest';
import type { Recorded } from '../evidence.ts';
import { pageOf } from './planted-defects.ts';

const recorded = (engines: object): Recorded => ({
  command: 'npm run -s test:engines -- --json',
  commit: '0123456789',
  clean: true,
  measuredOn: '2026-11-29',
  seconds: 1,
  machine: { processor: 'any', cores: 2, memoryGiB: 4, system: 'linux x64', node: '26' },
  result: { engines },
});

const list = (of: string, ...caught: readonly boolean[]): object => ({
  planted: caught.length,
  caught: caught.filter((one) => one).length,
  list: caught.map((one, n) => ({ of, defect: `defect ${n}`, caughtBy: `case ${n}`, caught: one })),
});

it('has a row for each defect with the case that catches it, and says which one escaped', () => {
  const page = pageOf(
    recorded({
      kafka: { defects: list('kafka', true, true, true, false) },
      embedded: { defects: list('embedded, shared', true) },
      redisLists: { defects: list('redis-lists', true, true, true, true) },
    }),
  );
  expect(page).toContain('\n8 of 9 caught (kafka 3 of 4, embedded 1 of 1, redis-lists 4 of 4).\n');
  expect(page).toContain('\n| kafka | defect 0 | case 0 | yes |\n');
  expect(page).toContain('\n| kafka | defect 3 | case 3 | **no** |\n');
  expect(page).toContain('\n| embedded (embedded, shared) | defect 0 | case 0 | yes |\n');
  expect(page).toContain('\n| redis-lists | defect 0 | case 0 | yes |\n');
  expect(page).toContain('\n**Fewer than 4**, which is too little: embedded.\n');
  expect(page).not.toContain('lists no planted defects');
});

it('says that a run has no list, of all engines or of some', () => {
  const none = pageOf(recorded({ kafka: { passed: 1 } }));
  expect(none).toContain('lists no planted defects of any engine');
  expect(none).not.toContain('| engine |');
  const some = pageOf(recorded({ redis: { passed: 1 }, kafka: { defects: list('kafka', true) } }));
  expect(some).toContain('lists no planted defects of redis:');
  expect(some).toContain('\n| kafka | defect 0 | case 0 | yes |\n');
});

it('says which cases of the suite caught nothing, and how many did on each engine', () => {
  const first = 'a confirmation states the durability of the connected engine';
  const second = 'messages arrive once, oldest first, with everything they were published with';
  const row = (caughtBy: string, caught: boolean): object => ({ of: 'kafka', defect: 'd', caughtBy, caught });
  const page = pageOf(
    recorded({
      kafka: {
        defects: { planted: 2, caught: 1, list: [row(first, true), row(second, false)] },
        notApplicable: [{ name: 'kafka: a delay survives a restart' }],
      },
    }),
  );
  expect(page).toMatch(/so many caught a defect there in this run: kafka 1 of \d+\./);
  expect(page).not.toContain(`\n- ${first}\n`);
  expect(page).toContain(`\n- ${second}\n`);
});

it('says that each case caught something, when each did, and does not count those that no case of the suite caught', () => {
  const row = (caughtBy: string): object => ({ of: 'kafka', defect: 'd', caughtBy, caught: true });
  const rows = [...conformanceCases.map(({ name }) => row(name)), row('a test of its own')];
  const all = conformanceCases.length;
  const page = pageOf(
    recorded({ kafka: { defects: { planted: rows.length, caught: rows.length, list: rows } } }),
  );
  expect(page).toContain(`in this run: kafka ${all} of ${all}.`);
  expect(page).toContain('\nEach case caught one on some engine.\n');
  expect(page).not.toContain('caught none on any engine');
});

it('does not end a cell with a bar of its text', () => {
  const one = { of: 'redis', defect: 'a | b', caughtBy: 'c', caught: true };
  expect(pageOf(recorded({ redis: { defects: { planted: 1, caught: 1, list: [one] } } }))).toContain(
    '| redis | a \\| b | c | yes |',
  );
});

it('makes a page of the run that is kept', () => {
  const file = new URL('../../docs/evidence/engines.json', import.meta.url);
  expect(pageOf(JSON.parse(readFileSync(file, 'utf8')) as Recorded)).toMatch(
    /\| caught \|\n|lists no planted defects/,
  );
});
