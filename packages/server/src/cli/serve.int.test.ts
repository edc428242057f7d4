// The first start, with stderr going into a file as under systemd or a container: what it prints must hold no secret.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { firstRunText } from './serve.ts';

const folder = mkdtempSync(join(tmpdir(), 'doorbuster-serve-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const main = fileURLToPath(new URL('./main.ts', import.meta.url));

it('shows the operator key on a terminal only, and drains when the runner is gone', async () => {
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  const settings = ['--port', '0', '--data', folder, '--allow-volatile'];
  const server = spawn(process.execPath, [...flags, main, 'serve', ...settings], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  if (!server.stdout || !server.stderr) throw new Error('no pipes');
  onTestFinished(() => void server.kill('SIGKILL'));
  let told = '';
  server.stderr.on('data', (chunk: Buffer) => {
    told += chunk.toString();
  });
  // Not `close`: Node does not emit it once the channel was closed from this side.
  const ended = Promise.all([once(server, 'exit'), once(server.stderr, 'end')]);
  // Its addresses come last, when everything else was said.
  await Promise.race([once(server.stdout, 'data'), ended]);
  // As a runner that was killed would.
  if (server.connected) server.disconnect();
  const [exit] = await ended;
  expect(exit).toEqual([0, null]);
  expect(existsSync(join(folder, 'server.json'))).toBe(false);
  const file = join(folder, 'operator-key');
  const key = readFileSync(file, 'utf8').trim();
  expect(key).toMatch(/^dbk_/);
  expect(told).toContain(`Operator key: kept in ${file}.`);
  expect(told).not.toContain(key);

  const made = { secretsFile: 's', operatorKeyFile: file, operatorKey: key };
  expect(firstRunText(made, true)).toContain(key);
}, 120_000);
