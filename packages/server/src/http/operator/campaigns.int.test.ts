import { afterAll, beforeAll, expect, test } from 'vitest';
import { definition, type OperatorRig, openOperatorRig } from './testing/operator-rig.ts';

let rig: OperatorRig;
beforeAll(async () => {
  rig = await openOperatorRig();
});
afterAll(() => rig.close());

test('create, read, list, change, copy', async () => {
  const created = await rig.ask('POST', '/v1/campaigns', { body: { id: 'first', definition } });
  expect(created).toMatchObject({
    status: 201,
    headers: { location: '/v1/campaigns/first', etag: '"1"' },
    json: { id: 'first', state: 'draft', lane: null },
  });
  const unnamed = await rig.ask('POST', '/v1/campaigns', { body: { definition } });
  expect(unnamed.json.id).toMatch(/^c-[0-9a-z]{10}$/);

  const read = await rig.ask('GET', '/v1/campaigns/first');
  expect(read.json.definition).toMatchObject(definition);
  const patched = await rig.ask('PATCH', '/v1/campaigns/first', {
    text: JSON.stringify({ definition: { title: { en: 'Autumn' }, survey: null } }),
    type: 'application/merge-patch+json',
    headers: { 'if-match': String(read.headers['etag']) },
  });
  expect(patched).toMatchObject({
    status: 200,
    headers: { etag: '"2"' },
    json: { definition: { title: { ko: '봄 선물', en: 'Autumn' } } },
  });
  expect(patched.json.definition.survey).toBeUndefined();

  const copy = await rig.ask('POST', '/v1/campaigns/first/copies', {
    body: { id: 'second', definition: { startsAt: '2027-01-01T00:00:00Z' } },
  });
  expect(copy).toMatchObject({
    status: 201,
    headers: { location: '/v1/campaigns/second' },
    json: { state: 'draft', definition: { startsAt: '2027-01-01T00:00:00Z', title: { en: 'Autumn' } } },
  });

  const drafts = await rig.ask('GET', '/v1/campaigns?state=draft&limit=2');
  expect(drafts.json.items).toHaveLength(2);
  const next = /<([^>]+)>; rel="next"/.exec(String(drafts.headers['link']))![1]!;
  expect(next).toContain('limit=2');
  const rest = await rig.ask('GET', next);
  expect(rest.json).toMatchObject({ items: [{}], next: null });
  expect((await rig.ask('GET', '/v1/campaigns?state=open')).json.items).toEqual([]);
});

test('refusals of create and read', async () => {
  expect((await rig.ask('POST', '/v1/campaigns', { body: { id: 'first', definition } })).json).toMatchObject({
    status: 409,
    reason: 'id-taken',
  });
  const badFields: readonly unknown[] = [
    {},
    { definition: { ...definition, extra: 1 } },
    { definition: { ...definition, stock: { capacity: 0 } } },
    { id: 'Not A Slug', definition },
    { id: 'x', definition, state: 'open' },
    { id: 'x', definition, version: 7, publishedAt: 1 },
    null,
    [],
  ];
  for (const body of badFields) {
    const told = await rig.ask('POST', '/v1/campaigns', {
      text: JSON.stringify(body),
      type: 'application/json',
    });
    expect(told.status, JSON.stringify(body)).toBe(400);
    expect(told.json).toMatchObject({ code: 'request-invalid', requestId: expect.any(String) });
  }
  expect((await rig.ask('POST', '/v1/campaigns', { text: '{', type: 'application/json' })).status).toBe(400);
  expect(
    (await rig.ask('POST', '/v1/campaigns', { text: '{"__proto__":{"a":1}}', type: 'application/json' }))
      .status,
  ).toBe(400);
  expect(
    (await rig.ask('POST', '/v1/campaigns', { text: 'a=b', type: 'application/x-www-form-urlencoded' }))
      .status,
  ).toBe(415);
  expect(
    (
      await rig.ask('POST', '/v1/campaigns', {
        text: `{"id":"${'x'.repeat(1_100_000)}"}`,
        type: 'application/json',
      })
    ).status,
  ).toBe(413);
  const illFormed = `{"definition":${JSON.stringify({ ...definition, title: { en: 'x' } }).replace('"x"', '"\\ud800"')}}`;
  expect(
    (await rig.ask('POST', '/v1/campaigns', { text: illFormed, type: 'application/json' })).json,
  ).toMatchObject({ status: 422, faults: [{ pointer: '/definition/title/en' }] });
  expect((await rig.ask('GET', '/v1/campaigns/nowhere')).json).toMatchObject({
    status: 404,
    code: 'CAMPAIGN_UNKNOWN',
  });
  expect((await rig.ask('GET', '/v1/campaigns?limit=0')).status).toBe(400);
  expect((await rig.ask('GET', '/v1/campaigns?limit=201')).status).toBe(400);
  expect((await rig.ask('GET', '/v1/campaigns?sort=x')).status).toBe(400);
});

