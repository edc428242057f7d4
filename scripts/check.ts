// `npm run check`: everything that reads the code without running it. Types of every part (tests included), the linter
// with the import boundaries, the formatter. `--fix` formats and applies the linter's safe fixes first.
//
// All steps run, so that one start shows every fault; the exit code is 0 only when none found any.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** `command` is a package's own binary, run by this Node. */
export type Step = { readonly name: string; readonly command: string; readonly args: readonly string[] };

const binaries: Readonly<Record<string, string>> = {
  tsc: 'typescript/bin/tsc',
  oxlint: 'oxlint/bin/oxlint',
  biome: '@biomejs/biome/bin/biome',
};

const typeConfigurations = [
  'packages/core/tsconfig.json',
  'packages/core/tsconfig.test.json',
  'packages/messaging/tsconfig.json',
  'packages/web/tsconfig.json',
  'packages/web/tsconfig.browser.json',
  'packages/server/tsconfig.json',
  'tsconfig.json',
];

export const steps: readonly Step[] = [
  ...typeConfigurations.map((config) => ({
    name: `types ${config}`,
    command: 'tsc',
    args: ['--noEmit', '-p', config],
  })),
  { name: 'lint', command: 'oxlint', args: ['--type-aware', '--deny-warnings', '.'] },
  { name: 'format', command: 'biome', args: ['check', '--error-on-warnings', '.'] },
];

const fixes: readonly Step[] = [
  { name: 'lint --fix', command: 'oxlint', args: ['--fix', '.'] },
  { name: 'format --write', command: 'biome', args: ['check', '--write', '.'] },
];

/** Runs one step from the repository's root; what it prints is returned, not shown. */
export function runStep(step: Step): Promise<{ readonly ok: boolean; readonly output: string }> {
  const binary = join(root, 'node_modules', binaries[step.command] ?? step.command);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [binary, ...step.args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const keep = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', (error) => resolve({ ok: false, output: String(error) }));
    child.once('close', (code) => resolve({ ok: code === 0, output }));
  });
}

/**
 * Runs all steps and reports each on `write`: one line for a good one, everything it said for a failed one.
 *
 * @returns how many passed and failed
 */
export async function check(write: (text: string) => void): Promise<{ passed: number; failed: number }> {
  const count = { passed: 0, failed: 0 };
  for (const step of steps) {
    const { ok, output } = await runStep(step);
    count[ok ? 'passed' : 'failed'] += 1;
    write(ok ? `ok      ${step.name}\n` : `failed  ${step.name}\n${output}\n`);
  }
  return count;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { fix: { type: 'boolean', default: false } } });
  if (values.fix) for (const step of fixes) await runStep(step);
  const { failed } = await check((text) => process.stdout.write(text));
  process.exitCode = failed === 0 ? 0 : 1;
}
