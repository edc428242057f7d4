// Negative controls: what is planted is found by the same kills and the same audit that find nothing without it. That they find nothing is a step of CI.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import type { DefectName } from './defects.ts';

const run = promisify(execFile);
const program = fileURLToPath(new URL('main.ts', import.meta.url));
const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];

interface Outcome {
  readonly code: number;
  readonly summary: Record<string, unknown>;
}

async function chaos(...args: string[]): Promise<Outcome> {
  const { stdout, code } = await run(process.execPath, [...flags, program, ...args, '--json'], {
    maxBuffer: 64 * 1024 * 1024,
  }).then(
    (done) => ({ ...done, code: 0 }),
    (error: { stdout: string; code: number }) => error,
  );
  const last = stdout.trim().split('\n').at(-1) ?? '';
  return { code, summary: (last === '' ? {} : JSON.parse(last)) as Outcome['summary'] };
}

/** With the life in which it is met soon; any other finds it, some cycles later. The other defects take minutes: `npm run chaos -- --defect NAME`. */
const planted: readonly [DefectName, seed: number, field: string][] = [
  ['acknowledge-before-commit', 1, 'acknowledgedLost'],
];

it.each(planted)('control: %s is caught', async (defect, seed, field) => {
  const { code, summary } = await chaos(
    '--cycles',
    '10',
    '--at-once',
    '1',
    '--seed',
    String(seed),
    '--defect',
    defect,
  );
  expect({ code, ...summary }).toMatchObject({ code: 0, cyclesToDetect: expect.any(Number) });
  expect(summary[field]).toBeGreaterThan(0);
});

it.each([
  ['--cycles', 'many'],
  ['--defect', 'none-of-ours'],
  ['--colour', 'red'],
])('refuses %s %s', async (...args) => {
  expect((await chaos(...args)).code).toBe(2);
});