test('a change needs the version that was read', async () => {
  const change = (ifMatch?: string) =>
    rig.ask('PATCH', '/v1/campaigns/second', {
      body: { definition: { description: { en: ifMatch ?? '' } } },
      headers: ifMatch === undefined ? {} : { 'if-match': ifMatch },
    });
  expect((await change()).json).toMatchObject({ status: 428, reason: 'version-missing' });
  expect((await change('"99"')).json).toMatchObject({ status: 412, reason: 'version-changed' });
  expect((await change('W/"1"')).status).toBe(412);
  expect((await change('*')).status).toBe(200);
  // Two editors read the same version: one of them is told.
  const { etag } = (await rig.ask('GET', '/v1/campaigns/second')).headers;
  const both = await Promise.all([change(String(etag)), change(String(etag))]);
  expect(new Set(both.map((told) => told.status))).toEqual(new Set([200, 412]));
});

test('a patch that makes the definition wrong is refused, with every fault', async () => {
  const told = await rig.ask('PATCH', '/v1/campaigns/second', {
    body: { definition: { title: null, stock: { capacity: -1 } } },
    headers: { 'if-match': '*' },
  });
  expect(told.json).toMatchObject({ status: 422, code: 'DEFINITION_INVALID' });
  expect(told.json.faults.map((fault: { pointer: string }) => fault.pointer)).toEqual(
    expect.arrayContaining(['/definition/stock/capacity']),
  );
});

test('the pre-flight stands before publication', async () => {
  await rig.draft('flight');
  rig.findings.push({
    code: 'messenger-unreachable',
    level: 'error',
    message: 'No answer.',
    remedy: 'Start it.',
  });
  expect((await rig.ask('GET', '/v1/campaigns/flight/preflight')).json).toMatchObject({
    ready: false,
    findings: [{ code: 'messenger-unreachable' }],
  });
  const refused = await rig.ask('POST', '/v1/campaigns/flight/publications');
  expect(refused.json).toMatchObject({
    status: 422,
    reason: 'preflight-failed',
    findings: [{ code: 'messenger-unreachable' }],
  });
  expect((await rig.ask('GET', '/v1/campaigns/flight')).json.state).toBe('draft');
  rig.findings[0] = { ...rig.findings[0]!, level: 'warning' };
  const done = await rig.ask('POST', '/v1/campaigns/flight/publications');
  expect(done.json).toMatchObject({
    campaign: { state: 'scheduled', lane: { capacity: 3, free: 3 } },
    findings: [{ level: 'warning' }],
  });
  rig.findings.length = 0;
  expect((await rig.ask('POST', '/v1/campaigns/flight/publications')).json).toMatchObject({
    status: 409,
    reason: 'already-published',
  });
});

test('what was edited during the pre-flight is not published', async () => {
  await rig.draft('edited');
  let edit = true;
  const preflight = rig.deps.preflight;
  Object.assign(rig.deps, {
    preflight: async () => {
      if (edit)
        await rig.ask('PATCH', '/v1/campaigns/edited', {
          body: { definition: { title: { en: 'Edited' } } },
          headers: { 'if-match': '*' },
        });
      edit = false;
      return [];
    },
  });
  expect((await rig.ask('POST', '/v1/campaigns/edited/publications')).json).toMatchObject({
    status: 412,
    reason: 'version-changed',
  });
  Object.assign(rig.deps, { preflight });
});

test('once published the terms are frozen, words are not', async () => {
  const change = (patch: object) =>
    rig.ask('PATCH', '/v1/campaigns/flight', { body: { definition: patch }, headers: { 'if-match': '*' } });
  expect(
    (await change({ stock: { capacity: 9 }, prize: { en: 'Less' }, title: { en: 'ok' } })).json,
  ).toMatchObject({ status: 409, reason: 'fields-frozen', frozen: ['/prize', '/stock'] });
  expect((await change({ endsAt: '2026-12-05T00:00:00Z' })).json.frozen).toEqual(['/endsAt']);
  expect((await change({ title: { en: 'Better' }, page: { notice: { en: 'Soon' } } })).status).toBe(200);
});

