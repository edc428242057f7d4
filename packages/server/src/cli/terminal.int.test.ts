import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const terminal = fileURLToPath(new URL('./terminal.ts', import.meta.url));

/** What a program prints that says a bit of everything, stdout and stderr apart. */
function run(options: { json?: boolean; quiet?: boolean }, env: Record<string, string> = {}) {
  const program = `
    const { createTerminal } = await import(${JSON.stringify(terminal)});
    const t = createTerminal({ json: ${options.json === true}, quiet: ${options.quiet === true}, input: true }, process.env);
    t.say('said'); t.warn('warned'); t.progress('work', 1, 2); t.progressEnd();
    t.data({ a: 1 }, t.bold('text')); t.table([{ id: 'x' }], ['id']);
    if ((await t.ask('sure? ')) !== null) process.exitCode = 9;`;
  const ended = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    input: 'yes\n',
  });
  expect(ended.status).toBe(0);
  return ended;
}

describe('the terminal', () => {
  it('sends data to stdout and messages to stderr, without colour or progress where no person looks', () => {
    const { stdout, stderr } = run({});
    expect(stdout).toBe('text\nid\nx\n');
    expect(stderr).toBe('said\nwarned\n');
  });

  it('prints JSON a line for programs, and no messages but warnings', () => {
    const { stdout, stderr } = run({ json: true });
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([{ a: 1 }, [{ id: 'x' }]]);
    expect(stderr).toBe('warned\n');
  });

  it('is quiet when told so', () => {
    expect(run({ quiet: true }).stderr).toBe('warned\n');
  });
});
