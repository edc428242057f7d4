/** The examples of the patterns run, and their pages show their code and what they print. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { excerptOf } from '../src/testing/excerpt.ts';

const examples = ['reconciliation.ts', 'outbox-postgres.ts', 'inbox-sqlite.ts'];
const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
const run = (name: string): { readonly stdout: string; readonly stderr: string } =>
  spawnSync(
    process.execPath,
    ['--conditions=doorbuster-source', fileURLToPath(new URL(name, import.meta.url))],
    {
      encoding: 'utf8',
      timeout: 50_000,
    },
  );

describe('examples of the patterns', () => {
  it('reconciliation prints what its page shows', () => {
    const { stdout, stderr } = run('./reconciliation.ts');
    expect(stderr).toBe('');
    const page = read('../../../docs/messaging/patterns/reconciliation.md');
    expect(stdout).toBe(/```text\n([\s\S]*?)```/.exec(page)?.[1]);
  });

  it.skipIf(!process.env.DATABASE_URL)('outbox on PostgreSQL (DATABASE_URL) takes effect once', () => {
    expect(run('./outbox-postgres.ts')).toMatchObject({ stdout: 'mails: 1\n', stderr: '' });
  });

  it.each(['outbox.md', 'inbox.md', 'reconciliation.md'])('%s shows code of an example', (page) => {
    // Line breaks and the commas that come with them are the formatter's.
    const words = (text: string): string => text.replaceAll(/\s+/g, '').replaceAll(/,([)}\]])/g, '$1');
    const code = examples.map((name) => words(read(`./${name}`)));
    const shown = [...read(`../../../docs/messaging/patterns/${page}`).matchAll(/```ts\n([\s\S]*?)```/g)];
    expect(shown.length).toBeGreaterThan(0);
    for (const [, snippet = ''] of shown)
      expect(
        code.some((text) => text.includes(words(excerptOf(snippet)))),
        snippet,
      ).toBe(true);
  });
});
