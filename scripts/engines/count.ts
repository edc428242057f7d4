// What a run of the engines' tests says of each engine: all tests of its folder, file by file, what was planted in it and caught, and of its conformance
// suite what the engine states and what does not apply to it. Nothing that did not run is counted as passed.

import type { Capabilities } from '@doorbuster/messaging';
import type { CaseMeta, ControlMeta } from '@doorbuster/messaging/conformance';
import type { TestCase, TestModule } from 'vitest/node';
import { defectsOfEngine, type EngineDefects } from './defects.ts';
import { situationsOf } from './situations.ts';
import { engineOf, engineSuites } from './suites.ts';

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

export interface EngineCount extends Tally {
  /** Cases that the engine states it cannot do, each with the reason; in none of the three numbers. */
  readonly notApplicable: { readonly name: string; readonly reason: string }[];
  /** Of what the numbers are the sum, by file in the engine's folder. */
  readonly files: Record<string, Tally>;
  /** How many tests that passed bring the engine into each situation, or why none can; 0 is a fault of the tests. */
  situations: Readonly<Record<string, number | string>>;
  /** What was planted in it in this run, and whether the case that has to catch it did. */
  defects: EngineDefects;
  /** What the engine states when connected to this server; of the first case that says so. */
  capabilities?: Capabilities;
}

export interface Counted {
  /** By name of the engine, those of the table first and in its order. */
  readonly engines: Readonly<Record<string, EngineCount>>;
  /** Tests that did not run, each with its file. */
  readonly notRun: readonly string[];
}

export function countEngines(modules: readonly TestModule[]): Counted {
  const engines = new Map<string, EngineCount>();
  const shown = new Map<string, string[]>();
  const notRun: string[] = [];
  for (const module of modules.toSorted((a, b) => (a.moduleId < b.moduleId ? -1 : 1))) {
    const name = engineOf(module.moduleId)?.name;
    if (name === undefined) continue;
    const count = engines.get(name) ?? newCount();
    engines.set(name, count);
    shown.set(name, [...(shown.get(name) ?? []), ...namesOfPassed(module)]);
    notRun.push(...addModule(count, module).map((test) => `${name}: ${test}`));
  }
  for (const [name, count] of engines) {
    count.situations = situationsOf(name, shown.get(name) ?? []);
    count.defects = defectsOfEngine(modules, name);
  }
  const places = new Map(engineSuites.map((one, place) => [one.name, place]));
  const place = (name: string): number => places.get(name) ?? places.size;
  const sorted = [...engines].toSorted(([a], [b]) => place(a) - place(b) || (a < b ? -1 : 1));
  return { engines: Object.fromEntries(sorted), notRun };
}

const newCount = (): EngineCount => ({
  passed: 0,
  failed: 0,
  skipped: 0,
  notApplicable: [],
  files: {},
  situations: {},
  defects: { planted: 0, caught: 0, list: [] },
});

/** Whether a hook of one of its suites failed, which leaves the tests of that suite skipped. */
export function suitesFailed(module: TestModule): boolean {
  for (const suite of module.children.allSuites()) if (suite.errors().length > 0) return true;
  return false;
}

/** A control of a planted defect brings nobody into a situation that its case does not. */
function namesOfPassed(module: TestModule): string[] {
  const tests = [...module.children.allTests('passed')];
  return tests.flatMap((test) => {
    const { notApplicable, control } = test.meta() as CaseMeta & ControlMeta;
    return notApplicable === undefined && control === undefined ? [test.name] : [];
  });
}

/** @returns what of it did not run */
function addModule(count: EngineCount, module: TestModule): string[] {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  const file = module.moduleId.replaceAll('\\', '/').replace(/^.*\/engines\/[^/]+\//, '');
  const notRun: string[] = [];
  let tests = 0;
  for (const test of module.children.allTests()) {
    tests += 1;
    const became = addTest(count, tally, test);
    if (became === 'skipped') notRun.push(`${file} > ${test.fullName}`);
  }
  const failedItself = module.errors().length > 0 || suitesFailed(module);
  if (failedItself || (tests === 0 && module.state() === 'failed')) tally.failed += 1;
  // A file of which no test was even named did not run.
  if (tests === 0 && tally.failed === 0) {
    tally.skipped += 1;
    notRun.push(file);
  }
  count.files[file] = tally;
  count.passed += tally.passed;
  count.failed += tally.failed;
  count.skipped += tally.skipped;
  return notRun;
}

function addTest(count: EngineCount, tally: Tally, test: TestCase): keyof Tally | 'not applicable' {
  const { state } = test.result();
  const { notApplicable: reason, capabilities } = test.meta() as CaseMeta;
  if (capabilities) count.capabilities ??= capabilities;
  if (state === 'passed' && reason !== undefined) {
    count.notApplicable.push({ name: test.name, reason });
    return 'not applicable';
  }
  const became = state === 'pending' ? 'skipped' : state;
  tally[became] += 1;
  return became;
}
