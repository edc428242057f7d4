/** The contract of the ledger's port as tests: every implementation runs all of it. The numbers are those of the failures seen elsewhere. */
import { memberCommitment, type Receipt, verifyReceipt } from '@doorbuster/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { publicKeySet, verifierOf } from './audit/keys.ts';
import { sha256 } from './audit/signer.ts';
import type { Ledger, VerifyReport } from './ledger.ts';
import { type Parts, testAccess, testDeliveries, testEvidence, testImports } from './ledger-contract-rows.ts';
import { entryOfMember, keyOfMember, members, operator, publish, verdictsOf } from './ledger-fixture.ts';
import type { SigningKey } from './secrets.ts';

export interface LedgerUnderTest {
  readonly ledger: Ledger;
  readonly signingKeys: readonly SigningKey[];
  /** Verifies what the test left, closes it and removes it. */
  dispose(): Promise<VerifyReport>;
}

export function testLedger(name: string, create: () => Promise<LedgerUnderTest>): void {
  describe(`${name} keeps the contract`, () => {
    let under: LedgerUnderTest;
    let ledger: Ledger;
    beforeEach(async () => {
      under = await create();
      ledger = under.ledger;
    });
    afterEach(async () => {
      expect((await under.dispose()).violations).toEqual([]);
    });
    const parts = { ledger: () => ledger, keys: () => under.signingKeys };
    describe('campaigns', () => {
      testCampaigns(parts);
    });
    describe('admission', () => {
      testAdmission(parts);
    });
    describe('stock and waitlist', () => {
      testStock(parts);
    });
    describe('deliveries', () => {
      testDeliveries(parts);
    });
    describe('imports', () => {
      testImports(parts);
    });
    describe('evidence', () => {
      testEvidence(parts);
    });
    describe('access', () => {
      testAccess(parts);
    });
  });
}

function testCampaigns({ ledger }: Parts): void {
  it('creates, updates by version, publishes once', async () => {
    const { campaigns } = ledger();
    await publish(ledger(), 'spring.sale', { capacity: 1 });
    expect(await campaigns.publish('spring.sale', operator)).toMatchObject({
      ok: false,
      code: 'already-published',
    });
    const campaign = await campaigns.get('spring.sale');
    expect(campaign).toMatchObject({ state: 'scheduled', version: 2, lane: { free: 1, recordNo: 1 } });
    const definition = { ...campaign!.definition, title: { en: 'New' } };
    expect(await campaigns.create('spring.sale', definition, operator)).toMatchObject({ code: 'id-taken' });
    expect(await campaigns.update('spring.sale', definition, 1, operator)).toMatchObject({
      code: 'version-changed',
    });
    expect(await campaigns.update('spring.sale', definition, 2, operator)).toMatchObject({
      ok: true,
      value: { version: 3, definition: { title: { en: 'New' } } },
    });
    expect(await campaigns.get('spring.sale')).toMatchObject({
      version: 3,
      definition: { title: { en: 'New' } },
    });
  });

  it('lists newest first, page by page, by state', async () => {
    for (let i = 0; i < 5; i++)
      await publish(ledger(), `c${i}`, { capacity: 1, ...(i === 4 ? { startsAt: 4e12 } : {}) });
    await ledger().campaigns.tick();
    const first = await ledger().campaigns.list({ limit: 2 });
    expect(first.items.map((c) => c.id)).toEqual(['c4', 'c3']);
    const second = await ledger().campaigns.list({ limit: 10, after: first.next! });
    expect(second.items.map((c) => c.id)).toEqual(['c2', 'c1', 'c0']);
    expect(second.next).toBeNull();
    expect((await ledger().campaigns.list({ limit: 10, state: 'scheduled' })).items.map((c) => c.id)).toEqual(
      ['c4'],
    );
  });

  it('tells lanes in commit order, and when the next change is due', async () => {
    const seen: string[] = [];
    const stop = ledger().campaigns.onLane(
      (lane) => void seen.push(`${lane.campaign} ${lane.phase} ${lane.recordNo}`),
    );
    await publish(ledger(), 'a', { capacity: 2, endsAt: 4e12 });
    expect(await ledger().campaigns.tick()).toBe(4e12);
    await ledger().campaigns.command('a', { type: 'pause' }, operator);
    await ledger().campaigns.command('a', { type: 'close' }, operator);
    stop();
    expect(seen).toEqual(['a scheduled 1', 'a open 2', 'a paused 3', 'a closed 4']);
    expect(await ledger().campaigns.command('a', { type: 'resume' }, operator)).toMatchObject({
      code: 'rejected',
      rejection: { code: 'wrong-phase' },
    });
  });
}

