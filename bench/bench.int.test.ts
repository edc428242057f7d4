import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { type Report, reportOf, type Setting, tableOf } from './report.ts';
import type { Run } from './round.ts';
import type { StoredResult } from './stored.ts';

const run = promisify(execFile);
const folder = fileURLToPath(new URL('.', import.meta.url));

function bench(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  return run(process.execPath, [...flags, `${folder}main.ts`, ...args]);
}

const measured = (requestsPerSecond: number, p99: number, other: Partial<Run> = {}): Run => ({
  requests: 10,
  elapsedMs: 10,
  requestsPerSecond,
  latencyMs: { p50: 1, p99, max: p99 },
  statuses: { '201': 10 },
  answered: 10,
  accepted: 10,
  firstRequestAt: 0,
  answerBytes: 45,
  cpuMs: 3,
  ranDry: false,
  shares: { generator: 0.3, others: 0.1, steal: 0 },
  cpuMicrosPerRequest: { server: 40, main: 30, writer: 5 },
  deliveries: null,
  firstRequestToLastDeliveryMs: null,
  fault: null,
  ...other,
});
const setting: Setting = { rounds: 3, seconds: 10, connections: 128, quick: false };

describe('bench', () => {
  it('smoke-runs every system and part with real answers', { timeout: 600_000 }, async () => {
    const { stdout } = await bench('--quick', '--json');
    const report = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Report;
    expect(Object.keys(report.ratios)).toEqual([
      'admissionOverBare',
      'crowdOverBare',
      'soldOutOverBare',
      'admissionOverNaive',
      'p99OverBareP99',
      'costPerEntry1e6Over1e4',
      'thousandCampaignsOverOne',
    ]);
    for (const ratio of Object.values(report.ratios)) expect(ratio).toBeGreaterThan(0);
    expect(Object.keys(report.requestsPerSecond).sort()).toEqual(
      [
        'admission',
        'bare',
        'bareSameSize',
        'crowd',
        'inMemory',
        'naive',
        'soldOut',
        'thousandPresent',
        'thousandSpread',
      ].sort(),
    );
    // What the refused and the accepted of one campaign add up to is the server's word against the generator's count.
    expect(report.statuses.crowd?.['201'] ?? 0).toBeLessThanOrEqual(500);
    expect(report.statuses.soldOut).toEqual({ '410': expect.any(Number) as number });
    expect(report.recoveryMs).toBeGreaterThan(0);
    expect(report.bytesPerMember).toEqual(expect.any(Number));
    expect(report.firstRequestToLastDeliveryMs).toBeGreaterThan(0);
    expect(report.generatorCpuShare).toBeGreaterThan(0);
    // The bare server's long answer is as long as one with a receipt; batches of a busy machine differ in their paths.
    const longer = (report.answerBytes.bareSameSize ?? 0) / (report.answerBytes.admission ?? 1);
    expect(longer).toBeGreaterThan(0.6);
    expect(longer).toBeLessThan(1.6);
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
      ['thousandPresent', [measured(80, 5)]],
    ] as const);
    const report = reportOf(runs, null, setting);
    expect(report.requestsPerSecond).toEqual({ bare: 200, admission: 160, thousandPresent: 80 });
    expect(report.ratios.admissionOverBare).toBe(0.8);
    expect(report.ratios.p99OverBareP99).toBe(2);
    expect(report.ratios.thousandCampaignsOverOne).toBe(2);
    expect(report.ratios.admissionOverNaive).toBeNull();
    expect(report.cpuMicrosPerRequest.admission).toEqual({ server: 40, main: 30, writer: 5 });
    expect(tableOf(report)).toContain('admissionOverBare');
  });

  it('compares what an entry costs at few and at many', () => {
    const cost = (time: number) => ({ time, cpu: time / 2, writerCpu: null });
    const stored: StoredResult = {
      cost: { few: [cost(20), cost(50), cost(19)], many: [cost(22), cost(21), cost(90)] },
      bytesPerMember: [18, 30, 17],
      diskBytesPerEntry: 500,
      recoveryMs: [900, 1_200, 1_000],
    };
    const report = reportOf(new Map(), stored, setting);
    expect(report.ratios.costPerEntry1e6Over1e4).toBe(1.1);
    expect(report).toMatchObject({ bytesPerMember: 18, diskBytesPerEntry: 500, recoveryMs: 1_000 });
  });

  it('leaves void runs out, counts them, and says where none is left', () => {
    const fault = 'the generator had no headroom';
    const runs = new Map([
      ['bare', [measured(900, 1, { fault }), measured(100, 2)]],
      ['admission', [measured(90, 9, { fault })]],
    ] as const);
    const report = reportOf(runs, null, setting);
    expect(report.requestsPerSecond).toEqual({ bare: 100, admission: null });
    expect(report.ratios.admissionOverBare).toBeNull();
    expect(report.voidRuns).toBe(2);
    expect(report.notes.join()).toContain('no run with headroom: admission');
    expect(reportOf(runs, null, { ...setting, quick: true }).ratios.admissionOverBare).toBe(0.9);
  });
});
