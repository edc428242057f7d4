import { DatabaseSync } from 'node:sqlite';
import { createHash } from 'node:crypto';
import { verifyOpening, verifyReceipt, type Receipt, type ReceiptOpening } from '@doorbuster/core';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import { verifierOf, publicKeySet } from '../../audit/keys.ts';
import { openInProcessLedger } from '../../ledgers/sqlite/in-process.ts';
import { type Fixture, type FixtureOptions, openFixture, tester } from '../app-fixture.ts';

const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest();

let fixture: Fixture;
const open = async (options: Partial<FixtureOptions> = {}): Promise<Fixture> => {
  fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    ...options,
  });
  return fixture;
};
afterEach(() => fixture.close());

const roomy = { limits: { memberBurst: 1_000, addressBurst: 100_000 } };

describe('the verdict table', () => {
  it('won: 201, Location, a receipt that verifies and opens to the member', async () => {
    const { campaign, enter, keys } = await bound();
    await campaign('gift');
    const answer = await enter('gift', 'm1');
    expect(answer.statusCode).toBe(201);
    expect(answer.headers.location).toBe('/v1/campaigns/gift/entries/mine');
    expect(answer.headers['cache-control']).toBe('no-store');
    const body = answer.json<{
      verdict: string;
      seq: number;
      unit: number;
      repeated: boolean;
      receipt: Receipt;
      opening: ReceiptOpening;
    }>();
    expect(body).toMatchObject({ verdict: 'won', seq: 1, unit: 1, repeated: false });
    const checked = verifyReceipt(body.receipt, sha256, verifierOf(publicKeySet(keys.signingKeys)));
    expect(checked.ok && checked.record.type).toBe('ENTRY');
    expect(verifyOpening(body.receipt, body.opening, sha256)).toBe(true);
  });

  it('a repeat: 200 with the first verdict and the same receipt', async () => {
    const { campaign, enter } = await bound();
    await campaign('gift');
    const first = await enter('gift', 'm1');
    const again = await enter('gift', 'm1');
    expect(again.statusCode).toBe(200);
    expect(again.json()).toEqual({ ...first.json<object>(), repeated: true });
  });

  it('waitlisted: 201 without a unit', async () => {
    const { campaign, enter } = await bound();
    await campaign('gift', { stock: { capacity: 1, waitlistLimit: 1 } });
    await enter('gift', 'm1');
    const answer = await enter('gift', 'm2');
    expect(answer.statusCode).toBe(201);
    expect(answer.json()).toMatchObject({ verdict: 'waitlisted', seq: 2 });
    expect(answer.json()).not.toHaveProperty('unit');
  });

  it('sold-out: 410 with the receipt of the SOLD_OUT record, the same bytes for everyone; who is in keeps the verdict', async () => {
    const { campaign, enter, keys } = await bound();
    await campaign('gift', { stock: { capacity: 1, closeWhenSoldOut: false } });
    await enter('gift', 'm1');
    const refusals = [await enter('gift', 'm2'), await enter('gift', 'm3'), await enter('gift', 'm4')];
    for (const refusal of refusals) {
      expect(refusal.statusCode).toBe(410);
      expect(refusal.headers['content-type']).toContain('application/problem+json');
      expect(refusal.json()).toMatchObject({
        verdict: 'sold-out',
        status: 410,
        code: 'sold-out',
        type: '/docs/errors#sold-out',
      });
    }
    const { receipt } = refusals[2]!.json<{ receipt: Receipt }>();
    const checked = verifyReceipt(receipt, sha256, verifierOf(publicKeySet(keys.signingKeys)));
    expect(checked.ok && checked.record.type).toBe('SOLD_OUT');
    expect((await enter('gift', 'm1')).statusCode).toBe(200);
  });

  it('closed by the operator: 410 with the receipt of the CLOSED record', async () => {
    const { campaign, enter, ledger } = await bound();
    await campaign('gift');
    await ledger.campaigns.command('gift', { type: 'close' }, tester);
    for (const member of ['m1', 'm2']) {
      const answer = await enter('gift', member);
      expect(answer.statusCode).toBe(410);
      const { verdict, receipt } = answer.json<{ verdict: string; receipt: Receipt }>();
      expect(verdict).toBe('closed');
      expect(receipt.record).toContain('"CLOSED"');
    }
  });

  it('closed by its end, on the dot', async () => {
    const { campaign, enter, clock } = await bound();
    await campaign('gift', {
      startsAt: new Date(Date.UTC(2026, 10, 1, 1)).toISOString(),
      endsAt: new Date(Date.UTC(2026, 10, 1, 2)).toISOString(),
    });
    expect((await enter('gift', 'm1')).statusCode).toBe(201);
    clock.advance(3_600_000);
    expect((await enter('gift', 'm2')).json()).toMatchObject({ verdict: 'closed' });
    expect((await enter('gift', 'm1')).statusCode).toBe(200);
  });

  it("not-open: 409 with opensAt; then open on the dot, by the server's clock alone", async () => {
    const { campaign, enter, clock } = await bound();
    const startsAt = clock.now() + 60_000;
    await campaign('gift', { startsAt: new Date(startsAt).toISOString() }, false);
    for (const early of [60_000, 1_500, 500, 1]) {
      clock.advance(startsAt - early - clock.now());
      // A client's clock is nobody's business here: the header is what a skewed one would send.
      for (const skewMs of [-86_400_000, 0, 86_400_000]) {
        const answer = await enter('gift', 'm1', {}, { date: new Date(clock.now() + skewMs).toUTCString() });
        expect(answer.statusCode).toBe(409);
        expect(answer.json()).toMatchObject({
          verdict: 'not-open',
          opensAt: new Date(startsAt).toISOString(),
        });
      }
    }
    clock.advance(1);
    expect((await enter('gift', 'm1')).statusCode).toBe(201);
  });

  it('paused: 409, and open again after the pause', async () => {
    const { campaign, enter, ledger } = await bound();
    await campaign('gift');
    await ledger.campaigns.command('gift', { type: 'pause' }, tester);
    const answer = await enter('gift', 'm1');
    expect(answer.statusCode).toBe(409);
    expect(answer.json()).toMatchObject({ verdict: 'paused' });
    await ledger.campaigns.command('gift', { type: 'resume' }, tester);
    expect((await enter('gift', 'm1')).statusCode).toBe(201);
  });

  it('ineligible: 403 with the reason of the campaign in the language asked for; a retry may end otherwise', async () => {
    const { campaign, enter } = await bound();
    await campaign('gift', {
      survey: {
        questions: [
          {
            id: 'adult',
            type: 'single',
            label: { en: 'Adult?' },
            options: [
              { id: 'yes', label: { en: 'Yes' } },
              { id: 'no', label: { en: 'No' } },
            ],
            qualifying: ['yes'],
          },
        ],
        screeningReason: { ko: '성인만 참여합니다.', en: 'Adults only.' },
      },
    });
    const english = await enter('gift', 'm1', { answers: { adult: 'no' } }, { 'accept-language': 'en' });
    expect(english.statusCode).toBe(403);
    expect(english.json()).toMatchObject({
      verdict: 'ineligible',
      reason: 'screening',
      detail: 'Adults only.',
    });
    expect((await enter('gift', 'm1', { answers: { adult: 'no' } })).json()).toMatchObject({
      detail: '성인만 참여합니다.',
    });
    expect((await enter('gift', 'm1', { answers: { adult: 'yes' } })).statusCode).toBe(201);
  });

  it('shed: 503 with Retry-After when the buffer is full, and nothing is decided', async () => {
    const held = Promise.withResolvers<void>();
    const { campaign, enter } = await bound({
      config: { limits: { waitingEntries: 2 } },
      around: (ledger) => ({
        ...ledger,
        admission: {
          ...ledger.admission,
          admit: (id, commands) => held.promise.then(() => ledger.admission.admit(id, commands)),
        },
      }),
    });
    await campaign('gift', { stock: { capacity: 100 } });
    const shed: Awaited<ReturnType<typeof enter>>[] = [];
    const fiveShed = Promise.withResolvers<void>();
    // At most two in the buffer and two at the ledger: five of nine at least are answered while the ledger stands still.
    const all = Array.from({ length: 9 }, async (_, i) => {
      const answer = await enter('gift', `m${i}`);
      if (shed.push(answer) === 5) fiveShed.resolve();
      return answer;
    });
    await fiveShed.promise;
    for (const answer of shed) {
      expect(answer.statusCode).toBe(503);
      expect(Number(answer.headers['retry-after'])).toBeGreaterThanOrEqual(1);
      expect(answer.json()).toMatchObject({ code: 'ADMISSION_FULL', type: '/docs/errors#admission-full' });
    }
    held.resolve();
    const codes = (await Promise.all(all)).map((answer) => answer.statusCode);
    const entered = codes.filter((code) => code === 201).length;
    expect(entered + codes.filter((code) => code === 503).length).toBe(9);
    expect((await fixture.ledger.campaigns.get('gift'))!.lane!.seq).toBe(entered);
  });
});

