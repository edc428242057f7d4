/**
 * Plants a defect: while Node loads the sources named by it, the quoted lines are replaced. Nothing is written, nothing ships; the process that planted
 * one is good for nothing else. A quote that does not match exactly once ends the process with exit code 99, so that a control whose line was
 * rewritten fails loudly instead of passing as caught or as harmless.
 */
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type DefectName, type Patch, planted } from './planted.ts';

export const quoteLost = 99;
const root = new URL('../packages/', import.meta.url);

/** Before any source of the product is imported. Returns what checks, after the imports, that every patch found its file. */
export function plant(name: DefectName): () => void {
  const waiting = new Map<string, Patch[]>();
  for (const patch of planted[name].patches) {
    const url = new URL(patch.file, root).href;
    waiting.set(url, [...(waiting.get(url) ?? []), patch]);
  }
  const done = new Set<string>();
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      const patches = waiting.get(url);
      if (patches === undefined) return loaded;
      done.add(url);
      const source = patches.reduce((text, patch) => applyOrEnd(name, patch, text), textOf(loaded.source));
      return { ...loaded, source };
    },
  });
  return () => {
    for (const url of waiting.keys()) if (!done.has(url)) end(name, `${fileURLToPath(url)} was never loaded`);
  };
}

/** The source with the patch; a message when the quote is not there exactly once. */
export function applied(
  patch: Patch,
  source: string,
): { readonly text: string } | { readonly fault: string } {
  const matches = [
    ...source.matchAll(new RegExp(patch.find.source, `${patch.find.flags.replace('g', '')}g`)),
  ];
  if (matches.length !== 1)
    return { fault: `${patch.file}: ${String(patch.find)} matches ${matches.length} times` };
  return { text: source.replace(patch.find, patch.put) };
}

function applyOrEnd(name: DefectName, patch: Patch, source: string): string {
  const outcome = applied(patch, source);
  return 'fault' in outcome ? end(name, outcome.fault) : outcome.text;
}

function end(name: DefectName, fault: string): never {
  process.stderr.write(`the defect ${name} cannot be planted: ${fault}\n`);
  process.exit(quoteLost);
}

function textOf(source: unknown): string {
  return typeof source === 'string' ? source : Buffer.from(source as Uint8Array).toString('utf8');
}
