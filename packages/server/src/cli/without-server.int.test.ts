import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { createProgram } from './program.ts';

/** What commands say before the first start. */
const folder = mkdtempSync(join(tmpdir(), 'doorbuster-beginning-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(env: NodeJS.ProcessEnv, ...args: string[]): Promise<unknown> {
  const stdout = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    await createProgram(env).parseAsync(['node', 'doorbuster', ...args, '--data', join(folder, 'data')]);
    return stdout.mock.calls.map(([text]) => String(text)).join('');
  } catch (error) {
    return error;
  } finally {
    stdout.mockRestore();
  }
}

it('a token before the first start: says to start it, not that secrets were lost', async () => {
  expect(await run({}, 'token', 'member-1')).toMatchObject({
    exitCode: 3,
    message: expect.stringContaining('never started') as string,
    remedy: expect.stringContaining('doorbuster serve') as string,
  });
});

it("a token under the shop's own secret needs no data directory", async () => {
  const token = await run({ DOORBUSTER_TOKENS_SHARED_SECRET: 'x'.repeat(32) }, 'token', 'member-1');
  expect(token).toMatch(/^ey[\w-]+\.[\w-]+\.[\w-]+\n$/);
});
