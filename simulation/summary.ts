/** What seeds add up to: the last line of a run. The same for one process and for several, because seeds are summed in their order. */
import { createHash } from 'node:crypto';
import { unreachedBy } from './coverage.ts';
import { faultKinds } from './fault-kinds.ts';

/** One seed as it crosses from a job to whoever sums. */
export interface SeedLine {
  readonly seed: string;
  readonly commands: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly findings: readonly { readonly rule: string; readonly detail: string }[];
  readonly simulatedMs: number;
  readonly traceHash: string;
  readonly coverage: Readonly<Record<string, number>>;
}

export interface Summary {
  readonly seeds: number;
  readonly commands: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly violations: number;
  readonly simulatedHours: number;
  readonly traceHash: string;
  /** Of the poorest seed. */
  readonly minCommands: number;
  readonly minFaults: number;
  readonly minFaultKinds: number;
  /** States and transitions that were reached, with counts, as `area: name`. */
  readonly coverage: Readonly<Record<string, number>>;
  /** What no seed reached. */
  readonly unreached: readonly string[];
  /** With a defect: the seeds it took until it was caught, null when it was not, and the rule that caught it. */
  readonly seedsToDetect?: number | null;
  readonly caughtBy?: string | null;
}

export function sum(lines: readonly SeedLine[]): Summary {
  const hash = createHash('sha256');
  const faults = new Map<string, number>(faultKinds.map((kind) => [kind, 0]));
  const coverage = new Map<string, number>();
  let [commands, violations, simulatedMs] = [0, 0, 0];
  let [minCommands, minFaults, minFaultKinds] = [Infinity, Infinity, Infinity];
  for (const line of lines) {
    hash.update(line.traceHash);
    commands += line.commands;
    violations += line.findings.length;
    simulatedMs += line.simulatedMs;
    add(faults, line.faults);
    add(coverage, line.coverage);
    const counts = Object.values(line.faults);
    minCommands = Math.min(minCommands, line.commands);
    minFaults = Math.min(
      minFaults,
      counts.reduce((a, b) => a + b, 0),
    );
    minFaultKinds = Math.min(minFaultKinds, counts.length);
  }
  return {
    seeds: lines.length,
    commands,
    faults: Object.fromEntries(faults),
    violations,
    simulatedHours: Math.round(simulatedMs / 36_000) / 100,
    traceHash: hash.digest('hex'),
    minCommands,
    minFaults,
    minFaultKinds,
    coverage: Object.fromEntries([...coverage].sort(([a], [b]) => (a < b ? -1 : 1))),
    unreached: unreachedBy(coverage),
  };
}

function add(total: Map<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) total.set(name, (total.get(name) ?? 0) + count);
}
