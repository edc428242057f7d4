/** The door: who may what, how often, and the same answer to the same request. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scopes } from '../access/scopes.ts';
import { definition, type OperatorRig, openOperatorRig } from './testing/operator-rig.ts';

let rig: OperatorRig;
beforeAll(async () => {
  rig = await openOperatorRig();
  await rig.draft('mine');
});
afterAll(() => rig.close());

interface Route {
  readonly method: string;
  readonly url: string;
  readonly scope: string;
}
function routes(): readonly Route[] {
  const doc = rig.app.swagger() as unknown as {
    paths: Record<string, Record<string, { description: string }>>;
  };
  const filled = (path: string) =>
    path
      .replace('{campaignId}', 'mine')
      .replace('{deliveryId}', 'mine.1.1')
      .replace('{batchId}', 'b1')
      .replace('{memberKey}', 'a'.repeat(32))
      .replace('{keyId}', 'b'.repeat(16));
  return Object.entries(doc.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { description }]) => ({
      method: method.toUpperCase(),
      url: filled(path),
      scope: /Scope: `([^`]+)`/.exec(description)![1]!,
    })),
  );
}

test('every route refuses a caller without a key, with a wrong one, and without its scope', async () => {
  expect(routes().length).toBeGreaterThan(35);
  const wrong = `dbk_${'0'.repeat(16)}_${'A'.repeat(43)}`;
  for (const { method, url, scope } of routes()) {
    const others = await rig.keyWith(scopes.filter((one) => one !== scope));
    const told = [await rig.ask(method, url, { token: null }), await rig.ask(method, url, { token: others })];
    expect(
      told.map(({ json }) => [json.status, json.reason]),
      `${method} ${url}`,
    ).toEqual([
      [401, 'api-key-missing'],
      [403, 'scope-missing'],
    ]);
    expect(told[1]!.json.scope).toBe(scope);
    expect(told[0]!.headers['www-authenticate']).toMatch(/^Bearer/);
  }
  expect((await rig.ask('GET', '/v1/campaigns', { token: wrong })).json.reason).toBe('api-key-wrong');
  expect(
    (await rig.ask('GET', '/v1/campaigns', { token: null, headers: { authorization: `Basic ${wrong}` } }))
      .status,
  ).toBe(401);
  expect((await rig.ask('GET', `/v1/campaigns?token=${rig.token}`, { token: null })).status).toBe(401);
});

test('every route lets its scope in (control)', async () => {
  for (const { method, url, scope } of routes().filter(({ method }) => method === 'GET')) {
    const told = await rig.ask(method, url, { token: await rig.keyWith([scope]) });
    expect([200, 404], `${method} ${url}`).toContain(told.status);
  }
});

describe('API keys', () => {
  test('create, use, rotate with grace, revoke at once', async () => {
    const made = await rig.ask('POST', '/v1/api-keys', {
      body: { name: 'script', scopes: ['campaigns:read'], expiresAt: null },
    });
    expect(made).toMatchObject({
      status: 201,
      headers: { 'cache-control': 'no-store' },
      json: { name: 'script', revokedAt: null },
    });
    const { keyId, token } = made.json;
    const uses = async (with_: string) => (await rig.ask('GET', '/v1/campaigns', { token: with_ })).status;
    expect(await uses(token)).toBe(200);
    // The secret is base64url and may itself hold an underscore: everything after the second one.
    const secret = token.split('_').slice(2).join('_');
    expect(secret.length).toBeGreaterThan(30);
    expect((await rig.ask('GET', '/v1/api-keys')).text).not.toContain(secret);

    const rotated = (await rig.ask('POST', `/v1/api-keys/${keyId}/rotations`, { body: { graceSeconds: 60 } }))
      .json;
    expect([await uses(token), await uses(rotated.token)]).toEqual([200, 200]);
    rig.clock.advance(61_000);
    expect([await uses(token), await uses(rotated.token)]).toEqual([401, 200]);
    const again = (await rig.ask('POST', `/v1/api-keys/${keyId}/rotations`)).json;
    expect([await uses(rotated.token), await uses(again.token)]).toEqual([401, 200]);

    expect((await rig.ask('DELETE', `/v1/api-keys/${keyId}`)).status).toBe(204);
    expect(await uses(again.token)).toBe(401);
    expect((await rig.ask('POST', `/v1/api-keys/${keyId}/rotations`)).status).toBe(404);
    expect((await rig.ask('DELETE', `/v1/api-keys/${'0'.repeat(16)}`)).status).toBe(404);
  });

  test('a key that expires stops working', async () => {
    const expiresAt = new Date(rig.clock.now() + 10_000).toISOString();
    const { token } = (
      await rig.ask('POST', '/v1/api-keys', { body: { name: 'short', scopes: ['*'], expiresAt } })
    ).json;
    expect((await rig.ask('GET', '/v1/campaigns', { token })).status).toBe(200);
    rig.clock.advance(10_000);
    expect((await rig.ask('GET', '/v1/campaigns', { token })).status).toBe(401);
  });

  test('nobody climbs: not by making, not by rotating or revoking a stronger key', async () => {
    const weak = await rig.keyWith(['keys:write']);
    const strongId = (await rig.keyWith(['*'])).split('_')[1];
    expect(
      (await rig.ask('POST', '/v1/api-keys', { token: weak, body: { name: 'x', scopes: ['*'] } })).json,
    ).toMatchObject({ status: 403, reason: 'scope-not-held', scopes: ['*'] });
    expect((await rig.ask('POST', `/v1/api-keys/${strongId}/rotations`, { token: weak })).status).toBe(403);
    expect((await rig.ask('DELETE', `/v1/api-keys/${strongId}`, { token: weak })).status).toBe(403);
    expect(
      (await rig.ask('POST', '/v1/api-keys', { body: { name: 'x', scopes: ['everything'] } })).status,
    ).toBe(400);
    expect(
      (
        await rig.ask('POST', '/v1/api-keys', {
          body: { name: 'x', scopes: ['*'], keyId: '0'.repeat(16), secretHash: 'f' },
        })
      ).status,
    ).toBe(400);
  });
});

describe('Idempotency-Key', () => {
  const create = (id: string, key: string, token?: string) =>
    rig.ask('POST', '/v1/campaigns', {
      body: { id, definition },
      headers: { 'idempotency-key': key },
      ...(token ? { token } : {}),
    });

  test('the same request has the same answer and is done once', async () => {
    const first = await create('once', 'k1');
    const again = await create('once', '"k1"');
    expect(again).toMatchObject({
      status: 201,
      json: first.json,
      headers: { location: '/v1/campaigns/once', 'idempotency-replayed': 'true' },
    });
    // Control: without the key the second is told that the id is taken.
    expect((await rig.ask('POST', '/v1/campaigns', { body: { id: 'once', definition } })).status).toBe(409);
  });

  test('another request with the key is refused, another caller has keys of his own', async () => {
    expect((await create('twice', 'k1')).json).toMatchObject({ status: 422, reason: 'key-reused' });
    expect((await create('twice', 'k1', await rig.keyWith(['*']))).status).toBe(201);
    expect((await create('x', ' ')).status).toBe(400);
    expect((await create('x', 'x'.repeat(256))).status).toBe(400);
  });

  test('a refusal changed nothing and is not kept', async () => {
    const stock = (key: string) =>
      rig.ask('POST', '/v1/campaigns/once/pauses', { headers: { 'idempotency-key': key } });
    expect((await stock('k2')).status).toBe(409);
    await rig.ask('POST', '/v1/campaigns/once/publications');
    rig.clock.advance(Math.max(0, Date.parse(definition.startsAt) - rig.clock.now()));
    await rig.ledger.campaigns.tick();
    expect((await stock('k2')).status).toBe(200);
    expect((await stock('k2')).headers['idempotency-replayed']).toBe('true');
  });

  test('while the first is under way the second waits outside', async () => {
    await rig.draft('racing');
    const started = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const preflight = rig.deps.preflight;
    const slow = async () => {
      started.resolve();
      await goOn.promise;
      return [];
    };
    Object.assign(rig.deps, { preflight: slow });
    const publish = () =>
      rig.ask('POST', '/v1/campaigns/racing/publications', { headers: { 'idempotency-key': 'k3' } });
    const first = publish();
    await started.promise;
    const late = await publish();
    expect(late.json).toMatchObject({ status: 409, reason: 'key-in-progress' });
    expect(late.headers['retry-after']).toBeDefined();
    goOn.resolve();
    expect((await first).status).toBe(200);
    expect((await publish()).headers['idempotency-replayed']).toBe('true');
    Object.assign(rig.deps, { preflight });
  });

  test('a secret is not kept for repeats', async () => {
    const ask = () =>
      rig.ask('POST', '/v1/api-keys', {
        body: { name: 'n', scopes: ['*'] },
        headers: { 'idempotency-key': 'k4' },
      });
    const first = await ask();
    expect(first.json.token).toMatch(/^dbk_/);
    expect((await ask()).json).toEqual({ ...first.json, token: null });
  });

  test('a refused import leaves its key, and the mended one may use it', async () => {
    const load = (text: string) =>
      rig.ask('POST', '/v1/campaigns/mended/members', {
        text,
        type: 'text/csv',
        headers: { 'idempotency-key': 'k6' },
      });
    await rig.ask('POST', '/v1/campaigns', { body: { id: 'mended', definition } });
    expect((await load('memberId\n""\n')).json.reason).toBe('import-faulty');
    expect((await load('memberId\na\n')).json).toMatchObject({ rows: 1, total: 1 });
    expect((await load('memberId\na\n')).headers['idempotency-replayed']).toBe('true');
  });

  test('an import is known by its content', async () => {
    const load = (text: string) =>
      rig.ask('POST', '/v1/campaigns/mine/members', {
        text,
        type: 'text/csv',
        headers: { 'idempotency-key': 'k5' },
      });
    expect((await load('memberId\na\n')).json).toMatchObject({ rows: 1, total: 1 });
    const again = await load('memberId\na\n');
    expect(again.headers['idempotency-replayed']).toBe('true');
    expect(again.json).toMatchObject({ rows: 1, total: 1 });
    // As long as the first, and of its type.
    for (const other of ['memberId\nb\n', 'memberId\nlonger\n'])
      expect((await load(other)).json).toMatchObject({ status: 422, reason: 'key-reused' });
    expect((await rig.ask('GET', '/v1/campaigns/mine')).json.memberCount).toBe(1);
  });
});

describe('rates', () => {
  test('a key has a quota, told in every answer', async () => {
    const tight = await openOperatorRig({ requestsPerMinute: 3 });
    const told = [
      await tight.ask('GET', '/v1/campaigns'),
      await tight.ask('GET', '/v1/campaigns'),
      await tight.ask('GET', '/v1/campaigns'),
      await tight.ask('GET', '/v1/campaigns'),
    ];
    expect(told.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expect(told[0]!.headers).toMatchObject({
      'ratelimit-policy': '"operator";q=3;w=60',
      ratelimit: '"operator";r=2;t=60',
    });
    expect(Number(told[3]!.headers['retry-after'])).toBeGreaterThanOrEqual(60);
    tight.clock.advance(60_000);
    expect((await tight.ask('GET', '/v1/campaigns')).status).toBe(200);
    await tight.close();
  });

  test.each([
    ['and a key that never fitted here waits with its address', false],
    ['and a key that fitted before is let through: a stranger must not keep operators out', true],
  ])('guessing keys stops after a while, %s', async (_name, familiar) => {
    const guessed = await openOperatorRig();
    if (familiar) await guessed.ask('GET', '/v1/campaigns');
    const guess = () =>
      guessed.ask('GET', '/v1/campaigns', { token: `dbk_${'0'.repeat(16)}_${'A'.repeat(43)}` });
    const statuses: number[] = [];
    for (let index = 0; index < 61; index += 1) statuses.push((await guess()).status);
    expect(statuses.slice(-2)).toEqual([401, 429]);
    expect((await guessed.ask('GET', '/v1/campaigns')).status).toBe(familiar ? 200 : 429);
    await guessed.close();
  });
});
