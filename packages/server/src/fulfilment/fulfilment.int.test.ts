// Fulfilment end to end on the real SQLite ledger, with a real mail server and a provider in processes of their own.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBus, createRelay, silentLog, systemClock } from '@doorbuster/messaging';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import { deliveryRequested } from '../messages.ts';
import { Vault } from '../vault.ts';
import type { Messenger } from './messenger.ts';
import { createFileMessenger } from './messengers/file.ts';
import { createSmtpMessenger } from './messengers/smtp.ts';
import { createReconciliation } from './reconcile.ts';
import { startProvider, startSmtpSink } from './testing/child.ts';
import {
  actor,
  eyes,
  fill,
  importCodes,
  master,
  openLedger,
  openServingLedger,
  staff,
} from './testing/stage.ts';
import type { VoucherSource } from './voucher-source.ts';
import { createHttpIdempotentSource } from './voucher-sources/http-idempotent.ts';
import { createHttpQueryableSource } from './voucher-sources/http-queryable.ts';
import { createPoolSource } from './voucher-sources/pool.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulfilment-'));
const endings: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const path = (name: string): string => join(folder, `${(files += 1)}-${name}`);

function ledgerFor(...args: Parameters<typeof openLedger>) {
  const ledger = openLedger(...args);
  endings.push(() => ledger.close());
  return ledger;
}
async function sink(...args: string[]) {
  const started = await startSmtpSink(path('mails.ndjson'), args);
  endings.push(() => started.child.kill());
  return started;
}
async function provider(...args: string[]) {
  const started = await startProvider(args);
  endings.push(() => started.child.kill());
  return started;
}
const smtp = (url: string, timeoutMs = 5_000) =>
  createSmtpMessenger({ name: 'carrier', url, from: 'Shop <shop@example.com>', timeoutMs });

