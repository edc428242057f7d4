/** The examples against the real server: a shop's page, its token, its webhook, and a receipt checked with nothing of ours. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { memberToken } from './member-token.ts';
import { type KeySet, provenRecord, type Receipt } from './verify-receipt.ts';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const cli = path('../../packages/server/src/cli/main.ts');
const webhookSecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const sharedSecret = 'a-secret-of-at-least-thirty-two-bytes';
const folder = mkdtempSync(join(tmpdir(), 'doorbuster-shop-'));
const children: ChildProcess[] = [];
const heard: Record<string, unknown>[] = [];
let wake = (): void => undefined;
let eventUrl = '';
let shopUrl = '';

/** Starts a program and returns the `url` of its first line. */
async function start(program: string, args: readonly string[], env: Record<string, string>): Promise<string> {
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const first = Promise.withResolvers<string>();
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const value = JSON.parse(line) as Record<string, unknown>;
    if (typeof value['url'] === 'string') first.resolve(value['url']);
    heard.push(value);
    wake();
  });
  child.once('exit', (code) => first.reject(new Error(`${program} ended with ${code}`)));
  return first.promise;
}

async function heardOf(key: string): Promise<Record<string, unknown>> {
  for (;;) {
    const found = heard.find((value) => key in value);
    if (found) return found;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

const run = (...args: string[]) =>
  promisify(execFile)(process.execPath, [cli, ...args, '--data', join(folder, 'data'), '--json']);

/** The shop must be up before the server knows its webhook, and needs the server's address: the port is asked for first. */
beforeAll(async () => {
  const { createServer } = await import('node:net');
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  eventUrl = `http://127.0.0.1:${port}`;
  shopUrl = await start(path('./shop.ts'), [], {
    EVENT_URL: eventUrl,
    CAMPAIGN: 'first-snow',
    SHOP_TOKEN_SECRET: sharedSecret,
    SHOP_WEBHOOK_SECRET: webhookSecret,
    PORT: '0',
  });
  const shop = new URL(shopUrl).origin;
  const config = {
    port,
    logLevel: 'error',
    allowedOrigins: [shop],
    tokens: { sharedSecret },
    messengers: {
      push: {
        type: 'webhook',
        url: `${shop}/doorbuster-messages`,
        secret: webhookSecret,
        allowPrivateAddress: true,
      },
    },
  };
  writeFileSync(join(folder, 'doorbuster.yaml'), stringify(config));
  await start(
    cli,
    ['serve', '--json', '--config', join(folder, 'doorbuster.yaml'), '--data', join(folder, 'data')],
    {},
  );
  const definition = parse(readFileSync(path('../giveaway/campaign.yaml'), 'utf8')) as Record<
    string,
    unknown
  >;
  const now = { ...definition, startsAt: new Date().toISOString(), reward: { messengers: ['push'] } };
  writeFileSync(join(folder, 'campaign.yaml'), stringify(now));
  await run('campaign', 'create', join(folder, 'campaign.yaml'), '--id', 'first-snow');
  const files = [
    '--members',
    path('../giveaway/members.csv'),
    '--codes',
    path('../giveaway/voucher-codes.csv'),
  ];
  await run('campaign', 'import', 'first-snow', ...files);
  await run('campaign', 'publish', 'first-snow');
});

afterAll(async () => {
  for (const child of children.reverse()) {
    if (child.exitCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
  }
  rmSync(folder, { recursive: true, force: true });
});

describe("a shop's hour", () => {
  it('hands a member over by a form, never by an address', async () => {
    const page = await (await fetch(`${shopUrl}?member=member-0001`)).text();
    const field = (name: string): string =>
      new RegExp(`name="${name}" value="([^"]+)"`).exec(page)?.[1] ?? '';
    const action = /action="([^"]+)"/.exec(page)?.[1] ?? '';
    expect(action).toBe(`${eventUrl}/c/first-snow/hand-off`);
    const form = new URLSearchParams({ token: field('token'), returnUrl: field('returnUrl') });
    const post = (origin: string) =>
      fetch(action, { method: 'POST', body: form, headers: { origin }, redirect: 'manual' });
    const answer = await post(new URL(shopUrl).origin);
    expect(answer.status).toBe(303);
    expect(answer.headers.get('location')).toBe('/c/first-snow');
    expect(answer.headers.getSetCookie().join()).toContain('HttpOnly');
    expect((await post('http://elsewhere.example')).status).toBe(403);
  });

  it('lets its app enter directly, and gets the message signed', async () => {
    const token = memberToken(
      sharedSecret,
      { id: 'member-0002', email: 'member-0002@shop.example' },
      Date.now(),
    );
    const answer = await fetch(`${eventUrl}/v1/campaigns/first-snow/entries`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ answers: { favourite: 'latte', satisfaction: 5 } }),
    });
    expect(answer.status).toBe(201);
    const { receipt, seq } = (await answer.json()) as { receipt: Receipt; seq: number };
    expect(await heardOf('message')).toEqual({
      message: `first-snow.${seq}.1@doorbuster`,
      to: 'member-0002@shop.example',
      subject: expect.stringContaining('당첨') as string,
    });

    const keys = (await (await fetch(`${eventUrl}/.well-known/doorbuster-keys.json`)).json()) as KeySet;
    expect(provenRecord(receipt, keys)).toMatchObject({ type: 'ENTRY', seq, verdict: 'won' });
    const forged = { ...receipt, record: receipt.record.replace('"seq":1', '"seq":2') };
    expect(() => provenRecord(forged, keys)).toThrow('the signature is wrong');
  });

  it('refuses a token under another secret, and a message that was not signed', async () => {
    const token = memberToken('another-secret-of-thirty-two-bytes!!', { id: 'member-0003' }, Date.now());
    const answer = await fetch(`${eventUrl}/v1/campaigns/first-snow/sessions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token }),
    });
    expect(answer.status).toBe(401);
    const unsigned = await fetch(`${new URL(shopUrl).origin}/doorbuster-messages`, {
      method: 'POST',
      body: '{}',
    });
    expect(unsigned.status).toBe(401);
  });
});
