/** The second half of the ledger's contract: deliveries, imports, evidence, access. Run by `testLedger` only. */
import { expect, it } from 'vitest';
import type { Ledger } from './ledger.ts';
import { definitionOf, entryOfMember, keyOfMember, members, operator, publish } from './ledger-fixture.ts';
import type { SigningKey } from './secrets.ts';

export interface Parts {
  readonly ledger: () => Ledger;
  readonly keys: () => readonly SigningKey[];
}

export function testDeliveries({ ledger }: Parts): void {
  const retry = { result: 'retry', waitMs: 0, errorCode: 'refused', error: 'mailbox full' } as const;

  it('is claimed once; an ended lease turns what was under way into unknown', async () => {
    await publish(ledger(), 'c', { capacity: 1 });
    await ledger().admission.admit('c', [entryOfMember('ann')]);
    expect((await ledger().deliveries.due(10)).deliveryIds).toEqual(['c.1.1']);
    const first = await ledger().deliveries.claim('c.1.1', 0);
    expect(first).toMatchObject({
      fence: 1,
      attempts: 1,
      memberKey: keyOfMember('ann'),
      voucherState: 'none',
    });
    await ledger().deliveries.progress('c.1.1', 1, { step: 'voucher-requested' });
    const second = await ledger().deliveries.claim('c.1.1', 60_000);
    expect(second).toMatchObject({ fence: 2, attempts: 2, voucherState: 'unknown' });
    expect(await ledger().deliveries.claim('c.1.1', 60_000)).toBeNull();
    expect(await ledger().deliveries.settle('c.1.1', 1, { result: 'delivered', messenger: 'x' })).toBe(false);
    expect(await ledger().deliveries.progress('c.1.1', 2, { step: 'voucher-cancelled' })).toBe(true);
    expect(await ledger().deliveries.settle('c.1.1', 2, retry)).toBe(true);
    expect(await ledger().deliveries.claim('c.1.1', 60_000)).toMatchObject({
      fence: 3,
      generation: 2,
      voucherState: 'none',
    });
    expect((await ledger().deliveries.attempts('c.1.1'))!.map((a) => a.outcome)).toEqual([
      'lease-ended',
      'retry',
      null,
    ]);
  });

  it('28: a sending that never answered is unknown, not failed, and counted', async () => {
    await publish(ledger(), 'c', { capacity: 1 });
    await ledger().admission.admit('c', [entryOfMember('ann')]);
    await ledger().deliveries.claim('c.1.1', 60_000);
    await ledger().deliveries.progress('c.1.1', 1, {
      step: 'voucher-issued',
      voucher: { code: 'A', pin: '1' },
    });
    await ledger().deliveries.progress('c.1.1', 1, { step: 'message-sending', messenger: 'smtp' });
    await ledger().deliveries.settle('c.1.1', 1, {
      result: 'message-unknown',
      waitMs: 0,
      errorCode: 'timeout',
      error: 'no reply',
    });
    expect((await ledger().deliveries.list('c', { state: 'unknown' }, { limit: 5 })).items).toMatchObject([
      { messageState: 'unknown', errorCode: 'timeout', messenger: 'smtp' },
    ]);
    expect(await ledger().deliveries.claim('c.1.1', 60_000)).toMatchObject({
      unknownSendings: 1,
      messageState: 'unknown',
      voucher: { code: 'A', pin: '1' },
    });
    expect(await ledger().deliveries.settle('c.1.1', 2, { result: 'delivered', messenger: 'smtp' })).toBe(
      true,
    );
    expect(await ledger().deliveries.due(10)).toMatchObject({ deliveryIds: [], nextDueAt: null });
  });

  it('27: retries by filter as one batch that moves slice by slice', async () => {
    await publish(ledger(), 'c', { capacity: 7 });
    await ledger().admission.admit('c', members(7));
    for (const id of (await ledger().deliveries.due(10)).deliveryIds) {
      const claim = await ledger().deliveries.claim(id, 60_000);
      await ledger().deliveries.settle(id, claim!.fence, {
        result: 'parked',
        errorCode: claim!.seq === 3 ? 'other' : 'no-contact',
        error: 'x',
      });
    }
    expect(await ledger().deliveries.summary('c')).toMatchObject({
      byState: { parked: 7 },
      byError: [
        { errorCode: 'no-contact', count: 6 },
        { errorCode: 'other', count: 1 },
      ],
    });
    const batch = await ledger().deliveries.startBatch('c', { errorCode: 'no-contact' }, false, operator);
    expect(batch).toMatchObject({ total: 6, moved: 0, state: 'running' });
    expect(await ledger().deliveries.runBatches(4)).toBe(4);
    expect(await ledger().deliveries.runBatches(4)).toBe(2);
    expect(await ledger().deliveries.batch(batch.batchId)).toMatchObject({ moved: 6, state: 'done' });
    expect(await ledger().deliveries.runBatches(4)).toBe(0);
    expect((await ledger().deliveries.due(10)).deliveryIds).toHaveLength(6);
    expect(await ledger().deliveries.claim('c.1.1', 60_000)).toMatchObject({ attempts: 1, fence: 2 });
    const stopped = await ledger().deliveries.startBatch('c', {}, true, operator);
    expect(await ledger().deliveries.abortBatch(stopped.batchId, operator)).toMatchObject({
      state: 'aborted',
      moved: 0,
    });
    expect(await ledger().deliveries.runBatches(4)).toBe(0);
  });

  it('shows what was taken back, delivered or not; the state of the delivery stays', async () => {
    await publish(ledger(), 'c', { capacity: 3 });
    await ledger().admission.admit('c', members(3));
    const { deliveries } = ledger();
    const { fence } = (await deliveries.claim('c.1.1', 60_000))!;
    const issued = { code: 'A' };
    await deliveries.progress('c.1.1', fence, { step: 'message-sending', messenger: 'm', issued });
    await deliveries.settle('c.1.1', fence, { result: 'delivered', messenger: 'm' });
    for (const seq of [1, 2]) await ledger().campaigns.command('c', { type: 'revoke', seq }, operator);
    const { items } = await deliveries.list('c', {}, { limit: 10 });
    expect(items.map(({ seq, state, takenBack }) => [seq, state, takenBack])).toEqual([
      [1, 'delivered', true],
      [2, 'cancelled', true],
      [3, 'due', false],
    ]);
  });

  it('walks over what is due page by page, each once, and then tells when more comes', async () => {
    await publish(ledger(), 'c', { capacity: 7 });
    await ledger().admission.admit('c', members(7));
    const { deliveries } = ledger();
    let page = await deliveries.due(3);
    const walked = [...page.deliveryIds];
    // Claimed behind the cursor: neither is anything skipped for it, nor does it come again.
    const { leaseUntil } = (await deliveries.claim('c.1.1', 60_000))!;
    for (; page.more; walked.push(...page.deliveryIds)) {
      expect(page.nextDueAt).toBeNull();
      page = await deliveries.due(3, page.next);
    }
    expect(walked).toEqual([1, 2, 3, 4, 5, 6, 7].map((n) => `c.${n}.${n}`));
    expect(page.nextDueAt).toBe(leaseUntil);
    const later = await deliveries.due(3, page.next);
    expect(later).toMatchObject({ deliveryIds: [], next: page.next, more: false });
    expect((await deliveries.due(3)).deliveryIds).toEqual(['c.2.2', 'c.3.3', 'c.4.4']);
  });

  it('puts one doorbell into the outbox for the grants of a batch, numbers only', async () => {
    let rang = 0;
    ledger().onOutbox(() => void rang++);
    await publish(ledger(), 'c', { capacity: 2 });
    await ledger().admission.admit('c', members(5));
    const rows = await ledger().outbox.readUnpublished(10);
    expect(rows.map((row) => row.message.data)).toEqual([{ campaignId: 'c', runs: [[1, 1, 2]] }]);
    expect(rang).toBe(1);
    await ledger().outbox.markPublished(rows[0]!.number);
    expect(await ledger().outbox.readUnpublished(10)).toEqual([]);
  });
}

