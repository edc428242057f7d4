/** Medians, ratios, and a table for people. Ratios are of the medians; the figures themselves say more of the machine than of us. */
import { availableParallelism } from 'node:os';
import type { LoadCost } from './load-ledger.ts';
import type { CpuPerRequest, Deliveries, Run } from './round.ts';
import type { StoredResult } from './stored.ts';
import type { Scenario } from './system.ts';

type Ratio = number | null;
type PerScenario<T> = Readonly<Partial<Record<Scenario, T>>>;

/** Null where it was not measured, or every run was void. */
export interface Report {
  readonly ratios: {
    readonly admissionOverBare: Ratio;
    readonly crowdOverBare: Ratio;
    readonly soldOutOverBare: Ratio;
    readonly admissionOverNaive: Ratio;
    readonly p99OverBareP99: Ratio;
    readonly costPerEntry1e6Over1e4: Ratio;
    readonly thousandCampaignsOverOne: Ratio;
  };
  /** What was asked beside them. */
  readonly ratiosBeside: {
    readonly admissionOverBareSameSize: Ratio;
    readonly admissionOverInMemory: Ratio;
    readonly thousandCampaignsSpreadOverOne: Ratio;
    readonly cpuPerEntry1e6Over1e4: Ratio;
  };
  readonly cpuMicrosPerRequest: PerScenario<CpuPerRequest | null>;
  readonly bytesPerMember: number | null;
  readonly diskBytesPerEntry: number | null;
  readonly firstRequestToLastDeliveryMs: number | null;
  readonly recoveryMs: number | null;
  readonly requestsPerSecond: PerScenario<number | null>;
  readonly p99Ms: PerScenario<number | null>;
  readonly answerBytes: PerScenario<number | null>;
  /** Of the median round of `admission`. */
  readonly deliveries: Deliveries | null;
  readonly microsPerEntry: { readonly few: LoadCost | null; readonly many: LoadCost | null };
  /** The highest of all runs that count, of one core. */
  readonly generatorCpuShare: number;
  readonly voidRuns: number;
  readonly statuses: PerScenario<Readonly<Record<string, number>>>;
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly notes: readonly string[];
}

export interface Setting {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  /** A smoke run counts what is void and shows its figures nevertheless. */
  readonly quick: boolean;
}

export function reportOf(
  all: ReadonlyMap<Scenario, readonly Run[]>,
  stored: StoredResult | null,
  setting: Setting,
): Report {
  const counts = (run: Run): boolean => setting.quick || run.fault === null;
  const runs = new Map([...all].map(([name, list]) => [name, list.filter(counts)] as const));
  const rate = (name: Scenario): Ratio => medianOf(runs.get(name), (run) => run.requestsPerSecond);
  const p99 = (name: Scenario): Ratio => medianOf(runs.get(name), (run) => run.latencyMs.p99);
  const few = medianCost(stored?.cost.few);
  const many = medianCost(stored?.cost.many);
  return {
    ratios: {
      admissionOverBare: over(rate('admission'), rate('bare')),
      crowdOverBare: over(rate('crowd'), rate('bare')),
      soldOutOverBare: over(rate('soldOut'), rate('bare')),
      admissionOverNaive: over(rate('admission'), rate('naive')),
      p99OverBareP99: over(p99('admission'), p99('bare')),
      costPerEntry1e6Over1e4: over(many?.time ?? null, few?.time ?? null),
      // What an entry costs is the inverse of how many there are in a second.
      thousandCampaignsOverOne: over(rate('admission'), rate('thousandPresent')),
    },
    ratiosBeside: {
      admissionOverBareSameSize: over(rate('admission'), rate('bareSameSize')),
      admissionOverInMemory: over(rate('admission'), rate('inMemory')),
      thousandCampaignsSpreadOverOne: over(rate('admission'), rate('thousandSpread')),
      cpuPerEntry1e6Over1e4: over(many?.cpu ?? null, few?.cpu ?? null),
    },
    cpuMicrosPerRequest: perScenario(runs, medianCpu),
    bytesPerMember: median(stored?.bytesPerMember ?? []),
    diskBytesPerEntry: stored?.diskBytesPerEntry ?? null,
    firstRequestToLastDeliveryMs: median(
      (runs.get('crowd') ?? []).flatMap((run) => run.firstRequestToLastDeliveryMs ?? []),
    ),
    recoveryMs: median(stored?.recoveryMs ?? []),
    requestsPerSecond: perScenario(runs, (list) => medianOf(list, (run) => run.requestsPerSecond)),
    p99Ms: perScenario(runs, (list) => medianOf(list, (run) => run.latencyMs.p99)),
    answerBytes: perScenario(runs, (list) => medianOf(list, (run) => run.answerBytes)),
    deliveries: medianRun(runs.get('admission'))?.deliveries ?? null,
    microsPerEntry: { few, many },
    generatorCpuShare: Math.max(0, ...[...runs.values()].flat().map((run) => run.shares.generator)),
    voidRuns: [...all.values()].flat().filter((run) => run.fault !== null).length,
    statuses: perScenario(all, sumOf),
    rounds: setting.rounds,
    seconds: setting.seconds,
    connections: setting.connections,
    notes: notesOf(all, runs, setting),
  };
}

