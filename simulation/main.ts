/**
 * `npm run -s simulate -- --seeds N [--seed S] [--defect NAME] [--json]`: runs seeds and prints what they found. Data on stdout (with --json one object as
 * the last line), everything for people on stderr. Exit codes: 0 no violation, 2 usage, 6 a violation (with --defect: 0 when it was caught).
 *
 * Seeds are S, S+1, ...; without --seed they begin at 1, so that everybody runs the same ones. A violation prints its seed and the
 * command that replays it.
 */
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { defects, isDefectName } from './defects.ts';
import { runSeed, type SeedResult } from './run-seed.ts';
import { faultKinds } from './world.ts';

const usage = 'simulate --seeds N [--seed S] [--defect NAME] [--json]';
const shownViolations = 3;
const shownLines = 60;

export interface Summary {
  readonly seeds: number;
  readonly commands: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly violations: number;
  readonly simulatedHours: number;
  readonly traceHash: string;
  /** Answers by verdict and records by type: what these seeds reached. */
  readonly verdicts: Readonly<Record<string, number>>;
  readonly records: Readonly<Record<string, number>>;
  /** With a defect: the seeds it took until it was caught; null when it was not. */
  readonly seedsToDetect?: number | null;
}

async function main(argv: readonly string[]): Promise<number> {
  const asked = read(argv);
  if (asked === null) return 2;
  const make = asked.defect === null ? undefined : defects[asked.defect];
  const hash = createHash('sha256');
  const total = { commands: 0, simulatedMs: 0, violations: 0 };
  const faults = new Map<string, number>(faultKinds.map((kind) => [kind, 0]));
  const verdicts = new Map<string, number>();
  const records = new Map<string, number>();
  let seeds = 0;
  let detectedAfter: number | null = null;
  for (; seeds < asked.seeds && detectedAfter === null; ) {
    const result = await runSeed(String(asked.first + seeds), make?.());
    seeds += 1;
    hash.update(result.traceHash);
    total.commands += result.commands;
    total.simulatedMs += result.simulatedMs;
    addTo(faults, result.faults);
    addTo(verdicts, result.verdicts);
    addTo(records, result.records);
    if (result.findings.length === 0) continue;
    total.violations += result.findings.length;
    if (make) detectedAfter = seeds;
    report(result, asked.defect, asked.seeds === 1);
  }
  const summary: Summary = {
    seeds,
    commands: total.commands,
    faults: Object.fromEntries(faults),
    violations: total.violations,
    simulatedHours: Math.round(total.simulatedMs / 36_000) / 100,
    traceHash: hash.digest('hex'),
    verdicts: sorted(verdicts),
    records: sorted(records),
    ...(make && { seedsToDetect: detectedAfter }),
  };
  print(summary, asked.json);
  if (make) return detectedAfter === null ? 6 : 0;
  return summary.violations === 0 ? 0 : 6;
}

function addTo(sum: Map<string, number>, counts: ReadonlyMap<string, number>): void {
  for (const [name, count] of counts) sum.set(name, (sum.get(name) ?? 0) + count);
}

function sorted(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort(([a], [b]) => a.localeCompare(b)));
}

interface Asked {
  readonly seeds: number;
  readonly first: number;
  readonly defect: keyof typeof defects | null;
  readonly json: boolean;
}

function read(argv: readonly string[]): Asked | null {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        seeds: { type: 'string' },
        seed: { type: 'string' },
        defect: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    const first = Number(values.seed ?? 1);
    const seeds = Number(values.seeds ?? (values.seed === undefined ? 100 : 1));
    if (!Number.isSafeInteger(first) || first < 0 || !Number.isSafeInteger(seeds) || seeds < 1)
      throw new Error('--seeds and --seed are whole numbers');
    const { defect } = values;
    if (defect !== undefined && !isDefectName(defect))
      throw new Error(`no defect "${defect}": one of ${Object.keys(defects).join(', ')}`);
    return { seeds, first, defect: defect ?? null, json: values.json };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nusage: ${usage}\n`);
    return null;
  }
}

function report({ seed, findings, history }: SeedResult, defect: string | null, whole: boolean): void {
  const lines = findings.slice(0, whole ? findings.length : shownViolations);
  process.stderr.write(`seed ${seed}: ${findings.length} violations\n`);
  for (const { rule, detail } of lines) process.stderr.write(`  ${rule}: ${detail}\n`);
  const with_ = defect === null ? '' : ` --defect ${defect}`;
  process.stderr.write(`  replay: npm run -s simulate -- --seed ${seed}${with_}\n`);
  if (whole) for (const line of history.slice(-shownLines)) process.stderr.write(`  ${line}\n`);
}

function print(summary: Summary, json: boolean): void {
  if (json) return void process.stdout.write(`${JSON.stringify(summary)}\n`);
  const faults = Object.entries(summary.faults).map(([kind, count]) => `    ${kind.padEnd(20)} ${count}`);
  process.stdout.write(
    [
      `${summary.seeds} seeds, ${summary.commands} commands, ${summary.simulatedHours} simulated hours`,
      '  faults',
      ...faults,
      `  violations ${summary.violations}`,
      `  trace ${summary.traceHash}`,
      '',
    ].join('\n'),
  );
}

process.exitCode = await main(process.argv.slice(2));
