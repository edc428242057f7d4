/**
 * The processes of the long run are one file each, as a service is built whose start counts. From sources the loading of several hundred modules is most of what a
 * start costs, and the run kills somebody each second: on a slow machine it measured the loading of modules, half of two cores of it, and not what a kill costs the bus.
 *
 * The folder goes by what is in it, so that runs beside each other share one, and compiled code that Node kept is found again.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const cache = fileURLToPath(new URL('../../.cache/soak-parts', import.meta.url));
const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
/** The second is a thread that the embedded engine starts from a file of that name beside its own. */
const input = {
  part: source('part.ts'),
  'writer-thread': source('../../packages/messaging/src/engines/embedded/writer-thread.ts'),
};

/** Reads a file beside itself, so it has to stay where it is. */
const leftInPlace = ['@platformatic/wasm-utils'];

let built: Promise<string> | undefined;

/** The program of publisher and workers, built by the first run of this process; about a second. */
export function partFile(): Promise<string> {
  return (built ??= build());
}

async function build(): Promise<string> {
  const bundle = await rolldown({
    input,
    platform: 'node',
    external: leftInPlace,
    resolve: { conditionNames: ['doorbuster-source', 'node', 'import', 'default'] },
    logLevel: 'silent',
  });
  const { output } = await bundle.generate({ format: 'esm' });
  await bundle.close();
  const files = output.map((file) => ({
    name: file.fileName,
    content: file.type === 'chunk' ? file.code : file.source,
  }));
  const hash = createHash('sha256');
  for (const { name, content } of files) hash.update(name).update('\0').update(content).update('\0');
  const folder = join(cache, hash.digest('hex').slice(0, 16));
  if (!existsSync(folder)) write(folder, files);
  return join(folder, 'part.js');
}

interface BuiltFile {
  readonly name: string;
  readonly content: string | Uint8Array;
}

/** Whole or not at all: another run may look at the same moment. */
function write(folder: string, files: readonly BuiltFile[]): void {
  mkdirSync(cache, { recursive: true });
  const mine = mkdtempSync(join(cache, 'new-'));
  for (const { name, content } of files) writeFileSync(join(mine, name), content);
  try {
    renameSync(mine, folder);
  } catch (error) {
    rmSync(mine, { recursive: true });
    if (!existsSync(folder)) throw error;
  }
}
