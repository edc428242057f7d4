/**
 * `npm run -s test:engines -- [--json] [--defects] [NAME...]`: the conformance suite of every engine of @doorbuster/messaging against its real server; with
 * --defects the planted defects instead, each with the case that has to catch it. Servers are found by the environment (RABBITMQ_URL and so on), and by what `npm run services:up` wrote down where a variable is not set.
 *
 * Data on stdout (a table, or with --json one object as the last line), the test runner's report on stderr. Exit codes: 0 all green and
 * nothing skipped, 1 otherwise, 2 usage. Unlike `npm test` it is not content with a suite that did not run: an engine without its server is red.
 */
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Capabilities } from '@doorbuster/messaging';
import type { CaseMeta, ControlMeta } from '@doorbuster/messaging/conformance';
import { startVitest, type TestCase, type TestModule } from 'vitest/node';
import { root } from './check.ts';
import { startedIn, urlsOf } from './services/records.ts';
import { suitesFailed } from './test.ts';

const suites = 'packages/messaging/src/engines/*/*.conformance.int.test.ts';
/** Those that have to be there: a file that was lost must not look like success. */
const expected = ['embedded', 'rabbitmq', 'kafka', 'redis', 'redis-lists', 'redis-pubsub'];

/** Where defects are planted: read for the name of what registers them, so that a new file is in the list by itself. */
const controlFiles = 'packages/messaging/src/**/*.int.test.ts';

const help = `Usage: npm run -s test:engines -- [options] [NAME...]

The conformance suite of every engine against its real server; names pick some: ${expected.join(', ')}.

  --defects  the planted defects instead: each by name, with the case that has to catch it and what that says
  --json     one JSON object as the last line
  --help     this text

Servers are those of the environment (RABBITMQ_URL, KAFKA_URL, REDIS_URL, ...) and of "npm run services:up".
Exit codes: 0 all green and nothing skipped, 1 otherwise, 2 usage.
`;

interface EngineCount {
  passed: number;
  failed: number;
  skipped: number;
  /** Cases that the engine states it cannot do, each with the reason. */
  notApplicable: { readonly name: string; readonly reason: string }[];
  /** What the engine states when connected to this server; of the first case that says so. */
  capabilities?: Capabilities;
}

/** The folder's name, or the file's own where a folder holds a second suite: `redis/lanes.conformance.int.test.ts` would be `lanes`. */
export function engineOf(path: string): string {
  const own = basename(path).replace('.conformance.int.test.ts', '');
  return own === 'engine' ? basename(dirname(path)) : own;
}

export function countOf(module: TestModule): EngineCount {
  const count: EngineCount = { passed: 0, failed: 0, skipped: 0, notApplicable: [] };
  let tests = 0;
  for (const test of module.children.allTests()) {
    tests += 1;
    add(count, test);
  }
  const failedItself = module.errors().length > 0 || suitesFailed(module);
  if (failedItself || (tests === 0 && module.state() === 'failed')) count.failed += 1;
  // A file of which no test was even named did not run.
  if (tests === 0 && count.failed === 0) count.skipped += 1;
  return count;
}

function add(count: EngineCount, test: TestCase): void {
  const { state } = test.result();
  const { notApplicable: reason, capabilities } = test.meta() as CaseMeta;
  if (capabilities) count.capabilities ??= capabilities;
  if (state === 'passed' && reason !== undefined) count.notApplicable.push({ name: test.name, reason });
  else count[state === 'pending' ? 'skipped' : state] += 1;
}

function sum(a: EngineCount, b: EngineCount): EngineCount {
  const capabilities = a.capabilities ?? b.capabilities;
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    notApplicable: [...a.notApplicable, ...b.notApplicable],
    ...(capabilities ? { capabilities } : {}),
  };
}

/** Runs these files and hands what became of them to `look`. What fails outside of any test cannot be put down to one engine. */
async function inRun<T>(files: readonly string[], look: (modules: readonly TestModule[]) => T): Promise<T> {
  const vitest = await startVitest(
    'test',
    [...files],
    { root, config: join(root, 'vitest.config.ts'), run: true, watch: false, project: ['int'] },
    {},
    { stdout: process.stderr, stderr: process.stderr },
  );
  const found = look(vitest.state.getTestModules());
  const strays = vitest.state.getUnhandledErrors().length;
  await vitest.close();
  if (strays > 0) throw new Error(`${strays} error(s) outside of any test`);
  return found;
}

function countAll(modules: readonly TestModule[]): Record<string, EngineCount> {
  const engines: Record<string, EngineCount> = {};
  for (const module of modules) {
    const name = engineOf(module.moduleId);
    const count = countOf(module);
    engines[name] = engines[name] ? sum(engines[name], count) : count;
  }
  return engines;
}

interface PlantedDefect {
  /** Engine, lock or store that it is planted in. */
  readonly of: string;
  readonly defect: string;
  readonly caughtBy: string;
  readonly caught: boolean;
  /** What the case said of it, or why it was not caught. */
  readonly says: string;
}

