// What the command refuses. Its cycles are a step of CI; its controls are `npm run chaos -- --defect NAME`, because each takes minutes of real kills.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

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

it.each([
  ['--cycles', 'many'],
  ['--defect', 'none-of-ours'],
  ['--colour', 'red'],
])('refuses %s %s', async (...args) => {
  expect((await chaos(...args)).code).toBe(2);
});
