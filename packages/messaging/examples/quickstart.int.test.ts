import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const path = fileURLToPath(new URL('./quickstart.ts', import.meta.url));

it('the quickstart runs and prints what the README shows', () => {
  const run = spawnSync(process.execPath, ['--conditions=doorbuster-source', path], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  expect(run.stderr).toBe('');
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const shown = /```text\n([\s\S]*?)```/.exec(readme)?.[1];
  expect(run.stdout.split('\n').sort()).toEqual(shown?.split('\n').sort());
});

it('the README shows the code of the example', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8').replaceAll(/\s+/g, ' ');
  const code = readFileSync(path, 'utf8');
  const core = code
    .slice(code.indexOf('const orderPlaced'), code.indexOf('const folder'))
    .replaceAll(/\s+/g, ' ')
    .trim();
  expect(readme).toContain(core);
});
