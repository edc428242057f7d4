// Bad input to a running server, by HTTP and by the command line: a clear problem or message, a documented code, and nothing lost.
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '@doorbuster/messaging';
import { memberTokenSigner } from '../cli/demo/member-token.ts';
import { Crowd } from './testing/crowd.ts';
import { Installation, type SeededCampaign } from './testing/installation.ts';
import { exportChain, verified } from './testing/judge.ts';

let shop: Installation;
let campaign: SeededCampaign;
let crowd: Crowd;
beforeAll(async () => {
  shop = await Installation.start();
  campaign = await shop.seed({ id: 'bad-input', members: 3, units: 3 });
  await shop.opened(campaign);
  crowd = new Crowd(shop, campaign.id);
  await crowd.insist(0);
});
afterAll(async () => {
  await crowd.close();
  await shop.stop();
});

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const hour = 3_600_000;
const claims = { sub: 'member-000002' };

/** Tokens that a shop did not make, or not for this. */
const wrongTokens: Readonly<Record<string, () => string>> = {
  'no token': () => 'no-token-at-all',
  'alg none': () =>
    `${part({ alg: 'none', typ: 'JWT' })}.${part({ ...claims, aud: 'doorbuster', iat: 1, exp: 9e9 })}.`,
  'alg none with the signature of another': () => {
    const [, , signature] = crowd.token(1).split('.');
    return `${part({ alg: 'none', typ: 'JWT' })}.${part({ ...claims, aud: 'doorbuster', iat: 1, exp: 9e9 })}.${signature}`;
  },
  'another secret': () =>
    memberTokenSigner('another secret of at least 32 bytes', 'doorbuster')(claims, systemClock.now(), 5),
  'another audience': () => memberTokenSigner(shop.tokenSecret, 'elsewhere')(claims, systemClock.now(), 5),
  expired: () => memberTokenSigner(shop.tokenSecret, 'doorbuster')(claims, systemClock.now() - 2 * hour, 5),
  'from tomorrow': () =>
    memberTokenSigner(shop.tokenSecret, 'doorbuster')(claims, systemClock.now() + 24 * hour, 5),
};

interface Refused {
  readonly name: string;
  readonly status: number;
  readonly code: string;
  readonly path?: string;
  readonly body?: string;
  readonly type?: string;
  readonly says?: RegExp;
}

const megabyte = JSON.stringify({ answers: { wish: 'x'.repeat(1_000_000) } });
const refusedRequests: readonly Refused[] = [
  { name: 'invalid JSON', body: '{"answers":', status: 400, code: 'request-invalid' },
  { name: 'an unknown field', body: '{"winner":true}', status: 400, code: 'request-invalid', says: /winner/ },
  {
    name: 'an answer to no question',
    body: '{"answers":{"never-asked":"tea"}}',
    status: 422,
    code: 'answers-invalid',
    says: /never-asked/,
  },
  { name: 'a body of 1 MB', body: megabyte, status: 413, code: 'body-too-large' },
  {
    name: 'a form',
    body: 'a=1',
    type: 'application/x-www-form-urlencoded',
    status: 415,
    code: 'media-type-unsupported',
  },
  {
    name: 'an unknown campaign',
    path: '/v1/campaigns/no-such-campaign/entries',
    status: 404,
    code: 'CAMPAIGN_UNKNOWN',
  },
  {
    name: 'an id that is none',
    path: '/v1/campaigns/..%2F..%2Fetc/entries',
    status: 400,
    code: 'request-invalid',
  },
];

