import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Measured } from './generator.ts';
import { type Report, reportOf, tableOf } from './report.ts';

const run = promisify(execFile);
const folder = fileURLToPath(new URL('.', import.meta.url));

function bench(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  return run(process.execPath, [...flags, `${folder}main.ts`, ...args]);
}

const measured = (requestsPerSecond: number, p99: number, cpuShare = 0.3): Measured => ({
  requests: 10,
  elapsedMs: 10,
  requestsPerSecond,
  latencyMs: { p50: 1, p99, max: p99 },
  statuses: { '201': 10 },
  cpuShare,
  ranDry: false,
});

describe('bench', () => {
  it('smoke-runs every system with real answers', { timeout: 180_000 }, async () => {
    const { stdout } = await bench('--quick', '--json');
    const report = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Report;
    for (const ratio of Object.values(report.ratios)) expect(ratio).toBeGreaterThan(0);
    expect(Object.keys(report.requestsPerSecond).sort()).toEqual(
      ['admission', 'bare', 'crowd', 'naive', 'soldOut'].sort(),
    );
    // What the refused and the accepted of one campaign add up to is the server's word against the generator's count.
    expect(report.statuses.crowd?.['201'] ?? 0).toBeLessThanOrEqual(500);
    expect(report.statuses.soldOut).toEqual({ '410': expect.any(Number) as number });
    expect(report.generatorCpuShare).toBeGreaterThan(0);
  });

  it('refuses what it does not understand', async () => {
    await expect(bench('--only', 'redis')).rejects.toMatchObject({ code: 2 });
    await expect(bench('--seconds', 'soon')).rejects.toMatchObject({ code: 2 });
  });
});

describe('the report', () => {
  it('takes medians over the rounds, and ratios of the medians', () => {
    const runs = new Map([
      ['bare', [measured(100, 2), measured(1_000, 4), measured(200, 3)]],
      ['admission', [measured(50, 9), measured(160, 6), measured(170, 5)]],
    ] as const);
    const report = reportOf(runs, { rounds: 3, seconds: 5, connections: 128 });
    expect(report.requestsPerSecond).toEqual({ bare: 200, admission: 160 });
    expect(report.ratios.admissionOverBare).toBe(0.8);
    expect(report.ratios.p99OverBareP99).toBe(2);
    expect(report.ratios.admissionOverNaive).toBeNull();
    expect(tableOf(report)).toContain('admissionOverBare');
  });

  it('declares a run without headroom void', () => {
    const runs = new Map([['bare', [measured(100, 2, 0.97)]]] as const);
    const { notes } = reportOf(runs, { rounds: 1, seconds: 1, connections: 1 });
    expect(notes.join()).toContain('void');
  });
});
