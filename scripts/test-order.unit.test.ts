import { globSync } from 'node:fs';
import { expect, it } from 'vitest';
import { root } from './check.ts';
import { engineTests, isConformance } from './engines/suites.ts';
import { longFirst, seconds } from './test-order.ts';

const others = ['scripts/b.int.test.ts', 'scripts/a.int.test.ts', 'packages/core/src/x.unit.test.ts'];

it('begins with what takes longest, and leaves what nobody has timed in its order', () => {
  const [first = '', longest = 0] = Object.entries(seconds).toSorted(([, a], [, b]) => b - a)[0] ?? [];
  const files = [...others, 'scripts/evidence.int.test.ts', `/somewhere/packages/${first}`];
  expect(longest).toBeGreaterThan(seconds['scripts/evidence.int.test.ts'] ?? Number.NaN);
  expect(longFirst(files, (path) => path)).toEqual([files[4], files[3], ...others]);
});

it('begins with every engine’s suite and its planted defects, also with those of an engine that is new', () => {
  const suites = globSync(engineTests, { cwd: root }).filter(
    (path) => isConformance(path) || path.includes('planted-defects'),
  );
  expect(suites.length).toBeGreaterThan(10);
  suites.push('packages/messaging/src/engines/pigeon/engine.conformance.int.test.ts');
  const sorted = longFirst([...others, ...suites], (path) => path);
  expect(new Set(sorted.slice(0, suites.length))).toEqual(new Set(suites));
});

it('knows no file that is not there, and each by one name only', () => {
  const files = globSync('{packages/*,scripts,simulation,chaos,bench,examples}/**/*.test.ts', { cwd: root });
  for (const end of Object.keys(seconds)) {
    const found = files.filter((path) => path === end || path.endsWith(`/${end}`));
    expect(found, end).toHaveLength(1);
  }
});
