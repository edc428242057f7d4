/**
 * `npm run -s chaos -- --cycles N [--seed S] [--at-once N] [--defect NAME] [--json]`: the real server and its crowd as processes, killed again and again, and audited
 * from the outside. Data on stdout (with --json one object as the last line), everything for people on stderr.
 *
 * Cycles run in lives of ten on one data directory; the lives are numbered S, S+1, ..., two at once by default. Exit codes: 0 all zeros, 2 usage,
 * 6 a violation or a broken cycle, and a run of 100 cycles or more that did not strike as it should (`weaknesses`): too few of its kills while entries
 * were taken, or a failpoint that was never met. With --defect: 0 when it was caught, 6 when not; a broken cycle catches nothing.
 */
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { systemClock } from '@doorbuster/messaging';
import type { CycleResult } from './cycle.ts';
import { type DefectName, defects, isDefectName } from './defects.ts';
import { failpointNames } from './failpoints.ts';
import { runLife } from './life.ts';
import { exitCodeOf, isCatch, weaknesses } from './outcome.ts';
import { cyclesPerLife, planLives, type Plan } from './plan.ts';
import { disturbs } from './server-start.ts';

const usage = 'chaos --cycles N [--seed S] [--at-once N] [--defect NAME] [--json]';
const shownFaults = 12;
/** Of all runs: Node knows by itself what has changed. */
const compileCache = fileURLToPath(new URL('../.cache/chaos-compiled', import.meta.url));

const counted = [
  'kills',
  'killsWhileAdmitting',
  'stops',
  'refusedStarts',
  'acknowledged',
  'oversold',
  'acknowledgedLost',
  'servedTwice',
  'undelivered',
  'fiveHundreds',
  'answersLost',
  'tornTails',
  'mailsRepeated',
] as const;

interface Summary extends Record<(typeof counted)[number], number> {
  cycles: number;
  killsWhileAdmittingShare: number;
  failpoints: Record<string, number>;
  missed: Record<string, number>;
  violations: number;
  secondsPerCycle: number;
  /** With a defect: the cycles until it was caught; null when it was not. */
  cyclesToDetect?: number | null;
}

interface Asked {
  readonly cycles: number;
  readonly seed: number;
  readonly atOnce: number;
  readonly defect: DefectName | null;
  readonly json: boolean;
}

async function main(argv: readonly string[]): Promise<number> {
  const asked = read(argv);
  if (asked === null) return 2;
  mkdirSync(compileCache, { recursive: true });
  const sum = emptySummary();
  const began = systemClock.monotonic();
  let caughtAt: number | null = null;
  const lives = livesOf(asked);
  const tell = (result: CycleResult): void => {
    add(sum, result);
    if (result.faults.length > 0) {
      if (isCatch(result)) caughtAt ??= sum.cycles;
      report(result, asked.defect);
    }
    progress(sum, asked.cycles);
  };
  const worker = async (): Promise<void> => {
    while (asked.defect === null || caughtAt === null) {
      const plans = lives.shift();
      if (plans === undefined) return;
      await runLife(plans, { compileCache, defect: asked.defect }, tell);
    }
  };
  await Promise.all(Array.from({ length: asked.atOnce }, worker));
  sum.killsWhileAdmittingShare = Math.round((1000 * sum.killsWhileAdmitting) / Math.max(1, sum.kills)) / 1000;
  sum.secondsPerCycle = Math.round((systemClock.monotonic() - began) / Math.max(1, sum.cycles)) / 1000;
  if (asked.defect !== null) sum.cyclesToDetect = caughtAt;
  print(sum, asked.json);
  if (asked.defect !== null) return caughtAt === null ? 6 : 0;
  for (const why of weaknesses(sum)) process.stderr.write(`it did not strike as it should: ${why}\n`);
  return exitCodeOf(sum, asked.cycles);
}

function livesOf({ cycles, seed, defect }: Asked): Plan[][] {
  return planLives(seed, cycles).map((plans) => plans.map((plan) => withoutDisturbance(plan, defect)));
}

/** Where the defect changes the very file, a plain kill takes the failpoint's place. */
function withoutDisturbance(plan: Plan, defect: DefectName | null): Plan {
  const { blow, beside } = plan;
  return {
    ...plan,
    blow: blow !== 'kill' && blow !== 'stop' && disturbs(defect, blow) ? 'kill' : blow,
    beside: beside !== null && disturbs(defect, beside) ? null : beside,
  };
}

function emptySummary(): Summary {
  return {
    cycles: 0,
    ...(Object.fromEntries(counted.map((name) => [name, 0])) as Record<(typeof counted)[number], number>),
    killsWhileAdmittingShare: 0,
    failpoints: Object.fromEntries(failpointNames.map((name) => [name, 0])),
    missed: {},
    violations: 0,
    secondsPerCycle: 0,
  };
}

function add(sum: Summary, result: CycleResult): void {
  sum.cycles += 1;
  sum.violations += result.faults.length;
  for (const name of counted) sum[name] += result[name];
  for (const name of result.failpoints) sum.failpoints[name] = (sum.failpoints[name] ?? 0) + 1;
  if (result.missed) sum.missed[result.missed] = (sum.missed[result.missed] ?? 0) + 1;
}

function read(argv: readonly string[]): Asked | null {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        cycles: { type: 'string', default: '20' },
        seed: { type: 'string', default: '1' },
        'at-once': { type: 'string', default: String(Math.min(2, availableParallelism())) },
        defect: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    const [cycles, seed, atOnce] = [values.cycles, values.seed, values['at-once']].map(Number) as [
      number,
      number,
      number,
    ];
    if (![cycles, seed, atOnce].every(Number.isSafeInteger) || cycles < 1 || seed < 0 || atOnce < 1)
      throw new Error('--cycles, --seed and --at-once are whole numbers');
    const { defect, json } = values;
    if (defect !== undefined && !isDefectName(defect))
      throw new Error(`no defect "${defect}": one of ${Object.keys(defects).join(', ')}`);
    return { cycles, seed, atOnce, defect: defect ?? null, json };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nusage: ${usage}\n`);
    return null;
  }
}

function report({ name, faults }: CycleResult, defect: DefectName | null): void {
  const life = /^life-(\d+)-/.exec(name)?.[1];
  for (const fault of faults.slice(0, shownFaults)) process.stderr.write(`  ${fault}\n`);
  const planted = defect === null ? '' : ` --defect ${defect}`;
  process.stderr.write(
    `  the same plan: npm run -s chaos -- --cycles ${cyclesPerLife} --seed ${life}${planted}\n`,
  );
}

function progress({ cycles, kills, violations }: Summary, of: number): void {
  if (process.stderr.isTTY)
    process.stderr.write(`\r${cycles} of ${of} cycles, ${kills} kills, ${violations} violations `);
}

function print(sum: Summary, json: boolean): void {
  if (json) return void process.stdout.write(`${JSON.stringify(sum)}\n`);
  const { failpoints, missed, ...plain } = sum;
  const row = ([name, value]: [string, unknown]): string => `  ${name.padEnd(26)} ${String(value)}`;
  const lines = [
    ...Object.entries(plain).map(row),
    '  failpoints',
    ...Object.entries(failpoints).map(([name, n]) => `  ${row([name, n])}`),
    ...Object.entries(missed).map(([name, n]) => `  missed: ${name} ${n}`),
  ];
  process.stdout.write(`${process.stderr.isTTY ? '\n' : ''}${lines.join('\n')}\n`);
}

process.exitCode = await main(process.argv.slice(2));
