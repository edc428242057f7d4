/**
 * The embedded engine with a defect in its own sources, the ones that run in the writer thread included: no hook of this process reaches that thread, which imports its
 * entry by itself. So the sources from the engine down to the thread are copied to a folder, changed there, and loaded from it; all others are the real ones.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { createEmbeddedEngine } from './engine.ts';

const copied = ['engine.ts', 'connection.ts', 'writer.ts', 'writer-thread.ts'] as const;

export interface SourceDefect {
  readonly file: (typeof copied)[number];
  /** Is there exactly once: whoever changes this text changes the quote. */
  readonly find: string;
  readonly put: string;
}

export interface DefectiveCopy {
  readonly createEmbeddedEngine: typeof createEmbeddedEngine;
  readonly destroy: () => void;
}

/** Without a defect it is the engine as it is, which shows that the copying does no harm. */
export async function copyWith(defect: SourceDefect | undefined): Promise<DefectiveCopy> {
  const folder = mkdtempSync(join(tmpdir(), 'defective-'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const file of copied) {
    const source = readFileSync(new URL(file, import.meta.url), 'utf8');
    const text = file === defect?.file ? changed(source, defect) : source;
    writeFileSync(join(folder, file), text.replaceAll(/(?<=from ')\.[^']+(?=')/g, elsewhere));
  }
  const engine = (await import(pathToFileURL(join(folder, 'engine.ts')).href)) as Pick<
    DefectiveCopy,
    'createEmbeddedEngine'
  >;
  return {
    createEmbeddedEngine: engine.createEmbeddedEngine,
    destroy: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function changed(source: string, { file, find, put }: SourceDefect): string {
  const parts = source.split(find);
  if (parts.length !== 2) throw new Error(`${file} has the quote ${parts.length - 1} times: ${find}`);
  return parts.join(put);
}

/** Where a copy finds what it imports: among the copies, or where it was. */
function elsewhere(specifier: string): string {
  const isCopied = copied.some((file) => specifier === `./${file}`);
  return isCopied ? specifier : new URL(specifier, import.meta.url).href;
}
