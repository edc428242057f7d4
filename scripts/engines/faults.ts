// What is wrong with the tests of an engine though each of them passed: a situation into which none brings it any more, a planted defect that nobody saw, or too
// few of them to say anything; and what an engine states where the recorded run, of which the tables in the docs are made, says otherwise. Made of what a run has seen, by `test:engines` of the engines that were asked for and by `npm test` in CI of all whose server is there.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Capabilities } from '@doorbuster/messaging';
import type { TestModule } from 'vitest/node';
import { root } from '../check.ts';
import type { Recorded } from '../evidence.ts';
import { countEngines, type EngineCount } from './count.ts';
import { isTooFew, leastPlanted } from './defects.ts';
import { engineOf, engineSuites } from './suites.ts';

type Stated = Readonly<Record<string, { readonly capabilities?: Capabilities }>>;

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
  const { engines } = countEngines(own);
  return [
    ...faultsWithServers(engines, environment),
    ...capabilityFaults(withServers(engines, environment), recordedEngines()),
  ];
}

/** What `npm run -s evidence -- engines` kept; undefined where nothing is recorded. */
function recordedEngines(): Stated | undefined {
  const file = join(root, 'docs/evidence/engines.json');
  if (!existsSync(file)) return undefined;
  return (JSON.parse(readFileSync(file, 'utf8')) as Recorded).result['engines'] as Stated;
}

/**
 * What an engine states and the record does not, or the other way round. The version of a server is left out: it is another on each machine, and what comes of it is in the rest.
 * An engine of which no case got as far as to connect states nothing.
 */
export function capabilityFaults(engines: Stated, recorded: Stated | undefined): string[] {
  if (!recorded) return [];
  return Object.entries(engines).flatMap(([name, { capabilities }]) => {
    if (!capabilities) return [];
    const kept: Readonly<Record<string, unknown>> = { ...recorded[name]?.capabilities };
    const stated: Readonly<Record<string, unknown>> = { ...capabilities };
    return [...new Set([...Object.keys(stated), ...Object.keys(kept)])]
      .filter((one) => one !== 'version' && !isDeepStrictEqual(stated[one], kept[one]))
      .map((one) => {
        const [now, then] = [stated[one], kept[one]].map((value) => JSON.stringify(value) ?? 'nothing');
        return `${name} states ${one} ${now}, and docs/evidence/engines.json has ${then}: record again (npm run -s evidence -- engines)`;
      });
  });
}

/** Those of engines that need no server, or whose variable is set: the others cannot show anything here. */
export const faultsWithServers = (
  engines: Readonly<Record<string, Seen>>,
  environment: Readonly<Record<string, string | undefined>>,
): string[] => faultsOf(withServers(engines, environment));

function withServers<T>(
  engines: Readonly<Record<string, T>>,
  environment: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, T>> {
  const isThere = (name: string): boolean => {
    const server = engineSuites.find((one) => one.name === name)?.server;
    return server === undefined || Boolean(environment[server.variable]);
  };
  return Object.fromEntries(Object.entries(engines).filter(([name]) => isThere(name)));
}
