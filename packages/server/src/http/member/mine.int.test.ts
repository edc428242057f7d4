import { DatabaseSync } from 'node:sqlite';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openInProcessLedger } from '../../ledgers/sqlite/in-process.ts';
import { type Fixture, openFixture, tester } from '../app-fixture.ts';

let fixture: Fixture;
beforeEach(async () => {
  fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
  });
  await fixture.campaign('gift');
});
afterEach(() => fixture.close());

const mine = (memberId: string, query = '', headers: Record<string, string> = {}) =>
  fixture.app.inject({
    url: `/v1/campaigns/gift/entries/mine${query}`,
    headers: { ...fixture.bearer('gift', memberId), ...headers },
  });

/** What the fulfilment workers do once the source has given the voucher. */
async function issueVoucher(): Promise<void> {
  const { deliveries } = fixture.ledger;
  const [deliveryId] = (await deliveries.due(1)).deliveryIds;
  const claimed = (await deliveries.claim(deliveryId!, 60_000))!;
  const { fence } = claimed;
  await deliveries.progress(deliveryId!, fence, { step: 'voucher-requested' });
  await deliveries.progress(deliveryId!, fence, { step: 'voucher-issued', voucher: { code: 'SPRING-0001' } });
}

describe('the own entry', () => {
  it('is the entry with its receipt, the same as at the entry', async () => {
    const entered = (await fixture.enter('gift', 'm1')).json<Record<string, unknown>>();
    const answer = await mine('m1');
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.json()).toMatchObject({ ...entered, repeated: true, status: 'live', final: false });
  });

  it('is nobody else’s: each sees their own, a stranger none, without a session nothing', async () => {
    await fixture.enter('gift', 'm1');
    await fixture.enter('gift', 'm2');
    expect((await mine('m1')).json()).toMatchObject({ seq: 1 });
    expect((await mine('m2')).json()).toMatchObject({ seq: 2 });
    const none = await mine('m3');
    expect(none.statusCode).toBe(404);
    expect(none.json()).toMatchObject({ code: 'no-entry' });
    expect((await fixture.app.inject('/v1/campaigns/gift/entries/mine')).statusCode).toBe(401);
  });

  it('tells what became of it', async () => {
    await fixture.enter('gift', 'm1');
    await fixture.ledger.campaigns.command('gift', { type: 'revoke', seq: 1 }, tester);
    expect((await mine('m1')).json()).toMatchObject({ verdict: 'won', status: 'revoked', final: true });
  });
});

describe('the voucher', () => {
  it('is shown to its owner only, only when asked for, once it is ready', async () => {
    await fixture.enter('gift', 'm1');
    expect((await mine('m1', '?voucher=1')).json()).not.toHaveProperty('voucher');
    await issueVoucher();
    expect((await mine('m1')).json()).toMatchObject({ delivery: { voucherReady: true } });
    expect((await mine('m1')).body).not.toContain('SPRING-0001');
    expect((await mine('m1', '?voucher=1')).json()).toMatchObject({ voucher: { code: 'SPRING-0001' } });
    expect((await mine('m2', '?voucher=1')).statusCode).toBe(404);
  });

  it('once shown is durable: a revocation after it voids the unit, before it the unit is free again', async () => {
    await fixture.enter('gift', 'm1');
    await issueVoucher();
    await mine('m1', '?voucher=1');
    await fixture.ledger.campaigns.command('gift', { type: 'revoke', seq: 1 }, tester);
    expect((await fixture.ledger.campaigns.get('gift'))!.lane).toMatchObject({ void: 1, free: 2 });
    await fixture.enter('gift', 'm2');
    await issueVoucher();
    await fixture.ledger.campaigns.command('gift', { type: 'revoke', seq: 2 }, tester);
    expect((await fixture.ledger.campaigns.get('gift'))!.lane).toMatchObject({ void: 1, free: 2 });
  });

  it('is not spent by a link of a foreign page', async () => {
    await fixture.enter('gift', 'm1');
    await issueVoucher();
    expect((await mine('m1', '?voucher=1', { 'sec-fetch-site': 'cross-site' })).statusCode).toBe(403);
  });

  it('is on the page of its owner, and on no other', async () => {
    await fixture.enter('gift', 'm1');
    await issueVoucher();
    const page = (memberId: string) => {
      const memberKey = fixture.deps.vault.memberKey('gift', memberId);
      const { session } = fixture.deps.sessions.issue('gift', memberKey);
      return fixture.app.inject({ url: '/c/gift', cookies: { doorbuster_session: session } });
    };
    const own = await page('m1');
    expect(own.body).toContain('SPRING-0001');
    expect(own.headers['cache-control']).toBe('private, no-store');
    expect((await page('m2')).body).not.toContain('SPRING-0001');
  });
});

