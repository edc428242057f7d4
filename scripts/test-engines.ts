/**
 * `npm run -s test:engines -- [--json] [NAME...]`: the conformance suite of every engine of @doorbuster/messaging against its real server.
 * Servers are found by the environment (RABBITMQ_URL and so on), and by what `npm run services:up` wrote down where a variable is not set.
 *
 * Data on stdout (a table, or with --json one object as the last line), the test runner's report on stderr. Exit codes: 0 all green and
 * nothing skipped, 1 otherwise, 2 usage. Unlike `npm test` it is not content with a suite that did not run: an engine without its server is red.
 */
import { globSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Capabilities } from '@doorbuster/messaging';
import type { CaseMeta } from '@doorbuster/messaging/conformance';
import { startVitest, type TestCase, type TestModule } from 'vitest/node';
import { root } from './check.ts';
import { startedIn, urlsOf } from './services/records.ts';
import { suitesFailed } from './test.ts';

const suites = 'packages/messaging/src/engines/*/*.conformance.int.test.ts';
/** Those that have to be there: a file that was lost must not look like success. */
const expected = ['embedded', 'rabbitmq', 'kafka', 'redis', 'broadcast'];

interface EngineCount {
  passed: number;
  failed: number;
  skipped: number;
  /** Cases that the engine states it cannot do, each with the reason. */
  notApplicable: { readonly name: string; readonly reason: string }[];
  /** What the engine states when connected to this server; of the first case that says so. */
  capabilities?: Capabilities;
}

/** The folder's name, or the file's own where a folder holds several engines: `redis/broadcast.conformance.int.test.ts` is `broadcast`. */
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

async function run(files: readonly string[]): Promise<Record<string, EngineCount>> {
  const vitest = await startVitest(
    'test',
    [...files],
    { root, config: join(root, 'vitest.config.ts'), run: true, watch: false, project: ['int'] },
    {},
    { stdout: process.stderr, stderr: process.stderr },
  );
  const engines: Record<string, EngineCount> = {};
  for (const module of vitest.state.getTestModules()) {
    const name = engineOf(module.moduleId);
    const count = countOf(module);
    engines[name] = engines[name] ? sum(engines[name], count) : count;
  }
  // What fails outside of any test cannot be put down to one engine.
  const strays = vitest.state.getUnhandledErrors().length;
  await vitest.close();
  if (strays > 0) throw new Error(`${strays} error(s) outside of any test`);
  return engines;
}

function print(engines: Readonly<Record<string, EngineCount>>): void {
  for (const [name, { passed, failed, skipped, notApplicable }] of Object.entries(engines)) {
    process.stdout.write(
      `${name.padEnd(10)} ${passed} passed, ${failed} failed, ${skipped} skipped, ${notApplicable.length} not applicable\n`,
    );
    for (const one of notApplicable) process.stdout.write(`  not applicable: ${one.name} (${one.reason})\n`);
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false } },
  });
  const files = globSync(suites, { cwd: root }).toSorted();
  const wanted = positionals.length > 0 ? positionals : expected;
  const missing = wanted.filter((name) => !files.some((file) => engineOf(file) === name));
  for (const name of missing) process.stderr.write(`${name}: no conformance file (${suites})\n`);
  if (positionals.length > 0 && missing.length > 0) return 2;

  for (const [name, url] of Object.entries(urlsOf(startedIn(join(root, '.cache', 'services')))))
    process.env[name] ??= url;
  const chosen =
    positionals.length > 0 ? files.filter((file) => positionals.includes(engineOf(file))) : files;
  const engines = await run(chosen.map((file) => join(root, file)));
  if (values.json) process.stdout.write(`${JSON.stringify({ engines })}\n`);
  else print(engines);
  const isGreen = Object.values(engines).every(
    ({ passed, failed, skipped }) => failed === 0 && skipped === 0 && passed > 0,
  );
  return isGreen && missing.length === 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await main());
