// Finds programs: on PATH, then in the folders where Debian keeps what it leaves off PATH.

import { accessSync, constants, readdirSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Absolute paths by name. */
export type Programs = Readonly<Record<string, string>>;

const isProgram = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
};

// `*` in a folder stands for a version: all folders there are, the highest version first.
function spread(folder: string): string[] {
  const [before, after] = folder.split('/*/');
  if (before === undefined || after === undefined) return [folder];
  try {
    return readdirSync(before)
      .toSorted((a, b) => Number(b) - Number(a))
      .map((version) => join(before, version, after));
  } catch {
    return [];
  }
}

/** @returns undefined when it is in none of them */
export function findProgram(
  name: string,
  folders: readonly string[],
  path = process.env['PATH'] ?? '',
): string | undefined {
  // Debian's own folders come first: what is on PATH there is a wrapper that looks for the usual installation.
  const places = [...folders.flatMap(spread), ...path.split(delimiter), '/usr/sbin', '/usr/bin'];
  return places
    .filter((place) => place !== '')
    .map((place) => join(place, name))
    .find(isProgram);
}

/** All of them, or the names of those that are not there. */
export function findPrograms(
  wanted: Readonly<Record<string, readonly string[]>>,
): { readonly programs: Programs } | { readonly missing: readonly string[] } {
  const found = Object.entries(wanted).map(([name, folders]) => [name, findProgram(name, folders)] as const);
  const missing = found.filter(([, path]) => path === undefined).map(([name]) => name);
  return missing.length > 0 ? { missing } : { programs: Object.fromEntries(found) as Programs };
}