describe('a campaign with imported codes', () => {
  it('mails 1,000 winners their own code, by doorbells through the real outbox and bus', async () => {
    const dataDir = path('data');
    mkdirSync(dataDir);
    const ledger = await openServingLedger(dataDir);
    endings.push(() => ledger.close());
    const { url, mails } = await sink();
    const bus = createBus({
      engine: createEmbeddedEngine({ path: path('bus.db') }),
      source: '/test',
      log: silentLog,
    });
    bus.declare([deliveryRequested]);
    const { fulfilment, until, events } = staff({
      ledger,
      bus,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger: smtp(url) }],
      limits: { sweepMs: 60_000, leaseMs: 60_000 },
    });
    fulfilment.start();
    await bus.start();
    const relay = createRelay({ source: ledger.outbox, bus, clock: systemClock });
    ledger.onOutbox(() => relay.wake());
    relay.start();
    await fill(ledger, { units: 1_000 });
    await until('delivered', 1_000);
    await fulfilment.stop(5_000);
    await relay.stop();
    await bus.stop();
    const received = mails();
    expect(received).toHaveLength(1_000);
    expect(new Set(received.map(({ to }) => to)).size).toBe(1_000);
    expect(new Set(received.map(({ text }) => /POOL-\d+/.exec(text)?.[0])).size).toBe(1_000);
    expect(events.filter(({ event }) => event === 'lost')).toEqual([]);
    expect((await ledger.deliveries.summary('spring')).byState).toMatchObject({ delivered: 1_000 });
    expect(
      await createReconciliation({
        ledger,
        bus: { view: async () => ({ channels: [] }) as never },
        clock: systemClock,
        log: silentLog,
      }).run(),
    ).toMatchObject({ ok: true });
  });

  /** 20 winners, one of them with a mailbox that refuses for good. */
  async function withPoison(change: (messenger: Messenger) => Messenger = (messenger) => messenger) {
    const ledger = ledgerFor();
    const { url, mails } = await sink();
    await fill(ledger, {
      units: 20,
      email: (member) => (member === 7 ? 'bounce7@example.com' : `m${member}@example.com`),
    });
    const { fulfilment, untilEvent, results } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger: change(smtp(url)) }],
    });
    fulfilment.start();
    await untilEvent(() => results('delivered') + results('parked') === 20);
    await fulfilment.stop(5_000);
    const parked = (await ledger.deliveries.list('spring', { state: 'parked' }, { limit: 10 })).items;
    return { ledger, mails, parked: parked.map(({ seq, errorCode }) => `${seq} ${errorCode}`) };
  }
  const parkedWithItsReason = ['8 message.carrier.smtp-550'];

  it('serves the others while one mailbox is refused, and parks that one with the reason', async () => {
    const { ledger, mails, parked } = await withPoison();
    expect(mails()).toHaveLength(19);
    expect(parked).toEqual(parkedWithItsReason);
    // The voucher is the member's whatever the mail server says.
    expect(
      await ledger.deliveries.reveal('spring', new Vault(master).memberKey('spring', 'member-7')),
    ).toMatchObject({ code: 'POOL-7' });
  });

  it('control: a messenger that drops what is refused for good leaves nothing parked', async () => {
    const { mails, parked } = await withPoison((messenger) => ({
      ...messenger,
      send: async (message) => {
        const answer = await messenger.send(message);
        return answer.result === 'refused' && answer.permanent ? { result: 'sent' } : answer;
      },
    }));
    expect(mails()).toHaveLength(19);
    expect(parked).not.toEqual(parkedWithItsReason);
    expect(parked).toEqual([]);
  });

  it('an answer that never came is "unknown", is sent once more, and then waits for a person', async () => {
    const ledger = ledgerFor();
    const { url, mails, child } = await sink('--silent-share', '1');
    await fill(ledger, { units: 5 });
    const { fulfilment, until, results } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger: smtp(url, 300) }],
      limits: { attemptsPerProvider: 3 },
    });
    fulfilment.start();
    await until('parked', 5);
    expect(results('message-unknown')).toBe(5);
    expect(mails()).toHaveLength(10);
    for (const number of [0, 1, 2, 3, 4]) {
      const copies = mails().filter(({ to }) => to === `m${number}@example.com`);
      expect(new Set(copies.map(({ messageId, text }) => `${messageId} ${text}`)).size).toBe(1);
    }
    expect(
      (await ledger.deliveries.list('spring', {}, { limit: 10 })).items.map(({ errorCode }) => errorCode),
    ).toEqual(Array(5).fill('message-unknown'));
    // A person decides to send it again: the same voucher, and a fresh budget.
    child.write({ silentShare: 0 });
    await child.next();
    await ledger.deliveries.startBatch('spring', { errorCode: 'message-unknown' }, false, actor);
    fulfilment.wake();
    await until('delivered', 5);
    await fulfilment.stop(1_000);
    expect(new Set(mails().map(({ messageId }) => messageId)).size).toBe(5);
  });

  it('waits for a mail server that is away without using up attempts, and goes on by itself', async () => {
    const ledger = ledgerFor();
    const { messenger, seen } = eyes();
    let away = true;
    const flaky: Messenger = {
      ...messenger,
      send: (message) =>
        away
          ? Promise.resolve({ result: 'refused', errorCode: 'unreachable', detail: 'away', permanent: false })
          : messenger.send(message),
    };
    await fill(ledger, { units: 60 });
    const { fulfilment, until, untilEvent, results } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      limits: { attemptsPerProvider: 4, backoff: { firstMs: 1, maxMs: 20 } },
      messengers: [
        { messenger: flaky, limits: { breakerMinimumCalls: 5, breakerOpenMs: 100, concurrency: 4 } },
      ],
    });
    fulfilment.start();
    await untilEvent((event) => event.event === 'breaker' && event.state === 'half-open');
    away = false;
    await until('delivered', 60 - results('parked'));
    await fulfilment.stop(1_000);
    expect(results('parked')).toBeLessThanOrEqual(1);
    expect(new Set(seen.map(({ deliveryId }) => deliveryId)).size).toBe(60 - results('parked'));
  });

  it('an empty pool parks nobody for good: codes imported later are delivered', async () => {
    const ledger = ledgerFor();
    const { messenger, seen } = eyes();
    await fill(ledger, { units: 10, codes: 4 });
    const { fulfilment, until } = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger }],
      limits: { attemptsPerProvider: 2 },
    });
    fulfilment.start();
    await Promise.all([until('delivered', 4), until('parked', 6)]);
    const report = await createReconciliation({
      ledger,
      bus: { view: async () => ({ channels: [] }) as never },
      clock: systemClock,
      log: silentLog,
    }).run();
    expect(report.counts).toMatchObject({ parked: 6, 'grant-without-code': 6 });
    await importCodes(ledger, 'spring', 6, 4);
    await ledger.deliveries.startBatch('spring', { state: 'parked' }, false, actor);
    fulfilment.wake();
    await until('delivered', 10);
    await fulfilment.stop(1_000);
    expect(new Set(seen.map(({ voucher }) => voucher.code)).size).toBe(10);
  });
});

