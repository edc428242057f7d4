// What operators do while workers run: revoke, promote, resend, at the worst moment.
import { afterEach, describe, expect, it } from 'vitest';
import { Vault } from '../vault.ts';
import { actor, eyes, fill, importCodes, master, openLedger, staff } from './testing/stage.ts';
import type { VoucherSource } from './voucher-source.ts';
import { createPoolSource } from './voucher-sources/pool.ts';

const ledgers: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close();
});
function ledgerFor() {
  const ledger = openLedger();
  ledgers.push(ledger);
  return ledger;
}

describe('an operator at the worst moment', () => {
  /** A source that holds its first answer back until told. */
  function slowPool(source: VoucherSource) {
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    let first = true;
    const slow: VoucherSource = {
      ...source,
      async issue(request) {
        if (first) {
          first = false;
          asked.resolve();
          await answer.promise;
        }
        return source.issue(request);
      },
    };
    return { slow, asked: asked.promise, answer: () => answer.resolve() };
  }

  it('revokes while a worker asks for the voucher: nothing is sent to the revoked, the unit goes to the next', async () => {
    const ledger = ledgerFor();
    const { messenger, codesByMember } = eyes();
    await fill(ledger, { units: 1, members: 2, waitlist: 1 });
    const { slow, asked, answer } = slowPool(createPoolSource(ledger));
    const { fulfilment, until, untilEvent } = staff({
      ledger,
      sources: [{ source: slow }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await asked;
    expect(await ledger.campaigns.command('spring', { type: 'revoke', seq: 1 }, actor)).toMatchObject({
      ok: true,
    });
    answer();
    await untilEvent((event) => event.event === 'lost');
    fulfilment.wake();
    await until('delivered', 1);
    await fulfilment.stop(1_000);
    expect(codesByMember()).toEqual(new Map([['m1@example.com', new Set(['POOL-0'])]]));
    expect((await ledger.verify()).violations).toEqual([]);
  });

  it('control: without the fence the revoked gets the code of the next', async () => {
    const ledger = ledgerFor();
    const { messenger, seen } = eyes();
    await fill(ledger, { units: 1, members: 2, waitlist: 1 });
    const { slow, asked, answer } = slowPool(createPoolSource(ledger));
    const unfenced = { ...ledger.deliveries, progress: async () => true };
    const { fulfilment, until, untilEvent } = staff({
      ledger: { deliveries: unfenced },
      sources: [{ source: slow }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await asked;
    await ledger.campaigns.command('spring', { type: 'revoke', seq: 1 }, actor);
    answer();
    await untilEvent((event) => event.event === 'lost');
    fulfilment.wake();
    await until('delivered', 1);
    await fulfilment.stop(1_000);
    expect(seen.map(({ contact, voucher }) => `${contact.email} ${voucher.code}`)).toEqual([
      'm0@example.com POOL-0',
      'm1@example.com POOL-0',
    ]);
  });

  it('revokes and replaces at random while workers run: a code is shown to one member only', async () => {
    const ledger = ledgerFor();
    const { messenger, seen } = eyes();
    const UNITS = 40;
    const waiting = 20;
    await fill(ledger, { units: UNITS, members: UNITS + waiting, waitlist: waiting, codes: UNITS + waiting });
    const { fulfilment } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    // Each revocation is followed by more stock, so that one whose unit became void still lets the next in.
    for (let count = 1; count <= waiting; count += 1) {
      await ledger.campaigns.command('spring', { type: 'revoke', seq: ((count * 7) % UNITS) + 1 }, actor);
      await ledger.campaigns.command(
        'spring',
        { type: 'change-stock', capacity: UNITS + count, safetyStock: 0 },
        actor,
      );
      fulfilment.wake();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const open = async (): Promise<number> => {
      const { byState } = await ledger.deliveries.summary('spring');
      return byState.due + byState.sending;
    };
    await expect.poll(open, { timeout: 20_000 }).toBe(0);
    await fulfilment.stop(2_000);
    const membersOf = new Map<string, Set<string>>();
    for (const { voucher, contact } of seen)
      membersOf.set(voucher.code, (membersOf.get(voucher.code) ?? new Set()).add(contact.email!));
    expect([...membersOf.values()].filter((members) => members.size !== 1)).toEqual([]);
    expect((await ledger.verify()).violations).toEqual([]);
    expect((await ledger.deliveries.summary('spring')).byState).toMatchObject({
      due: 0,
      sending: 0,
      parked: 0,
    });
  });

  it('revokes after the voucher was shown: the next of the waitlist gets a fresh unit and code', async () => {
    const ledger = ledgerFor();
    const { messenger, codesByMember } = eyes();
    await fill(ledger, { units: 2, members: 3, waitlist: 5 });
    await ledger.campaigns.command('spring', { type: 'change-stock', capacity: 2, safetyStock: 0 }, actor);
    const { fulfilment, until } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await until('delivered', 2);
    await importCodes(ledger, 'spring', 1, 2);
    await ledger.campaigns.command('spring', { type: 'revoke', seq: 1 }, actor);
    expect(
      await ledger.campaigns.command('spring', { type: 'change-stock', capacity: 3, safetyStock: 0 }, actor),
    ).toMatchObject({ ok: true });
    fulfilment.wake();
    await until('delivered', 3);
    await fulfilment.stop(1_000);
    expect([...codesByMember().entries()].map(([to, codes]) => [to, [...codes]])).toEqual([
      ['m0@example.com', ['POOL-0']],
      ['m1@example.com', ['POOL-1']],
      ['m2@example.com', ['POOL-2']],
    ]);
    expect(
      await ledger.deliveries.reveal('spring', new Vault(master).memberKey('spring', 'member-0')),
    ).toBeNull();
    expect((await ledger.verify()).violations).toEqual([]);
  });

  it('resends nothing to somebody whose voucher was taken back, and everything to the others', async () => {
    const ledger = ledgerFor();
    const { messenger, seen } = eyes();
    await fill(ledger, { units: 2, members: 2 });
    const { fulfilment, until } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await until('delivered', 2);
    await ledger.campaigns.command('spring', { type: 'revoke', seq: 1 }, actor);
    const batch = await ledger.deliveries.startBatch('spring', { state: 'delivered' }, true, actor);
    expect(batch.total).toBe(1);
    fulfilment.wake();
    await until('delivered', 3);
    await fulfilment.stop(1_000);
    const sent = seen.map(({ contact }) => contact.email ?? '').sort((a, b) => a.localeCompare(b));
    expect(sent).toEqual(['m0@example.com', 'm1@example.com', 'm1@example.com']);
    expect((await ledger.verify()).violations).toEqual([]);
  });

  it('resends to all who have it: the same codes, the same message ids', async () => {
    const ledger = ledgerFor();
    const { messenger, seen, codesByMember } = eyes();
    await fill(ledger, { units: 10 });
    const { fulfilment, until } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await until('delivered', 10);
    const batch = await ledger.deliveries.startBatch('spring', { state: 'delivered' }, true, actor);
    fulfilment.wake();
    await until('delivered', 20);
    await fulfilment.stop(1_000);
    expect(await ledger.deliveries.batch(batch.batchId)).toMatchObject({ state: 'done', moved: 10 });
    expect(seen).toHaveLength(20);
    expect(new Set(seen.map(({ messageId }) => messageId)).size).toBe(10);
    expect([...codesByMember().values()].every((codes) => codes.size === 1)).toBe(true);
  });
});
