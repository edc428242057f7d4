// `npm test` counts what happened, all of it, and its workers and their children resolve packages to source. In a tree of
// its own with planted tests: one that passes, one that fails, one skipped with a reason, a file that does not load, and some that need a server.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { situations } from './engines/situations.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
let tree = '';

function put(file: string, text: string): void {
  const path = join(tree, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const using = "import { describe, expect, it } from 'vitest';\n";

beforeAll(() => {
  tree = mkdtempSync(join(tmpdir(), 'doorbuster-test-'));
  for (const file of [
    'scripts/test.ts',
    'scripts/check.ts',
    'scripts/running-tests.ts',
    'scripts/test-order.ts',
    'vitest.config.ts',
    'package.json',
  ]) {
    cpSync(join(root, file), join(tree, file));
  }
  for (const part of ['scripts/test-servers.ts', 'scripts/services', 'scripts/engines'])
    cpSync(join(root, part), join(tree, part), {
      recursive: true,
      filter: (path) => !path.endsWith('.test.ts'),
    });
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  put('packages/a/src/good.unit.test.ts', `${using}it('holds', () => expect(1).toBe(1));\n`);
  put('packages/a/src/bad.unit.test.ts', `${using}it('fails', () => expect(1).toBe(2));\n`);
  put('packages/a/src/broken.unit.test.ts', `${using}throw new Error('does not load');\n`);
  put(
    'packages/a/src/left.int.test.ts',
    `${using}it('needs a browser', (test) => test.skip('no Chromium on this machine'));\n`,
  );
  put(
    'packages/a/src/stray.int.test.ts',
    `${using}it('passes, but leaves a rejection behind', () => { void Promise.reject(new Error('stray')); });\n`,
  );
  put(
    'packages/messaging/src/engines/redis/engine.conformance.int.test.ts',
    `${using}describe.skip('on Redis', () => { it('holds', () => {}); });\n`,
  );
  put(
    'packages/messaging/src/far.int.test.ts',
    `${using}describe.skip('far away (needs KAFKA_URL)', () => { it('holds', () => {}); });\n`,
  );
});
afterAll(() => rmSync(tree, { recursive: true, force: true }));

function run(...args: string[]): { status: number | null; lines: string[] } {
  return runWith({}, ...args);
}

/** Nothing of this run's own servers, and not in CI unless it says so. */
function runWith(
  environment: Readonly<Record<string, string>>,
  ...args: string[]
): { status: number | null; lines: string[] } {
  const { CI: _, REDIS_URL: __, KAFKA_URL: ___, ...own } = process.env;
  const ended = spawnSync(process.execPath, ['scripts/test.ts', ...args], {
    cwd: tree,
    encoding: 'utf8',
    env: { ...own, TEST_SERVERS: 'none', ...environment },
  });
  return { status: ended.status, lines: ended.stdout.trimEnd().split('\n') };
}

describe('npm test', () => {
  it('ends with the sum, and with 0 when nothing failed', () => {
    const { status, lines } = run('unit', 'good');
    expect(lines.at(-1)).toBe('1 passed, 0 failed, 0 skipped');
    expect(status).toBe(0);
  });

  it('counts a failed test and a file that does not load', () => {
    const { status, lines } = run('unit');
    expect(lines.at(-1)).toBe('1 passed, 2 failed, 0 skipped');
    expect(status).toBe(1);
  });

  it('names what did not run, with its reason', () => {
    const { lines } = run('int', 'left');
    expect(lines.at(-1)).toBe('0 passed, 0 failed, 1 skipped');
    expect(lines.at(-2)).toMatch(
      /^not run: .*left\.int\.test\.ts > needs a browser \(no Chromium on this machine\)/,
    );
  });

  it('counts an error outside of any test', () => {
    const { status, lines } = run('int', 'stray');
    expect(lines.at(-1)).toBe('1 passed, 1 failed, 0 skipped');
    expect(status).toBe(1);
  });

  it.each([
    ['an engine', 'engines/redis', 'REDIS_URL', 'redis/engine.conformance.int.test.ts > on Redis > holds'],
    ['one that names it', 'far', 'KAFKA_URL', 'src/far.int.test.ts > far away (needs KAFKA_URL) > holds'],
  ])(
    'fails in CI for a test that did not run although its server is up: of %s',
    (_, path, variable, test) => {
      const isUp = { CI: 'true', [variable]: 'somewhere' };
      const { status, lines } = runWith(isUp, 'int', path);
      expect(lines.at(-1)).toBe('0 passed, 1 failed, 0 skipped');
      expect(lines.at(-2)).toMatch(/^failed: it has to run in CI: /);
      expect(lines.at(-2)).toContain(`${test}, ${variable} is set`);
      expect(status).toBe(1);

      // The controls: the server is not there, or it is nobody's word that everything is.
      for (const excused of [{ CI: 'true' }, { [variable]: 'somewhere' }])
        expect(runWith(excused, 'int', path)).toMatchObject({
          status: 0,
          lines: expect.arrayContaining(['0 passed, 0 failed, 1 skipped']),
        });
    },
  );

  it("fails in CI for an engine's suite that is left out of a whole run", () => {
    const leftOut = { CI: 'true', TESTS_LEFT_OUT: '**/engines/redis/** **/stray.int.test.ts' };
    const { status, lines } = runWith(leftOut, 'int');
    expect(lines.filter((line) => line.startsWith('failed: '))).toEqual([
      expect.stringMatching(/^failed: it has to run in CI: .*redis\/engine\.conformance.* left out$/),
    ]);
    expect(lines.at(-1)).toBe('0 passed, 1 failed, 2 skipped');
    expect(status).toBe(1);
    expect(runWith({ TESTS_LEFT_OUT: leftOut.TESTS_LEFT_OUT }, 'int').status, 'not in CI').toBe(0);
  });

  it('fails in CI for an engine whose tests all pass and show too little', () => {
    const own = 'packages/messaging/src/engines/embedded/engine.conformance.int.test.ts';
    const shown = situations.flatMap(({ shownBy: [part = ''], without }) =>
      without?.['embedded'] === undefined ? [part] : [],
    );
    /** As many planted defects, all caught, and tests by whose names the engine comes into these situations. */
    const putEngine = (names: readonly string[], planted: number): void =>
      put(
        own,
        `${using}import { registerControls } from '@doorbuster/messaging/conformance';
        it.each(${JSON.stringify(names)})('%s', () => {});
        const pass = async () => {}, fail = async () => { throw new Error('seen'); };
        registerControls(it, 'embedded', Array.from({ length: ${planted} }, (_, n) => ({
          defect: 'd' + n, caughtBy: ${JSON.stringify(shown[0])}, healthy: pass, defective: fail,
        })));`,
      );
    const inCi = { CI: 'true', TESTS_LEFT_OUT: '**/stray.int.test.ts' };
    const failures = (environment: Readonly<Record<string, string>>) => {
      const { status, lines } = runWith(environment, 'int');
      return { status, failed: lines.filter((line) => line.startsWith('failed: ')) };
    };
    try {
      putEngine(shown, 4);
      expect(failures(inCi)).toEqual({ status: 0, failed: [] });
      // That of the first is the name of the controls too, which bring nobody into it.
      putEngine(shown.slice(1), 3);
      expect(failures(inCi)).toEqual({
        status: 1,
        failed: [
          `failed: it has to hold in CI: no test of it passed: embedded: ${situations[0]?.name}`,
          'failed: it has to hold in CI: embedded: fewer than 4 planted defects',
        ],
      });
      expect(failures({ TESTS_LEFT_OUT: inCi.TESTS_LEFT_OUT }), 'not in CI').toEqual({
        status: 0,
        failed: [],
      });
    } finally {
      rmSync(join(tree, own));
    }
  });

  it('ended from outside it names the file whose process never turns its event loop again', async () => {
    const files = ['spins', 'ends'].map((name) => `packages/a/src/spinning/${name}.unit.test.ts`) as [
      string,
      string,
    ];
    // Which test runs is not heard of any more; that its file does stands in the file that it makes.
    const isSpinning = join(tree, 'spinning');
    put(
      files[0],
      `${using}import { writeFileSync } from 'node:fs';
      it('spins', async () => { writeFileSync(${JSON.stringify(isSpinning)}, ''); for (;;) await Promise.resolve(); });\n`,
    );
    put(files[1], `${using}it('ends', () => {});\n`);
    const running = spawn(process.execPath, ['scripts/test.ts', 'unit', 'spinning'], { cwd: tree });
    try {
      let said = '';
      running.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      const ended = once(running, 'close');
      await expect
        .poll(() => existsSync(isSpinning) && said.includes('ends.unit'), { timeout: 30_000 })
        .toBe(true);
      running.kill('SIGTERM');
      expect(await ended).toEqual([1, null]);
      expect(said.split('\n').filter((line) => line.startsWith('had not ended'))).toEqual([
        `had not ended: ${files[0]}`,
      ]);
    } finally {
      running.kill('SIGKILL');
      for (const file of files) rmSync(join(tree, file));
    }
  });

  it('names each flaky test directly above the sum, with what it said the first time', () => {
    const files = ['late', 'early'].map((name) => `packages/a/src/flaky/${name}.int.test.ts`);
    const assertion = "assert.deepEqual([tries], [2], 'the \\x1b[31mfirst\\x1b[39m time\\n\\n  was bad')";
    const flaky = `import assert from 'node:assert';\n${using}let tries = 0;\nit('holds at last', () => { tries += 1; ${assertion}; });\n`;
    const skipped = `it('is left out', (test) => test.skip('for a reason'));\n`;
    for (const file of files) put(file, flaky + skipped);
    try {
      const { status, lines } = runWith({ CI: 'true' }, 'int', 'flaky');
      expect(lines.at(-1)).toBe('2 passed, 0 failed, 2 skipped');
      expect(status).toBe(0);
      const named = files.map((file) => `flaky: ${file} > holds at last: the first time was bad`);
      expect(lines.slice(-3, -1).toSorted()).toEqual(named.toSorted());
      expect(lines.at(-4)).toMatch(/^2 flaky, failed once and passed when run again: /);
      expect(lines.at(-5)).toMatch(/^not run: .* > is left out \(for a reason\)$/);
    } finally {
      for (const file of files) rmSync(join(tree, file));
    }
  });

  it('does not call it success when no test matches', () => {
    expect(run('unit', 'nothing-of-that-name')).toMatchObject({ status: 1 });
  });
});