describe('a remote source of which 30 % of the requests end unknown', () => {
  const UNITS = 150;

  async function run(
    source: VoucherSource,
    vault = new Vault(master) as {
      transactionId(campaignId: string, unit: number, generation: number): string;
    },
  ) {
    const ledger = ledgerFor();
    const { messenger, codesByMember } = eyes();
    await fill(ledger, { units: UNITS, source: source.name });
    const { fulfilment, until, results } = staff({
      ledger,
      vault,
      sources: [{ source, limits: { breakerMinimumCalls: 10_000, timeoutMs: 2_000 } }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await until('delivered', UNITS);
    await fulfilment.stop(1_000);
    return { ledger, codesByMember, unknown: results('voucher-unknown') };
  }

  it('idempotent: 0 double vouchers', async () => {
    const { url, secret, audit } = await provider(
      '--drop-share',
      '0.15',
      '--lose-share',
      '0.15',
      '--seed',
      '5',
    );
    const { codesByMember, unknown } = await run(createHttpIdempotentSource({ name: 'acme', url, secret }));
    const { issued, counts } = await audit();
    expect(unknown).toBeGreaterThan(20);
    expect(counts['dropped']! + counts['lost']!).toBeGreaterThan(20);
    expect(issued).toHaveLength(UNITS);
    expect([...codesByMember().values()].filter((codes) => codes.size !== 1)).toEqual([]);
    expect(codesByMember().size).toBe(UNITS);
  });

  it('control: a transaction id per attempt makes doubles', async () => {
    const { url, secret, audit } = await provider(
      '--drop-share',
      '0.15',
      '--lose-share',
      '0.15',
      '--seed',
      '5',
    );
    let attempt = 0;
    await run(createHttpIdempotentSource({ name: 'acme', url, secret }), {
      transactionId: (_campaignId, unit) => `${unit}-${(attempt += 1)}`,
    });
    expect((await audit()).issued.length).toBeGreaterThan(UNITS);
  });

  it('queryable: 0 double vouchers, with requests that land late', async () => {
    const { url, secret, audit } = await provider(
      '--class',
      'queryable',
      '--drop-share',
      '0.1',
      '--lose-share',
      '0.1',
      '--late-share',
      '0.1',
      '--late-ms',
      '150',
      '--seed',
      '6',
    );
    const { codesByMember } = await run(
      createHttpQueryableSource({ name: 'acme', url, secret, longestFlightMs: 80 }),
    );
    const { issued, counts } = await audit();
    expect(counts['cancelled']).toBeGreaterThan(5);
    expect(issued).toHaveLength(UNITS);
    expect(new Set([...codesByMember().values()].flatMap((codes) => [...codes])).size).toBe(UNITS);
  });

  it('control: "not found" trusted without a cancel makes doubles', async () => {
    const { url, secret, audit } = await provider(
      '--class',
      'queryable',
      '--late-share',
      '0.3',
      '--late-ms',
      '900',
      '--seed',
      '6',
    );
    const source = createHttpQueryableSource({ name: 'acme', url, secret, longestFlightMs: 10 });
    await run({ ...source, cancel: async () => ({ result: 'cancelled' }) });
    await expect.poll(async () => (await audit()).issued.length, { timeout: 45_000 }).toBeGreaterThan(UNITS);
  });

  it('neither: every unknown outcome is parked, none is asked again', async () => {
    const { url, secret, audit } = await provider('--drop-share', '0.5', '--seed', '7');
    const source: VoucherSource = {
      ...createHttpIdempotentSource({ name: 'acme', url, secret }),
      sourceClass: 'neither',
    };
    const ledger = ledgerFor();
    await fill(ledger, { units: 20, source: 'acme' });
    const { messenger } = eyes();
    const { fulfilment, until, results, untilEvent } = staff({
      ledger,
      sources: [{ source, limits: { breakerMinimumCalls: 10_000 } }],
      messengers: [{ messenger }],
    });
    fulfilment.start();
    await untilEvent(() => results('delivered') + results('parked') === 20);
    await until('parked', 1);
    await fulfilment.stop(1_000);
    expect((await audit()).counts).toMatchObject({ asked: 20, repeated: 0 });
    expect((await ledger.deliveries.summary('spring')).byError).toMatchObject([
      { errorCode: 'voucher-unknown', count: results('parked') },
    ]);
  });
});

describe('workers', () => {
  it('do not let a campaign with a stuck provider hold up another', async () => {
    const ledger = ledgerFor();
    const { messenger } = eyes();
    const stuck: VoucherSource = {
      name: 'stuck',
      sourceClass: 'idempotent',
      longestFlightMs: 0,
      check: async () => [],
      issue: ({ signal }) =>
        new Promise((resolve) =>
          signal.addEventListener('abort', () =>
            resolve({ result: 'unknown', errorCode: 'timeout', detail: '' }),
          ),
        ),
    };
    await fill(ledger, { id: 'hot', units: 200, source: 'stuck' });
    await fill(ledger, { id: 'cold', units: 20 });
    const { fulfilment, until } = staff({
      ledger,
      messengers: [{ messenger }],
      limits: { concurrency: 16 },
      sources: [
        { source: stuck, limits: { timeoutMs: 60_000, concurrency: 4 } },
        { source: createPoolSource(ledger) },
      ],
    });
    fulfilment.start();
    await until('delivered', 20);
    // Twice its concurrency, and the first one, which found out whose campaign it is.
    expect((await ledger.deliveries.summary('hot')).byState.sending).toBeLessThanOrEqual(9);
    await fulfilment.stop(0);
    expect((await ledger.deliveries.summary('cold')).byState.delivered).toBe(20);
  });

  it('stop waits for what runs, and what is left is due for the next start', async () => {
    const ledger = ledgerFor();
    await fill(ledger, { units: 50 });
    const file = path('messages.ndjson');
    const first = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger: createFileMessenger({ name: 'carrier', path: file, clock: systemClock }) }],
      limits: { concurrency: 2 },
    });
    first.fulfilment.start();
    await first.until('delivered', 3);
    await first.fulfilment.stop(5_000);
    expect((await ledger.deliveries.summary('spring')).byState.sending).toBe(0);
    const second = staff({
      ledger,
      sources: [{ source: createPoolSource(ledger) }],
      messengers: [{ messenger: createFileMessenger({ name: 'carrier', path: file, clock: systemClock }) }],
    });
    second.fulfilment.start();
    await second.until('delivered', 50 - first.results('delivered'));
    await second.fulfilment.stop(5_000);
    expect((await ledger.deliveries.summary('spring')).byState.delivered).toBe(50);
  });
});
