// The page of capabilities from what `test:engines --json` says: of this shape, and of runs that were recorded when it counted the suite only.

import { expect, it } from 'vitest';
import type { Recorded } from '../evidence.ts';
import { pageOf } from './capabilities.ts';

const capabilities = {
  version: 'Redis 7.0.15',
  confirm: 'memory',
  orderPerKey: 'none',
  delay: { support: 'none', maxMs: 0, resolutionMs: 0 },
  priority: { support: 'none', levels: 0 },
  ttl: { support: 'none' },
  replay: 'none',
  routing: { direct: 'none', fanout: 'native', topic: 'none', headers: 'none' },
  broadcast: 'none',
  deadLetters: 'native',
  processes: 'many',
  maxMessageBytes: 2 ** 20,
};

const recorded = (engines: object): Recorded => ({
  command: 'npm run -s test:engines -- --json',
  commit: '0123456789',
  clean: true,
  measuredOn: '2026-11-29',
  seconds: 1,
  machine: { processor: 'any', cores: 2, memoryGiB: 4, system: 'linux x64', node: '26' },
  result: { engines },
});

const left = [{ name: 'redis-lists: a case', reason: 'a list is one queue' }];

it('has a column for each engine by its own name, with the cases of the suite beside all of its tests', () => {
  const page = pageOf(
    recorded({
      redisLists: {
        passed: 12,
        failed: 0,
        skipped: 0,
        notApplicable: left,
        files: {
          'engine.conformance.int.test.ts': { passed: 7, failed: 0, skipped: 0 },
          'lists.int.test.ts': { passed: 5, failed: 0, skipped: 0 },
        },
        capabilities,
      },
    }),
  );
  expect(page).toContain('\n| | redis-lists |\n');
  expect(page).toContain('\n| server | Redis 7.0.15 |\n');
  expect(page).toContain("\n| cases of the suite passed | 7 |\n| with the engine's own tests | 12 |\n");
  expect(page).toContain('**redis-lists**\n\n- a list is one queue: a case\n');
});

it('says what failed or did not run, of an engine that never connected too', () => {
  const page = pageOf(
    recorded({
      redis: { passed: 65, failed: 1, skipped: 0, notApplicable: [], capabilities },
      kafka: { passed: 0, failed: 1, skipped: 2, notApplicable: [] },
    }),
  );
  expect(page).toContain('\n| server | Redis 7.0.15 | not known |\n');
  expect(page).toContain('\n| **failed or not run** | 1 | 3 |\n');
});

it('takes all that passed for cases of the suite where no files were recorded', () => {
  const page = pageOf(recorded({ redis: { passed: 65, notApplicable: [], capabilities } }));
  expect(page).toContain('\n| cases of the suite passed | 65 |\n\n');
  expect(page).toContain('**redis**: nothing.');
});
