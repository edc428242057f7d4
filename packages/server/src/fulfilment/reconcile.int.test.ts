import { silentLog, systemClock } from '@doorbuster/messaging';
import { afterEach, describe, expect, it } from 'vitest';
import { createReconciliation } from './reconcile.ts';
import { eyes, fill, openLedger, staff } from './testing/stage.ts';
import type { VoucherSource } from './voucher-source.ts';
import { createPoolSource } from './voucher-sources/pool.ts';

async function keysOf(ledger: ReturnType<typeof openLedger>, campaignId: string): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const chunk of ledger.admission.memberKeys(campaignId))
    for (let at = 0; at < chunk.length; at += 16)
      keys.push(Buffer.from(chunk.subarray(at, at + 16)).toString('hex'));
  return keys;
}

const ledgers: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close();
});
function ledgerFor() {
  const ledger = openLedger();
  ledgers.push(ledger);
  return ledger;
}

describe('the double check', () => {
  const blind = { view: async () => ({ channels: [] }) as never };

  it('finds a code that two units hold', async () => {
    const ledger = ledgerFor();
    const { messenger } = eyes();
    const twice: VoucherSource = {
      name: 'twice',
      sourceClass: 'idempotent',
      longestFlightMs: 0,
      check: async () => [],
      issue: async ({ unit }) => ({ result: 'issued', voucher: { code: `C-${Math.min(unit, 9)}` } }),
    };
    await fill(ledger, { units: 10, source: 'twice' });
    const { fulfilment, until } = staff({
      ledger,
      sources: [{ source: twice }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await until('delivered', 10);
    await fulfilment.stop(1_000);
    const report = await createReconciliation({
      ledger,
      bus: blind,
      clock: systemClock,
      log: silentLog,
    }).run();
    expect(report.ok).toBe(false);
    expect(report.findings).toContainEqual(
      expect.objectContaining({
        code: 'code-given-twice',
        campaignId: 'spring',
        count: 1,
        sample: ['units 9 and 10'],
      }),
    );
    expect(JSON.stringify(report)).not.toContain('C-9');
  });

  it('misses a delivered voucher, but not one that was erased with its member', async () => {
    const ledger = ledgerFor();
    const { messenger } = eyes();
    await fill(ledger, { units: 2 });
    const { fulfilment, until } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await until('delivered', 2);
    await fulfilment.stop(1_000);
    const [memberKey] = await keysOf(ledger, 'spring');
    expect(await ledger.evidence.erase('spring', memberKey ?? '', { kind: 'cli', id: 'test' })).toBe(true);
    const parts = { ledger, bus: blind, clock: systemClock, log: silentLog };
    const report = await createReconciliation(parts).run();
    expect(report.findings).not.toContainEqual(
      expect.objectContaining({ code: 'delivered-without-voucher' }),
    );
    expect(report.ok).toBe(true);
  });

  it('rings again for what has waited too long, and only for that', async () => {
    const ledger = ledgerFor();
    await fill(ledger, { units: 3 });
    const rows = await ledger.outbox.readUnpublished(100);
    await ledger.outbox.markPublished(rows.at(-1)!.number);
    const fresh = createReconciliation({
      ledger,
      bus: blind,
      clock: systemClock,
      log: silentLog,
      overdueMs: 60_000,
    });
    expect(await fresh.run()).toMatchObject({ ok: true, thorough: true, repaired: [] });
    expect(await fresh.runScheduled()).toMatchObject({ thorough: false, repaired: [] });
    const late = createReconciliation({
      ledger,
      bus: blind,
      clock: systemClock,
      log: silentLog,
      overdueMs: -1_000,
    });
    expect(await late.run()).toMatchObject({
      ok: true,
      repaired: [{ code: 'doorbell-rung-again', count: 3 }],
      counts: { 'delivery-overdue': 3 },
    });
    const [row, ...others] = await ledger.outbox.readUnpublished(100);
    expect(row?.message.data).toEqual({ campaignId: 'spring', runs: [[1, 1, 3]] });
    expect(others).toEqual([]);
  });
});
