// `npm run -s evidence -- NAME [arguments]`: runs one harness as a stranger would, with --json, and keeps its last line with the commit and the machine in
// docs/evidence/NAME.json. `npm run gen` makes docs/evidence.md of these files, so that no figure is typed by hand.
//
// A run that came to its end without what is wanted (a rate too low, a test that failed, a violation) is kept too, marked `reached: false`, and ends with the harness's
// code: a page that goes on showing the last good run says what is no longer so. Nothing is kept of one that broke off or whose figures are void, nor of one
// that was told to fail, to look at a part only (`notEvidence`) or to measure for a shorter time than it does by itself (`least`): those end with 0 and show nothing
// of the product, or less than the page says. Exit codes: the harness's; 2 usage; 1 when it did not print its result.

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fullRun } from '../bench/messaging/full-run.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Harness {
  /** With arguments that belong to it. */
  readonly verb: readonly string[];
  /** The exit code that says: it came to its end, and something wanted was not reached. Undefined where a failed run has no sound figures. */
  readonly notReached?: number;
  /** Of options with a number: a smaller one makes a shorter run than the page speaks of, and medians of few rounds are those of a moment. */
  readonly least?: Readonly<Record<string, number>>;
}

/** What may be recorded, and what measures it. */
const harnesses: Readonly<Record<string, Harness>> = {
  simulation: { verb: ['simulate'], notReached: 6 },
  controls: { verb: ['simulate', '--controls'], notReached: 6 },
  chaos: { verb: ['chaos'], notReached: 6 },
  bench: { verb: ['bench'] },
  'messaging-bench': {
    verb: ['bench:messaging'],
    notReached: 3,
    least: { '--rounds': fullRun.rounds, '--seconds': fullRun.seconds },
  },
  soak: { verb: ['soak'], notReached: 1 },
  // Beside it, because it has one result an engine, and its rate is of runs in which the host of a shared file lives.
  'soak-host': {
    verb: ['soak', '--engine', 'embedded', '--kill-publisher-every', '3', '--rate-unjudged'],
    notReached: 1,
  },
  engines: { verb: ['test:engines'], notReached: 1 },
  demo: { verb: ['demo'], notReached: 6 },
};

/** Options of the harnesses whose figures are not those of the product as it is: a planted defect, a part of a seed, a shortened round. */
export const notEvidence: readonly string[] = [
  '--defect',
  '--controls',
  '--keep',
  '--without',
  '--quick',
  '--keyed-only',
];

/** One file of docs/evidence/. */
export interface Recorded {
  readonly command: string;
  readonly commit: string;
  /** True when no file differed from the commit, before and after, and it was the same commit. What was recorded before does not count. */
  readonly clean: boolean;
  /** `2026-11-21` */
  readonly measuredOn: string;
  readonly seconds: number;
  /** False: it came to its end, and something wanted was not reached; which, the result says. Of earlier records undefined: only good runs were kept. */
  readonly reached?: boolean;
  readonly machine: {
    readonly processor: string;
    readonly cores: number;
    readonly memoryGiB: number;
    readonly system: string;
    readonly node: string;
  };
  readonly result: Readonly<Record<string, unknown>>;
}

/** What a run is of, at one moment; null where git says nothing: there is none, or no checkout. */
export interface Checkout {
  readonly head: string | null;
  /** Files that differ from the commit, as git lists them; docs/evidence is left out, because recording is what changes it. */
  readonly changes: string | null;
}

export function readCheckout(folder: string): Checkout {
  return {
    head: git(folder, 'rev-parse', '--short=10', 'HEAD'),
    changes: git(
      folder,
      'status',
      '--porcelain',
      '--untracked-files=no',
      '--',
      '.',
      ':(exclude)docs/evidence',
    ),
  };
}

/** Whether what ran from the one moment to the other was the commit and nothing else. */
export function isClean(before: Checkout, after: Checkout): boolean {
  return before.head !== null && before.head === after.head && before.changes === '' && after.changes === '';
}

