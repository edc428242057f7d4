/** From the runs of all rounds to what the bench says: medians of the ratios of each round, with their spread, and the medians of both sides. */
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { keys } from './contender.ts';
import type { Measured } from './side.ts';
import {
  type Comparison,
  comparisonOf,
  concurrency,
  type EngineName,
  inFlight,
  type Kind,
  leastRatio,
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

type Range = readonly [number, number];
/** By engine, then by name; null where no round has both sides. */
type Ratios<T> = Readonly<Partial<Record<EngineName, Readonly<Record<string, T | null>>>>>;

export interface Report {
  readonly ratios: Ratios<number> & { readonly keyed?: Ratios<number> };
  /** Lowest and highest of the rounds, by the same names. */
  readonly spread: Ratios<Range> & { readonly keyed?: Ratios<Range> };
  readonly medians: Readonly<Partial<Record<SystemName, SystemFigures>>>;
  /** Ratios without keys that are below what they have to be, one text each: `rabbitmq consume 0.85, at least 0.9`. */
  readonly below: readonly string[];
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

/** As `median`; between two in the middle their geometric mean, because a half and a double are as far from 1 as each other. */
export function medianRatio(ratios: readonly number[]): number | null {
  const middle = median(ratios.map(Math.log));
  return middle === null ? null : Math.exp(middle);
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

function ratiosOf(
  rounds: readonly RoundRuns[],
  { toolkit, others }: Comparison,
): [string, readonly number[]][] {
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

function comparedIn(
  rounds: readonly RoundRuns[],
  engines: readonly EngineName[],
  kind: Kind,
): { readonly ratios: Ratios<number>; readonly spread: Ratios<Range> } {
  const ratios: Partial<Record<EngineName, Record<string, number | null>>> = {};
  const spread: Partial<Record<EngineName, Record<string, Range | null>>> = {};
  for (const engine of engines) {
    const found = ratiosOf(rounds, comparisonOf(engine, kind));
    ratios[engine] = Object.fromEntries(
      found.map(([name, values]) => [
        name,
        values.length === 0 ? null : short(medianRatio(values) as number),
      ]),
    );
    spread[engine] = Object.fromEntries(
      found.map(([name, values]) => [
        name,
        values.length === 0 ? null : [short(Math.min(...values)), short(Math.max(...values))],
      ]),
    );
  }
  return { ratios, spread };
}

function belowIn(ratios: Ratios<number>): readonly string[] {
  return Object.entries(ratios).flatMap(([engine, found]) =>
    Object.entries(comparisonOf(engine as EngineName, 'plain').others).flatMap(([other]) =>
      phases.flatMap((phase) => {
        const name = ratioName(other, phase);
        const ratio = found[name] ?? null;
        const least = leastRatio(other);
        return ratio === null || ratio >= least ? [] : [`${engine} ${name} ${ratio}, at least ${least}`];
      }),
    ),
  );
}

export function reportOf(
  engines: readonly EngineName[],
  kinds: readonly Kind[],
  rounds: readonly RoundRuns[],
  { notRun, setting, commit }: { notRun: Readonly<Record<string, string>>; setting: Setting; commit: string },
): Report {
  const plain = comparedIn(rounds, kinds.includes('plain') ? engines : [], 'plain');
  const keyed = kinds.includes('keyed') ? comparedIn(rounds, engines, 'keyed') : undefined;
  const used = [...new Set(engines.flatMap((engine) => systemsOf(engine, kinds)))];
  return {
    ratios: { ...plain.ratios, ...(keyed && { keyed: keyed.ratios }) },
    spread: { ...plain.spread, ...(keyed && { keyed: keyed.spread }) },
    medians: Object.fromEntries(used.map((system) => [system, figuresOf(rounds, system)])),
    below: belowIn(plain.ratios),
    rounds: rounds.length,
    notRun,
    settings: {
      inFlight,
      concurrency,
      prefetch,
      dataBytes: 200,
      keys,
      seconds: setting.seconds,
      ...Object.fromEntries(used.map((system) => [system, systems[system].settings])),
    },
    machine: machine(),
    commit,
  };
}

const cell = (value: number | null | undefined): string => (value ?? '-').toLocaleString('en-US');

function ratioLines(before: string, ratios: Ratios<number>, spread: Ratios<Range>): string[] {
  return Object.entries(ratios).flatMap(([engine, of]) =>
    Object.entries(of).map(([name, value]) => {
      const range = spread[engine as EngineName]?.[name];
      return `${engine.padEnd(9)} ${(before + name).padEnd(24)} ${cell(value).padStart(6)}  ${range?.join(' to ') ?? ''}`;
    }),
  );
}

export function tableOf({ ratios, spread, medians, notRun, rounds, below }: Report): string {
  const lines: string[] = [`medians of ${rounds} rounds`];
  const { keyed, ...plain } = ratios;
  lines.push(...ratioLines('', plain, spread), ...ratioLines('keyed ', keyed ?? {}, spread.keyed ?? {}));
  lines.push('', `${'a second'.padEnd(23)} ${'publish'.padStart(9)} ${'consume'.padStart(9)}   cpu us`);
  for (const [system, figures] of Object.entries(medians))
    lines.push(
      `${system.padEnd(23)} ${cell(figures.publishPerSecond).padStart(9)} ${cell(figures.consumePerSecond).padStart(9)}   ${cell(figures.publishCpuMicros)}, ${cell(figures.consumeCpuMicros)}`,
    );
  for (const what of below) lines.push(`below what is wanted: ${what}`);
  for (const [what, why] of Object.entries(notRun)) lines.push(`not run: ${what}: ${why}`);
  return `${lines.join('\n')}\n`;
}
