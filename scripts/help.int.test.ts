// The programs of the toolkit that an engineer runs by hand tell what they take, and refuse what they do not.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const programs = [
  ['bench:messaging', 'bench/messaging/main.ts', '--rounds N'],
  ['soak', 'chaos/messaging/main.ts', '--kill-every-ms MS'],
  ['test:engines', 'scripts/test-engines.ts', '--defects'],
] as const;
const root = fileURLToPath(new URL('..', import.meta.url));

function run(
  program: string,
  ...args: readonly string[]
): { status: number | null; stdout: string; stderr: string } {
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  return spawnSync(process.execPath, [...flags, program, ...args], {
    cwd: root,
    encoding: 'utf8',
    timeout: 30_000,
  });
}

describe.each(programs)('npm run %s', (name, program, option) => {
  it('tells what it takes', () => {
    const { status, stdout, stderr } = run(program, '--help');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(`Usage: npm run -s ${name} --`);
    expect(stdout).toContain(option);
  });

  it('refuses an option that it does not have, and shows those it has', () => {
    const { status, stdout, stderr } = run(program, '--nope');
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/^Unknown option '--nope'/);
    expect(stderr).toContain(option);
  });
});

describe.each(['up', 'down', 'status'])('npm run services:%s', (verb) => {
  it('tells what it takes and what the options mean, and starts nothing', () => {
    const { status, stdout, stderr } = run('scripts/services/main.ts', verb, '--help');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(`npm run services:${verb}`);
    expect(stdout).toMatch(/--folder DIR {2,}where their data/);
    expect(stdout).toMatch(/--first-port N {2,}each server listens/);
  });
});