describe('what the token says reaches the ledger', () => {
  it('contact and attributes: at the hand-off, and once for a token sent with the entry', async () => {
    await fixture.campaign('listed', {
      eligibility: { audience: 'listed', rules: [{ rule: 'min-orders', orders: 2 }] },
    });
    const { imports } = fixture.ledger;
    const begun = await imports.begin('listed', 'members', 'append', tester);
    if (!begun.ok) throw new Error(begun.code);
    const rows = ['m1', 'm2'].map((memberId) => ({
      memberKey: fixture.deps.vault.memberKey('listed', memberId),
      contact: null,
      attributes: { orders: 0 },
    }));
    await imports.members(begun.value, rows);
    await imports.commit(begun.value);
    const enter = async (token: string) =>
      fixture.app.inject({
        method: 'POST',
        url: '/v1/campaigns/listed/entries',
        headers: { authorization: `Bearer ${token}` },
      });
    const few = await enter(await fixture.token('m1', { orders: 1 }));
    expect(few.json()).toMatchObject({ verdict: 'ineligible', reason: 'rule-0' });
    const enough = await enter(await fixture.token('m2', { orders: 2, email: 'mina@example.com' }));
    expect(enough.json()).toMatchObject({ verdict: 'won' });
    expect((await enter(await fixture.token('m3', { orders: 9 }))).json()).toMatchObject({
      reason: 'not-listed',
    });
    const own = await fixture.app.inject({
      url: '/v1/campaigns/listed/entries/mine',
      headers: fixture.bearer('listed', 'm2'),
    });
    expect(own.json<{ contact: string }>().contact).toMatch(/^mi?\*+@example\.com$|^m.*@example\.com$/);
    expect(own.json<{ contact: string }>().contact).not.toBe('mina@example.com');
  });

  it('sessions: 201 with bearer and end; wrong tokens 401, unknown campaigns 404, unknown fields 400', async () => {
    const open = (payload: object, campaignId = 'gift') =>
      fixture.app.inject({ method: 'POST', url: `/v1/campaigns/${campaignId}/sessions`, payload });
    const token = await fixture.token('m1');
    const answer = await open({ token });
    expect(answer.statusCode).toBe(201);
    const { session, expiresAt } = answer.json<{ session: string; expiresAt: string }>();
    expect(Date.parse(expiresAt)).toBe(fixture.clock.now() + 720 * 60_000);
    const entered = await fixture.app.inject({
      method: 'POST',
      url: '/v1/campaigns/gift/entries',
      headers: { authorization: `Bearer ${session}` },
    });
    expect(entered.statusCode).toBe(201);
    expect((await open({ token: `${token}x` })).statusCode).toBe(401);
    expect((await open({ token }, 'nothing')).statusCode).toBe(404);
    expect((await open({ token, admin: true })).statusCode).toBe(400);
    expect((await open({})).statusCode).toBe(400);
    fixture.clock.advance(720 * 60_000);
    expect((await mine('m1', '', { authorization: `Bearer ${session}` })).statusCode).toBe(401);
  });
});
