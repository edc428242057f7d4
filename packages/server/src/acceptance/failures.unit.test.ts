// docs/internals/failures.md says which test shows what; this holds it to the files.
import { existsSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const root = new URL('../../../../', import.meta.url);
const page = readFileSync(new URL('docs/internals/failures.md', root), 'utf8');

interface Row {
  readonly number: string;
  readonly tests: readonly string[];
  readonly control: string;
}

const pathsIn = (cell: string): string[] =>
  [...cell.matchAll(/`([^`]+\.ts)`/g)].map(([, path]) => path ?? '');

const rows: readonly Row[] = page
  .split('\n')
  .filter((line) => /^\| \d+ \|/.test(line))
  .map((line) => {
    const [, number = '', , , tests = '', control = ''] = line.split('|').map((cell) => cell.trim());
    return { number, tests: pathsIn(tests), control };
  });

const textOf = (path: string): string => readFileSync(new URL(path, root), 'utf8');

/** Numbers at the head of the titles of a file: `it('1, 2, 8: ...`. */
function numbersIn(path: string): ReadonlySet<string> {
  const heads = [...textOf(path).matchAll(/\b(?:it|test)\([`'"]([\d, ]+):/g)].map(([, head]) => head ?? '');
  return new Set(heads.flatMap((head) => head.split(',').map((number) => number.trim())));
}

it('has a row for each failure that applies to what is built', () => {
  const expected = [...range(1, 12), ...range(14, 24), 27, 28, ...range(30, 35)].map(String);
  expect(rows.map(({ number }) => number)).toEqual(expected);
});

it('names files that exist', () => {
  const named = pathsIn(page);
  expect(named.length).toBeGreaterThan(40);
  expect(named.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
});

it.each(rows)('row $number stands in the titles of its tests', ({ number, tests }) => {
  // What the toolkit shows by itself lies beside its code.
  const titled = tests.filter(
    (path) => path.includes('/acceptance/') || path.startsWith('packages/messaging/'),
  );
  expect(titled.length).toBeGreaterThan(0);
  for (const path of titled) expect([...numbersIn(path)], path).toContain(number);
});

it.each(rows)('the control of row $number is there', ({ control }) => {
  const [path = 'none named'] = pathsIn(control);
  const title = control.split('`: ')[1];
  expect(textOf(path)).toContain(title ?? 'it(');
});

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}
