/**
 * `npm run -s simulate -- --seeds N [--seed S] [--jobs N] [--defect NAME] [--json]`: runs seeds and prints what they found; `--controls` plants every defect and
 * prints which were caught. Data on stdout (with --json one object as the last line), everything for people on stderr. Exit codes: 0 no violation
 * (with --defect: it was caught; with --controls: all were), 2 usage, 6 otherwise, 99 the quoted line of a defect is gone.
 *
 * Seeds are S, S+1, ...; without --seed they begin at 1, so that everybody runs the same ones. A violation prints its seed, the commit, and the
 * history shortened as far as its time allows (`--shrink` seconds), with the command that replays it (`--keep`, `--without`).
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { runControls } from './controls.ts';
import { type FaultKind, faultKinds } from './fault-kinds.ts';
import { readParts, writeParts } from './parts.ts';
import { plant } from './plant.ts';
import { type DefectName, isDefectName, planted } from './planted.ts';
import { JobFailed, runInJobs } from './processes.ts';
import type { Part, SeedResult } from './run-seed.ts';
import type * as Product from './seeds.ts';
import { type SeedLine, type Summary, sum } from './summary.ts';

const usage =
  'simulate --seeds N [--seed S] [--jobs N] [--defect NAME] [--keep PARTS] [--without KINDS] [--shrink SECONDS] [--controls] [--json]';
const shownFindings = 5;
const shownLines = 200;
const violationFound = 6;

async function main(argv: readonly string[]): Promise<number> {
  const asked = read(argv);
  if (asked === null) return 2;
  try {
    return asked.controls ? await controls(asked) : await seeds(asked);
  } catch (error) {
    if (!(error instanceof JobFailed)) throw error;
    process.stderr.write(`${error.message}\n`);
    return error.exitCode;
  }
}

async function controls({ jobs, json }: Asked): Promise<number> {
  const summary = await runControls(jobs, (name, found, rule) => {
    const outcome = found === null ? 'NOT CAUGHT' : `seed ${found}, by ${rule}`;
    process.stderr.write(`  ${name.padEnd(40)} ${outcome}\n`);
  });
  const { caught, controls: all } = summary;
  process.stdout.write(
    json ? `${JSON.stringify(summary)}\n` : `${caught} of ${all} planted defects caught\n`,
  );
  return caught === all ? 0 : violationFound;
}

async function seeds(asked: Asked): Promise<number> {
  const { first, defect } = asked;
  const check = defect === null ? null : plant(defect);
  const product = await import('./seeds.ts');
  check?.();
  const lines: SeedLine[] = [];
  let bad: SeedResult | null = null;
  if (asked.jobs > 1 && check === null && asked.part === null) {
    lines.push(...(await runInJobs(first, asked.seeds, asked.jobs, (line) => tell(line))));
    const worst = lines.find(({ findings }) => findings.length > 0);
    if (worst !== undefined) bad = await product.runSeed(worst.seed);
  } else {
    for (let i = 0; i < asked.seeds; i += 1) {
      const result = await product.runSeed(String(first + i), asked.part ?? product.whole);
      const line = product.lineOf(result);
      lines.push(line);
      tell(line);
      if (result.findings.length > 0) bad ??= result;
      if (bad !== null && check !== null) break;
    }
  }
  if (bad !== null) await report(bad, asked, product);
  const summary: Summary = {
    ...sum(lines),
    ...(check && {
      seedsToDetect: bad === null ? null : lines.length,
      caughtBy: bad?.findings[0]?.rule ?? null,
    }),
  };
  print(summary, asked.json);
  const found = summary.violations > 0;
  return found === (check !== null) ? 0 : violationFound;
}

/** Seeds that found something, as they end. */
function tell({ seed, findings }: SeedLine): void {
  if (findings.length === 0) return;
  process.stderr.write(`seed ${seed}: ${findings.length} violations\n`);
  for (const { rule, detail } of findings.slice(0, shownFindings))
    process.stderr.write(`  ${rule}: ${detail}\n`);
}

