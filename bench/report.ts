/** Medians, ratios, and a table for people. Ratios are of the medians; the figures themselves say more of the machine than of us. */
import { availableParallelism } from 'node:os';
import type { Measured } from './generator.ts';
import type { Scenario } from './system.ts';

export interface Report {
  /** Null where one of the two was not measured. */
  readonly ratios: {
    readonly admissionOverBare: number | null;
    readonly crowdOverBare: number | null;
    readonly soldOutOverBare: number | null;
    readonly admissionOverNaive: number | null;
    readonly p99OverBareP99: number | null;
  };
  readonly requestsPerSecond: Readonly<Partial<Record<Scenario, number>>>;
  readonly p99Ms: Readonly<Partial<Record<Scenario, number>>>;
  /** The highest of all runs, of one core. */
  readonly generatorCpuShare: number;
  readonly statuses: Readonly<Partial<Record<Scenario, Readonly<Record<string, number>>>>>;
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly notes: readonly string[];
}

interface Setting {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
}

/** With less than this left, the generator may be what bounds a run. */
const headroom = 0.85;

export function reportOf(runs: ReadonlyMap<Scenario, readonly Measured[]>, setting: Setting): Report {
  const rate = (name: Scenario): number | null => median(runs.get(name), (run) => run.requestsPerSecond);
  const p99 = (name: Scenario): number | null => median(runs.get(name), (run) => run.latencyMs.p99);
  const generatorCpuShare = Math.max(0, ...[...runs.values()].flat().map((run) => run.cpuShare));
  return {
    ratios: {
      admissionOverBare: over(rate('admission'), rate('bare')),
      crowdOverBare: over(rate('crowd'), rate('bare')),
      soldOutOverBare: over(rate('soldOut'), rate('bare')),
      admissionOverNaive: over(rate('admission'), rate('naive')),
      p99OverBareP99: over(p99('admission'), p99('bare')),
    },
    requestsPerSecond: perScenario(runs, rate),
    p99Ms: perScenario(runs, p99),
    generatorCpuShare,
    statuses: Object.fromEntries([...runs].map(([name, list]) => [name, sumOf(list)])),
    rounds: setting.rounds,
    seconds: setting.seconds,
    connections: setting.connections,
    notes: notesOf(runs, generatorCpuShare),
  };
}

function notesOf(runs: ReadonlyMap<Scenario, readonly Measured[]>, generatorCpuShare: number): string[] {
  const cores = availableParallelism();
  const notes = [`${cores} cores, load on the same machine, a closed loop on loopback`];
  if (generatorCpuShare > headroom) notes.push('the generator had no headroom: these figures are void');
  const dry = [...runs].filter(([, list]) => list.some((run) => run.ranDry)).map(([name]) => name);
  if (dry.length > 0) notes.push(`ran out of members before the end: ${dry.join(', ')}`);
  return notes;
}

function perScenario(
  runs: ReadonlyMap<Scenario, unknown>,
  read: (name: Scenario) => number | null,
): Partial<Record<Scenario, number>> {
  return Object.fromEntries([...runs.keys()].map((name) => [name, read(name) ?? 0]));
}

function median(runs: readonly Measured[] | undefined, read: (run: Measured) => number): number | null {
  if (runs === undefined || runs.length === 0) return null;
  const sorted = runs.map(read).sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}

function over(above: number | null, below: number | null): number | null {
  if (above === null || below === null || below === 0) return null;
  return Math.round((above / below) * 100) / 100;
}

function sumOf(runs: readonly Measured[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const { statuses } of runs)
    for (const [status, count] of Object.entries(statuses)) sum[status] = (sum[status] ?? 0) + count;
  return sum;
}

export function tableOf({ ratios, requestsPerSecond, p99Ms, generatorCpuShare, notes }: Report): string {
  const rows = Object.entries(requestsPerSecond).map(
    ([name, rate]) =>
      `${name.padEnd(12)}${String(rate).padStart(10)}${String(p99Ms[name as Scenario] ?? '-').padStart(10)}`,
  );
  const shares = Object.entries(ratios).map(([name, ratio]) => `${name.padEnd(22)}${ratio ?? '-'}`);
  return [
    `${'system'.padEnd(12)}${'per s'.padStart(10)}${'p99 ms'.padStart(10)}`,
    ...rows,
    '',
    ...shares,
    `${'generatorCpuShare'.padEnd(22)}${generatorCpuShare}`,
    ...notes,
    '',
  ].join('\n');
}
