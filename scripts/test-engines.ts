/**
 * `npm run -s test:engines -- [--json] [--defects] [NAME...]`: every test of every engine of @doorbuster/messaging against its real server: the conformance suite,
 * and what the engine's folder holds beside it (servers of a test's own that are killed, restarted or filled, a node of three lost under load, foreign
 * clients), its planted defects among it, which are listed with the case that has to catch each. With --defects only those, of locks and stores too,
 * with what the case said.
 *
 * Servers are found by the environment (RABBITMQ_URL and so on) and by what `npm run services:up` wrote down; one that is installed and does not run is started for this run
 * and ended with it. TEST_SERVERS=none starts none. Tests that kill a node start a cluster of their own.
 *
 * Data on stdout (a table, or with --json one object as the last line), the test runner's report and what did not run on stderr. Exit codes: 0 all green and
 * nothing skipped, 1 otherwise, 2 usage. Unlike `npm test` it is not content with a test that did not run: an engine without its server is red.
 */
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startVitest, type TestModule } from 'vitest/node';
import { root } from './check.ts';
import { countEngines, type EngineCount } from './engines/count.ts';
import { type DefectList, filesOfDefects, isTooFew, listDefects } from './engines/defects.ts';
import { faultsOf, saysTooFew } from './engines/faults.ts';
import { engineOf, engineSuites, engineTests, isConformance, nameOf } from './engines/suites.ts';
import type { ServerName } from './services/server.ts';
import { withServers } from './test.ts';

const expected = engineSuites.map(({ name }) => name);

const help = `Usage: npm run -s test:engines -- [options] [NAME...]

Every test of every engine against its real server; names pick some: ${expected.join(', ')}.
Planted defects are among them: each engine lists its own, with the case that has to catch it.

  --defects  the planted defects only, those of locks and stores too, with what the case said of each
  --json     one JSON object as the last line
  --help     this text

Servers are those of the environment (RABBITMQ_URL, KAFKA_URL, REDIS_URL, ...) and of "npm run services:up"; one that is installed
and does not run is started for this run, on a port of its own, and ended with it (TEST_SERVERS=none starts none).
Exit codes: 0 all green and nothing skipped, 1 otherwise, 2 usage.
`;

const warn = (line: string): void => void process.stderr.write(`${line}\n`);

/** Runs these files with the servers they need, and hands what became of them to `look`. What fails outside of any test cannot be put down to one engine. */
function inRun<T>(
  files: readonly string[],
  servers: readonly ServerName[] | undefined,
  look: (modules: readonly TestModule[]) => T,
): Promise<T> {
  const wanted = { start: true, tell: warn, ...(servers ? { names: servers } : {}) };
  return withServers(wanted, async () => {
    const vitest = await startVitest(
      'test',
      [...files],
      { root, config: join(root, 'vitest.config.ts'), run: true, watch: false, project: ['int'] },
      {},
      { stdout: process.stderr, stderr: process.stderr },
    );
    const modules = vitest.state.getTestModules();
    const found = look(modules);
    for (const module of modules)
      for (const test of module.children.allTests())
        if (test.diagnostic()?.flaky) warn(`flaky (failed once, passed when run again): ${test.fullName}`);
    const strays = vitest.state.getUnhandledErrors().length;
    await vitest.close();
    if (strays > 0) throw new Error(`${strays} error(s) outside of any test`);
    return found;
  });
}

/** Those that the tests of these engines speak to; undefined is all, for a name that is none of an engine. */
function serversOf(names: readonly string[]): ServerName[] | undefined {
  const engines = names.map((name) => engineSuites.find((one) => one.name === name));
  if (engines.includes(undefined)) return undefined;
  return [...new Set(engines.flatMap((engine) => engine?.server?.name ?? []))];
}