describe('one member, one entry', () => {
  it('50 copies of one request take one unit and get one answer', async () => {
    const { campaign, enter, ledger } = await bound({ config: roomy });
    await campaign('gift', { stock: { capacity: 100 } });
    const answers = await Promise.all(Array.from({ length: 50 }, () => enter('gift', 'm1')));
    expect(answers.filter((answer) => answer.statusCode === 201)).toHaveLength(1);
    expect(answers.filter((answer) => answer.statusCode === 200)).toHaveLength(49);
    expect(new Set(answers.map((answer) => answer.json<{ receipt: Receipt }>().receipt.signature)).size).toBe(
      1,
    );
    expect((await ledger.campaigns.get('gift'))!.lane).toMatchObject({ seq: 1, issued: 1 });
  });

  it('200 members on three units: three win, the others are told sold-out, in one crowd with copies', async () => {
    const { campaign, enter, ledger } = await bound({ config: roomy });
    await campaign('gift');
    const answers = await Promise.all(Array.from({ length: 400 }, (_, i) => enter('gift', `m${i % 200}`)));
    expect(answers.filter((answer) => answer.statusCode === 201)).toHaveLength(3);
    expect(new Set(answers.map((answer) => answer.statusCode))).toEqual(new Set([200, 201, 410]));
    expect((await ledger.verify()).violations).toEqual([]);
  });

  it("more than the member's rate: 429 with Retry-After, and later served", async () => {
    const { campaign, enter, clock } = await bound({
      config: { limits: { memberPerSecond: 1, memberBurst: 2 } },
    });
    await campaign('gift');
    const codes = (await Promise.all([1, 2, 3].map(() => enter('gift', 'm1')))).map(
      (answer) => answer.statusCode,
    );
    expect(codes.toSorted((a, b) => a - b)).toEqual([200, 201, 429]);
    clock.advance(1_000);
    expect((await enter('gift', 'm1')).statusCode).toBe(200);
  });
});

