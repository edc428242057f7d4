/** Makes directories one by one. Node's own `recursive` never returns where a parent exists and yet refuses with ENOENT, as /proc does. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** Makes `path` and what is missing above it, for the owner only. One that is there stays as it is. Throws what the system says (ENOENT, EACCES, EEXIST, ...). */
export function makeDirectory(path: string): void {
  const missing: string[] = [];
  let at = resolve(path);
  while (!existsSync(at) && at !== dirname(at)) {
    missing.push(at);
    at = dirname(at);
  }
  if (missing.length === 0) return makeOne(at);
  for (const folder of missing.reverse()) makeOne(folder);
}

function makeOne(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Another start may have made it in between; a file of that name is no directory.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
  }
}
