/** The snippets of docs/messaging/patterns that stand alone (they import what they use) run as they are printed, with the address of the server put in; so does the scheduled job, which needs one too. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));
// Inside of the repository, so that the packages are found.
mkdirSync(join(root, '.cache'), { recursive: true });
const folder = mkdtempSync(join(root, '.cache', 'snippets-'));
afterAll(() => rmSync(folder, { recursive: true }));

function snippetsOf(page: string): string[] {
  const text = readFileSync(join(root, 'docs/messaging/patterns', `${page}.md`), 'utf8');
  return [...text.matchAll(/```ts\n([\s\S]*?)```/g)].flatMap(([, code]) =>
    code?.includes("from '@doorbuster/messaging'") ? [code] : [],
  );
}

function run(code: string): string {
  const path = join(folder, 'snippet.ts');
  writeFileSync(path, code);
  const { stdout, stderr } = spawnSync(process.execPath, ['--conditions=doorbuster-source', path], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  expect(stderr).toBe('');
  return stdout;
}

it('sagas: what failed is undone', () => {
  const [first, ...rest] = snippetsOf('sagas');
  expect(rest).toEqual([]);
  expect(run(first ?? '')).toMatch(/^cancelled by .*book\.compensate\ncompensated\n$/);
});

it('inbox: a repeat changes nothing', () => {
  // The first takes a pool for granted, and is run in its example.
  const [, whole, ...rest] = snippetsOf('inbox');
  expect(rest).toEqual([]);
  expect(run(whole ?? '')).toBe('ack ack\n1\n');
});

it('streams: the state and the version', () => {
  const [first, ...rest] = snippetsOf('event-sourced-streams');
  expect(rest).toEqual([]);
  expect(run(first ?? '')).toBe('20 2\n');
});

const redis = process.env['REDIS_URL'];
describe.skipIf(!redis)('on Redis (set REDIS_URL to run it)', () => {
  it('locks: a leader starts and stops', () => {
    const leader = snippetsOf('locks').find((code) => code.includes('createLeader({'));
    expect(run((leader ?? '').replace('redis://127.0.0.1:21379', redis ?? ''))).toMatch(
      /^elected, term \d+\n$/,
    );
  });

  const job = (change: (code: string) => string = (code) => code): string =>
    run(
      change(readFileSync(join(root, 'packages/messaging/examples/scheduled-job.ts'), 'utf8')).replace(
        './stage.ts',
        join(root, 'packages/messaging/examples/stage.ts'),
      ),
    );
  const done = (once: boolean): string => `published twice: true\none report for each time: ${once}\n`;

  it('scheduled-job.ts: two that lead publish each time twice, and its work is done once', () => {
    expect(job()).toBe(done(true));
  });

  it('control: under an id of its own each is done twice', () => {
    expect(job((code) => code.replace(/, \{ id: .+ \}\);/, ');'))).toBe(done(false));
  });
});

const postgres = process.env['DATABASE_URL'];
describe.skipIf(!postgres)('on PostgreSQL (set DATABASE_URL to run it)', () => {
  it('locks: a write with a fence', () => {
    const [first] = snippetsOf('locks');
    const address = 'postgres://postgres@127.0.0.1:21432/postgres';
    const own = (first ?? '')
      .replace(
        `'${address}' });`,
        `'${postgres}', options: '-c search_path=pattern_docs' });\nawait pool.query('CREATE SCHEMA pattern_docs');`,
      )
      .replace(
        'await pool.end();',
        "await pool.query('DROP SCHEMA pattern_docs CASCADE');\nawait pool.end();",
      );
    expect(run(own)).toBe('written\n');
  });
});