describe('bad input', () => {
  const cases: readonly (readonly [name: string, payload: string, status: number])[] = [
    ['broken JSON', '{"answers":', 400],
    ['an unknown field', '{"answers":{},"winner":true}', 400],
    ['answers that are no object', '{"answers":[]}', 400],
    ['an array', '[]', 400],
    ['null', 'null', 201],
    ['deep JSON', `{"answers":${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}}`, 400],
    ['a prototype', '{"__proto__":{"admin":true}}', 400],
    ['a constructor', '{"constructor":{"prototype":{"admin":true}}}', 400],
    ['a prototype in the answers', '{"answers":{"__proto__":"x"}}', 400],
    ['answers to a campaign that asks nothing', '{"answers":{"q":"x"}}', 422],
    ['a body of 1 MB', `{"answers":{"q":"${'x'.repeat(1_000_000)}"}}`, 413],
  ];
  it.each(cases)('%s', async (_name, payload, status) => {
    const { campaign, app, bearer } = await bound();
    await campaign('gift');
    const headers = { ...bearer('gift', 'm1'), 'content-type': 'application/json' };
    const answer = await app.inject({ method: 'POST', url: '/v1/campaigns/gift/entries', headers, payload });
    expect(answer.statusCode).toBe(status);
    if (status < 400) return;
    expect(answer.headers['content-type']).toContain('application/problem+json');
    expect(answer.json()).toMatchObject({ status });
    expect(({} as Record<string, unknown>)['admin']).toBeUndefined();
    expect((await fixture.ledger.campaigns.get('gift'))!.lane!.seq).toBe(0);
  });

  it('names every fault with its pointer', async () => {
    const { campaign, enter } = await bound();
    await campaign('gift');
    const { faults } = (await enter('gift', 'm1', { answers: { q: true }, winner: 1 })).json<{
      faults: { pointer: string; message: string }[];
    }>();
    expect(faults).toContainEqual({ pointer: '/body/winner', message: 'unknown field' });
    expect(faults.some((fault) => fault.pointer === '/body/answers/q')).toBe(true);
  });

  it('no body at all is an entry where nothing is asked', async () => {
    const { campaign, app, bearer } = await bound();
    await campaign('gift');
    expect(
      (await app.inject({ method: 'POST', url: '/v1/campaigns/gift/entries', headers: bearer('gift', 'm1') }))
        .statusCode,
    ).toBe(201);
    const typed = { ...bearer('gift', 'm2'), 'content-type': 'application/json' };
    expect(
      (await app.inject({ method: 'POST', url: '/v1/campaigns/gift/entries', headers: typed })).statusCode,
    ).toBe(201);
  });

  it('a form or plain text is not read: 415', async () => {
    const { campaign, app, bearer } = await bound();
    await campaign('gift');
    for (const type of ['application/x-www-form-urlencoded', 'text/plain']) {
      const headers = { ...bearer('gift', 'm1'), 'content-type': type };
      const answer = await app.inject({
        method: 'POST',
        url: '/v1/campaigns/gift/entries',
        headers,
        payload: 'answers=x',
      });
      expect(answer.statusCode).toBe(415);
      expect(answer.json()).toMatchObject({ code: 'media-type-unsupported' });
    }
  });

  it('an unknown campaign and a draft: 404, after authentication', async () => {
    const { enter, app, ledger } = await bound();
    expect((await enter('nothing', 'm1')).statusCode).toBe(404);
    const definition = {
      title: { en: 'x' },
      prize: { en: 'x' },
      startsAt: '2026-12-01T00:00:00Z',
      stock: { capacity: 1 },
      reward: { messengers: ['file'] },
    };
    await ledger.campaigns.create('draft', definition, tester);
    expect((await enter('draft', 'm1')).statusCode).toBe(404);
    expect(
      (await app.inject({ method: 'POST', url: '/v1/campaigns/nothing/entries', payload: {} })).statusCode,
    ).toBe(401);
  });

  it('who is in gets the verdict whatever they send now', async () => {
    const { campaign, enter } = await bound();
    await campaign('gift', {
      survey: { questions: [{ id: 'q', type: 'text', label: { en: 'Why?' }, required: true }] },
    });
    expect((await enter('gift', 'm1')).statusCode).toBe(422);
    expect((await enter('gift', 'm1', { answers: { q: 'because' } })).statusCode).toBe(201);
    const again = await enter('gift', 'm1');
    expect(again.statusCode).toBe(200);
    expect(again.json()).toMatchObject({ verdict: 'won', repeated: true });
  });
});

/** The fixture with its methods bound, so that a test can take what it needs. */
async function bound(options: Partial<FixtureOptions> = {}) {
  const f = await open(options);
  return {
    app: f.app,
    keys: f.keys,
    ledger: f.ledger,
    clock: f.clock,
    campaign: f.campaign.bind(f),
    enter: f.enter.bind(f),
    bearer: f.bearer.bind(f),
  };
}
