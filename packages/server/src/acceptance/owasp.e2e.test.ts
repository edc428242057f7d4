// OWASP API Security Top 10 (2023), one test each, against a whole server. docs/internals/security.md says what else is tested and what is not claimed; a unit test holds it to these titles.
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '@doorbuster/messaging';
import { memberTokenSigner } from '../cli/demo/member-token.ts';
import { callJson } from '../fulfilment/json-call.ts';
import { Crowd, range } from './testing/crowd.ts';
import { sessionOf } from './testing/fuzz-target.ts';
import { csv, Installation, type SeededCampaign } from './testing/installation.ts';
import { documentOf } from './testing/openapi-fuzz.ts';
import { runCommand } from './testing/process.ts';
import { exchange, requestText } from './testing/raw-socket.ts';

let shop: Installation;
let campaign: SeededCampaign;
let other: SeededCampaign;
let crowd: Crowd;
beforeAll(async () => {
  shop = await Installation.start();
  [campaign, other] = await Promise.all([
    shop.seed({ id: 'mine', members: 30, units: 20 }),
    shop.seed({ id: 'theirs', members: 30, units: 20 }),
  ]);
  await shop.opened(campaign);
  await shop.opened(other);
  crowd = new Crowd(shop, campaign.id);
  for (const member of range(3)) await crowd.insist(member);
});
afterAll(async () => {
  await crowd.close();
  await shop.stop();
});