function notesOf(
  all: ReadonlyMap<Scenario, readonly Run[]>,
  runs: ReadonlyMap<Scenario, readonly Run[]>,
  { quick }: Setting,
): string[] {
  const names = (which: (list: readonly Run[], name: Scenario) => boolean): string =>
    [...all]
      .filter(([name, list]) => which(list, name))
      .map(([name]) => name)
      .join(', ');
  const cores = availableParallelism();
  const notes = [`${cores} cores, load on the same machine, a closed loop on loopback`];
  if (quick) notes.push('a smoke run: these figures mean nothing');
  const dry = names((list) => list.some((run) => run.ranDry));
  if (dry) notes.push(`ran out of members before the end: ${dry}`);
  const lost = names((list, name) => list.length > 0 && runs.get(name)?.length === 0);
  if (lost) notes.push(`no run with headroom: ${lost}`);
  return notes;
}

function perScenario<T>(
  runs: ReadonlyMap<Scenario, readonly Run[]>,
  read: (list: readonly Run[]) => T,
): PerScenario<T> {
  return Object.fromEntries([...runs].map(([name, list]) => [name, read(list)])) as PerScenario<T>;
}

/** The lower of the two in the middle, where there are two. */
export function median(values: readonly number[]): number | null {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? null;
}

function medianOf(runs: readonly Run[] | undefined, read: (run: Run) => number): number | null {
  return median((runs ?? []).map(read));
}

function medianRun(runs: readonly Run[] | undefined): Run | undefined {
  const rate = medianOf(runs, (run) => run.requestsPerSecond);
  return runs?.find((run) => run.requestsPerSecond === rate);
}

/** Each figure by itself. */
function medianCpu(runs: readonly Run[]): CpuPerRequest | null {
  const known = runs.flatMap((run) => run.cpuMicrosPerRequest ?? []);
  const server = median(known.map((cpu) => cpu.server));
  const main = median(known.map((cpu) => cpu.main));
  if (server === null || main === null) return null;
  return { server, main, writer: median(known.flatMap((cpu) => cpu.writer ?? [])) };
}

function medianCost(costs: readonly LoadCost[] | undefined): LoadCost | null {
  const time = median((costs ?? []).map((cost) => cost.time));
  return costs?.find((cost) => cost.time === time) ?? null;
}

function over(above: number | null, below: number | null): Ratio {
  if (above === null || below === null || below === 0) return null;
  return Math.round((above / below) * 100) / 100;
}

function sumOf(runs: readonly Run[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const { statuses } of runs)
    for (const [status, count] of Object.entries(statuses)) sum[status] = (sum[status] ?? 0) + count;
  return sum;
}

const columns = [16, 10, 10, 10, 12, 12, 12];
const line = (...cells: readonly (string | number | null | undefined)[]): string =>
  cells
    .map((cell, i) => {
      const text = String(cell ?? '-');
      return i === 0 ? text.padEnd(columns[i] ?? 0) : text.padStart(columns[i] ?? 0);
    })
    .join('');

export function tableOf(report: Report): string {
  const { ratios, ratiosBeside, cpuMicrosPerRequest, deliveries, microsPerEntry } = report;
  const systems = (Object.keys(report.requestsPerSecond) as Scenario[]).map((name) => {
    const cpu = cpuMicrosPerRequest[name];
    const { requestsPerSecond, p99Ms, answerBytes } = report;
    return line(
      name,
      requestsPerSecond[name],
      p99Ms[name],
      answerBytes[name],
      cpu?.server,
      cpu?.main,
      cpu?.writer,
    );
  });
  const figures = Object.entries({
    ...ratios,
    ...ratiosBeside,
    bytesPerMember: report.bytesPerMember,
    diskBytesPerEntry: report.diskBytesPerEntry,
    microsPerEntryAtFew: microsPerEntry.few?.time,
    microsPerEntryAtMany: microsPerEntry.many?.time,
    firstRequestToLastDeliveryMs: report.firstRequestToLastDeliveryMs,
    recoveryMs: report.recoveryMs,
    deliveriesPerSecondDuringRun: deliveries?.perSecondDuringRun,
    deliveriesPerSecondAfterwards: deliveries?.perSecondAfterwards,
    deliveriesWaitingAtTheEnd: deliveries?.backlogAtEnd,
    generatorCpuShare: report.generatorCpuShare,
    voidRuns: report.voidRuns,
  });
  return [
    line('system', 'per s', 'p99 ms', 'bytes', 'server us', 'main us', 'writer us'),
    ...systems,
    '',
    ...figures.map(([name, value]) => `${name.padEnd(34)}${value ?? '-'}`),
    ...report.notes,
    '',
  ].join('\n');
}
