// Makes sure node_modules is what package-lock.json says before anything is run, so that a fresh clone needs one
// command. Plain JavaScript on built-ins, because it is read by whatever Node the machine has (20 and later).
//
// npm leaves a copy of what it installed in node_modules/.package-lock.json. Comparing the two by content, not by
// modification time, is right after a git checkout too, and costs two milliseconds. Optional packages are not
// missed (most are for other platforms), except the project's own Node where the running one is too old.
//
// It is not a package manager: it either finds everything in place or calls `npm ci` once.

import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { nodePackageName, OLDEST_MAJOR } from '../packages/server/bin/node-binary.mjs';

/** @typedef {{ version?: string, integrity?: string, link?: boolean, dev?: boolean, optional?: boolean, devOptional?: boolean, peer?: boolean }} Locked */
/** @typedef {{ packages?: Record<string, Locked> }} Lockfile */

/**
 * Why an install is needed, or undefined when everything is in place.
 * @param {Lockfile} wanted package-lock.json
 * @param {Lockfile | undefined} installed node_modules/.package-lock.json
 * @param {{ development: boolean, ownNode?: string | undefined }} need development: the tools too, not only what runs;
 *   ownNode: an optional package that may not be missing
 * @returns {string | undefined}
 */
export function whyInstall(wanted, installed, need) {
  if (!installed) return 'nothing is installed yet';
  for (const [path, locked] of Object.entries(wanted.packages ?? {})) {
    if (!path.includes('node_modules/') || locked.link) continue;
    const found = installed.packages?.[path];
    if (!found) {
      const optional = locked.optional || locked.devOptional || locked.peer;
      const needed =
        path === `node_modules/${need.ownNode}` || (!optional && (need.development || !locked.dev));
      if (needed) return `${path} is missing`;
    } else if (found.version !== locked.version || found.integrity !== locked.integrity) {
      return `${path} is not ${locked.version}`;
    }
  }
  return undefined;
}

/**
 * @param {string} file
 * @returns {Lockfile | undefined}
 */
function readLockfile(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * @param {string} root
 * @param {boolean} development
 */
function whyInstallHere(root, development) {
  const wanted = readLockfile(join(root, 'package-lock.json'));
  if (!wanted) return 'package-lock.json cannot be read';
  const tooOld = Number.parseInt(process.versions.node, 10) < OLDEST_MAJOR && !process.env.DOORBUSTER_NODE;
  const ownNode = tooOld ? nodePackageName(process.platform, process.arch) : undefined;
  return whyInstall(wanted, readLockfile(join(root, 'node_modules', '.package-lock.json')), {
    development,
    ownNode,
  });
}

/**
 * Installs what is missing. Two starts at the same moment install once: the second waits for the first.
 * @param {string} root the repository
 * @param {{ development: boolean }} need
 * @returns {Promise<string | undefined>} the one line to show when it failed
 */
export async function ensureInstalled(root, { development }) {
  if (!whyInstallHere(root, development)) return undefined;
  const release = await takeLock(join(root, '.cache', 'install.lock'));
  try {
    const reason = whyInstallHere(root, development);
    if (!reason) return undefined;
    process.stderr.write(`installing packages (${reason}), about a minute ...\n`);
    const code = await npmCi(root);
    return code === 0
      ? undefined
      : `npm ci failed (exit code ${code}); its message is above. Doorbuster needs the npm registry, or a filled node_modules.`;
  } finally {
    release();
  }
}

/**
 * A folder made by one process only, with the holder's process id in it. A holder that is gone is passed over.
 * @param {string} lock
 * @returns {Promise<() => void>} gives the lock back
 */
async function takeLock(lock) {
  mkdirSync(join(lock, '..'), { recursive: true });
  for (let waited = 0; ; waited += 1) {
    try {
      mkdirSync(lock);
      writeFileSync(join(lock, 'pid'), String(process.pid));
      return () => rmSync(lock, { recursive: true, force: true });
    } catch {
      if (waited === 0) process.stderr.write('another install is running, waiting for it ...\n');
      if (waited > 2 && !isAlive(lock)) rmSync(lock, { recursive: true, force: true });
      else await pause(500);
    }
  }
}

/** @param {string} lock */
function isAlive(lock) {
  try {
    process.kill(Number(readFileSync(join(lock, 'pid'), 'utf8')), 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/**
 * npm runs under the Node it came with, not under the one inside node_modules, which it is about to replace. Nothing of
 * ours needs an install script, so none is run; everything goes to stderr, so stdout stays free for data.
 * @param {string} root
 * @returns {Promise<number>}
 */
function npmCi(root) {
  const args = [
    'ci',
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    '--loglevel=error',
    '--no-audit',
    '--no-fund',
  ];
  const { npm_execpath: npm, npm_node_execpath: node } = process.env;
  const known = npm !== undefined && basename(npm) === 'npm-cli.js';
  const [program, all] = known ? [node ?? process.execPath, [npm, ...args]] : ['npm', args];
  return new Promise((resolve) => {
    const child = spawn(program, all, { cwd: root, stdio: ['ignore', 2, 2] });
    child.once('error', (error) => {
      process.stderr.write(`cannot start npm: ${error.message}\n`);
      resolve(127);
    });
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
