// What `npm run -s evidence` keeps of a run, also of one that did not reach what is wanted, that it keeps nothing of one that broke off or was told to fail, and
// what it calls clean.

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { isClean, main, notEvidence, readCheckout, type Recorded, resultOf } from './evidence.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'doorbuster-evidence-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What it ends with and says itself; what a harness says is not in it. */
async function told(args: readonly string[]): Promise<{ readonly code: number; readonly said: string }> {
  const said: string[] = [];
  const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  const code = await main(args, folder).finally(() => write.mockRestore());
  return { code, said: said.join('') };
}

test('keeps the last line of the harness with the command, the commit and the machine', {
  timeout: 240_000,
}, async () => {
  expect(await main(['demo', '--entrants', '60', '--units', '5'], folder)).toBe(0);
  const kept = JSON.parse(readFileSync(join(folder, 'demo.json'), 'utf8')) as Recorded;
  expect(kept.command).toBe('npm run -s demo -- --entrants 60 --units 5 --json');
  expect(kept.commit).toMatch(/^([0-9a-f]{10,}|unknown)$/);
  expect(kept.reached).toBe(true);
  expect(kept.machine.cores).toBeGreaterThan(0);
  expect(kept.result).toMatchObject({ entrants: 60, units: 5, oversold: 0 });
});

test('keeps the figures of a run that did not reach what is wanted, marked so, and ends with its code', async () => {
  // Its time is over before anybody is killed: it shows nothing, and says so.
  const given = ['--messages', '400', '--kill-every-ms', '60000', '--limit-s', '1'];
  expect(await main(['soak-host', ...given], folder)).toBe(1);
  const kept = JSON.parse(readFileSync(join(folder, 'soak-host.json'), 'utf8')) as Recorded;
  expect(kept.command).toContain('soak -- --engine embedded --kill-publisher-every 3 --rate-unjudged --mess');
  expect(kept.reached).toBe(false);
  const { engines } = kept.result as { engines: { embedded: { violations: string[] } } };
  expect(engines.embedded).toMatchObject({ kills: 0, lost: 0, leastRate: null });
  expect(engines.embedded.violations).toEqual(
    expect.arrayContaining([
      '0 kills, at least 1 are wanted',
      '0 kills of the publisher, at least 1 is wanted',
    ]),
  );
});

test.each([[['--kill-publisher-every', '0']], [['--engine=redis']], [['--rate-unjudged']]])(
  'records nothing under a name with other options of its own: %j',
  async (given) => {
    expect(await main(['soak-host', ...given], folder)).toBe(2);
  },
);

test('keeps nothing of a run that broke off, and knows its harnesses by name', async () => {
  expect(await main(['demo', '--entrants', 'many'], folder)).toBe(2);
  expect(await main(['weather'], folder)).toBe(2);
  expect(existsSync(join(folder, 'demo.json'))).toBe(false);
});

test('a result is an object, and none that says why the program broke off', () => {
  expect(resultOf('{"lost":1}')).toEqual({ lost: 1 });
  for (const line of ['', '12', '[]', 'null', '{"error":"The ledger is halted.","code":"LEDGER_HALTED"}'])
    expect(resultOf(line), line).toBe(null);
});

test.each([
  ['chaos', '--cycles', '1', '--defect', 'delivered-before-sent'],
  ['chaos', '--defect=delivered-before-sent'],
  ['simulation', '--controls'],
  ['controls', '--controls'],
  ['simulation', '--seed', '1', '--keep', '1-3'],
  ['simulation', '--without=crash'],
  ['bench', '--quick'],
])('%s %s %s is no evidence: a usage error before anything runs', async (...args) => {
  const { code, said } = await told(args);
  expect(code).toBe(2);
  // The harnesses end with 2 as well, with a word of their own.
  expect(said).toContain(`a run with ${notEvidence.join(', ')} is no evidence`);
  expect(readdirSync(folder)).toEqual([]);
});

test.each([
  [['--seconds', '1.5', '--rounds', '4'], '--rounds below 6 or --seconds below 4'],
  [['--keyed', '--rounds=4'], '--rounds below 6'],
  [['--rounds', '6', '--seconds=3.9'], '--seconds below 4'],
])(
  'messaging-bench %j is shorter than what is recorded: a usage error before anything runs',
  async (given, what) => {
    expect(await told(['messaging-bench', ...given])).toEqual({
      code: 2,
      said: `a run with ${what} is shorter than what is recorded, and no evidence; ask the harness itself\n`,
    });
    expect(readdirSync(folder)).toEqual([]);
  },
);

test('as many rounds as the harness takes by itself are no reason to refuse: it is asked', async () => {
  const { code, said } = await told(['messaging-bench', '--rounds', '6', '--seconds=4', 'no-such-engine']);
  expect({ code, said }).toEqual({ code: 2, said: 'it ended with 2; nothing was recorded\n' });
});

test('clean is the same commit without changes before and after; only what is recorded may change', () => {
  const git = (...args: string[]): string =>
    execFileSync(
      'git',
      ['-c', 'user.name=t', '-c', 'user.email=t@t.example', '-c', 'commit.gpgsign=false', ...args],
      {
        cwd: folder,
        encoding: 'utf8',
      },
    );
  const save = (file: string, text: string): void => writeFileSync(join(folder, file), text);
  const now = () => readCheckout(folder);
  git('init', '-q');
  mkdirSync(join(folder, 'docs/evidence'), { recursive: true });
  save('docs/evidence/bench.json', '1');
  save('source.ts', '1');
  git('add', '.');
  git('commit', '-q', '-m', 'one');
  const first = now();
  expect(first).toEqual({ head: expect.stringMatching(/^[0-9a-f]{10}/), changes: '' });

  save('docs/evidence/bench.json', '2');
  expect(isClean(first, now())).toBe(true);

  save('source.ts', '2');
  const changed = now();
  expect(isClean(first, changed), 'changed while it ran').toBe(false);
  expect(isClean(changed, first), 'changed before and put back').toBe(false);
  git('commit', '-q', '-m', 'two', '--', 'source.ts');
  expect(isClean(first, now()), 'committed while it ran').toBe(false);
  expect(isClean(now(), now())).toBe(true);

  const none = { head: null, changes: null };
  expect(isClean(none, none), 'no checkout').toBe(false);
});