interface Asked {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

async function ask(method: string, path: string, bearer: string | null, body?: unknown): Promise<Asked> {
  const response = await fetch(`${shop.url}${path}`, {
    method,
    redirect: 'manual',
    headers: {
      ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson =
    /^application\/(problem\+)?json/.test(response.headers.get('content-type') ?? '') && text.startsWith('{');
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
  };
}

const keyWith = async (...scopes: string[]): Promise<{ id: string; secret: string }> => {
  const { json } = await shop.client.call('POST', '/v1/api-keys', {
    body: { name: scopes.join(' '), scopes },
  });
  return { id: String(json.keyId), secret: String(json.token) };
};
const statusOf = async (asked: Promise<Asked>): Promise<number> => (await asked).status;

it('API1 Broken Object Level Authorization: what is another member’s or another campaign’s is not found, whatever id is named', async () => {
  const [first, second] = await Promise.all([
    sessionOf(shop, 'mine', crowd.token(0)),
    sessionOf(shop, 'mine', crowd.token(1)),
  ]);
  const mine = await ask('GET', '/v1/campaigns/mine/entries/mine', first);
  const theirs = await ask('GET', '/v1/campaigns/mine/entries/mine', second);
  // The one object of a member has no id to guess: the session is the id.
  expect([mine.json.seq, theirs.json.seq]).toEqual([1, 2]);
  expect(mine.json.receipt).not.toEqual(theirs.json.receipt);
  // A session is of one campaign.
  expect(await statusOf(ask('GET', '/v1/campaigns/theirs/entries/mine', first))).toBe(401);
  expect(await statusOf(ask('POST', '/v1/campaigns/theirs/entries', first, {}))).toBe(401);
  // An operator's objects are found in their own campaign only.
  const { json } = await shop.client.call('GET', '/v1/campaigns/mine/deliveries');
  const [{ deliveryId }] = json.items as [{ deliveryId: string }];
  const batch = await shop.client.call('POST', '/v1/campaigns/mine/delivery-batches', {
    body: { filter: { state: 'parked' } },
  });
  const key = shop.operatorKey;
  expect(await statusOf(ask('GET', `/v1/campaigns/mine/deliveries/${deliveryId}`, key))).toBe(200);
  expect(await statusOf(ask('GET', `/v1/campaigns/theirs/deliveries/${deliveryId}`, key))).toBe(404);
  expect(
    await statusOf(ask('GET', `/v1/campaigns/mine/delivery-batches/${String(batch.json.batchId)}`, key)),
  ).toBe(200);
  expect(
    await statusOf(ask('GET', `/v1/campaigns/theirs/delivery-batches/${String(batch.json.batchId)}`, key)),
  ).toBe(404);
});

it('API2 Broken Authentication: forged, altered, ended and revoked credentials are refused, and guessing is slowed down', async () => {
  const session = await sessionOf(shop, 'mine', crowd.token(0));
  const parts = session.split('.');
  // The first character of a part: the last one of the code holds bits that mean nothing.
  const alter = (part: string): string => `${part.startsWith('a') ? 'b' : 'a'}${part.slice(1)}`;
  const altered = parts.map((_part, i) => parts.map((part, at) => (at === i ? alter(part) : part)).join('.'));
  const claims = { sub: 'member-000000' };
  const forged = memberTokenSigner('another secret of at least 32 bytes', 'doorbuster')(
    claims,
    systemClock.now(),
    5,
  );
  const ended = memberTokenSigner(shop.tokenSecret, 'doorbuster')(claims, systemClock.now() - 7_200_000, 5);
  for (const bearer of [...altered, forged, ended, `${parts.join('.')}.`, 'x'])
    expect(await statusOf(ask('GET', '/v1/campaigns/mine/entries/mine', bearer)), bearer).toBe(401);
  expect(await statusOf(ask('GET', '/v1/campaigns/mine/entries/mine', session))).toBe(200);
  const { id, secret } = await keyWith('campaigns:read');
  expect(await statusOf(ask('GET', '/v1/campaigns', secret))).toBe(200);
  await shop.client.call('DELETE', `/v1/api-keys/${id}`);
  expect(await statusOf(ask('GET', '/v1/campaigns', secret))).toBe(401);
  // A shop of its own, because whoever guesses makes its address wait.
  const guessed = await Installation.start();
  try {
    const guess = (i: number) =>
      fetch(`${guessed.url}/v1/campaigns`, {
        headers: { authorization: `Bearer dbk_${i.toString(16).padStart(16, '0')}_wrong` },
      });
    const statuses = new Set<number>();
    for (const i of range(80)) statuses.add((await guess(i)).status);
    expect([...statuses]).toEqual([401, 429]);
    expect(Number((await guess(99)).headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  } finally {
    await guessed.stop();
  }
});

it('API3 Broken Object Property Level Authorization: no field can be set that is not offered, and none is shown that is not the reader’s', async () => {
  const assigned = { verdict: 'won', seq: 1, unit: 1, repeated: false, winner: true };
  for (const [name, value] of Object.entries(assigned))
    expect(
      await statusOf(ask('POST', '/v1/campaigns/mine/entries', crowd.token(20), { [name]: value })),
      name,
    ).toBe(400);
  const key = shop.operatorKey;
  for (const extra of [{ state: 'open' }, { version: 9 }, { lane: {} }])
    expect(
      await statusOf(ask('POST', '/v1/campaigns', key, { definition: {}, ...extra })),
      JSON.stringify(extra),
    ).toBe(400);
  await shop.delivered(campaign);
  const secrets = /member-\d{6}@|"(email|phone|memberId|salt|codeHash|secretHash|token)":|DB-[0-9A-F]{4}-/;
  for (const path of [
    'campaigns/mine/entries',
    'campaigns/mine/deliveries',
    'campaigns/mine',
    'campaigns/mine/records',
    'campaigns/mine/audit-records',
    'audit-records',
    'api-keys',
  ]) {
    const shown = await ask('GET', `/v1/${path}`, key);
    expect(shown.status).toBe(200);
    expect(shown.text, path).not.toMatch(secrets);
  }
  // The voucher is shown to its owner, when asked for by name. The control of the pattern above.
  const session = await sessionOf(shop, 'mine', crowd.token(0));
  expect((await ask('GET', '/v1/campaigns/mine/entries/mine', session)).text).not.toMatch(/DB-[0-9A-F]{4}-/);
  expect((await ask('GET', '/v1/campaigns/mine/entries/mine?voucher=1', session)).text).toMatch(secrets);
});

it('API4 Unrestricted Resource Consumption: bodies, pages, rates and keys have bounds', async () => {
  const key = shop.operatorKey;
  expect(await statusOf(ask('POST', '/v1/campaigns/mine/entries', crowd.token(20), ' '.repeat(70_000)))).toBe(
    413,
  );
  expect(await statusOf(ask('POST', '/v1/campaigns', key, ' '.repeat(2_000_000)))).toBe(413);
  for (const limit of [0, 201, 1_000_000, -1])
    expect(await statusOf(ask('GET', `/v1/campaigns/mine/entries?limit=${limit}`, key))).toBe(400);
  const { headers } = await ask('GET', '/v1/campaigns', key);
  expect(headers.get('ratelimit-policy')).toBe('"operator";q=1200;w=60');
  const limited = await Installation.start({
    config: { limits: { addressPerSecond: 1, addressBurst: 3, memberPerSecond: 1, memberBurst: 1 } },
  });
  try {
    const statuses = [];
    for (const _ of range(8)) statuses.push((await fetch(`${limited.url}/v1/campaigns/none/status`)).status);
    expect(statuses).toContain(429);
    expect(statuses[0]).toBe(404);
  } finally {
    await limited.stop();
  }
});

it('API5 Broken Function Level Authorization: every operation of the operator refuses no key, a member, and a key without its scope', async () => {
  const { paths } = await documentOf(shop.url);
  // A key cannot make one that may do more.
  const maker = await keyWith('keys:write');
  const more = { name: 'more', scopes: ['*'] };
  expect(await statusOf(ask('POST', '/v1/api-keys', maker.secret, more))).toBe(403);
  // Used once before others knock without a key: then its address waits, and a key that never fitted here with it.
  const bare = await keyWith('audit:read');
  expect(await statusOf(ask('GET', '/v1/audit-records', bare.secret))).toBe(200);
  const session = await sessionOf(shop, 'mine', crowd.token(0));
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { security }]) => security?.some((one) => 'apiKey' in one))
      .map(([method, operation]) => ({
        method: method.toUpperCase(),
        path,
        operation: operation as { description?: string },
      })),
  );
  expect(operations.length).toBeGreaterThan(30);
  const told = [];
  for (const { method, path, operation } of operations) {
    const scope = /Scope: `([^`]+)`/.exec(operation.description ?? '')?.[1];
    const at = path.replaceAll(/\{(\w+)\}/g, (_whole, name: string) =>
      name === 'campaignId' ? 'mine' : 'x',
    );
    const statuses = [await statusOf(ask(method, at, null)), await statusOf(ask(method, at, session))];
    const withoutScope = scope === 'audit:read' ? 403 : await statusOf(ask(method, at, bare.secret));
    told.push({
      operation: `${method} ${path}`,
      statuses: statuses.map((status) => (status === 429 ? 401 : status)),
      withoutScope,
    });
  }
  expect(
    told.filter(
      ({ statuses, withoutScope }) => statuses.some((status) => status !== 401) || withoutScope !== 403,
    ),
  ).toEqual([]);
});

it('API6 Unrestricted Access to Sensitive Business Flows: one member is one entry and one unit, whatever machine asks how often from wherever', async () => {
  const sessions = await Promise.all(range(20).map(() => sessionOf(shop, 'mine', crowd.token(10))));
  const answers = await Promise.all(
    [...sessions, ...range(20).map(() => crowd.token(10))].map((bearer) =>
      ask('POST', '/v1/campaigns/mine/entries', bearer, {}),
    ),
  );
  expect(new Set(answers.map(({ json }) => json.seq)).size).toBe(1);
  expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
  // Who is not on the list does not get in by a good token alone.
  const stranger = memberTokenSigner(shop.tokenSecret, 'doorbuster')(
    { sub: 'stranger' },
    systemClock.now(),
    5,
  );
  expect(await statusOf(ask('POST', '/v1/campaigns/mine/entries', stranger, {}))).toBe(403);
});

/** A place that nobody should call. */
async function trap() {
  const hits: string[] = [];
  const server = createServer((request, response) => {
    hits.push(`${request.method} ${request.url}`);
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { hits, url: `http://127.0.0.1:${port}/trap`, close: () => server.close() };
}

it('API7 Server Side Request Forgery: nothing that comes by the API makes the server call an address', async () => {
  const { hits, url, close } = await trap();
  try {
    const { json } = await shop.client.call('GET', '/v1/campaigns/mine');
    const definition = { ...(json.definition as object), startsAt: '2099-01-01T00:00:00Z' };
    const asks: readonly unknown[] = [
      { definition: { ...definition, reward: { messengers: [url] } } },
      { definition: { ...definition, reward: { messengers: ['email'], voucherSource: url } } },
      { definition: { ...definition, description: { en: url }, title: { en: `<img src="${url}">` } } },
    ];
    for (const [i, body] of asks.entries()) {
      await ask('POST', '/v1/campaigns', shop.operatorKey, { id: `forged-${i}`, ...(body as object) });
      await ask('POST', `/v1/campaigns/forged-${i}/publications`, shop.operatorKey);
    }
    // The link of a voucher is for its member; a token may name where its keys are, and is not asked.
    await shop.client.call('POST', '/v1/campaigns/theirs/voucher-codes', csv(['code,url', `DB-X,${url}`]));
    const header = Buffer.from(JSON.stringify({ alg: 'RS256', jku: url, x5u: url, kid: url })).toString(
      'base64url',
    );
    expect(
      await statusOf(ask('POST', '/v1/campaigns/mine/sessions', null, { token: `${header}.e30.AA` })),
    ).toBe(401);
    expect(
      (await fetch(`${shop.url}/c/mine?lang=en&return=${encodeURIComponent(url)}`, { redirect: 'manual' }))
        .status,
    ).toBe(200);
    expect(hits).toEqual([]);
    // The control: it does count who calls.
    await (await fetch(url)).text();
    expect(hits).toEqual(['GET /trap']);
  } finally {
    close();
  }
});

it('API8 Security Misconfiguration: every kind of answer is hardened, says nothing of the inside, and an open address without TLS is refused', async () => {
  const answers = await Promise.all([
    ask('GET', '/v1/campaigns/mine/status', null),
    ask('GET', '/nothing', null),
    ask('POST', '/v1/campaigns/mine/entries', 'x', '{'),
    ask('GET', '/c/mine', null),
    ask('GET', '/docs/errors', null),
    ask('POST', '/v1/campaigns/mine/entries', crowd.token(12), {}),
  ]);
  for (const { headers, text } of answers) {
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('content-security-policy')).toMatch(/default-src 'none'/);
    expect(headers.get('content-security-policy')).toMatch(/frame-ancestors 'none'/);
    for (const name of ['server', 'x-powered-by', 'access-control-allow-origin'])
      expect(headers.get(name)).toBeNull();
    expect(text).not.toMatch(/node_modules|at Object\.|SQLITE|\.ts:\d/);
  }
  const traced = await exchange(
    shop.url,
    requestText('TRACE', '/c/mine', ['host: x', 'x-secret: echoed']),
    1,
  );
  expect(traced.statuses).toEqual([405]);
  expect(traced.text).not.toContain('echoed');
  const { code, json } = await runCommand([
    'serve',
    '--json',
    '--port',
    '0',
    '--data',
    shop.path('open'),
    '--host',
    '0.0.0.0',
  ]);
  expect({ code, json }).toMatchObject({ code: 3, json: { code: 'CONFIG_INVALID' } });
});