async function report(
  found: SeedResult,
  asked: Asked,
  { shrink, systemClock }: Pick<typeof Product, 'shrink' | 'systemClock'>,
): Promise<void> {
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  const replay = `npm run -s simulate -- --seed ${found.seed}${asked.defect === null ? '' : ` --defect ${asked.defect}`}`;
  say(`seed ${found.seed}, commit ${commit()}`);
  say(`  replay: ${replay}`);
  const end = systemClock.monotonic() + asked.shrinkSeconds * 1_000;
  const isOver = (): boolean => systemClock.monotonic() >= end;
  const shrunk = isOver() || asked.part !== null ? null : await shrink(found, isOver);
  if (shrunk !== null) {
    const { part, result, runs } = shrunk;
    const without = part.without.size === 0 ? '' : ` --without ${[...part.without].join(',')}`;
    say(`  shortened in ${runs} runs from ${found.steps.length} steps to ${result.steps.length}:`);
    say(`  ${replay} --keep ${writeParts(part.keep ?? [])}${without}`);
    for (const { rule, detail } of result.findings.slice(0, shownFindings)) say(`  ${rule}: ${detail}`);
  }
  const { history } = shrunk?.result ?? found;
  if (history.length > shownLines) say(`  ... ${history.length - shownLines} lines before`);
  for (const line of history.slice(-shownLines)) say(`  ${line}`);
}

function commit(): string {
  try {
    const cwd = new URL('.', import.meta.url);
    return execFileSync('git', ['rev-parse', 'HEAD'], {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'unknown';
  }
}

interface Asked {
  readonly seeds: number;
  readonly first: number;
  readonly jobs: number;
  readonly defect: DefectName | null;
  readonly controls: boolean;
  /** Null: whole seeds. */
  readonly part: Part | null;
  readonly shrinkSeconds: number;
  readonly json: boolean;
}

function read(argv: readonly string[]): Asked | null {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        seeds: { type: 'string' },
        seed: { type: 'string' },
        jobs: { type: 'string', default: '1' },
        defect: { type: 'string' },
        controls: { type: 'boolean', default: false },
        keep: { type: 'string' },
        without: { type: 'string' },
        shrink: { type: 'string', default: '20' },
        json: { type: 'boolean', default: false },
      },
    });
    const seeds = values.seeds ?? (values.seed === undefined ? '100' : '1');
    const { defect } = values;
    if (defect !== undefined && !isDefectName(defect))
      throw new Error(`no defect "${defect}": one of ${Object.keys(planted).join(', ')}`);
    return {
      seeds: wholeNumber('--seeds', seeds, 1),
      first: wholeNumber('--seed', values.seed ?? '1', 0),
      jobs: wholeNumber('--jobs', values.jobs, 1),
      defect: defect ?? null,
      controls: values.controls,
      part: readPart(values.keep, values.without),
      shrinkSeconds: wholeNumber('--shrink', values.shrink, 0),
      json: values.json,
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nusage: ${usage}\n`);
    return null;
  }
}

function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < least)
    throw new Error(`${name} is a whole number from ${least}`);
  return value;
}

function readPart(keep: string | undefined, without: string | undefined): Part | null {
  if (keep === undefined && without === undefined) return null;
  const kept = keep === undefined ? null : readParts(keep);
  if (keep !== undefined && kept === null) throw new Error('--keep names steps, for example 3,9-12');
  const kinds = without?.split(',') ?? [];
  const unknown = kinds.find((kind) => !faultKinds.includes(kind as FaultKind));
  if (unknown !== undefined) throw new Error(`no fault "${unknown}": one of ${faultKinds.join(', ')}`);
  return { keep: kept, without: new Set(kinds as FaultKind[]) };
}

function print(summary: Summary, json: boolean): void {
  if (json) return void process.stdout.write(`${JSON.stringify(summary)}\n`);
  const counts = (of: Readonly<Record<string, number>>): string[] =>
    Object.entries(of).map(([name, count]) => `    ${name.padEnd(44)} ${count}`);
  process.stdout.write(
    [
      `${summary.seeds} seeds, ${summary.commands} commands, ${summary.simulatedHours} simulated hours`,
      `  at least ${summary.minCommands} commands, ${summary.minFaults} faults of ${summary.minFaultKinds} kinds a seed`,
      '  faults',
      ...counts(summary.faults),
      '  reached',
      ...counts(summary.coverage),
      '  not reached',
      ...summary.unreached.map((name) => `    ${name}`),
      `  violations ${summary.violations}`,
      `  trace ${summary.traceHash}`,
      '',
    ].join('\n'),
  );
}

process.exitCode = await main(process.argv.slice(2));
