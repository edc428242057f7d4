// The start of the repository, for real: a small tree of its own with a lockfile, real npm, real processes. Its one
// dependency is a folder of the tree, so no registry is needed.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
let tree = '';

function put(file: string, text: string): void {
  const path = join(tree, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 'doorbuster-run-'));
  for (const file of ['scripts/run.mjs', 'scripts/install.mjs', 'packages/server/bin']) {
    cpSync(join(root, file), join(tree, file), { recursive: true });
  }
  put('local/package.json', '{ "name": "local", "version": "1.0.0" }');
  put(
    'package.json',
    JSON.stringify({
      name: 'tree',
      type: 'module',
      scripts: { doorbuster: 'node scripts/run.mjs cli' },
      dependencies: { local: 'file:local' },
    }),
  );
  spawnSync('npm', ['install', '--package-lock-only', '--ignore-scripts', '--offline'], { cwd: tree });
  put(
    'packages/server/src/cli/main.ts',
    `const args: string[] = process.argv.slice(2);
if (args[0] === 'wait') {
  process.on('SIGTERM', () => process.exit(7));
  setInterval(() => {}, 1000);
  process.stdout.write(\`\${process.pid}\\n\`);
} else {
  process.stdout.write(JSON.stringify({ args, flags: process.execArgv, node: process.execPath }));
  process.exitCode = 5;
}
`,
  );
});
afterEach(() => rmSync(tree, { recursive: true, force: true }));

const start = (args: string[], env: NodeJS.ProcessEnv = {}) =>
  spawnSync(process.execPath, ['scripts/run.mjs', ...args], {
    cwd: tree,
    encoding: 'utf8',
    env: { ...process.env, npm_execpath: '', ...env },
  });

describe('the start', () => {
  it('installs once, then runs the verb; stdout holds the program’s data only', () => {
    const first = start(['demo', '--json']);
    expect(first.stderr).toContain('installing packages');
    expect(existsSync(join(tree, 'node_modules/local/package.json'))).toBe(true);
    expect(JSON.parse(first.stdout)).toMatchObject({
      args: ['demo', '--json'],
      flags: expect.arrayContaining(['--conditions=doorbuster-source']),
    });
    expect(first.status).toBe(5);

    const second = start(['cli', 'campaign', 'list']);
    expect(second.stderr).toBe('');
    expect(JSON.parse(second.stdout).args).toEqual(['campaign', 'list']);
  });

  it('installs once when two start at the same moment', async () => {
    const both = [1, 2].map(() => {
      const child = spawn(process.execPath, ['scripts/run.mjs', 'cli'], { cwd: tree });
      let stderr = '';
      child.stderr.on('data', (chunk: Buffer) => {
        stderr += chunk.toString();
      });
      child.stdout.resume();
      return once(child, 'close').then(([code]) => ({ code: code as number, stderr }));
    });
    const ended = await Promise.all(both);
    expect(ended.map(({ code }) => code)).toEqual([5, 5]);
    expect(ended.filter(({ stderr }) => stderr.includes('installing packages'))).toHaveLength(1);
  });

  it('takes over the lock of an install that died', () => {
    put('.cache/install.lock/pid', '999999999');
    expect(start(['cli']).status).toBe(5);
  });

  it('passes SIGTERM on and returns the program’s exit code', async () => {
    start(['cli']);
    const child = spawn(process.execPath, ['scripts/run.mjs', 'cli', 'wait'], { cwd: tree });
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    const [code] = await once(child, 'close');
    expect(code).toBe(7);
  });

  it('ends the program when npm was told to end, whose shell passes nothing on', async () => {
    start(['cli']);
    const npm = spawn('npm', ['run', '-s', 'doorbuster', '--', 'wait'], { cwd: tree });
    const [pid] = (await once(npm.stdout, 'data')) as [Buffer];
    onTestFinished(() => {
      try {
        process.kill(Number(pid.toString()), 'SIGKILL');
      } catch {
        // As it should be: it has ended.
      }
    });
    npm.kill('SIGTERM');
    // Once nobody holds its streams any more, the program included.
    await once(npm, 'close');
    expect(() => process.kill(Number(pid.toString()), 0)).toThrow('ESRCH');
  }, 60_000);

  it('ends with 3 and one line when no fit Node is named', () => {
    start(['cli']);
    const run = start(['cli'], { DOORBUSTER_NODE: join(tree, 'nothing') });
    expect(run.status).toBe(3);
    expect(run.stderr.trim().split('\n')).toHaveLength(1);
  });

  it('ends with 2 for a verb it does not know', () => {
    const run = start(['dance']);
    expect(run.status).toBe(2);
    expect(run.stderr).toContain('one of demo, cli, ');
  });

  it('ends with 1 and says why when npm cannot install', () => {
    put('package-lock.json', '{ "name": "tree", "lockfileVersion": 3, "packages": {} }');
    const run = start(['cli']);
    expect(run.status).toBe(1);
    expect(run.stderr).toContain('npm ci failed');
    expect(run.stdout).toBe('');
  });
});
