/**
 * Fulfilment alone: winners wait for their vouchers, and the clock runs from the first look at them to the last one recorded as delivered. Ledger threads,
 * outbox, relay, embedded bus, the code pool and the file messenger are the real ones; nobody enters meanwhile. `--sweep` leaves the doorbells out.
 *
 * `--crowd`: the winners enter while fulfilment runs, as fast as the ledger takes them; then the backlog drains. `--greedy` as well: without giving way.
 *
 *   node --conditions=doorbuster-source bench/fulfilment.ts [--deliveries 10000] [--concurrency 64] [--sweep] [--crowd [--greedy]] [--json]
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MessagePort } from 'node:worker_threads';
import { createBus, createRelay, silentLog, systemClock } from '@doorbuster/messaging';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
import { createFileMessenger } from '../packages/server/src/fulfilment/messengers/file.ts';
import { createPoolSource } from '../packages/server/src/fulfilment/voucher-sources/pool.ts';
import { createFulfilment } from '../packages/server/src/fulfilment/workers.ts';
import type { AdmissionCommand } from '../packages/server/src/ledger.ts';
import { openSqliteLedger, type SqliteLedger } from '../packages/server/src/ledgers/sqlite/open.ts';
import { deliveryRequested } from '../packages/server/src/messages.ts';
import { systemRandomness } from '../packages/server/src/randomness.ts';
import { Vault } from '../packages/server/src/vault.ts';

const { values } = parseArgs({
  options: {
    deliveries: { type: 'string', default: '10000' },
    concurrency: { type: 'string', default: '64' },
    sweep: { type: 'boolean', default: false },
    crowd: { type: 'boolean', default: false },
    greedy: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const wanted = Number(values.deliveries);
const operator = { kind: 'cli', id: 'bench' } as const;
const hex = (): string => randomBytes(16).toString('hex');
const master = randomBytes(32);

/** A campaign like a shop's: a survey in two languages, one code per unit, contacts from tokens. */
async function fill(ledger: SqliteLedger): Promise<void> {
  const text = (en: string) => ({ en, ko: '봄맞이 커피 쿠폰 이벤트' });
  await ledger.campaigns.create(
    'bench',
    {
      title: text('Spring'),
      prize: text('A coffee'),
      startsAt: '2020-01-01T00:00:00Z',
      stock: { capacity: wanted, closeWhenSoldOut: false },
      reward: { messengers: ['file'] },
    },
    operator,
  );
  const begun = await ledger.imports.begin('bench', 'voucher-codes', 'append', operator);
  if (!begun.ok) throw new Error(begun.code);
  for (let at = 0; at < wanted; at += 1_000) {
    const rows = Array.from({ length: Math.min(1_000, wanted - at) }, (_, i) => ({
      code: `COFFEE-${at + i}`,
      line: at + i + 1,
    }));
    await ledger.imports.voucherCodes(begun.value, rows);
  }
  await ledger.imports.commit(begun.value);
  await ledger.campaigns.publish('bench', operator);
}

/** All winners with their contacts, before the clock runs. */
async function enterAll(ledger: SqliteLedger): Promise<void> {
  for (let at = 0; at < wanted; at += 500) {
    const keys = Array.from({ length: Math.min(500, wanted - at) }, hex);
    await Promise.all(
      keys.map((key, i) =>
        ledger.admission.register('bench', key, { email: `member${at + i}@example.com` }, null),
      ),
    );
    await ledger.admission.admit('bench', keys.map(commandOf));
  }
}

function commandOf(memberKey: string): AdmissionCommand {
  return { memberKey, salt: hex(), answers: null, screenedOut: false };
}

/** Batches of 64, two outstanding, as admission sends them with 128 connections. Winners without a contact: the file reaches everybody. */
async function enterAsCrowd(ledger: SqliteLedger): Promise<void> {
  let left = wanted;
  const enter = async (): Promise<void> => {
    while (left > 0) {
      const size = Math.min(64, left);
      left -= size;
      await ledger.admission.admit(
        'bench',
        Array.from({ length: size }, () => commandOf(hex())),
      );
    }
  };
  await Promise.all([enter(), enter()]);
}