function testAdmission({ ledger, keys }: Parts): void {
  it('1: of 1,000 members on the last unit one wins', async () => {
    await publish(ledger(), 'c', { capacity: 1 });
    const crowd = members(1000);
    const answers = (
      await Promise.all(
        [0, 1, 2, 3].map((i) => ledger().admission.admit('c', crowd.slice(i * 250, i * 250 + 250))),
      )
    ).flat();
    expect(verdictsOf(answers).filter((v) => v === 'won')).toHaveLength(1);
    expect(verdictsOf(answers).filter((v) => v === 'sold-out')).toHaveLength(999);
  });

  it('4, 11, 20: 50 copies of one request take one unit and get one answer, at any later time', async () => {
    await publish(ledger(), 'c', { capacity: 5 });
    const copies = Array.from({ length: 50 }, (_, i) => entryOfMember('twin', null, i));
    const answers = (
      await Promise.all(
        [copies.slice(0, 20), copies.slice(20, 40), copies.slice(40)].map((batch) =>
          ledger().admission.admit('c', batch),
        ),
      )
    ).flat();
    expect(verdictsOf(answers).filter((v) => v === 'won')).toHaveLength(1);
    expect(new Set(answers.map((a) => a.receipt)).size).toBe(1);
    expect(new Set(answers.map((a) => a.salt)).size).toBe(1);
    expect((await ledger().campaigns.get('c'))!.lane).toMatchObject({ seq: 1, free: 4 });
    await ledger().admission.admit('c', members(10));
    await ledger().campaigns.command('c', { type: 'close' }, operator);
    const [later] = await ledger().admission.admit('c', [entryOfMember('twin', null, 99)]);
    expect(later).toEqual({ ...answers[49], decision: { ...answers[49]!.decision } });
  });

  it('5, 31: N units and 2N racing copies: exactly N issued', async () => {
    await publish(ledger(), 'c', { capacity: 100 });
    const crowd = members(100);
    const batches = [crowd.slice(0, 50), crowd, crowd.slice(50)];
    const answers = (await Promise.all(batches.map((batch) => ledger().admission.admit('c', batch)))).flat();
    const units = answers.flatMap(({ decision }) =>
      decision.verdict === 'won' && !decision.repeated ? [decision.unit] : [],
    );
    expect(units.sort((a, b) => a! - b!)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  });

  it('7: the receipt proves the entry, and only its holder can open it', async () => {
    await publish(ledger(), 'c', { capacity: 3 });
    const command = entryOfMember('ann', { colour: 'red' });
    const [answer] = await ledger().admission.admit('c', [command]);
    const receipt = JSON.parse(answer!.receipt!) as Receipt;
    const checked = verifyReceipt(receipt, sha256, verifierOf(publicKeySet(keys())));
    expect(checked).toMatchObject({ ok: true, record: { type: 'ENTRY', verdict: 'won', seq: 1, unit: 1 } });
    expect(checked.ok && checked.record.type === 'ENTRY' && checked.record.member).toBe(
      memberCommitment(answer!.salt!, command.memberKey, sha256),
    );
    const other = { ...receipt, time: receipt.time + 1 };
    expect(verifyReceipt(other, sha256, verifierOf(publicKeySet(keys())))).toMatchObject({ ok: false });
  });

  it('14: after CLOSED nothing is admitted, the known keep their answer', async () => {
    await publish(ledger(), 'c', { capacity: 3 });
    const [first] = await ledger().admission.admit('c', [entryOfMember('in')]);
    await ledger().campaigns.command('c', { type: 'close' }, operator);
    const answers = await ledger().admission.admit('c', [entryOfMember('in'), entryOfMember('late')]);
    expect(verdictsOf(answers)).toEqual(['won again', 'closed']);
    expect(answers[0]!.receipt).toBe(first!.receipt);
    expect(JSON.parse(answers[1]!.receipt!).record).toContain('"type":"CLOSED"');
  });

  it('33: everyone told sold-out is handed the one receipt of that record', async () => {
    await publish(ledger(), 'c', { capacity: 2, closeWhenSoldOut: true });
    const answers = await ledger().admission.admit('c', members(5));
    const later = await ledger().admission.admit('c', members(3, 'late'));
    const refused = [...answers, ...later].filter((a) => a.decision.verdict === 'sold-out');
    expect(refused).toHaveLength(6);
    expect(new Set(refused.map((a) => a.receipt)).size).toBe(1);
    const { decision } = refused[0]!;
    expect(await ledger().admission.receiptOf('c', 'recordNo' in decision ? decision.recordNo : 0)).toBe(
      refused[0]!.receipt,
    );
  });

  it('19: is not open before its time, whoever asks', async () => {
    await publish(ledger(), 'c', { capacity: 3, startsAt: 4e12 });
    const [answer] = await ledger().admission.admit('c', [entryOfMember('early')]);
    expect(answer).toMatchObject({ decision: { verdict: 'not-open', opensAt: 4e12 }, receipt: null });
    await expect(ledger().admission.admit('nowhere', [entryOfMember('early')])).rejects.toMatchObject({
      code: 'CAMPAIGN_UNKNOWN',
    });
  });

  it('15: refuses the banned, the unlisted and the screened out with a key, and stores nothing of them', async () => {
    await publish(ledger(), 'c', {
      capacity: 9,
      eligibility: { audience: 'listed', rules: [{ rule: 'min-orders', orders: 2 }] },
    });
    const id = await ledger().imports.begin('c', 'members', 'append', operator);
    if (!id.ok) throw new Error(id.code);
    const row = (member: string, orders: number) => ({
      memberKey: keyOfMember(member),
      contact: null,
      attributes: { orders },
    });
    await ledger().imports.members(id.value, [row('ann', 2), row('bob', 1), row('cat', 5), row('dan', 5)]);
    expect(await ledger().imports.commit(id.value)).toEqual({ rows: 4, total: 4 });
    await ledger().admission.setBan('c', keyOfMember('cat'), true, operator);
    const commands = ['ann', 'bob', 'cat', 'eve'].map((member) => entryOfMember(member));
    const answers = await ledger().admission.admit('c', [
      ...commands,
      { ...entryOfMember('dan'), screenedOut: true },
    ]);
    expect(
      answers.map(({ decision }) => ('reason' in decision ? decision.reason : decision.verdict)),
    ).toEqual(['won', 'rule-0', 'banned', 'not-listed', 'screening']);
    await ledger().admission.setBan('c', keyOfMember('cat'), false, operator);
    await ledger().admission.register('c', keyOfMember('bob'), { email: 'bob@example.com' }, { orders: 3 });
    expect(verdictsOf(await ledger().admission.admit('c', commands))).toEqual([
      'won again',
      'won',
      'won',
      'ineligible',
    ]);
  });

  it('tells who is in, in order, and what became of an entry', async () => {
    await publish(ledger(), 'c', { capacity: 5 });
    const crowd = members(5);
    const answers = await ledger().admission.admit('c', crowd);
    await ledger().admission.register('c', crowd[1]!.memberKey, { email: 'member@example.com' }, null);
    const keyChunks: string[] = [];
    for await (const chunk of ledger().admission.memberKeys('c'))
      keyChunks.push(Buffer.from(chunk).toString('hex'));
    expect(keyChunks.join('')).toBe(crowd.map((c) => c.memberKey).join(''));
    expect(await ledger().admission.entryOf('c', crowd[1]!.memberKey)).toMatchObject({
      seq: 2,
      verdict: 'won',
      status: 'live',
      unit: 2,
      receipt: answers[1]!.receipt,
      salt: crowd[1]!.salt,
      maskedContact: 'me***@example.com',
      delivery: { deliveryId: 'c.2.2', state: 'due', voucherReady: false },
    });
    expect(await ledger().admission.entryOf('c', keyOfMember('nobody'))).toBeNull();
  });
}

function testStock({ ledger }: Parts): void {
  it('16: a revoked place goes to the next of the waitlist, once, onto a unit of its own', async () => {
    await publish(ledger(), 'c', { capacity: 2, waitlistLimit: 2 });
    const crowd = members(5);
    expect(verdictsOf(await ledger().admission.admit('c', crowd))).toEqual([
      'won',
      'won',
      'waitlisted',
      'waitlisted',
      'sold-out',
    ]);
    expect(await ledger().campaigns.command('c', { type: 'revoke', seq: 1 }, operator)).toMatchObject({
      ok: true,
      value: { lane: { issued: 2, waiting: 1 } },
    });
    expect(await ledger().admission.entryOf('c', crowd[2]!.memberKey)).toMatchObject({
      verdict: 'waitlisted',
      status: 'promoted',
      unit: 1,
    });
    expect(await ledger().admission.entryOf('c', crowd[0]!.memberKey)).toMatchObject({
      verdict: 'won',
      status: 'revoked',
      unit: null,
      delivery: null,
    });
    expect(await ledger().campaigns.command('c', { type: 'revoke', seq: 1 }, operator)).toMatchObject({
      ok: false,
      code: 'rejected',
    });
    expect(await ledger().campaigns.command('c', { type: 'revoke', seq: 99 }, operator)).toMatchObject({
      code: 'unknown-entry',
    });
    expect(verdictsOf(await ledger().admission.admit('c', [crowd[4]!]))).toEqual(['waitlisted']);
  });

  it('a unit whose voucher was shown is void when revoked, and the next gets a fresh one', async () => {
    await publish(ledger(), 'c', { capacity: 1, safetyStock: 0, waitlistLimit: 1 });
    const [winner, waiting] = members(2);
    await ledger().admission.admit('c', [winner!, waiting!]);
    const claim = await ledger().deliveries.claim('c.1.1', 60_000);
    await ledger().deliveries.progress('c.1.1', claim!.fence, {
      step: 'voucher-issued',
      voucher: { code: 'SHOWN' },
    });
    expect(await ledger().deliveries.reveal('c', winner!.memberKey)).toMatchObject({ code: 'SHOWN' });
    await ledger().campaigns.command('c', { type: 'revoke', seq: 1 }, operator);
    expect((await ledger().campaigns.get('c'))!.lane).toMatchObject({
      void: 1,
      issued: 0,
      free: 0,
      waiting: 1,
    });
    expect(
      await ledger().deliveries.settle('c.1.1', claim!.fence, { result: 'delivered', messenger: 'file' }),
    ).toBe(false);
    await ledger().campaigns.command('c', { type: 'change-stock', capacity: 2, safetyStock: 0 }, operator);
    expect(await ledger().admission.entryOf('c', waiting!.memberKey)).toMatchObject({
      status: 'promoted',
      unit: 2,
    });
    expect(await ledger().deliveries.reveal('c', winner!.memberKey)).toBeNull();
  });

  it('a unit that came back unshown takes its voucher and its unanswered request along', async () => {
    await publish(ledger(), 'c', { capacity: 2, waitlistLimit: 2 });
    await ledger().admission.admit('c', members(4));
    const one = await ledger().deliveries.claim('c.1.1', 60_000);
    await ledger().deliveries.progress('c.1.1', one!.fence, { step: 'voucher-requested' });
    const two = await ledger().deliveries.claim('c.2.2', 60_000);
    await ledger().deliveries.progress('c.2.2', two!.fence, {
      step: 'voucher-issued',
      voucher: { code: 'TWO' },
    });
    await ledger().campaigns.command('c', { type: 'revoke', seq: 1 }, operator);
    await ledger().campaigns.command('c', { type: 'revoke', seq: 2 }, operator);
    expect(
      await ledger().deliveries.progress('c.1.1', one!.fence, { step: 'message-sending', messenger: 'file' }),
    ).toBe(false);
    expect(await ledger().deliveries.claim('c.3.1', 60_000)).toMatchObject({
      voucherState: 'unknown',
      voucher: null,
    });
    expect(await ledger().deliveries.claim('c.4.2', 60_000)).toMatchObject({
      voucherState: 'issued',
      voucher: { code: 'TWO' },
    });
  });

  it('replaces from the safety stock, raises and lowers, promotes on a closed lane', async () => {
    await publish(ledger(), 'c', { capacity: 3, safetyStock: 1, waitlistLimit: 3 });
    await ledger().admission.admit('c', members(5));
    expect(await ledger().campaigns.command('c', { type: 'replace', seq: 1 }, operator)).toMatchObject({
      ok: true,
      value: { lane: { void: 1, reserved: 0 } },
    });
    expect(
      await ledger().campaigns.command('c', { type: 'change-stock', capacity: 2, safetyStock: 0 }, operator),
    ).toMatchObject({ rejection: { code: 'capacity-below-granted', lowest: 3 } });
    expect(
      await ledger().campaigns.command('c', { type: 'change-stock', capacity: 5, safetyStock: 1 }, operator),
    ).toMatchObject({ ok: true, value: { lane: { waiting: 2, free: 0 } } });
    expect(await ledger().campaigns.command('c', { type: 'close' }, operator)).toMatchObject({ ok: true });
    expect(await ledger().campaigns.command('c', { type: 'promote' }, operator)).toMatchObject({
      rejection: { code: 'no-free-unit' },
    });
    expect(await ledger().campaigns.command('c', { type: 'revoke', seq: 2 }, operator)).toMatchObject({
      ok: true,
      value: { lane: { waiting: 1 } },
    });
  });
}
