// docs/internals/security.md says which test shows what; this holds it to the files.
import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const root = new URL('../../../../', import.meta.url);
const textOf = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const page = textOf('docs/internals/security.md');
const tests = textOf('packages/server/src/acceptance/owasp.e2e.test.ts');

it('has a row and a test of the same name for each of the ten', () => {
  const rows = [...page.matchAll(/^\| (API\d+ [^|]+?) \|/gm)].map(([, name]) => name);
  const titles = [...tests.matchAll(/^it\('(API\d+ [^:]+):/gm)].map(([, name]) => name);
  expect(rows).toHaveLength(10);
  expect(titles).toEqual(rows);
});

it('names files that exist', () => {
  const named = [...page.matchAll(/`((?:packages|scripts)\/[^`]+\.\w+)`/g)].map(([, path]) => path ?? '');
  expect(named.length).toBeGreaterThan(15);
  expect(named.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
});
