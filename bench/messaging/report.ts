/** From the runs of all rounds to what the bench says: medians of the ratios of each round, with their spread, and the medians of both sides. */
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import type { Measured } from './side.ts';
import {
  comparisons,
  concurrency,
  type EngineName,
  inFlight,
  type Phase,
  phases,
  prefetch,
  ratioName,
  type SystemName,
  systems,
  systemsOf,
} from './systems.ts';

/** What one round measured of one system. */
export type RoundRuns = ReadonlyMap<SystemName, Readonly<Partial<Record<Phase, Measured>>>>;

export interface Setting {
  readonly quick: boolean;
  readonly seconds: number;
}

interface SystemFigures {
  readonly publishPerSecond: number | null;
  readonly consumePerSecond: number | null;
  /** Processor time of the process a message; the server's is not in it. */
  readonly publishCpuMicros: number | null;
  readonly consumeCpuMicros: number | null;
}

export interface Report {
  readonly ratios: Readonly<Partial<Record<EngineName, Readonly<Record<string, number | null>>>>>;
  /** Lowest and highest of the rounds, by the same names. */
  readonly spread: Readonly<
    Partial<Record<EngineName, Readonly<Record<string, readonly [number, number] | null>>>>
  >;
  readonly medians: Readonly<Partial<Record<SystemName, SystemFigures>>>;
  readonly rounds: number;
  readonly notRun: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, string | number>>;
  readonly machine: Readonly<Record<string, string | number>>;
  readonly commit: string;
}

export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] ?? null;
  return ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

const short = (value: number): number => Number(value.toPrecision(3));

/** The ratios of one comparison, one for each round that has both sides. */
function ratiosOver(
  rounds: readonly RoundRuns[],
  above: SystemName,
  below: SystemName,
  phase: Phase,
): number[] {
  return rounds.flatMap((runs) => {
    const top = runs.get(above)?.[phase]?.perSecond;
    const bottom = runs.get(below)?.[phase]?.perSecond;
    return top === undefined || bottom === undefined || bottom === 0 ? [] : [top / bottom];
  });
}

function ratiosOf(rounds: readonly RoundRuns[], engine: EngineName): [string, readonly number[]][] {
  const { toolkit, others } = comparisons[engine];
  return Object.entries(others).flatMap(([name, other]) =>
    phases.map((phase): [string, readonly number[]] => [
      ratioName(name, phase),
      ratiosOver(rounds, toolkit, other, phase),
    ]),
  );
}

function figuresOf(rounds: readonly RoundRuns[], system: SystemName): SystemFigures {
  const of = (phase: Phase, figure: 'perSecond' | 'cpuMicros'): number | null => {
    const middle = median(rounds.flatMap((runs) => runs.get(system)?.[phase]?.[figure] ?? []));
    return middle === null ? null : short(middle);
  };
  return {
    publishPerSecond: of('publish', 'perSecond'),
    consumePerSecond: of('consume', 'perSecond'),
    publishCpuMicros: of('publish', 'cpuMicros'),
    consumeCpuMicros: of('consume', 'cpuMicros'),
  };
}

const machine = (): Report['machine'] => ({
  processor: cpus()[0]?.model ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  system: `${process.platform} ${process.arch}`,
  node: process.versions.node,
  loadAverageAtEnd: short(loadavg()[0] ?? 0),
});

export function reportOf(
  engines: readonly EngineName[],
  rounds: readonly RoundRuns[],
  { notRun, setting, commit }: { notRun: Readonly<Record<string, string>>; setting: Setting; commit: string },
): Report {
  const ratios: Partial<Record<EngineName, Record<string, number | null>>> = {};
  const spread: Partial<Record<EngineName, Record<string, readonly [number, number] | null>>> = {};
  for (const engine of engines) {
    const found = ratiosOf(rounds, engine);
    ratios[engine] = Object.fromEntries(
      found.map(([name, values]) => [name, values.length === 0 ? null : short(median(values) as number)]),
    );
    spread[engine] = Object.fromEntries(
      found.map(([name, values]) => [
        name,
        values.length === 0 ? null : [short(Math.min(...values)), short(Math.max(...values))],
      ]),
    );
  }
  const used = [...new Set(engines.flatMap(systemsOf))];
  return {
    ratios,
    spread,
    medians: Object.fromEntries(used.map((system) => [system, figuresOf(rounds, system)])),
    rounds: rounds.length,
    notRun,
    settings: {
      inFlight,
      concurrency,
      prefetch,
      dataBytes: 200,
      seconds: setting.seconds,
      ...Object.fromEntries(used.map((system) => [system, systems[system].settings])),
    },
    machine: machine(),
    commit,
  };
}

const cell = (value: number | null | undefined): string => (value ?? '-').toLocaleString('en-US');

export function tableOf({ ratios, spread, medians, notRun, rounds }: Report): string {
  const lines: string[] = [`medians of ${rounds} rounds`];
  for (const [engine, of] of Object.entries(ratios))
    for (const [name, value] of Object.entries(of)) {
      const range = spread[engine as EngineName]?.[name];
      lines.push(
        `${engine.padEnd(9)} ${name.padEnd(24)} ${cell(value).padStart(6)}  ${range?.join(' to ') ?? ''}`,
      );
    }
  lines.push('', `${'a second'.padEnd(18)} ${'publish'.padStart(9)} ${'consume'.padStart(9)}   cpu us`);
  for (const [system, figures] of Object.entries(medians))
    lines.push(
      `${system.padEnd(18)} ${cell(figures.publishPerSecond).padStart(9)} ${cell(figures.consumePerSecond).padStart(9)}   ${cell(figures.publishCpuMicros)}, ${cell(figures.consumeCpuMicros)}`,
    );
  for (const [what, why] of Object.entries(notRun)) lines.push(`not run: ${what}: ${why}`);
  return `${lines.join('\n')}\n`;
}
