/**
 * `doorbuster-bus reconcile` against Redis, streams and lists: a key that somebody deleted takes what waited in it along, and one command brings it back. Both show what every process
 * has of a subscription, so nobody has to vouch for handlers elsewhere.
 */
import type { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { systemClock } from '../clock.ts';
import { type EngineFixture, eventually } from '../conformance/fixture.ts';
import { redisFixture } from '../engines/redis/conformance-fixture.ts';
import { listsFixture } from '../engines/redis-lists/conformance-fixture.ts';
import { handleOnce } from '../handle-once.ts';
import { createIds } from '../ids.ts';
import { createKeyedRelay } from '../keyed-relay.ts';
import { appendToOutbox, createOutboxWriter } from '../outbox.ts';
import type { ReconciliationReport } from '../reconciliation-report.ts';
import { sqliteStore } from '../stores/sqlite/store.ts';
import { openReconciledShop, type ReconciledShop } from '../testing/reconciled-shop.ts';
import { inProcess } from './testing/fixture.ts';

interface OnRedis extends EngineFixture {
  readonly prefix: string;
  readonly raw: (...args: readonly string[]) => Promise<unknown>;
}

const redisUrl = process.env['REDIS_URL'];
const placed = defineChannel({ name: 'placed', version: 1, schema: { type: 'object' } as never });
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });

describe.skipIf(!redisUrl).each([
  ['streams', 'redis', 'stream', redisFixture(redisUrl ?? '')],
  ['lists', 'redis-lists', 'list', listsFixture(redisUrl ?? '')],
] as const)('reconcile with Redis %s (needs REDIS_URL)', (_, scheme, kept, create) => {
  let data: ReconciledShop;
  let fixture: OnRedis;
  let shop: DatabaseSync;
  let mailer: DatabaseSync;
  const buses: Bus[] = [];

  beforeEach(async () => {
    fixture = await create();
    data = await openReconciledShop();
    ({ shop, mailer } = data);
  });
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
    await fixture.destroy();
    data.close();
  });

  async function reconcile(...words: readonly string[]): Promise<ReconciliationReport> {
    const url = `${redisUrl?.replace(/^redis/, scheme)}?prefix=${fixture.prefix}`;
    const command = ['reconcile', '--channels', data.module, '--grace', '0', '--json', '--url', url];
    const { out, err } = await inProcess([...command, '--assume-undecided', ...words]);
    expect(out, err).not.toBe('');
    return JSON.parse(out) as ReconciliationReport;
  }
  async function open(handles: boolean): Promise<Bus> {
    const bus = createBus({ engine: fixture.open(), source: '/shop' });
    bus.declare([placed]);
    if (handles)
      bus.subscribe(placed, {
        name: 'mail',
        handler: (message) =>
          handleOnce({
            inbox: sqliteStore(mailer).inbox,
            subscription: 'mail',
            message,
            clock: systemClock,
            work: async (tx) =>
              void tx.prepare('INSERT INTO effects (n) VALUES (?)').run((message.data as { n: number }).n),
          }),
      });
    await bus.start();
    buses.push(bus);
    return bus;
  }
  async function order(bus: Bus, ...all: readonly number[]): Promise<void> {
    shop.exec('BEGIN IMMEDIATE');
    for (const n of all) appendToOutbox(shop, [write(placed, { n } as never)]);
    shop.exec('COMMIT');
    const { outbox } = sqliteStore(shop);
    const relay = createKeyedRelay({ outbox, bus, clock: systemClock, keepMs: 3_600_000 });
    relay.start();
    await relay.stop();
    expect(relay.view()).toMatchObject({ failures: 0, published: all.length });
  }
  const effects = async (): Promise<readonly number[]> =>
    mailer
      .prepare('SELECT n FROM effects ORDER BY n')
      .all()
      .map(({ n }) => Number(n));
  const handled = (...all: readonly number[]): Promise<unknown> =>
    eventually(effects, (found) => String(found) === String(all), `${String(all)} handled`);

  it('brings back what a deleted key took along, once; control: without the repair nothing comes', async () => {
    const consumer = await open(true);
    await order(consumer, 1, 2, 3);
    await handled(1, 2, 3);
    await buses.pop()?.stop();
    await order(await open(false), 4, 5, 6);
    // What merely waits is not published again.
    const waiting = await reconcile('--repair');
    expect(waiting.counts).toMatchObject({ settled: 3, waitingInEngine: 3, lost: 0, unverifiable: 0 });
    expect(waiting.repair.republished).toBe(0);

    expect(await fixture.raw('UNLINK', `${fixture.prefix}:${kept}:placed`)).toBe(1);
    const found = await reconcile();
    expect(found.counts).toMatchObject({ settled: 3, waitingInEngine: 0, lost: 3, unverifiable: 0 });
    expect(found.blindSpots).toEqual([]);
    expect(found.repair).toMatchObject({ mode: 'dryRun', republishable: 3, republished: 0 });
    const again = await open(true);
    // Nobody recorded this one: where it has been handled, so would have been whatever still waited before it.
    await again.publish(placed, { n: 99 } as never);
    await handled(1, 2, 3, 99);

    const mended = await reconcile('--repair');
    expect(mended.repair).toMatchObject({ republished: 3, failures: [], needsPersonCount: 1 });
    await handled(1, 2, 3, 4, 5, 6, 99);
    const after = await reconcile('--repair');
    expect(after.counts).toMatchObject({ settled: 6, lost: 0, unverifiable: 0, unrecorded: 1 });
    expect(after.repair.republished).toBe(0);
    expect(await effects()).toEqual([1, 2, 3, 4, 5, 6, 99]);
  });
});
