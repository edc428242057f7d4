// `npm run gen` writes every generated page; `npm run gen:check` writes nothing and fails when one is out of date. The
// generators are the files of scripts/gen/ that export `generate` (scripts/gen/generated.ts is their contract).

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Generated, Generator } from './gen/generated.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'scripts', 'gen');

export async function generateAll(): Promise<Generated[]> {
  const files = readdirSync(folder).filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const pages: Generated[] = [];
  for (const file of files.sort()) {
    const module = (await import(join(folder, file))) as { generate?: Generator };
    if (module.generate) pages.push(...(await module.generate()));
  }
  return pages;
}

function onDisk(page: Generated): string | undefined {
  try {
    return readFileSync(join(root, page.path), 'utf8');
  } catch {
    return undefined;
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
  const stale = (await generateAll()).filter((page) => onDisk(page) !== page.text);
  for (const page of stale) {
    if (!values.check) {
      mkdirSync(dirname(join(root, page.path)), { recursive: true });
      writeFileSync(join(root, page.path), page.text);
    }
    process.stdout.write(`${values.check ? 'out of date' : 'written'}: ${page.path}\n`);
  }
  if (stale.length === 0) process.stdout.write('every generated page is up to date\n');
  if (values.check && stale.length > 0) {
    process.stderr.write('run "npm run gen" and commit the result\n');
    process.exitCode = 1;
  }
}
