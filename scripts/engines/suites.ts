// Which engine of @doorbuster/messaging an integration test belongs to, and which server its tests speak to: by the folder below
// packages/messaging/src/engines/, so that a file that is put there is counted by itself. An engine that is not in the table is taken by the
// name of its folder, and is asked for no server.

import type { ServerName } from '../services/server.ts';

export interface EngineSuite {
  /** As it is called in `test:engines`. */
  readonly name: string;
  readonly folder: string;
  /** What its tests speak to; undefined where they need nobody. */
  readonly server?: { readonly name: ServerName; readonly variable: string };
}

const rabbitmq = { name: 'rabbitmq', variable: 'RABBITMQ_URL' } as const;
const kafka = { name: 'kafka', variable: 'KAFKA_URL' } as const;
const redis = { name: 'redis', variable: 'REDIS_URL' } as const;

/** Those that have to be there, in the order of their report: tests that were lost must not look like success. */
export const engineSuites: readonly EngineSuite[] = [
  { name: 'embedded', folder: 'embedded' },
  { name: 'rabbitmq', folder: 'rabbitmq', server: rabbitmq },
  { name: 'kafka', folder: 'kafka', server: kafka },
  { name: 'redis', folder: 'redis', server: redis },
  { name: 'redisLists', folder: 'redis-lists', server: redis },
  { name: 'broadcast', folder: 'redis-pubsub', server: redis },
];

export const engineTests = 'packages/messaging/src/engines/**/*.int.test.ts';

/** Files of the tests that every engine shares, of which each has to have one. */
export const isConformance = (path: string): boolean => path.endsWith('.conformance.int.test.ts');

/** `redis-lists` is said for `redisLists` and `redis-pubsub` for `broadcast` too: it is the name of the folder and of the engine itself. */
export const nameOf = (said: string): string =>
  engineSuites.find(({ folder }) => folder === said)?.name ??
  said.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** The engine that a file below engines/ is of; undefined for every other file. */
export function engineOf(path: string): EngineSuite | undefined {
  const [, inside] = /(?:^|\/)messaging\/src\/engines\/(.+)$/.exec(path.replaceAll('\\', '/')) ?? [];
  const [folder = '', ...rest] = inside?.split('/') ?? [];
  if (rest.length === 0) return undefined;
  return engineSuites.find((one) => one.folder === folder) ?? { name: nameOf(folder), folder };
}

/**
 * Whether nothing excuses that a test did not run: it is an engine's, or its name says which server it needs, and that server's variable is set. `variables`
 * are those that it needs.
 */
export function withoutExcuse(
  path: string,
  testName: string,
  environment: Readonly<Record<string, string | undefined>>,
): { readonly variables: readonly string[] } | undefined {
  const engine = engineOf(path);
  const said = testName.match(/\b[A-Z]+_URL\b/g) ?? [];
  const variables = [...new Set([...(engine?.server ? [engine.server.variable] : []), ...said])];
  if (!engine && variables.length === 0) return undefined;
  return variables.every((name) => environment[name]) ? { variables } : undefined;
}
