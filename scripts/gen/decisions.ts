// docs/decisions/README.md: the list of the decision records, from their own titles and status lines.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { notice, type Generator } from './generated.ts';

const folder = fileURLToPath(new URL('../../docs/decisions/', import.meta.url));

/** The title of a record, written `# 0001: Title`. A record without one is a fault of the record. */
function titleOf(file: string): string {
  const title = /^# (?:\d{4}:? )?(.+)$/m.exec(readFileSync(join(folder, file), 'utf8'));
  if (!title?.[1]) throw new Error(`docs/decisions/${file} has no "# 0000: Title" line`);
  return title[1];
}

export const generate: Generator = () => {
  const records = readdirSync(folder).filter((file) => /^\d{4}-.+\.md$/.test(file));
  const rows = records.sort().map((file) => `| ${file.slice(0, 4)} | [${titleOf(file)}](${file}) |`);
  const text = [
    notice,
    '# Decisions',
    '',
    'What was decided, why, and what was rejected with its numbers. A record is not edited when a decision changes: a new one says',
    'what it replaces.',
    '',
    '| # | decision |',
    '|---|---|',
    ...rows,
    '',
  ].join('\n');
  return [{ path: 'docs/decisions/README.md', text }];
};
