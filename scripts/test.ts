// `npm test`: the check, then every test, then one plain line that a person and a program can read:
//
//   N passed, N failed, N skipped
//
// It is the last line on stdout. Each step of the check counts as one, and so does a test file that could not be
// loaded: nothing that did not run is counted as passed. What was skipped is listed with its reason just above, and so is what failed at
// first and passed when it was run again (CI only, see vitest.config.ts): a bug of the test or a race in the product, to be found.
//
//   npm test                        everything
//   npm run test:unit -- lane       one tier, files whose path contains "lane"; the check is left out
//   npm run test:int -- --no-servers   without the suites of the engines that need a server: for a second Node, where the first has run them
//
// A run of everything, or of all int tests, starts the servers that are installed and do not run (test-servers.ts); a run of a few files takes those
// that run. TEST_SERVERS=none starts none.

import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { startVitest, type TestCase, type TestModule } from 'vitest/node';
import { check, root } from './check.ts';

export type Count = { passed: number; failed: number; skipped: number };

export const summaryLine = (count: Count): string =>
  `${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`;

const tiers = ['unit', 'int', 'e2e'];

/** What `--no-servers` leaves out: what speaks to a server in most of its tests. */
const serverSuites: readonly string[] = [
  'packages/messaging/src/engines/{rabbitmq,kafka,redis,redis-lists,redis-pubsub}/**/*.int.test.ts',
  'packages/messaging/src/redis/**/*.int.test.ts',
  'bench/messaging/**/*.int.test.ts',
];

/** What a finished run holds, file by file. */
function countModules(
  modules: readonly TestModule[],
): Count & { readonly notRun: readonly string[]; readonly flaky: readonly string[] } {
  const count = { passed: 0, failed: 0, skipped: 0 };
  const notRun: string[] = [];
  const flaky: string[] = [];
  for (const module of modules) {
    const file = relative(root, module.moduleId);
    let tests = 0;
    for (const test of module.children.allTests()) {
      tests += 1;
      const state = test.result().state;
      count[state === 'pending' ? 'skipped' : state] += 1;
      if (state === 'skipped' || state === 'pending')
        notRun.push(`${file} > ${test.fullName}${reasonOf(test)}`);
      if (test.diagnostic()?.flaky) flaky.push(`${file} > ${test.fullName}`);
    }
    // A file that failed to load has no tests; a failed hook of a suite leaves its tests skipped.
    const failedItself = module.errors().length > 0 || suitesFailed(module);
    if (failedItself || (tests === 0 && module.state() === 'failed')) count.failed += 1;
    if (tests === 0) notRun.push(`${file} (no test of it ran)`);
  }
  return { ...count, notRun, flaky };
}

/** Whether a hook of one of its suites failed, which leaves the tests of that suite skipped. */
export function suitesFailed(module: TestModule): boolean {
  for (const suite of module.children.allSuites()) if (suite.errors().length > 0) return true;
  return false;
}

function reasonOf(test: TestCase): string {
  const result = test.result();
  return result.state === 'skipped' && result.note ? ` (${result.note})` : '';
}

/** Runs the tests in this process; vitest's own report goes to stdout. */
async function runTests(projects: readonly string[], filters: readonly string[]): Promise<Count> {
  const vitest = await startVitest('test', [...filters], {
    root,
    config: `${root}vitest.config.ts`,
    run: true,
    watch: false,
    project: [...projects],
    passWithNoTests: true,
  });
  const { notRun, flaky, ...count } = countModules(vitest.state.getTestModules());
  const strays = vitest.state.getUnhandledErrors().length;
  await vitest.close();
  for (const line of notRun) process.stdout.write(`not run: ${line}\n`);
  for (const line of flaky) process.stdout.write(`flaky (failed once, passed when run again): ${line}\n`);
  if (strays > 0) process.stdout.write(`${strays} error(s) outside of any test\n`);
  return { ...count, failed: count.failed + strays };
}

/** With the servers that the tests need, and without those that were started for them afterwards, also when it is told to end. */
async function withServers<T>(
  { wanted, start }: { readonly wanted: boolean; readonly start: boolean },
  use: () => Promise<T>,
): Promise<T> {
  if (!wanted) return use();
  // Loaded here only: a run without servers needs nothing of it.
  const { provideServers } = await import('./test-servers.ts');
  const mayStart = start && process.env['TEST_SERVERS'] !== 'none';
  const servers = await provideServers(root, { start: mayStart });
  const end = (): void => void servers.stop().finally(() => process.exit(1));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  try {
    return await use();
  } finally {
    await servers.stop();
    if (start) for (const line of servers.missing) process.stdout.write(`${line}\n`);
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

  const checked = whole ? await check((text) => process.stdout.write(text)) : { passed: 0, failed: 0 };
  const tested = await withServers(
    { wanted: !alone && (chosen.length === 0 || chosen.includes('int')), start: filters.length === 0 },
    () => runTests(chosen, filters),
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
  process.stdout.write(`${summaryLine(total)}\n`);
  process.exit(total.failed === 0 ? 0 : 1);
}

if (import.meta.main) await main();