async function count(names: readonly string[], json: boolean): Promise<number> {
  const files = globSync(engineTests, { cwd: root }).toSorted();
  const wanted = names.length > 0 ? names : expected;
  const missing = wanted.filter(
    (name) => !files.some((file) => isConformance(file) && engineOf(file)?.name === name),
  );
  for (const name of missing) warn(`${name}: no conformance file below packages/messaging/src/engines`);
  if (names.length > 0 && missing.length > 0) return 2;

  if (files.length === 0) return 1;
  const chosen = files.filter((file) => names.length === 0 || names.includes(engineOf(file)?.name ?? ''));
  const { engines, notRun } = await inRun(
    chosen.map((file) => join(root, file)),
    serversOf(wanted),
    countEngines,
  );
  for (const line of notRun) warn(`not run: ${line}`);
  const faults = faultsOf(engines);
  for (const line of faults) warn(line);
  if (json) process.stdout.write(`${JSON.stringify({ engines })}\n`);
  else printCounts(engines);
  const isGreen = Object.values(engines).every(
    ({ passed, failed, skipped }) => failed === 0 && skipped === 0 && passed > 0,
  );
  return isGreen && missing.length === 0 && faults.length === 0 ? 0 : 1;
}

function printCounts(engines: Readonly<Record<string, EngineCount>>): void {
  for (const [name, of] of Object.entries(engines)) {
    const { passed, failed, skipped, notApplicable, situations, defects } = of;
    process.stdout.write(
      `${name.padEnd(10)} ${passed} passed, ${failed} failed, ${skipped} skipped, ${notApplicable.length} not applicable\n` +
        `  ${defects.caught} of ${defects.planted} planted defects caught\n`,
    );
    for (const one of notApplicable) process.stdout.write(`  not applicable: ${one.name} (${one.reason})\n`);
    for (const [one, shown] of Object.entries(situations))
      process.stdout.write(
        `  ${one}: ${typeof shown === 'number' ? `${shown} passed` : `none (${shown})`}\n`,
      );
  }
}

async function plantDefects(names: readonly string[], json: boolean): Promise<number> {
  const files = filesOfDefects(names);
  const nothing = (): number => {
    warn(`no planted defects of ${names.join(', ')}`);
    return 2;
  };
  // Without a file the test runner would take all.
  if (files.length === 0) return nothing();
  const { list, broken } = await inRun(files, names.length > 0 ? serversOf(names) : undefined, (modules) => ({
    list: listDefects(modules, names),
    // A file that does not load names no defects at all.
    broken: modules.filter((module) => module.errors().length > 0 || module.children.size === 0),
  }));
  if (names.length > 0 && list.planted === 0 && broken.length === 0) return nothing();
  const few = Object.entries(list.engines).flatMap(([name, tally]) => (isTooFew(tally) ? [name] : []));
  for (const name of few) warn(saysTooFew(name));
  if (json) process.stdout.write(`${JSON.stringify(list)}\n`);
  else printDefects(list);
  const isGreen = list.planted > 0 && list.caught === list.planted;
  return isGreen && few.length === 0 && broken.length === 0 ? 0 : 1;
}

function printDefects({ planted, caught, engines, defects }: DefectList): void {
  for (const one of defects)
    process.stdout.write(
      `${one.caught ? 'caught' : 'MISSED'}  ${one.of}: ${one.defect}\n        by: ${one.caughtBy}\n        says: ${one.says}\n`,
    );
  const parts = Object.entries(engines).map(([name, of]) => `${name} ${of.caught} of ${of.planted}`);
  process.stdout.write(`${caught} of ${planted} planted defects are caught (${parts.join(', ')})\n`);
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
    if (!values.help) return { names: positionals.map(nameOf), json: values.json, defects: values.defects };
    process.stdout.write(help);
    return 0;
  } catch (error) {
    process.stderr.write(`${(error as Error).message.split('\n', 1)[0]}\n${help}`);
    return 2;
  }
}

async function main(): Promise<number> {
  const asked = readArguments();
  if (typeof asked === 'number') return asked;
  return asked.defects ? plantDefects(asked.names, asked.json) : count(asked.names, asked.json);
}

if (import.meta.main) process.exit(await main());