function git(cwd: string, ...args: string[]): string | null {
  try {
    return execFileSync('git', args, {
      cwd,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return null;
  }
}

function machine(): Recorded['machine'] {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${process.arch}`,
    node: process.versions.node,
  };
}

/** Runs the verb through the same door as `npm run`; its progress goes to stderr. */
function run(args: readonly string[]): Promise<{ readonly code: number; readonly lastLine: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'scripts/run.mjs'), ...args], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      resolve({ code: code ?? 1, lastLine: text.trimEnd().split('\n').at(-1) ?? '' }),
    );
  });
}

/** Null where it is none: no object, or the command line's own word of why it broke off. */
export function resultOf(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
    return typeof (value as { error?: unknown }).error === 'string'
      ? null
      : (value as Record<string, unknown>);
  } catch {
    return null;
  }
}

/** `folder`: where NAME.json is written. */
export async function main(
  [name = '', ...given]: readonly string[],
  folder = join(root, 'docs/evidence'),
): Promise<number> {
  const harness = Object.hasOwn(harnesses, name) ? harnesses[name] : undefined;
  const wrong = harness
    ? (wrongIn(given) ?? changedIn(given, harness.verb) ?? shortenedIn(given, harness.least ?? {}))
    : `usage: evidence NAME [arguments of the harness]; NAME is one of ${Object.keys(harnesses).join(', ')}`;
  if (!harness || wrong !== null) {
    process.stderr.write(`${wrong}\n`);
    return 2;
  }
  const [first = '', ...own] = harness.verb;
  const args = [...own, ...given, '--json'];
  const before = readCheckout(root);
  const began = new Date();
  const { code, lastLine } = await run([first, ...args]);
  const result = resultOf(lastLine);
  if (code !== 0 && (code !== harness.notReached || !result)) {
    process.stderr.write(`it ended with ${code}; nothing was recorded\n`);
    return code;
  }
  if (!result) {
    process.stderr.write('it printed no JSON object as its last line; nothing was recorded\n');
    return 1;
  }
  const recorded: Recorded = {
    command: `npm run -s ${first} -- ${args.join(' ')}`,
    commit: before.head ?? 'unknown',
    clean: isClean(before, readCheckout(root)),
    measuredOn: began.toISOString().slice(0, 10),
    seconds: Math.round((Date.now() - began.getTime()) / 1000),
    reached: code === 0,
    machine: machine(),
    result,
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(recorded, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  const state = code === 0 ? 'recorded' : `it ended with ${code}: recorded as not reached`;
  process.stderr.write(`${state} in ${join(folder, `${name}.json`)}; now run "npm run gen"\n`);
  return code;
}

/** Why a run with these arguments is no evidence, if it is none. */
function wrongIn(given: readonly string[]): string | null {
  const refused = given.filter((arg) =>
    notEvidence.some((option) => arg === option || arg.startsWith(`${option}=`)),
  );
  if (refused.length === 0) return null;
  return `${refused.join(' ')}: a run with ${notEvidence.join(', ')} is no evidence; ask the harness itself`;
}

/** Why a run is not the one of this name, if it is not: the last of two values counts, so what the name stands for could be changed by giving it again. */
function changedIn(given: readonly string[], verb: readonly string[]): string | null {
  const own = verb.filter((part) => part.startsWith('--'));
  const changed = given.filter((arg) => own.some((option) => arg === option || arg.startsWith(`${option}=`)));
  if (changed.length === 0) return null;
  return `${changed.join(' ')}: belongs to what is recorded under this name (${verb.join(' ')})`;
}

/** Why a run with these numbers is too short to be evidence, if it is. What is no number the harness refuses itself. */
function shortenedIn(given: readonly string[], least: Readonly<Record<string, number>>): string | null {
  const short = Object.entries(least).filter(([option, limit]) =>
    given.some((arg, index) => {
      const value = arg === option ? given[index + 1] : valueIn(arg, option);
      return value !== undefined && Number(value) < limit;
    }),
  );
  if (short.length === 0) return null;
  const limits = short.map(([option, limit]) => `${option} below ${limit}`).join(' or ');
  return `a run with ${limits} is shorter than what is recorded, and no evidence; ask the harness itself`;
}

const valueIn = (arg: string, option: string): string | undefined =>
  arg.startsWith(`${option}=`) ? arg.slice(option.length + 1) : undefined;

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
