/** The side of the simulation that loads the product: imported only after a defect was planted, if there is one. */
import type { SeedResult } from './run-seed.ts';
import type { SeedLine } from './summary.ts';

export { systemClock } from '@doorbuster/messaging';
export { runSeed, whole } from './run-seed.ts';
export { shrink } from './shrink.ts';

/** Findings of one seed that are passed on. */
const mostFindings = 20;

export function lineOf(result: SeedResult): SeedLine {
  const { seed, commands, faults, findings, simulatedMs, traceHash, coverage } = result;
  return {
    seed,
    commands,
    faults: Object.fromEntries(faults),
    findings: findings.slice(0, mostFindings),
    simulatedMs,
    traceHash,
    coverage: Object.fromEntries(coverage),
  };
}
