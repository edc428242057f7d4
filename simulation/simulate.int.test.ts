/** The simulation as a program: seeds that find nothing and reach what they must, the same trace everywhere, a shortened history of what is found. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { plannedEverywhere } from './coverage.ts';
import { leastCommands, leastFaultKinds, leastFaults } from './plan.ts';
import type { Summary } from './summary.ts';

const run = promisify(execFile);
const program = fileURLToPath(new URL('main.ts', import.meta.url));
const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];

async function simulate(...args: string[]): Promise<{ summary: Summary; told: string }> {
  const { stdout, stderr } = await run(process.execPath, [...flags, program, ...args, '--json']);
  return { summary: JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Summary, told: stderr };
}

describe('simulation', { timeout: 300_000 }, () => {
  it('finds nothing wrong in 24 seeds, none of them a quiet one, and they reach the hard places', async () => {
    const { summary } = await simulate('--seeds', '24', '--jobs', '2');
    expect(summary.violations).toBe(0);
    expect(summary.seeds).toBe(24);
    expect(summary.minCommands).toBeGreaterThanOrEqual(leastCommands);
    expect(summary.minFaults).toBeGreaterThanOrEqual(leastFaults);
    expect(summary.minFaultKinds).toBeGreaterThanOrEqual(leastFaultKinds);
    expect(Object.keys(summary.coverage)).toEqual(
      expect.arrayContaining([
        ...plannedEverywhere,
        'record: PROMOTED',
        'record: REVOKED',
        'record: REOPENED',
        'lane: revoked unit becomes void',
        'delivery: unknown > sending',
        'verdict: ineligible',
        'verdict: pending',
      ]),
    );
    expect(summary.unreached.every((name) => summary.coverage[name] === undefined)).toBe(true);
  });

  it('gives the same trace for the same seeds in two processes and in two jobs, and another one for others', async () => {
    const [first, second, jobs, other] = await Promise.all([
      simulate('--seeds', '3', '--seed', '7'),
      simulate('--seeds', '3', '--seed', '7'),
      simulate('--seeds', '3', '--seed', '7', '--jobs', '2'),
      simulate('--seeds', '3', '--seed', '8'),
    ]);
    expect(second.summary).toEqual(first.summary);
    expect(jobs.summary).toEqual(first.summary);
    expect(other.summary.traceHash).not.toBe(first.summary.traceHash);
  });

  it('prints seed, commit and a history that is shorter and still shows the violation', async () => {
    const defect = ['--defect', 'retry-takes-a-new-seq'];
    const { summary, told } = await simulate('--seeds', '20', ...defect, '--shrink', '60');
    expect(summary.seedsToDetect).toBeGreaterThan(0);
    const [, seed] = /^seed (\d+), commit ([0-9a-f]{40}|unknown)$/m.exec(told) ?? [];
    expect(seed).toBeDefined();
    const [, before, after] = /from (\d+) steps to (\d+)/.exec(told) ?? [];
    expect(Number(after)).toBeLessThan(Number(before) / 10);
    const [, replay = ''] = /npm run -s simulate -- (--seed .* --keep .*)$/m.exec(told) ?? [];
    const again = await simulate(...replay.split(' '));
    expect(again.summary.violations).toBeGreaterThan(0);
    expect(again.summary.caughtBy).toBe(summary.caughtBy);
  });

  it('refuses what it does not understand', async () => {
    for (const wrong of [
      ['--seeds', 'many'],
      ['--defect', 'none-of-ours'],
      ['--keep', 'x'],
      ['--without', 'rain'],
      ['--jobs', '0'],
    ])
      await expect(simulate(...wrong)).rejects.toMatchObject({ code: 2 });
  });
});
