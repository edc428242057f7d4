// Plants each kind of forbidden import in a file of a temporary tree and has the real linter, with the repository's real
// configuration, refuse it: the pure rule is of no use if the linter does not call it.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
let tree = '';

beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 'doorbuster-lint-'));
});
afterEach(() => rmSync(tree, { recursive: true, force: true }));

/** @returns the linter's findings as `rule: message` */
function lint(file: string, text: string): string[] {
  const path = join(tree, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  const linter = join(root, 'node_modules/oxlint/bin/oxlint');
  const args = [linter, '-c', join(root, '.oxlintrc.json'), '--format', 'json', '.'];
  const run = spawnSync(process.execPath, args, { cwd: tree, encoding: 'utf8' });
  const report = JSON.parse(run.stdout) as { diagnostics: { code: string; message: string }[] };
  return report.diagnostics.map((found) => `${found.code}: ${found.message}`);
}

const planted: readonly (readonly [file: string, text: string, expected: RegExp])[] = [
  [
    'packages/core/src/a.ts',
    "import { hash } from 'node:crypto';\nhash('a', 'b');\n",
    /core imports nothing/,
  ],
  ['packages/core/src/b.ts', "export { x } from '../../messaging/src/bus.ts';\n", /by its name/],
  ['packages/core/src/c.ts', "export const x = () => import('node:fs');\n", /core imports nothing/],
  ['packages/core/src/d.ts', "export type X = import('node:fs').Stats;\n", /core imports nothing/],
  [
    'packages/messaging/src/engines/kafka/a.ts',
    "export * from '../embedded/b.ts';\n",
    /never import each other/,
  ],
  [
    'packages/server/src/ledgers/sqlite/a.ts',
    "export { x } from '../postgres/b.ts';\n",
    /never import each other/,
  ],
  ['packages/server/src/http/a.ts', "export { x } from '../ledgers/sqlite/b.ts';\n", /main\.ts only/],
  ['packages/server/src/a.ts', "export { x } from '@doorbuster/core/src/b.ts';\n", /by its exports/],
  ['packages/web/src/a.ts', "export { x } from '@doorbuster/server';\n", /web imports nothing of server/],
  ['packages/server/src/b.ts', 'export const x: any = 1;\n', /no-explicit-any/],
  ['packages/server/src/c.ts', 'export default 1;\n', /no-default-export/],
];

describe('the linter', () => {
  it.each(planted)('refuses what is planted in %s', (file, text, expected) => {
    expect(lint(file, text).join('\n')).toMatch(expected);
  });

  it('refuses a circle of imports', () => {
    lint('packages/server/src/b.ts', "import { a } from './a.ts';\nexport const b = () => a;\n");
    const found = lint(
      'packages/server/src/a.ts',
      "import { b } from './b.ts';\nexport const a = () => b;\n",
    );
    expect(found.join('\n')).toMatch(/no-cycle/);
  });

  it('has nothing against an import along the arrows', () => {
    expect(lint('packages/server/src/main.ts', "export { x } from './ledgers/sqlite/b.ts';\n")).toEqual([]);
  });
});
