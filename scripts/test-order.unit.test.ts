import { globSync } from 'node:fs';
import { expect, it } from 'vitest';
import { root } from './check.ts';
import { engineTests, isConformance } from './engines/suites.ts';
import { longFirst } from './test-order.ts';

it('begins with every engine’s suite and its planted defects, and leaves the rest in its order', () => {
  const suites = globSync(engineTests, { cwd: root }).filter(
    (path) => isConformance(path) || path.includes('planted-defects'),
  );
  expect(suites.length).toBeGreaterThan(10);
  const others = ['scripts/b.int.test.ts', 'scripts/a.int.test.ts', 'packages/core/src/x.unit.test.ts'];
  const sorted = longFirst([...others, ...suites], (path) => path);
  expect(sorted).toEqual([...suites, ...others]);
});
