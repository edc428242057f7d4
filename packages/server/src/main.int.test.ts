// Starting with what the configuration names outside itself: every fault is one of the configuration, and leaves nothing behind.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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

describe('a queue that is gone', () => {
  const dataDir = join(folder, 'queue');
  const bus = join(dataDir, 'bus.sqlite');
  const again = (acceptLostQueue = false) =>
    startServer(loadConfig({ environment: {}, flags: { ...base, dataDir } }), {}, { acceptLostQueue });

  it('refuses to start as if there had been none, until a person accepts the loss', async () => {
    await (await again()).close();
    // Control: with the file in its place nothing is asked.
    await (await again()).close();
    rmSync(bus);
    await expect(again()).rejects.toMatchObject({ code: 'BUS_MISSING' });
    expect(existsSync(bus)).toBe(false);
    await (await again(true)).close();
    expect(existsSync(bus)).toBe(true);
    await (await again()).close();
    rmSync(bus);
    await expect(again()).rejects.toMatchObject({ code: 'BUS_MISSING' });
  });

  it('is none in a directory that was restored from a backup, which is the ledger alone', async () => {
    const restored = join(folder, 'restored');
    await (await start(restored, {})).close();
    for (const file of readdirSync(restored))
      if (!/^(ledger\.sqlite|secrets\.json|operator-key)$/.test(file)) rmSync(join(restored, file));
    const server = await start(restored, {});
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
    await server.close();
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
