// What was started is written down, a file per process, before anything else is done with it: whatever happens to `services:up`, its
// counterpart knows what to end. `env` holds the addresses of what runs, one per line, for a shell or for `node --env-file`.

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive, type KnownProcess } from './processes.ts';
import type { ServerName } from './server.ts';

export interface StartedProcess extends KnownProcess {
  readonly name: string;
  readonly server: ServerName;
  readonly stopSignal: 'SIGTERM' | 'SIGINT';
  readonly ports: readonly number[];
  readonly isAuxiliary: boolean;
  readonly cluster: boolean;
  /** Environment variables and addresses of its server. */
  readonly urls: Readonly<Record<string, string>>;
}

const recordsOf = (folder: string): string => join(folder, 'pids');
const recordOf = (folder: string, name: string): string => join(recordsOf(folder), `${name}.json`);

/** In one step, so that nobody reads half a file. */
function write(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

export function remember(folder: string, started: StartedProcess): void {
  mkdirSync(recordsOf(folder), { recursive: true });
  write(recordOf(folder, started.name), `${JSON.stringify(started, undefined, 2)}\n`);
}

export function forget(folder: string, name: string): void {
  rmSync(recordOf(folder, name), { force: true });
}

const firstPortPath = (folder: string): string => join(folder, 'first-port');

/** The place on which the servers of this folder were last started: whoever adds one need not repeat it. Kept as long as anything of them is. */
export function keepFirstPort(folder: string, firstPort: number): void {
  write(firstPortPath(folder), `${firstPort}\n`);
}

/** undefined where nothing was started, or all of it was cleared away. */
export function keptFirstPort(folder: string): number | undefined {
  try {
    return Number(readFileSync(firstPortPath(folder), 'utf8'));
  } catch {
    return undefined;
  }
}

export function forgetFirstPort(folder: string): void {
  rmSync(firstPortPath(folder), { force: true });
}

/** All that was started and not ended by us, alive or not. */
export function startedIn(folder: string): StartedProcess[] {
  let files: string[];
  try {
    files = readdirSync(recordsOf(folder));
  } catch {
    return [];
  }
  return files
    .filter((file) => file.endsWith('.json'))
    .toSorted()
    .map((file) => JSON.parse(readFileSync(join(recordsOf(folder), file), 'utf8')) as StartedProcess);
}

export const envPath = (folder: string): string => join(folder, 'env');

export const envText = (urls: Readonly<Record<string, string>>): string =>
  Object.entries(urls)
    .map(([name, url]) => `${name}=${url}\n`)
    .join('');

/** The addresses of the servers of which every process is alive. */
export function urlsOf(records: readonly StartedProcess[]): Record<string, string> {
  const down = new Set(records.filter((record) => !isAlive(record)).map(({ server }) => server));
  return Object.assign({}, ...records.filter(({ server }) => !down.has(server)).map(({ urls }) => urls));
}

/** Writes `env` anew from what runs; without anything there is no such file. */
export function writeEnv(folder: string): Record<string, string> {
  const urls = urlsOf(startedIn(folder));
  if (Object.keys(urls).length > 0) write(envPath(folder), envText(urls));
  else rmSync(envPath(folder), { force: true });
  return urls;
}
