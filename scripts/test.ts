// `npm test`: the check, then every test, then one plain line that a person and a program can read:
//
//   N passed, N failed, N skipped
//
// It is the last line on stdout. Each step of the check counts as one, and so does a test file that could not be
// loaded: nothing that did not run is counted as passed. What was skipped is listed with its reason above it, and directly above it stands what failed at first
// and passed when it was run again (CI only, see vitest.config.ts), with what it said: a bug of the test or a race in the product, to be found.
//
//   npm test                        everything
//   npm run test:unit -- lane       one tier, files whose path contains "lane"; the check is left out
//   npm run test:int -- --no-servers   without the suites of the engines that need a server, and planted defects: for a second Node, where the first has run them
//
// In CI a test that did not run although its server is there has failed, and so has an engine's suite that is missing from a whole run: what the servers
// were started for must not be lost in a list of names. So has, in a whole run, an engine whose tests do not show what they have to although each of them passed: a
// situation that none of them brings it into, too few planted defects, or that states what the recorded table in the docs does not (engines/faults.ts). Elsewhere a program that only some of the tests need may be missing.
//
// A run of everything, or of all int tests, starts the servers that are installed and do not run (test-servers.ts); a run of a few files takes those
// that run. TEST_SERVERS=none starts none.

import { globSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { startVitest, type TestCase, type TestModule } from 'vitest/node';
import { check, root } from './check.ts';
import { suitesFailed } from './engines/count.ts';
import { faultsInRun } from './engines/faults.ts';
import { engineSuites, engineTests, isConformance, withoutExcuse } from './engines/suites.ts';
import { RunningTests } from './running-tests.ts';
import type { Wanted } from './test-servers.ts';

export type Count = { passed: number; failed: number; skipped: number };

export const summaryLine = (count: Count): string =>
  `${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`;

const tiers = ['unit', 'int', 'e2e'];

/**
 * What `--no-servers` leaves out: what speaks to a server in most of its tests, what shows that tests see defects, and what a second Node adds nothing to: the whole
 * suite over a shared file, whose sockets and processes `sharing.int` has too, and an index of keys that is SQL, on the tables of the ledger's contract.
 */
const serverSuites: readonly string[] = [
  ...engineSuites
    .filter(({ server }) => server !== undefined)
    .map(({ folder }) => `packages/messaging/src/engines/${folder}/**/*.int.test.ts`),
  'bench/messaging/**/*.int.test.ts',
  '**/planted-defects.int.test.ts',
  'packages/messaging/src/engines/embedded/sharing/sharing.conformance.int.test.ts',
  'packages/server/src/ledgers/sqlite/key-runs.int.test.ts',
];

interface Seen extends Count {
  readonly notRun: readonly string[];
  /** Those of `notRun` whose server was there. */
  readonly withoutExcuse: readonly string[];
  /** Each with what it said when it failed. */
  readonly flaky: readonly string[];
}

interface Tested {
  readonly count: Count;
  readonly flaky: readonly string[];
}

/** What a finished run holds, file by file. */
function countModules(modules: readonly TestModule[]): Seen {
  const count = { passed: 0, failed: 0, skipped: 0 };
  const notRun: string[] = [];
  const unexcused: string[] = [];
  const flaky: string[] = [];
  for (const module of modules) {
    const file = relative(root, module.moduleId);
    let tests = 0;
    for (const test of module.children.allTests()) {
      tests += 1;
      const state = test.result().state;
      count[state === 'pending' ? 'skipped' : state] += 1;
      if (state === 'skipped' || state === 'pending') {
        const name = `${file} > ${test.fullName}`;
        notRun.push(`${name}${reasonOf(test)}`);
        const needs = withoutExcuse(file, test.fullName, process.env);
        if (needs) unexcused.push([name, ...needs.variables.map((one) => `${one} is set`)].join(', '));
      }
      if (test.diagnostic()?.flaky) flaky.push(`${file} > ${test.fullName}: ${saidAtFirst(test)}`);
    }
    // A file that failed to load has no tests; a failed hook of a suite leaves its tests skipped.
    const failedItself = module.errors().length > 0 || suitesFailed(module);
    if (failedItself || (tests === 0 && module.state() === 'failed')) count.failed += 1;
    if (tests === 0) notRun.push(`${file} (no test of it ran)`);
  }
  return { ...count, notRun, withoutExcuse: unexcused, flaky };
}

function reasonOf(test: TestCase): string {
  const result = test.result();
  return result.state === 'skipped' && result.note ? ` (${result.note})` : '';
}

/** In one line: an assertion says in its first one only that something differs. */
function saidAtFirst(test: TestCase): string {
  const [error] = test.result().errors ?? [];
  const words = stripVTControlCharacters(error?.message ?? '').replace(/\s+/g, ' ');
  return words.trim().slice(0, 500) || 'failed without a word';
}

/** The last thing to be read before the sum: that a test passed in the end must not hide that it failed. */
function flakyLines(flaky: readonly string[]): readonly string[] {
  if (flaky.length === 0) return [];
  const head = `${flaky.length} flaky, failed once and passed when run again: a bug of the test or a race in the product`;
  return [head, ...flaky.map((line) => `flaky: ${line}`)];
}

/** Suites of engines that lie in the tree and that no run of everything may leave out. */
function lostSuites(modules: readonly TestModule[]): string[] {
  const seen = new Set(modules.map(({ moduleId }) => relative(root, moduleId)));
  return globSync(engineTests, { cwd: root }).filter((file) => isConformance(file) && !seen.has(file));
}

/** Runs the tests in this process; vitest's own report goes to stdout. `everything`: nothing of the int tests was left out on purpose. */
async function runTests(
  projects: readonly string[],
  filters: readonly string[],
  everything: boolean,
): Promise<Tested> {
  const running = new RunningTests();
  // Whoever has started servers ends the process when they are stopped.
  const endsAnyway = process.listenerCount('SIGTERM') > 0;
  process.once('SIGTERM', () => {
    for (const file of running.files()) process.stdout.write(`had not ended: ${relative(root, file)}\n`);
    if (!endsAnyway) process.exit(1);
  });
  const vitest = await startVitest('test', [...filters], {
    reporters: ['default', running],
    root,
    config: `${root}vitest.config.ts`,
    run: true,
    watch: false,
    project: [...projects],
    passWithNoTests: true,
  });
  const modules = vitest.state.getTestModules();
  const { notRun, withoutExcuse: named, flaky, ...count } = countModules(modules);
  const unexcused = process.env['CI'] ? named : [];
  const isWhole = Boolean(process.env['CI']) && everything;
  const lost = isWhole ? lostSuites(modules) : [];
  const faults = isWhole ? faultsInRun(modules, process.env) : [];
  const strays = vitest.state.getUnhandledErrors().length;
  await vitest.close();
  for (const line of notRun) process.stdout.write(`not run: ${line}\n`);
  if (strays > 0) process.stdout.write(`${strays} error(s) outside of any test\n`);
  for (const line of unexcused) process.stdout.write(`failed: it has to run in CI: ${line}\n`);
  for (const file of lost) process.stdout.write(`failed: it has to run in CI: ${file}, which is left out\n`);
  for (const line of faults) process.stdout.write(`failed: it has to hold in CI: ${line}\n`);
  const failed = count.failed + strays + unexcused.length + lost.length + faults.length;
  return { count: { passed: count.passed, failed, skipped: count.skipped - unexcused.length }, flaky };
}

/** With the servers that the tests need, and without those that were started for them afterwards, also when it is told to end. */
export async function withServers<T>(wanted: Wanted | undefined, use: () => Promise<T>): Promise<T> {
  if (!wanted) return use();
  // Loaded here only: a run without servers needs nothing of it.
  const { provideServers } = await import('./test-servers.ts');
  const start = wanted.start && process.env['TEST_SERVERS'] !== 'none';
  const servers = await provideServers(root, { ...wanted, start });
  const end = (): void => void servers.stop().finally(() => process.exit(1));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  try {
    return await use();
  } finally {
    await servers.stop();
    if (wanted.start) for (const line of servers.missing) wanted.tell(line);
  }
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { 'no-servers': { type: 'boolean', default: false } },
  });
  const alone = values['no-servers'];
  if (alone) process.env['TESTS_LEFT_OUT'] = serverSuites.join(' ');
  const chosen = tiers.filter((tier) => tier === positionals[0]);
  const filters = chosen.length > 0 ? positionals.slice(1) : positionals;
  const whole = positionals.length === 0;
  // It would grow with every change of every file. In CI the checkout is new, and the runs of both versions of Node follow each other.
  if (filters.length === 0 && !process.env['CI'])
    rmSync(join(root, '.cache/test-compiled'), { recursive: true, force: true, maxRetries: 5 });

  const checked = whole ? await check((text) => process.stdout.write(text)) : { passed: 0, failed: 0 };
  const tell = (line: string): void => void process.stdout.write(`${line}\n`);
  const withInt = !alone && (chosen.length === 0 || chosen.includes('int'));
  const start = filters.length === 0;
  const { count: tested, flaky } = await withServers(withInt ? { start, tell } : undefined, () =>
    runTests(chosen, filters, withInt && start),
  );
  const total: Count = {
    passed: checked.passed + tested.passed,
    failed: checked.failed + tested.failed,
    skipped: tested.skipped,
  };
  // A filter that matches nothing must not look like success.
  if (total.passed + total.failed + total.skipped === 0) {
    process.stdout.write('no test matches\n');
    total.failed = 1;
  }
  for (const line of [...flakyLines(flaky), summaryLine(total)]) process.stdout.write(`${line}\n`);
  process.exit(total.failed === 0 ? 0 : 1);
}

if (import.meta.main) await main();
