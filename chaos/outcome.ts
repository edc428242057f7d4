/**
 * What a run shows. Zeros of kills that fell beside the crowd show nothing, and a cycle that broke off has caught no defect. Pure.
 */
import type { CycleResult } from './cycle.ts';

/** From so many cycles on chance explains neither: half of the cycles are no plain kills, and they go round all failpoints in turn. */
export const judgedFrom = 100;
/** Kills of a serving server between the first and the last acknowledgement of their cycle, of all kills. */
export const leastShare = 0.6;

export interface Struck {
  readonly cycles: number;
  readonly violations: number;
  readonly killsWhileAdmittingShare: number;
  /** By name: how often it was met. */
  readonly failpoints: Readonly<Record<string, number>>;
}

/** Why a run was not the test that it claims to be, in words; none for a run that is too short to say. */
export function weaknesses({ cycles, killsWhileAdmittingShare, failpoints }: Struck): readonly string[] {
  if (cycles < judgedFrom) return [];
  const share =
    killsWhileAdmittingShare < leastShare
      ? [
          `${killsWhileAdmittingShare} of the kills fell while entries were taken, at least ${leastShare} should`,
        ]
      : [];
  const never = Object.keys(failpoints).filter((name) => failpoints[name] === 0);
  return never.length === 0 ? share : [...share, `never met: ${never.join(', ')}`];
}

/** Whether a planted defect was seen. What broke off says nothing of it: a machine out of breath must not count for an audit that sees. */
export function isCatch({ faults, broken }: Pick<CycleResult, 'faults' | 'broken'>): boolean {
  return faults.length > 0 && !broken;
}

/** 0 or 6. A broken cycle is a violation of a run without a defect. */
export function exitCodeOf(struck: Struck, askedCycles: number): number {
  return struck.violations === 0 && struck.cycles === askedCycles && weaknesses(struck).length === 0 ? 0 : 6;
}