export function testImports({ ledger }: Parts): void {
  const codes = (from: number, to: number, line = 1) =>
    Array.from({ length: to - from + 1 }, (_, i) => ({ line: line + i, code: `CODE-${from + i}` }));
  const begin = async (kind: 'members' | 'voucher-codes', mode: 'append' | 'replace'): Promise<string> => {
    const begun = await ledger().imports.begin('c', kind, mode, operator);
    if (!begun.ok) throw new Error(begun.code);
    return begun.value;
  };

  it('gives each unit its own code, across imports, and refuses a code twice', async () => {
    await ledger().campaigns.create('c', (await draft()).definition, operator);
    const first = await begin('voucher-codes', 'append');
    expect(await ledger().imports.voucherCodes(first, [...codes(1, 3), { line: 4, code: 'CODE-2' }])).toEqual(
      [4],
    );
    expect(await ledger().deliveries.poolCode('c', 1)).toBeNull();
    expect(await ledger().imports.commit(first)).toEqual({ rows: 3, total: 3 });
    const second = await begin('voucher-codes', 'append');
    expect(await ledger().imports.voucherCodes(second, codes(3, 5))).toEqual([1]);
    expect(await ledger().imports.commit(second)).toEqual({ rows: 2, total: 5 });
    const all = await Promise.all([1, 2, 3, 4, 5, 6].map((unit) => ledger().deliveries.poolCode('c', unit)));
    expect(all.map((voucher) => voucher?.code)).toEqual([
      'CODE-1',
      'CODE-2',
      'CODE-3',
      'CODE-4',
      'CODE-5',
      undefined,
    ]);
  });

  it('replaces a pool at once before publication, and never after', async () => {
    await ledger().campaigns.create('c', (await draft()).definition, operator);
    const first = await begin('voucher-codes', 'append');
    await ledger().imports.voucherCodes(first, codes(1, 250));
    await ledger().imports.commit(first);
    const aborted = await begin('voucher-codes', 'replace');
    await ledger().imports.voucherCodes(aborted, codes(1, 5));
    await ledger().imports.abort(aborted);
    const second = await begin('voucher-codes', 'replace');
    expect(await ledger().imports.voucherCodes(second, codes(250, 251))).toEqual([]);
    expect(await ledger().imports.commit(second)).toEqual({ rows: 2, total: 2 });
    expect(await ledger().deliveries.poolCode('c', 1)).toMatchObject({ code: 'CODE-250' });
    await ledger().campaigns.publish('c', operator);
    expect(await ledger().imports.begin('c', 'voucher-codes', 'replace', operator)).toMatchObject({
      code: 'published',
    });
    expect(await ledger().imports.begin('x', 'members', 'append', operator)).toMatchObject({
      code: 'unknown',
    });
  });

  it('refuses codes that the campaign has overtaken, and a publication that would lose some', async () => {
    await ledger().campaigns.create('c', (await draft()).definition, operator);
    const stage = async (mode: 'append' | 'replace', ...codes: string[]): Promise<string> => {
      const id = await begin('voucher-codes', mode);
      await ledger().imports.voucherCodes(
        id,
        codes.map((code, line) => ({ code, line })),
      );
      return id;
    };
    await ledger().imports.commit(await stage('append', 'A', 'B', 'C', 'D', 'E'));
    const lookedAt = (await ledger().campaigns.get('c'))!;
    const [replacing, appending, late] = [
      await stage('replace', 'F'),
      await stage('append', 'G'),
      await stage('replace', 'H'),
    ];
    expect(await ledger().imports.commit(replacing)).toEqual({ rows: 1, total: 1 });
    expect(await ledger().imports.commit(appending)).toEqual({ ok: false, code: 'replaced' });
    expect(await ledger().campaigns.publish('c', operator, lookedAt)).toEqual({
      ok: false,
      code: 'version-changed',
    });
    const now = (await ledger().campaigns.get('c'))!;
    expect(await ledger().campaigns.publish('c', operator, now)).toMatchObject({ ok: true });
    expect(await ledger().imports.commit(late)).toEqual({ ok: false, code: 'published' });
    expect(await ledger().campaigns.get('c')).toMatchObject({ voucherCodeCount: 1 });
    await ledger().imports.abort(appending);
    await ledger().imports.abort(late);
  });

  it('switches a member list as a whole', async () => {
    await ledger().campaigns.create('c', (await draft()).definition, operator);
    const row = (name: string) => ({
      memberKey: keyOfMember(name),
      contact: { email: `${name}@example.com` },
      attributes: {},
    });
    const first = await begin('members', 'append');
    await ledger().imports.members(first, [row('ann'), row('bob'), row('ann')]);
    expect(await ledger().campaigns.get('c')).toMatchObject({ memberCount: 0 });
    expect(await ledger().imports.commit(first)).toEqual({ rows: 2, total: 2 });
    const second = await begin('members', 'append');
    await ledger().imports.members(second, [row('bob'), row('cat')]);
    expect(await ledger().imports.commit(second)).toEqual({ rows: 2, total: 3 });
    const third = await begin('members', 'replace');
    await ledger().imports.members(third, [row('dan')]);
    expect(await ledger().imports.commit(third)).toEqual({ rows: 1, total: 1 });
    expect(await ledger().campaigns.get('c')).toMatchObject({ memberCount: 1 });
  });

  async function draft() {
    await ledger().campaigns.create('template', definitionOf({ capacity: 5 }), operator);
    return (await ledger().campaigns.get('template'))!;
  }
}