const CONTROL_NAME = /^(.+?): (.+): catches "(.+)"$/;

/** By the metadata of its run, or by its name where it did not run. */
function defectOf(test: TestCase): PlantedDefect | undefined {
  const [, place, by, what] = CONTROL_NAME.exec(test.name) ?? [];
  const { control } = test.meta() as ControlMeta;
  const of = control?.of ?? place;
  const defect = control?.defect ?? what;
  const caughtBy = control?.caughtBy ?? by;
  if (of === undefined || defect === undefined || caughtBy === undefined) return undefined;
  const { state, errors } = test.result();
  const caught = state === 'passed' && control?.failure !== undefined;
  const says = caught
    ? (control?.failure ?? '')
    : (errors?.[0]?.message ?? 'not run: its server is not there');
  return { of, defect, caughtBy, caught, says };
}

async function defects(names: readonly string[], json: boolean): Promise<number> {
  const files = globSync(controlFiles, { cwd: root })
    .filter((file) => readFileSync(join(root, file), 'utf8').includes('registerControls('))
    .toSorted();
  const isWanted = ({ of }: PlantedDefect): boolean =>
    names.length === 0 || names.some((name) => of === name || of.startsWith(`${name} `));
  const chosen =
    names.length === 0
      ? files
      : files.filter((file) =>
          names.some((name) => readFileSync(join(root, file), 'utf8').includes(`'${name}`)),
        );
  if (chosen.length === 0) {
    process.stderr.write(`no planted defects of ${names.join(', ')}\n`);
    return 2;
  }
  const { found, broken } = await inRun(
    chosen.map((file) => join(root, file)),
    (modules) => ({
      found: modules.flatMap((module) =>
        [...module.children.allTests()].flatMap((test) => defectOf(test) ?? []),
      ),
      // A file that does not load names no defects at all.
      broken: modules.filter((module) => module.errors().length > 0 || module.children.size === 0),
    }),
  );
  const listed = found.filter(isWanted).toSorted((a, b) => (a.of < b.of ? -1 : a.of > b.of ? 1 : 0));
  const caught = listed.filter((one) => one.caught).length;
  if (json) process.stdout.write(`${JSON.stringify({ planted: listed.length, caught, defects: listed })}\n`);
  else {
    for (const one of listed)
      process.stdout.write(
        `${one.caught ? 'caught' : 'MISSED'}  ${one.of}: ${one.defect}\n        by: ${one.caughtBy}\n        says: ${one.says}\n`,
      );
    process.stdout.write(`${caught} of ${listed.length} planted defects are caught\n`);
  }
  return broken.length === 0 && listed.length > 0 && caught === listed.length ? 0 : 1;
}

function print(engines: Readonly<Record<string, EngineCount>>): void {
  for (const [name, { passed, failed, skipped, notApplicable }] of Object.entries(engines)) {
    process.stdout.write(
      `${name.padEnd(10)} ${passed} passed, ${failed} failed, ${skipped} skipped, ${notApplicable.length} not applicable\n`,
    );
    for (const one of notApplicable) process.stdout.write(`  not applicable: ${one.name} (${one.reason})\n`);
  }
}

function useStartedServers(): void {
  for (const [name, url] of Object.entries(urlsOf(startedIn(join(root, '.cache', 'services')))))
    process.env[name] ??= url;
}

async function main(): Promise<number> {
  const asked = readArguments();
  if (typeof asked === 'number') return asked;
  const { names, json } = asked;
  if (asked.defects) {
    useStartedServers();
    return defects(names, json);
  }
  const files = globSync(suites, { cwd: root }).toSorted();
  const wanted = names.length > 0 ? names : expected;
  const missing = wanted.filter((name) => !files.some((file) => engineOf(file) === name));
  for (const name of missing) process.stderr.write(`${name}: no conformance file (${suites})\n`);
  if (names.length > 0 && missing.length > 0) return 2;

  useStartedServers();
  const chosen = names.length > 0 ? files.filter((file) => names.includes(engineOf(file))) : files;
  const engines = await inRun(
    chosen.map((file) => join(root, file)),
    countAll,
  );
  if (json) process.stdout.write(`${JSON.stringify({ engines })}\n`);
  else print(engines);
  const isGreen = Object.values(engines).every(
    ({ passed, failed, skipped }) => failed === 0 && skipped === 0 && passed > 0,
  );
  return isGreen && missing.length === 0 ? 0 : 1;
}

interface Asked {
  readonly names: readonly string[];
  readonly json: boolean;
  readonly defects: boolean;
}

/** What was asked for, or the exit code when help was, or when it cannot be read. */
function readArguments(): Asked | number {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        defects: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (!values.help) return { names: positionals, json: values.json, defects: values.defects };
    process.stdout.write(help);
    return 0;
  } catch (error) {
    process.stderr.write(`${(error as Error).message.split('\n', 1)[0]}\n${help}`);
    return 2;
  }
}

if (import.meta.main) process.exit(await main());
