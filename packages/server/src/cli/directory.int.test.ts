// A place where nothing can be made: each command says so and ends. A process of its own, because what never returns would hold the test too.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { makeDirectory } from '../make-directory.ts';

const folder = mkdtempSync(join(tmpdir(), 'doorbuster-directory-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const main = fileURLToPath(new URL('./main.ts', import.meta.url));
/** Its parent exists, and yet the system says ENOENT. */
const nowhere = '/proc/doorbuster-none';

/** The deadline is far beyond any start: it ends only what would never end. */
function run(...args: string[]) {
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  const { status, signal, stdout } = spawnSync(process.execPath, [...flags, main, ...args, '--json'], {
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  return { status, signal, failure: stdout === '' ? null : (JSON.parse(stdout) as { error: string }) };
}

describe('a directory that cannot be made', () => {
  it('backup --to: 2', () => {
    writeFileSync(join(folder, 'ledger.sqlite'), '');
    expect(run('backup', '--to', nowhere, '--data', folder)).toMatchObject({
      status: 2,
      failure: { error: expect.stringContaining(`${nowhere} cannot be made`) as string },
    });
  }, 90_000);

  it('restore --data: 3', () => {
    writeFileSync(join(folder, 'backup.json'), '{"format":"doorbuster-backup","version":1,"takenAt":0}');
    writeFileSync(join(folder, 'secrets.json'), '{}');
    expect(run('restore', '--from', folder, '--data', nowhere)).toMatchObject({
      status: 3,
      failure: { error: expect.stringContaining(`${nowhere} cannot be made`) as string },
    });
  }, 90_000);

  it('serve --data: 3 LEDGER_UNSAFE', () => {
    expect(run('serve', '--port', '0', '--data', nowhere)).toMatchObject({
      status: 3,
      failure: { code: 'LEDGER_UNSAFE', error: expect.stringContaining(nowhere) as string },
    });
  }, 90_000);

  it('is refused where a file has its name; others are made with all that is missing above', () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    expect(() => makeDirectory(file)).toThrow('EEXIST');
    expect(() => makeDirectory(join(file, 'below'))).toThrow('ENOTDIR');
    const deep = join(folder, 'a', 'b', 'c');
    makeDirectory(deep);
    makeDirectory(deep);
    expect(existsSync(deep)).toBe(true);
  });
});