export function testEvidence({ ledger }: Parts): void {
  const collect = async <T>(source: AsyncIterable<T>): Promise<T[]> => {
    const all: T[] = [];
    for await (const item of source) all.push(item);
    return all;
  };

  it('exports entries and records, and one root over all of them at the close', async () => {
    await publish(ledger(), 'c', { capacity: 2, waitlistLimit: 1 });
    await ledger().admission.admit('c', [
      entryOfMember('ann', { q: 'yes' }),
      entryOfMember('bob'),
      entryOfMember('cat'),
    ]);
    expect(await ledger().evidence.closingRoot('c')).toBeNull();
    const checkpoint = await ledger().evidence.checkpoint('c');
    expect(checkpoint).toMatchObject({ campaign: 'c', recordNo: 6, epoch: 1 });
    await ledger().campaigns.command('c', { type: 'close' }, operator);
    expect(
      (await collect(ledger().evidence.allEntries('c'))).flat().map((e) => [e.seq, e.verdict, e.answers]),
    ).toEqual([
      [1, 'won', { q: 'yes' }],
      [2, 'won', null],
      [3, 'waitlisted', null],
    ]);
    const batches = await collect(ledger().evidence.records('c', 1));
    expect(batches.flatMap((b) => b.records)).toHaveLength(7);
    expect(batches.map((b) => b.batchNo)).toEqual([1, 2, 3]);
    expect((await collect(ledger().evidence.records('c', 4))).map((b) => b.batchNo)).toEqual([2, 3]);
    expect(await ledger().evidence.closingRoot('c')).toMatchObject({ records: 7 });
    const page = await ledger().evidence.entries('c', { verdict: 'won' }, { limit: 1 });
    expect(page.items.map((e) => e.seq)).toEqual([1]);
    expect(
      (await ledger().evidence.entries('c', { verdict: 'won' }, { limit: 5, after: page.next! })).items.map(
        (e) => e.seq,
      ),
    ).toEqual([2]);
    expect(
      (await ledger().evidence.auditRecords({ campaignId: 'c' }, { limit: 10 })).items.map((a) => a.action),
    ).toEqual(['lane.close', 'campaign.published', 'campaign.created']);
  });

  it('erases a member who still cannot enter twice, and forgets the key at the close', async () => {
    await publish(ledger(), 'c', { capacity: 3 });
    await ledger().admission.register(
      'c',
      keyOfMember('ann'),
      { email: 'ann@example.com' },
      { tier: 'gold' },
    );
    const [before] = await ledger().admission.admit('c', [entryOfMember('ann', { q: 'secret' })]);
    expect(await ledger().evidence.erase('c', keyOfMember('ann'), operator)).toBe(true);
    expect(await ledger().evidence.erase('c', keyOfMember('zoe'), operator)).toBe(false);
    expect(await ledger().admission.entryOf('c', keyOfMember('ann'))).toMatchObject({
      salt: null,
      maskedContact: null,
      receipt: before!.receipt,
    });
    const [again] = await ledger().admission.admit('c', [entryOfMember('ann')]);
    expect(again).toMatchObject({ decision: { verdict: 'won', repeated: true }, salt: null });
    expect((await ledger().evidence.entries('c', {}, { limit: 5 })).items).toMatchObject([
      { seq: 1, answers: null, erased: true },
    ]);
    await ledger().campaigns.command('c', { type: 'close' }, operator);
    expect(await ledger().admission.entryOf('c', keyOfMember('ann'))).toBeNull();
    expect((await ledger().verify()).ok).toBe(true);
  });

  it('expires closed campaigns a slice at a time', async () => {
    await publish(ledger(), 'c', { capacity: 3 });
    await ledger().admission.admit('c', members(3));
    expect(await ledger().evidence.expire(4e12, 10)).toBe(0);
    await ledger().campaigns.command('c', { type: 'close' }, operator);
    expect(await ledger().evidence.expire(1, 10)).toBe(0);
    expect(await ledger().evidence.expire(4e12, 2)).toBe(2);
    expect(await ledger().evidence.expire(4e12, 2)).toBe(1);
    expect(await ledger().evidence.expire(4e12, 2)).toBe(0);
  });
}