it('API9 Improper Inventory Management: what is served is in the document, and nothing old, hidden or for debugging answers', async () => {
  const { paths } = await documentOf(shop.url);
  for (const path of Object.keys(paths))
    expect(path).toMatch(/^\/(v1\/|\.well-known\/|livez$|readyz$|metrics$)/);
  const guesses = [
    'v0',
    'v2',
    'v1',
    'api',
    'admin',
    'debug',
    'debug/pprof',
    'actuator',
    'graphql',
    'swagger.json',
    'openapi.yaml',
    '.env',
    '.git/config',
    'config',
    'console',
    'status',
    'server-status',
    'test',
    'internal',
    'v1/users',
    'v1/members',
    'v1/campaigns/mine/members/1',
    'v1/entries',
    'data/secrets.json',
    'secrets.json',
    'operator-key',
  ];
  const found = [];
  for (const guess of guesses) {
    const { status } = await ask('GET', `/${guess}`, shop.operatorKey);
    if (status !== 404) found.push(`${guess}: ${status}`);
  }
  expect(found).toEqual([]);
  // The control: what is documented is there.
  expect(await statusOf(ask('GET', '/v1/campaigns', shop.operatorKey))).toBe(200);
});

it('API10 Unsafe Consumption of APIs: a provider that redirects, floods or talks nonsense is neither followed nor believed', async () => {
  const { hits, url: elsewhere, close } = await trap();
  const provider = createServer((request, response) => {
    if (request.url === '/redirects') response.writeHead(307, { location: elsewhere }).end();
    else if (request.url === '/nonsense') response.writeHead(200).end('<html>issued</html>');
    else if (request.url === '/good') response.writeHead(200).end('{"code":"X"}');
    else {
      response.writeHead(200);
      const piece = Buffer.alloc(64 * 1024, 0x20);
      const pour = (): void => {
        while (!response.destroyed && response.write(piece));
      };
      response.on('drain', pour);
      pour();
    }
  }).listen(0, '127.0.0.1');
  await once(provider, 'listening');
  const { port } = provider.address() as AddressInfo;
  const call = (path: string) =>
    callJson({
      url: `http://127.0.0.1:${port}${path}`,
      method: 'POST',
      headers: {},
      body: {},
      signal: AbortSignal.timeout(30_000),
    });
  try {
    expect(await call('/good')).toMatchObject({ kind: 'answer', status: 200, body: { code: 'X' } });
    expect(await call('/redirects')).toMatchObject({ kind: 'answer', status: 307 });
    expect(hits).toEqual([]);
    expect(await call('/nonsense')).toMatchObject({ kind: 'answer', body: undefined });
    expect(await call('/floods')).toMatchObject({
      kind: 'unknown',
      detail: expect.stringContaining('longer than'),
    });
  } finally {
    provider.closeAllConnections();
    provider.close();
    close();
  }
});
