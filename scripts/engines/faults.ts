// What is wrong with the tests of an engine though each of them passed: a situation into which none brings it any more, a planted defect that nobody saw, or too
// few of them to say anything. Made of what a run has seen, by `test:engines` of the engines that were asked for and by `npm test` in CI of all whose server is there.

import type { TestModule } from 'vitest/node';
import { countEngines, type EngineCount } from './count.ts';
import { isTooFew, leastPlanted } from './defects.ts';
import { engineOf, engineSuites } from './suites.ts';

export type Seen = Pick<EngineCount, 'situations' | 'defects'>;

/** One line for each. */
export function faultsOf(engines: Readonly<Record<string, Seen>>): string[] {
  return Object.entries(engines).flatMap(([name, { situations, defects }]) => {
    const unseen = Object.entries(situations).filter(([, shown]) => shown === 0);
    const missed = defects.list.filter(({ caught }) => !caught);
    return [
      ...unseen.map(([one]) => `no test of it passed: ${name}: ${one}`),
      ...missed.map((one) => `planted and not caught: ${name}: "${one.defect}", by "${one.caughtBy}"`),
      ...(isTooFew(defects) ? [saysTooFew(name)] : []),
    ];
  });
}

export const saysTooFew = (name: string): string => `${name}: fewer than ${leastPlanted} planted defects`;

/** Those that a run of everything has shown; of its tests those that `test:engines` would run. */
export function faultsInRun(
  modules: readonly TestModule[],
  environment: Readonly<Record<string, string | undefined>>,
): string[] {
  const own = modules.filter(({ moduleId }) => engineOf(moduleId) && moduleId.endsWith('.int.test.ts'));
  return faultsWithServers(countEngines(own).engines, environment);
}

/** Those of engines that need no server, or whose variable is set: the others cannot show anything here. */
export function faultsWithServers(
  engines: Readonly<Record<string, Seen>>,
  environment: Readonly<Record<string, string | undefined>>,
): string[] {
  const isThere = (name: string): boolean => {
    const server = engineSuites.find((one) => one.name === name)?.server;
    return server === undefined || Boolean(environment[server.variable]);
  };
  return faultsOf(Object.fromEntries(Object.entries(engines).filter(([name]) => isThere(name))));
}