export function testAccess({ ledger }: Parts): void {
  it('keeps API keys by the hash of their secret', async () => {
    const { access } = ledger();
    await access.createApiKey(
      { keyId: 'k1', name: 'ci', scopes: ['*'], secretHash: 'aa', expiresAt: null },
      operator,
    );
    expect(await access.findApiKey('k1')).toMatchObject({
      scopes: ['*'],
      secretHashes: [{ hash: 'aa', validUntil: null }],
    });
    await access.rotateApiKey('k1', 'bb', 4e12, operator);
    expect((await access.findApiKey('k1'))!.secretHashes).toEqual([
      { hash: 'bb', validUntil: null },
      { hash: 'aa', validUntil: 4e12 },
    ]);
    await access.usedApiKey('k1');
    expect((await access.listApiKeys())[0]?.lastUsedAt).toBeGreaterThan(0);
    await access.revokeApiKey('k1', operator);
    expect(await access.findApiKey('k1')).toBeNull();
    expect(await access.listApiKeys()).toMatchObject([{ keyId: 'k1' }]);
    expect(await access.rotateApiKey('nope', 'x', 0, operator)).toBeNull();
  });

  it('35: a request is done once; the same key with another body is a mismatch', async () => {
    const { access } = ledger();
    expect(await access.reserveRequest('s', 'key', 'h1')).toEqual({ state: 'fresh' });
    expect(await access.reserveRequest('s', 'key', 'h1')).toEqual({ state: 'in-progress' });
    expect(await access.reserveRequest('s', 'key', 'h2')).toEqual({ state: 'mismatch' });
    await access.releaseRequest('s', 'key');
    expect(await access.reserveRequest('s', 'key', 'h1')).toEqual({ state: 'fresh' });
    await access.storeResponse('s', 'key', 201, '{}', '/v1/x');
    await access.releaseRequest('s', 'key');
    expect(await access.reserveRequest('s', 'key', 'h1')).toEqual({
      state: 'stored',
      status: 201,
      body: '{}',
      location: '/v1/x',
    });
  });
}
