// What people see of a lane that halted: a data directory of which the ledger's file was put back to an older copy, and a server on it.
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { silentLog, systemClock } from '@doorbuster/messaging';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSqliteLedger } from '../ledgers/sqlite/open.ts';
import { type Fixture, type FixtureKeys, fixtureKeys, openFixture, tester } from './app-fixture.ts';

let dataDir: string;
let fixture: Fixture;
let keys: FixtureKeys;

async function open(): Promise<void> {
  fixture = await openFixture({
    openLedger: ({ master, signingKeys }) =>
      openSqliteLedger({
        dataDir,
        master,
        signingKeys,
        log: silentLog,
        allowVolatile: true,
        fatal: (error) => {
          throw error;
        },
      }),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    keys,
  });
}

const past = '2026-01-01T00:00:00Z';

async function start(): Promise<void> {
  dataDir = mkdtempSync(join(tmpdir(), 'halted-'));
  keys = fixtureKeys(createManualClock(systemClock.now()));
  await open();
  await fixture.campaign('gift', { startsAt: past });
  await fixture.campaign('other', { startsAt: past });
  await fixture.campaign('last', { startsAt: past, stock: { capacity: 1, closeWhenSoldOut: false } });
  await entered('first', 'last');
  await entered('known');
}

async function end(): Promise<void> {
  await fixture.close();
  rmSync(dataDir, { recursive: true });
}

async function entered(member: string, campaignId = 'gift'): Promise<void> {
  const { statusCode, body } = await fixture.enter(campaignId, member);
  if (statusCode !== 201) throw new Error(body);
}

/** Down and up again; `lose` puts the file back to what it was before a later entry. */
async function restart(lose: boolean): Promise<void> {
  await fixture.close();
  const [file, older] = [join(dataDir, 'ledger.sqlite'), join(dataDir, 'older')];
  copyFileSync(file, older);
  await open();
  await entered('lost');
  await fixture.ledger.campaigns.command(
    'last',
    { type: 'change-stock', capacity: 2, safetyStock: 0 },
    tester,
  );
  await entered('lost', 'last');
  await fixture.campaign('later', { startsAt: past });
  await fixture.close();
  if (lose) copyFileSync(older, file);
  await open();
}

const get = (url: string, headers: Record<string, string> = {}) => fixture.app.inject({ url, headers });
const page = (campaignId: string, member: string | null, lang = 'en') => {
  const session = member && fixture.bearer(campaignId, member).authorization.slice('Bearer '.length);
  return get(
    `/c/${campaignId}?lang=${lang}`,
    session ? { cookie: `doorbuster_session=${encodeURIComponent(session)}` } : {},
  );
};

describe('a halted lane', () => {
  beforeAll(async () => {
    await start();
    await restart(true);
  });
  afterAll(end);

  it('leaves the process ready, which names it', async () => {
    const ready = await get('/readyz');
    expect(ready.statusCode).toBe(200);
    expect(ready.json()).toEqual({ status: 'ok', halted: ['gift', 'last', 'later'] });
  });

  it('is halted in the status, and the others are open', async () => {
    expect((await get('/v1/campaigns/gift/status')).json()).toMatchObject({ state: 'halted' });
    expect((await get('/v1/campaigns/other/status')).json()).toMatchObject({ state: 'open' });
    expect((await fixture.enter('gift', 'new')).json()).toMatchObject({ code: 'LEDGER_HALTED' });
    expect((await fixture.enter('other', 'new')).statusCode).toBe(201);
  });

  it('never tells a winner whom it has lost that all is gone', async () => {
    expect((await fixture.enter('last', 'first')).statusCode).toBe(503);
    for (let i = 0; i < 5; i++) {
      const { statusCode, json } = await fixture.enter('last', 'lost');
      expect([statusCode, json().code]).toEqual([503, 'LEDGER_HALTED']);
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  it('shows a member who is in the result, and everybody else that it is being checked', async () => {
    const known = await page('gift', 'known');
    expect([known.statusCode, known.body.includes('You won')]).toEqual([200, true]);
    for (const member of ['lost', 'new', null]) {
      const checked = await page('gift', member);
      expect([member, checked.statusCode, checked.body.includes('Your place is safe')]).toEqual([
        member,
        200,
        true,
      ]);
    }
    expect((await page('gift', 'lost', 'ko')).body).toContain('이미 접수된 참여와 순번은 안전하며');
    expect((await page('other', 'new')).body).not.toContain('Your place is safe');
  });

  it('takes no command, and foresees none', async () => {
    const { campaigns } = fixture.ledger;
    await expect(campaigns.command('gift', { type: 'pause' }, tester)).rejects.toMatchObject({
      code: 'LEDGER_HALTED',
    });
    await expect(campaigns.foresee('gift', { type: 'pause' })).rejects.toMatchObject({
      code: 'LEDGER_HALTED',
    });
    expect(await campaigns.foresee('other', { type: 'pause' })).toMatchObject({
      ok: true,
      value: { state: 'paused' },
    });
    expect(await campaigns.get('other')).toMatchObject({ state: 'open' });
  });

  it('takes a form sent without script back to that page', async () => {
    const session = fixture.bearer('gift', 'lost').authorization.slice('Bearer '.length);
    const sent = await fixture.app.inject({
      method: 'POST',
      url: '/c/gift/entries?lang=en',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        origin: 'http://localhost',
        host: 'localhost',
        cookie: `doorbuster_session=${encodeURIComponent(session)}`,
      },
      payload: '',
    });
    expect([sent.statusCode, sent.headers['location']]).toEqual([303, '/c/gift?lang=en']);
  });

  it('says of a campaign that the older copy never had that it cannot be reached, not that it is unknown', async () => {
    const later = await page('later', 'new');
    expect([later.statusCode, later.body.includes('safely stored')]).toEqual([503, true]);
    expect((await page('nothing', null)).statusCode).toBe(404);
  });
});

describe('control: restarted on the newest file', () => {
  beforeAll(async () => {
    await start();
    await restart(false);
  });
  afterAll(end);

  it('nothing is halted', async () => {
    expect((await get('/readyz')).json()).toEqual({ status: 'ok', halted: [] });
    expect((await get('/v1/campaigns/gift/status')).json()).toMatchObject({ state: 'open' });
    expect((await page('gift', 'lost')).body).toContain('You won');
  });
});
