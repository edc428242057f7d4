// Who may import whom, as one pure function over repository paths. The linter calls it for every import
// (plugin.ts), so a wrong arrow between two parts is an error at the line that draws it.
//
// Specifiers are resolved to paths before they are judged: `../rabbitmq/x.ts` and `../../rabbitmq/x.ts` are the same
// arrow from different depths, and a pattern over the written text would catch only one of them.

import { posix } from 'node:path';

/** Folders that hold the engines of a port: one file or folder per engine, none knowing of the others. */
export const enginesFolders: readonly string[] = [
  'engines',
  'locks',
  'ledgers',
  'voucher-sources',
  'messengers',
];

/** The one file that names engines. */
const compositionRoot = 'packages/server/src/main.ts';

/** What each package may import of the others. */
const packagesAllowed: Readonly<Record<string, readonly string[]>> = {
  core: [],
  messaging: [],
  web: ['core'],
  server: ['core', 'messaging', 'web'],
};

type Place = {
  /** The package's folder name, or undefined outside packages/. */
  readonly package: string | undefined;
  /** `packages/messaging/src/engines`, or undefined when the path is not inside such a folder. */
  readonly enginesFolder: string | undefined;
  /** `embedded` for both `engines/embedded/queue.ts` and `engines/embedded.unit.test.ts`. */
  readonly engine: string | undefined;
};

function placeOf(path: string): Place {
  const parts = path.split('/');
  const at = parts.findIndex((part, index) => enginesFolders.includes(part) && index < parts.length - 1);
  return {
    package: parts[0] === 'packages' ? parts[1] : undefined,
    enginesFolder: at < 0 ? undefined : parts.slice(0, at + 1).join('/'),
    engine: at < 0 ? undefined : parts[at + 1]?.split('.')[0],
  };
}

/** Tests, and what only tests start: the files of a `testing` folder. */
const isTest = (path: string): boolean =>
  /\.(unit|int|e2e)\.test\.tsx?$/.test(path) || path.includes('/testing/');

/**
 * Judges one import.
 *
 * @param from the importing file, relative to the repository, with forward slashes
 * @param specifier the text between the quotes
 * @returns why it is refused and what to do, or undefined
 */
export function refusalOf(from: string, specifier: string): string | undefined {
  const place = placeOf(from);
  if (specifier.startsWith('.')) {
    return refusalOfFile(from, place, posix.normalize(posix.join(posix.dirname(from), specifier)));
  }
  return refusalOfPackage(from, place, specifier);
}

function refusalOfFile(from: string, place: Place, target: string): string | undefined {
  const there = placeOf(target);
  if (place.package && place.package !== there.package) {
    return 'a package reaches another by its name (@doorbuster/...), never by a path into its files';
  }
  if (place.package === 'core' && !isTest(from) && !target.startsWith('packages/core/src/')) {
    return 'core imports nothing but itself: take what it needs as an argument';
  }
  if (!there.enginesFolder || isTest(from) || !place.package) return undefined;
  if (place.enginesFolder === there.enginesFolder) {
    if (place.engine === there.engine) return undefined;
    return `engines never import each other: move what "${place.engine}" and "${there.engine}" both need beside the port`;
  }
  if (from === compositionRoot) return undefined;
  return `engines are named in ${compositionRoot} only: import the port and take the engine as an argument`;
}

function refusalOfPackage(from: string, place: Place, specifier: string): string | undefined {
  if (place.package === 'core' && !isTest(from)) return 'core imports nothing: no node:*, no package';
  const own = /^@doorbuster\/([^/]+)(\/.*)?$/.exec(specifier);
  if (!own || !place.package) return undefined;
  const [, target = '', subPath = ''] = own;
  if (target !== place.package && !packagesAllowed[place.package]?.includes(target)) {
    return `${place.package} imports nothing of ${target} (scripts/lint/boundaries.ts)`;
  }
  if (/^\/(src|dist)\//.test(subPath))
    return 'a package is imported by its exports, not by a path into its files';
  if (isTest(from) || from === compositionRoot) return undefined;
  if (place.package === 'server' && subPath.split('/').some((part) => enginesFolders.includes(part))) {
    return `engines are named in ${compositionRoot} only: import the port and take the engine as an argument`;
  }
  return undefined;
}
