/** The operator's room inside the whole application, on the ledger with its threads: a campaign from nothing to its export, by HTTP alone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Readable } from 'node:stream';
import { systemClock } from '@doorbuster/messaging';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { publicKeySet, verifierOf } from '../../audit/keys.ts';
import { verifyExport } from '../../audit/verify-export.ts';
import { openSqliteLedger } from '../../ledgers/sqlite/open.ts';
import { createApiKey } from '../access/api-keys.ts';
import { type Fixture, openFixture, tester } from '../app-fixture.ts';
import { operatorRoutes } from './routes.ts';
import { definition } from './testing/operator-rig.ts';

let fixture: Fixture;
let token: string;
const dataDir = mkdtempSync(join(tmpdir(), 'doorbuster-operator-'));

beforeAll(async () => {
  fixture = await openFixture({
    openLedger: ({ master, signingKeys }) =>
      openSqliteLedger({
        dataDir,
        master,
        signingKeys,
        log: pino({ level: 'silent' }),
        allowVolatile: true,
        fatal: (error) => {
          throw error;
        },
      }),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    rooms: (deps) => [operatorRoutes(deps)],
  });
  const key = await createApiKey(
    fixture.ledger.access,
    fixture.deps.randomness,
    { name: 't', scopes: ['*'] },
    tester,
  );
  token = key.token;
});
afterAll(async () => {
  await fixture.close();
  rmSync(dataDir, { recursive: true, force: true });
});

async function ask(method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object | string, type?: string) {
  const headers = { authorization: `Bearer ${token}`, ...(type && { 'content-type': type }) };
  const told = await fixture.app.inject({ method, url, headers, ...(payload !== undefined && { payload }) });
  return { status: told.statusCode, text: told.body, headers: told.headers };
}

test('from nothing to a verified export', async () => {
  const at = '/v1/campaigns/whole';
  const startsAt = new Date(systemClock.now() - 1_000).toISOString();
  const body = {
    id: 'whole',
    definition: { ...definition, startsAt, stock: { capacity: 2 }, eligibility: { audience: 'listed' } },
  };
  expect((await ask('POST', '/v1/campaigns', body)).status).toBe(201);
  expect(
    (
      await ask(
        'POST',
        `${at}/members`,
        'memberId,email\nm1,a@example.com\nm2,b@example.com\nm3,c@example.com\n',
        'text/csv',
      )
    ).status,
  ).toBe(200);
  expect((await ask('POST', `${at}/voucher-codes`, [{ code: 'c1' }, { code: 'c2' }])).status).toBe(200);
  expect((await ask('POST', `${at}/publications`)).status).toBe(200);
  await fixture.ledger.campaigns.tick();

  const answers = { colour: 'red', taste: 5, why: '@SUM(1)' };
  const statuses: number[] = [];
  for (const member of ['m1', 'm2', 'm3', 'stranger', 'm1'])
    statuses.push((await fixture.enter('whole', member, { answers })).statusCode);
  expect(statuses).toEqual([201, 201, 410, 410, 200]);

  const csv = (await ask('GET', `${at}/entries/export`)).text;
  expect(csv.split('\r\n')[1]).toMatch(/,red,5,'@SUM\(1\)$/);
  expect(JSON.parse((await ask('GET', `${at}/survey-results`)).text)).toMatchObject({ entries: 2 });
  const records = (await ask('GET', `${at}/records`)).text;
  expect(
    await verifyExport(Readable.from([records]), verifierOf(publicKeySet(fixture.keys.signingKeys))),
  ).toMatchObject({ ok: true, campaign: 'whole', entries: 2 });
});

test("a member's session opens no door of the operator, and an API key none of the members", async () => {
  const session = fixture.bearer('whole', 'm1');
  for (const url of ['/v1/campaigns', '/v1/campaigns/whole', '/v1/campaigns/whole/entries', '/v1/api-keys']) {
    expect((await fixture.app.inject({ url, headers: session })).statusCode, url).toBe(401);
  }
  expect((await ask('GET', '/v1/campaigns/whole/entries/mine')).status).toBe(401);
});

test('the document holds every room, with names that are kept apart', async () => {
  const doc = JSON.parse((await ask('GET', '/openapi.json')).text);
  expect(Object.keys(doc.components.schemas)).toEqual(
    expect.arrayContaining(['Problem', 'Campaign', 'CampaignDefinition', 'RecordedEntry', 'Receipt']),
  );
  const operations = Object.values(doc.paths).flatMap((methods) =>
    Object.values(methods as Record<string, { operationId?: string; tags?: string[] }>),
  );
  const named = operations.map(({ operationId }) => operationId).filter((name) => name !== undefined);
  expect(new Set(named).size).toBe(named.length);
  const known = doc.tags.map(({ name }: { name: string }) => name);
  for (const { tags = [] } of operations) for (const tag of tags) expect(known).toContain(tag);
  expect((await ask('GET', '/docs')).headers['content-security-policy']).toContain("script-src 'self'");
});
