// The health check of the container, as the Dockerfile runs it, against a real server: with TLS and without, ready, stopped, never started.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { commandLine, startProcess } from '../acceptance/testing/process.ts';
import { certificate, certificateKey } from '../http/testing/certificate.ts';

const repository = fileURLToPath(new URL('../../../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'doorbuster-health-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The command of the image's HEALTHCHECK, with its variable. */
function health(dataDir: string): Promise<{ readonly code: number; readonly told: string }> {
  const dockerfile = readFileSync(join(repository, 'deploy/Dockerfile'), 'utf8');
  const [, ...args] = JSON.parse(
    /HEALTHCHECK[^\n]*\n\s*CMD (\[.*\])/.exec(dockerfile)?.[1] ?? '[]',
  ) as string[];
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      args,
      { cwd: repository, env: { DOORBUSTER_DATA: dataDir } },
      (error, _stdout, stderr) => resolve({ code: Number(error?.code ?? 0), told: stderr }),
    );
  });
}

const pem = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};

describe('the health check', () => {
  it.each([
    ['HTTP', 'http:', {}],
    [
      'TLS',
      'https:',
      {
        DOORBUSTER_TLS_CERT_FILE: pem('cert.pem', certificate),
        DOORBUSTER_TLS_KEY_FILE: pem('key.pem', certificateKey),
        DOORBUSTER_PUBLIC_URL: 'https://event.shop.example',
      },
    ],
  ])('%s: healthy while it serves, not before and not after', async (name, protocol, env) => {
    const dataDir = join(folder, name);
    expect(await health(dataDir)).toEqual({ code: 1, told: `no server has started on ${dataDir}\n` });
    const server = startProcess(
      commandLine,
      ['serve', '--json', '--port', '0', '--allow-volatile', '--data', dataDir],
      { env },
    );
    expect(await server.next()).toMatchObject({ firstRun: true });
    const { local } = JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')) as { local: string };
    expect(new URL(local).protocol).toBe(protocol);
    expect(await health(dataDir)).toEqual({ code: 0, told: '' });
    await server.kill('SIGKILL');
    const dead = await health(dataDir);
    expect([dead.code, dead.told.startsWith(`${local}/readyz: `)]).toEqual([1, true]);
  });
});
