// The first start, with stderr going into a file as under systemd or a container: what it prints must hold no secret.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { firstRunText } from './serve.ts';

const folder = mkdtempSync(join(tmpdir(), 'doorbuster-serve-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const main = fileURLToPath(new URL('./main.ts', import.meta.url));

it('shows the operator key of the first start on a terminal only', async () => {
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  const settings = ['--port', '0', '--data', folder, '--allow-volatile'];
  const server = spawn(process.execPath, [...flags, main, 'serve', ...settings]);
  let told = '';
  server.stderr.on('data', (chunk: Buffer) => {
    told += chunk.toString();
  });
  const ended = once(server, 'close');
  try {
    // Its addresses come last, when everything else was said.
    await Promise.race([once(server.stdout, 'data'), ended]);
  } finally {
    server.kill('SIGTERM');
    await ended;
  }
  const file = join(folder, 'operator-key');
  const key = readFileSync(file, 'utf8').trim();
  expect(key).toMatch(/^dbk_/);
  expect(told).toContain(`Operator key: kept in ${file}.`);
  expect(told).not.toContain(key);

  const made = { secretsFile: 's', operatorKeyFile: file, operatorKey: key };
  expect(firstRunText(made, true)).toContain(key);
}, 120_000);
