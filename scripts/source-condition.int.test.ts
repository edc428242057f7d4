// Everything a test starts resolves the packages of this repository to their source: the test itself, a worker thread and a
// child process with arguments of its own. Without it a worker would look for dist/, which is not there.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';

const here = fileURLToPath(import.meta.url);
const source = /packages\/core\/src\/index\.ts$/;
/** CommonJS that evaluates to where the package is found, as seen from this file. */
const ask = `require('node:module').createRequire(${JSON.stringify(here)}).resolve('@doorbuster/core')`;

it('in the test itself', () => {
  expect(import.meta.resolve('@doorbuster/core')).toMatch(source);
});

it('in a worker thread', async () => {
  const worker = new Worker(`require('node:worker_threads').parentPort.postMessage(${ask})`, { eval: true });
  const [path] = await once(worker, 'message');
  expect(path).toMatch(source);
});

it('in a child process', () => {
  const path = execFileSync(process.execPath, ['-e', `process.stdout.write(${ask})`], { encoding: 'utf8' });
  expect(path).toMatch(source);
});

it('not in a process without the condition (control)', () => {
  const elsewhere = `try { process.stdout.write(${ask}) } catch (error) { process.stdout.write(error.code) }`;
  const env = { ...process.env, NODE_OPTIONS: '' };
  const path = execFileSync(process.execPath, ['-e', elsewhere], { encoding: 'utf8', env });
  expect(path).not.toMatch(source);
});

const packages = new URL('../packages/', import.meta.url);
interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, string | { readonly 'doorbuster-source': string }>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  /** Clients of engines: who uses the engine installs its client. */
  readonly peerDependencies?: Readonly<Record<string, string>>;
}
const manifests = readdirSync(packages).map((name) => {
  const folder = new URL(`${name}/`, packages);
  const text = readFileSync(new URL('package.json', folder), 'utf8');
  return { folder, manifest: JSON.parse(text) as Manifest };
});

it.each(manifests)('for every entry that $manifest.name exports', ({ folder, manifest }) => {
  const paths = Object.values(manifest.exports).map((entry) =>
    typeof entry === 'string' ? entry : entry['doorbuster-source'],
  );
  expect(paths.filter((path) => !existsSync(new URL(path, folder)))).toEqual([]);
});

/** In the repository everything is found in one node_modules; a package on its own finds what it declares. */
it.each(manifests)(
  'and all that $manifest.name imports is among its dependencies',
  ({ folder, manifest }) => {
    const source = new URL('src/', folder);
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
      (path) => path.endsWith('.ts') && !/\.test\.ts$|(^|\/)testing\/|fixture|contract/.test(path),
    );
    const imported = files.flatMap((path) =>
      [
        ...readFileSync(new URL(path, source), 'utf8').matchAll(
          /^(?:import|export|\}) .*from '([^'.][^']*)';$/gm,
        ),
      ].map(([, name = '']) => /^(?:@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? ''),
    );
    const { name: own, dependencies = {}, peerDependencies = {} } = manifest;
    const declared = new Set([own, ...Object.keys(dependencies), ...Object.keys(peerDependencies)]);
    const missing = new Set(imported.filter((name) => !name.startsWith('node:') && !declared.has(name)));
    expect([...missing]).toEqual([]);
  },
);
