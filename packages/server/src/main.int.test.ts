// Starting with what the configuration names outside itself: every fault is one of the configuration, and leaves nothing behind.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig } from './config.ts';
import { startServer } from './main.ts';

const folder = mkdtempSync(join(tmpdir(), 'doorbuster-main-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const base = { port: 0, allowVolatile: true, logLevel: 'silent' };
const start = (dataDir: string, settings: object) =>
  startServer(loadConfig({ environment: {}, flags: { ...base, ...settings, dataDir } }), {});

describe('what the configuration names', () => {
  const none = join(folder, 'none');
  it.each<[string, object]>([
    ['a key set that is not there', { tokens: { algorithms: ['RS256'], jwksFile: none } }],
    ['a key set that is none', { tokens: { algorithms: ['RS256'], jwksFile: file('jwks.json', '{}') } }],
    ['a certificate that is not there', { tls: { certFile: none, keyFile: none } }],
    ['a certificate that is none', { tls: { certFile: file('a.pem', 'x'), keyFile: file('b.pem', 'x') } }],
    [
      'a webhook secret that is too short',
      { messengers: { hook: { type: 'webhook', url: 'https://shop.example/', secret: 'whsec_c2hvcnQ=' } } },
    ],
    [
      'a variable that is not set',
      {
        messengers: {
          mail: { type: 'smtp', host: 'localhost', from: 'a@shop.example', password: 'env:NO_SUCH_VARIABLE' },
        },
      },
    ],
  ])('refuses %s before anything is made', async (name, settings) => {
    const dataDir = join(folder, name.replaceAll(' ', '-'));
    await expect(start(dataDir, settings)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(existsSync(dataDir)).toBe(false);
  });
});

it('closes the ledger when a later part cannot be made', async () => {
  const dataDir = join(folder, 'later');
  const tokens = { sharedSecret: `file:${file('short.txt', 'short')}` };
  await expect(start(dataDir, { tokens })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  const server = await start(dataDir, {});
  const ready = await fetch(`${server.url}/readyz`);
  expect([ready.status, await ready.json()]).toMatchObject([200, {}]);
  await server.close();
});