/** Counts what this thread sends to the others from here on. */
function countMessages(): () => number {
  let sent = 0;
  const prototype = MessagePort.prototype as { postMessage: (this: MessagePort, ...args: unknown[]) => void };
  const own = prototype.postMessage;
  prototype.postMessage = function counted(this: MessagePort, ...args: unknown[]): void {
    sent += 1;
    Reflect.apply(own, this, args);
  };
  return () => sent;
}

const dataDir = mkdtempSync(join(import.meta.dirname, '.fulfilment-'));
const signingKeys = [{ kid: 'bench', ...generateKeyPairSync('ed25519'), validFrom: 0, validUntil: null }];
const fatal = (error: Error): never => {
  throw error;
};
try {
  const ledger = await openSqliteLedger({ dataDir, master, signingKeys, log: silentLog, fatal });
  await fill(ledger);
  if (!values.crowd) await enterAll(ledger);
  let crowdIsHere = false;
  const crowd = { isHere: () => crowdIsHere && !values.greedy };
  const bus = createBus({
    engine: createEmbeddedEngine({ path: join(dataDir, 'bus.sqlite') }),
    source: '/bench',
    clock: systemClock,
    log: silentLog,
  });
  bus.declare([deliveryRequested]);
  const { promise: done, resolve } = Promise.withResolvers<void>();
  let delivered = 0;
  const fulfilment = createFulfilment({
    ledger,
    bus,
    vault: new Vault(master),
    sources: [{ source: createPoolSource(ledger) }],
    messengers: [
      {
        messenger: createFileMessenger({
          name: 'file',
          path: join(dataDir, 'messages.jsonl'),
          clock: systemClock,
        }),
      },
    ],
    pageUrl: (id) => `https://shop.example/c/${id}`,
    clock: systemClock,
    randomness: systemRandomness(),
    log: silentLog,
    crowd,
    limits: { concurrency: Number(values.concurrency) },
    observe: (event) => {
      if (event.event === 'settled' && event.result === 'delivered' && ++delivered === wanted) resolve();
    },
  });
  const relay = createRelay({
    source: ledger.outbox,
    bus,
    clock: systemClock,
    restMs: () => (crowd.isHere() ? 100 : 0),
  });
  ledger.onOutbox(() => relay.wake());
  const sent = countMessages();
  const cpu = process.cpuUsage();
  const loop = performance.eventLoopUtilization();
  const from = performance.now();
  fulfilment.start();
  await bus.start();
  if (!values.sweep) relay.start();
  let entered = {};
  if (values.crowd) {
    crowdIsHere = true;
    await enterAsCrowd(ledger);
    crowdIsHere = false;
    const seconds = (performance.now() - from) / 1_000;
    const perSecond = (count: number): number => Math.round(count / seconds);
    const { user, system } = process.cpuUsage(cpu);
    entered = {
      entriesPerSecond: perSecond(wanted),
      deliveriesPerSecondMeanwhile: perSecond(delivered),
      cpuMicrosPerEntryMeanwhile: Math.round((user + system) / wanted),
    };
  }
  await done;
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(cpu);
  const { utilization } = performance.eventLoopUtilization(loop);
  const report = {
    deliveries: wanted,
    ...entered,
    perSecond: Math.round(wanted / (ms / 1_000)),
    cpuMicrosPerDelivery: Math.round((user + system) / wanted),
    mainThreadBusy: Math.round(utilization * 100) / 100,
    messagesPerDelivery: Math.round((sent() / wanted) * 100) / 100,
  };
  await fulfilment.stop(5_000);
  await relay.stop();
  await bus.stop({ drainMs: 5_000 });
  await ledger.close();
  if (values.json) process.stdout.write(`${JSON.stringify(report)}\n`);
  else
    for (const [name, value] of Object.entries(report)) process.stdout.write(`${name.padEnd(28)} ${value}\n`);
} finally {
  rmSync(dataDir, { recursive: true, force: true });
}