async function post(path: string, token: string, body: string, type = 'application/json') {
  const response = await fetch(`${shop.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': type },
    body,
  });
  const problem = (await response.json()) as { code: string; title: string; type: string; requestId: string };
  return { status: response.status, type: response.headers.get('content-type'), problem };
}

describe('by HTTP', () => {
  for (const { name, status, code, path, body = '{}', type, says = /requestId/ } of refusedRequests)
    it(`${name}: ${status} ${code}`, async () => {
      const answer = await post(path ?? `/v1/campaigns/${campaign.id}/entries`, crowd.token(1), body, type);
      expect(answer).toMatchObject({
        status,
        type: 'application/problem+json; charset=utf-8',
        problem: { code, status },
      });
      expect(answer.problem.requestId).toMatch(/\S/);
      expect(JSON.stringify(answer.problem)).toMatch(says);
      // The type leads to a page that explains it.
      const [page, anchor] = answer.problem.type.split('#');
      expect(await (await fetch(`${shop.url}${page}`)).text()).toContain(`id="${anchor}"`);
    });

  for (const [name, token] of Object.entries(wrongTokens))
    it(`a token, ${name}: 401 at the entry and at the hand-off`, async () => {
      const entered = await post(`/v1/campaigns/${campaign.id}/entries`, token(), '{}');
      expect(entered.status).toBe(401);
      const handed = await post(
        `/v1/campaigns/${campaign.id}/sessions`,
        '',
        JSON.stringify({ token: token() }),
      );
      expect(handed).toMatchObject({ status: 401, problem: { code: 'TOKEN_INVALID' } });
    });

  it('a wrong API key: 401, and a member is no operator', async () => {
    for (const key of ['nonsense', crowd.token(1)])
      expect((await post('/v1/campaigns', key, '{}')).status).toBe(401);
  });
});

describe('by the command line', () => {
  const file = (name: string, text: string): string => {
    const path = shop.path(name);
    writeFileSync(path, text);
    return path;
  };

  it('YAML that is none: 2, with its line', async () => {
    const { code, json } = await shop.command(
      'campaign',
      'create',
      file('broken.yaml', 'title: {ko: 가}\nstock: [1,\nreward: }'),
    );
    expect(code).toBe(2);
    expect(JSON.stringify(json)).toMatch(/broken\.yaml:\d/);
  });

  it('a definition with faults: 2, all of them with their places, nothing made', async () => {
    const text =
      'title: {ko: 가}\nprize: {ko: 나}\nstartsAt: tomorrow\nstock: {capacity: 0}\nreward: {messengers: [email]}\nwinner: me\n';
    const { code, json } = await shop.command(
      'campaign',
      'create',
      '--id',
      'never',
      file('faulty.yaml', text),
    );
    expect(code).toBe(2);
    const pointers = JSON.stringify(json?.faults);
    expect(pointers).toMatch(/startsAt/);
    expect(pointers).toMatch(/capacity/);
    expect(pointers).toMatch(/winner/);
    expect((await shop.command('campaign', 'status', 'never')).code).toBe(1);
  });

  it('CSV with bad rows: 2, each with its line, and the rows that were there stay', async () => {
    await shop.draft({ id: 'csv', members: 0, units: 3 }, systemClock.now() + hour);
    const good = file('good.csv', 'memberId,email\nm-1,m1@shop.example\n');
    expect((await shop.command('campaign', 'import', 'csv', '--members', good)).code).toBe(0);
    const bad = file(
      'bad.csv',
      'memberId,email\nm-2,m2@shop.example\n,m3@shop.example\nm-4,not an address\n"m-5,m5@shop.example\n',
    );
    const { code, json } = await shop.command('campaign', 'import', 'csv', '--members', bad, '--replace');
    expect(code).toBe(2);
    const said = JSON.stringify(json?.faults);
    expect(said).toMatch(/3/);
    expect(said).toMatch(/4/);
    expect((await shop.client.call('GET', '/v1/campaigns/csv')).json.memberCount).toBe(1);
    const other = file('other.csv', 'name;address\nKim;Seoul\n');
    expect((await shop.command('campaign', 'import', 'csv', '--members', other)).code).toBe(2);
    const binary = shop.path('binary.csv');
    writeFileSync(binary, Buffer.from([0xff, 0xfe, 0x00, 0x6d, 0xb0, 0xa1]));
    expect((await shop.command('campaign', 'import', 'csv', '--codes', binary)).code).toBe(2);
    expect((await shop.client.call('GET', '/v1/campaigns/csv')).json).toMatchObject({
      memberCount: 1,
      voucherCodeCount: 0,
    });
  });

  it('a file that is not there, an unknown option, an unknown command: 2', async () => {
    expect((await shop.command('campaign', 'create', shop.path('nowhere.yaml'))).code).toBe(2);
    expect((await shop.command('campaign', 'list', '--colour')).code).toBe(2);
    expect((await shop.command('campagin', 'list')).code).toBe(2);
  });

  it('a server that is not there: 4; a wrong key: 3', async () => {
    expect((await shop.command('campaign', 'list', '--url', 'http://127.0.0.1:1')).code).toBe(4);
    expect((await shop.command('campaign', 'list', '--url', shop.url, '--api-key', 'wrong')).code).toBe(3);
  });
});

it('after all of it: who was in is in, who was refused is served, no other entry is stored, the ledger verifies', async () => {
  expect((await crowd.enter(0))?.body).toMatchObject({ verdict: 'won', seq: 1, repeated: true });
  expect((await crowd.enter(1))?.status).toBe(201);
  const { records } = await exportChain(shop, campaign.id);
  expect(records.filter(({ type }) => type === 'ENTRY')).toHaveLength(2);
  expect(await verified(shop)).toEqual([]);
});
