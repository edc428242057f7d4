// `npm run fuzz`: a real server, and every operation of its OpenAPI document under requests that nobody means well. First our own fuzz
// (packages/server/src/acceptance/testing/openapi-fuzz.ts), which the tests run too, with few requests and one seed; then Schemathesis, from Python's
// index, where there is a Python to run it: installed into .cache/ once, bounded in time and in examples, and named as not run where it cannot be.
//
//   npm run -s fuzz -- --seed 7 --per-operation 500 --examples 50 --json
//
// stdout: with --json one line at the end, else a summary. stderr: what is under way, and every fault with the request that shows it.
// Exit code 0 without a fault; 1 with one; 2 for wrong arguments.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type FuzzTarget, startFuzzTarget } from '../packages/server/src/acceptance/testing/fuzz-target.ts';
import { verified } from '../packages/server/src/acceptance/testing/judge.ts';
import { documentOf, type FuzzResult, fuzz } from '../packages/server/src/acceptance/testing/openapi-fuzz.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const hooks = fileURLToPath(new URL('fuzz', import.meta.url));
const version = '4.32.5';
const installMs = 180_000;
const runMs = 400_000;

type Schemathesis =
  | { readonly version: string; readonly cases: number; readonly failures: number }
  | { readonly skipped: string };

const say = (text: string): void => void process.stderr.write(`${text}\n`);

const wholeNumber = (name: string, text: string): number => {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  say(`--${name} is a whole number, not "${text}"`);
  process.exit(2);
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      'per-operation': { type: 'string', default: '200' },
      examples: { type: 'string', default: '30' },
      json: { type: 'boolean', default: false },
    },
  });
  const seed = wholeNumber('seed', values.seed);
  const perOperation = wholeNumber('per-operation', values['per-operation']);
  const examples = wholeNumber('examples', values.examples);

  say(`seed ${seed}`);
  const { result, ledger } = await onTarget((target) => ownFuzz(target, { seed, perOperation }));
  for (const fault of [...result.faults, ...ledger]) say(fault);
  const schemathesis =
    examples === 0 ? { skipped: 'not asked for (--examples 0)' } : await runSchemathesis(seed, examples);

  const { requests, operations, statuses, unreached } = result;
  const faults = result.faults.length + ledger.length;
  const line = { seed, operations, requests, statuses, unreached, faults, schemathesis };
  process.stdout.write(values.json ? `${JSON.stringify(line)}\n` : summaryOf(line));
  const failures = 'failures' in schemathesis ? schemathesis.failures : 0;
  process.exitCode = faults + failures === 0 ? 0 : 1;
}

async function onTarget<T>(work: (target: FuzzTarget) => Promise<T>): Promise<T> {
  const target = await startFuzzTarget({ config: { trustProxy: true } });
  try {
    return await work(target);
  } finally {
    await target.shop.stop();
  }
}

async function ownFuzz(
  target: FuzzTarget,
  plan: { readonly seed: number; readonly perOperation: number },
): Promise<{ result: FuzzResult; ledger: readonly string[] }> {
  const result = await fuzz(target, await documentOf(target.url), plan);
  return { result, ledger: await verified(target.shop) };
}

async function runSchemathesis(seed: number, examples: number): Promise<Schemathesis> {
  const program = await installed();
  if (program === null)
    return { skipped: 'no Python 3 with venv and pip here, or its index is out of reach' };
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
  try {
    return await onTarget(async ({ url, keys, session, shop }) => {
      const target = join(folder, 'target.json');
      writeFileSync(target, JSON.stringify({ keys, session }));
      // Live events never end, which every check would take for a server that does not answer.
      const args = ['--config-file', join(hooks, 'schemathesis.toml'), 'run', `${url}/openapi.json`];
      args.push('--exclude-path-regex', '/live$', '--phases', 'examples,coverage,fuzzing');
      args.push('--max-examples', String(examples), '--seed', String(seed), '--request-timeout', '20');
      args.push('--no-color');
      const env = {
        DOORBUSTER_FUZZ_TARGET: target,
        SCHEMATHESIS_HOOKS: 'schemathesis_hooks',
        PYTHONPATH: hooks,
      };
      const { code, output } = await run(program, args, runMs, { env, cwd: folder });
      const ledger = await verified(shop);
      if (code !== 0 || ledger.length > 0) say([output, ...ledger].join('\n'));
      const cases = numberIn(output, / (\d+) generated/) ?? 0;
      if (cases === 0) throw new Error(`Schemathesis sent nothing: ${output.slice(-2_000)}`);
      const found = numberIn(output, /found (\d+) unique failure/) ?? (code === 0 ? 0 : 1);
      return { version, cases, failures: found + ledger.length };
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const numberIn = (text: string, pattern: RegExp): number | null => {
  const number = pattern.exec(text)?.[1];
  return number === undefined ? null : Number(number);
};

/** The path of the program in an environment of its own; null where there can be none. */
async function installed(): Promise<string | null> {
  const environment = join(root, '.cache', `schemathesis-${version}`);
  const program = join(environment, 'bin', 'schemathesis');
  if (existsSync(program)) return program;
  say('installing Schemathesis into .cache/');
  const made = await run('python3', ['-m', 'venv', environment], installMs);
  if (made.code !== 0) return null;
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', `schemathesis==${version}`];
  const { code } = await run(join(environment, 'bin', 'python'), pip, installMs);
  // Half an installation would be taken for a whole one by the next run.
  if (code !== 0) rmSync(environment, { recursive: true, force: true });
  return code === 0 ? program : null;
}

interface Ended {
  readonly code: number | string;
  readonly output: string;
}

/** Never rejects: a program that is not there has ended with the reason. */
function run(
  program: string,
  args: readonly string[],
  limitMs: number,
  { env = {}, cwd = root }: { env?: Readonly<Record<string, string>>; cwd?: string } = {},
): Promise<Ended> {
  const ended = Promise.withResolvers<Ended>();
  const child = spawn(program, args, { timeout: limitMs, cwd, env: { ...process.env, ...env } });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  child.once('error', (error) => ended.resolve({ code: (error as NodeJS.ErrnoException).code ?? 1, output }));
  child.once('close', (code, signal) => ended.resolve({ code: code ?? signal ?? 1, output }));
  return ended.promise;
}

function summaryOf(line: {
  readonly seed: number;
  readonly operations: number;
  readonly requests: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly unreached: readonly string[];
  readonly faults: number;
  readonly schemathesis: Schemathesis;
}): string {
  const { schemathesis } = line;
  const statuses = Object.entries(line.statuses).map(([status, count]) => `${status}: ${count}`);
  const other =
    'skipped' in schemathesis
      ? `not run: Schemathesis (${schemathesis.skipped})`
      : `Schemathesis ${schemathesis.version}: ${schemathesis.cases} cases, ${schemathesis.failures} failures`;
  return [
    `${line.operations} operations, ${line.requests} requests, ${line.faults} faults (seed ${line.seed})`,
    `answers    ${statuses.join(', ')}`,
    `never 2xx  ${line.unreached.join(', ') || 'none'}`,
    `${other}\n`,
  ].join('\n');
}

await main();