test('a change of a published campaign is held to the pre-flight of what it changes', async () => {
  const change = () =>
    rig.ask('PATCH', '/v1/campaigns/flight', {
      body: { definition: { reward: { messengers: ['nope'] } } },
      headers: { 'if-match': '*' },
    });
  rig.findings.push({
    code: 'messenger-unknown',
    level: 'error',
    pointer: '/reward/messengers/0',
    message: 'm',
    remedy: 'r',
  });
  expect((await change()).json).toMatchObject({ status: 422, reason: 'preflight-failed' });
  // What is frozen is not judged again: the opening is in the past by now.
  rig.findings[0] = { ...rig.findings[0]!, pointer: '/startsAt' };
  expect((await change()).status).toBe(200);
  rig.findings.length = 0;
});

test('pause, resume, stock, close', async () => {
  await rig.open('life');
  const at = '/v1/campaigns/life';
  expect((await rig.ask('POST', `${at}/pauses`)).json.state).toBe('paused');
  expect((await rig.ask('POST', `${at}/pauses`, { body: {} })).json).toMatchObject({
    status: 409,
    reason: 'lane-rejected',
    rejection: { code: 'wrong-phase' },
  });
  expect((await rig.ask('DELETE', `${at}/pauses/current`)).json.state).toBe('open');

  expect((await rig.ask('POST', `${at}/stock-changes`, { body: { capacity: 5 } })).json).toMatchObject({
    status: 409,
    reason: 'codes-missing',
    units: 5,
    codes: 3,
  });
  await rig.ask('POST', `${at}/voucher-codes`, { body: [{ code: 'more-1' }, { code: 'more-2' }] });
  expect(
    (await rig.ask('POST', `${at}/stock-changes`, { body: { capacityBy: 2, safetyStock: 1 } })).json.lane,
  ).toMatchObject({ capacity: 5, free: 4, reserved: 1 });
  expect(
    (await rig.ask('POST', `${at}/stock-changes`, { body: { capacity: 5, capacityBy: 1 } })).status,
  ).toBe(400);
  expect((await rig.ask('POST', `${at}/stock-changes`, { body: {} })).status).toBe(400);
  await rig.enter('life', 'a', 'b');
  expect((await rig.ask('POST', `${at}/stock-changes`, { body: { capacity: 1 } })).json).toMatchObject({
    status: 409,
    rejection: { code: 'capacity-below-granted', lowest: 3 },
  });
  expect(
    (
      await rig.ask('POST', `${at}/stock-changes`, {
        body: { capacityBy: -1 },
        headers: { 'if-match': '"1"' },
      })
    ).status,
  ).toBe(412);

  expect((await rig.ask('POST', `${at}/closures`)).json).toMatchObject({
    state: 'closed',
    lane: { closeReason: 'operator' },
  });
  expect((await rig.ask('POST', `${at}/closures`)).status).toBe(409);
  expect(
    (
      await rig.ask('PATCH', at, {
        body: { definition: { title: { en: 'x' } } },
        headers: { 'if-match': '*' },
      })
    ).json.reason,
  ).toBe('campaign-closed');
  expect((await rig.ask('POST', `${at}/members`, { body: [] })).json.reason).toBe('campaign-closed');
});

test('two top-ups by a difference at once both count', async () => {
  await rig.open('topped', { stock: { capacity: 10 } });
  await rig.ask('POST', '/v1/campaigns/topped/voucher-codes', {
    body: Array.from({ length: 20 }, (_, index) => ({ code: `t-${index}` })),
  });
  await Promise.all(
    [1, 2, 3, 4].map((by) =>
      rig.ask('POST', '/v1/campaigns/topped/stock-changes', { body: { capacityBy: by } }),
    ),
  );
  expect((await rig.ask('GET', '/v1/campaigns/topped')).json.lane.capacity).toBe(20);
});

test('a draft has no lane to command', async () => {
  await rig.ask('POST', '/v1/campaigns', { body: { id: 'bare', definition } });
  for (const path of ['pauses', 'closures', 'promotions']) {
    expect((await rig.ask('POST', `/v1/campaigns/bare/${path}`)).json, path).toMatchObject({
      status: 409,
      reason: 'not-published',
    });
  }
  expect(
    (await rig.ask('POST', '/v1/campaigns/bare/stock-changes', { body: { capacity: 5 } })).json.reason,
  ).toBe('not-published');
  expect((await rig.ask('POST', '/v1/campaigns/nowhere/pauses')).status).toBe(404);
});
