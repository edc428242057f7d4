import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { type DefectName, defects } from './defects.ts';
import { runSeed } from './run-seed.ts';

const run = promisify(execFile);
const program = fileURLToPath(new URL('main.ts', import.meta.url));

async function simulate(...args: string[]): Promise<Record<string, unknown>> {
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  const { stdout } = await run(process.execPath, [...flags, program, ...args, '--json']);
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
}

describe('simulation', () => {
  it('finds nothing wrong in 24 seeds, and they reach every kind of fault and the hard records', async () => {
    const faults = new Set<string>();
    const records = new Set<string>();
    for (let seed = 1; seed <= 24; seed += 1) {
      const result = await runSeed(String(seed));
      expect(result.findings, `seed ${seed}`).toEqual([]);
      for (const kind of result.faults.keys()) faults.add(kind);
      for (const type of result.records.keys()) records.add(type);
    }
    expect(faults.size).toBeGreaterThanOrEqual(12);
    expect([...records]).toEqual(
      expect.arrayContaining(['SOLD_OUT', 'REOPENED', 'REVOKED', 'PROMOTED', 'STOCK_CHANGED', 'PAUSED']),
    );
  });

  it('gives the same trace for the same seed in two processes, and another one for another seed', async () => {
    const [first, second, other] = await Promise.all([
      simulate('--seeds', '2', '--seed', '7'),
      simulate('--seeds', '2', '--seed', '7'),
      simulate('--seeds', '2', '--seed', '8'),
    ]);
    expect(first).toEqual(second);
    expect(first['seeds']).toBe(2);
    expect(first['violations']).toBe(0);
    expect(other?.['traceHash']).not.toBe(first['traceHash']);
  });

  it('refuses what it does not understand', async () => {
    await expect(simulate('--seeds', 'many')).rejects.toMatchObject({ code: 2 });
    await expect(simulate('--defect', 'none-of-ours')).rejects.toMatchObject({ code: 2 });
  });
});

/** Where to begin looking, so that the rarest are found soon. Any start finds them, a few dozen seeds later. */
const firstSeeds: Partial<Record<DefectName, number>> = {
  'confirm-before-commit': 50,
  'sold-out-from-a-stale-count': 50,
  'lease-without-fence': 10,
};
const mostSeeds = 120;

describe('planted defects', () => {
  it.each(Object.keys(defects) as DefectName[])('catches %s', { timeout: 120_000 }, async (name) => {
    const first = firstSeeds[name] ?? 1;
    let caught: number | null = null;
    for (let seed = first; seed < first + mostSeeds && caught === null; seed += 1) {
      const { findings } = await runSeed(String(seed), defects[name]());
      if (findings.length > 0) caught = seed;
    }
    expect(caught, `${name} within ${mostSeeds} seeds`).not.toBeNull();
  });
});
