/**
 * `doorbuster-bus reconcile` in a process of its own against RabbitMQ, which shows nobody what another process has at its handlers or what waits on the delay
 * ladder: what may be there is for a person, and published again only for one who vouches that it is not.
 */
import { execFile } from 'node:child_process';
import type { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { systemClock } from '../clock.ts';
import { Collector, eventually, signal } from '../conformance/fixture.ts';
import {
  createRabbitFixture,
  onBroker,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
} from '../engines/rabbitmq/conformance-fixture.ts';
import { namesOf } from '../engines/rabbitmq/names.ts';
import { handleOnce } from '../handle-once.ts';
import { createIds } from '../ids.ts';
import { createKeyedRelay } from '../keyed-relay.ts';
import { snooze } from '../outcome.ts';
import { appendToOutbox, createOutboxWriter } from '../outbox.ts';
import type { ReconciliationReport } from '../reconciliation-report.ts';
import { sqliteStore } from '../stores/sqlite/store.ts';
import { openReconciledShop, type ReconciledShop } from '../testing/reconciled-shop.ts';

const LADDER = 'reconcile-cli.';
const LONG_MS = 600_000;
const placed = defineChannel({ name: 'placed', version: 1, schema: { type: 'object' } as never });
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });
const numberOf = (data: unknown): number => (data as { n: number }).n;

describe.skipIf(!rabbitUrl)('reconcile with RabbitMQ (needs RABBITMQ_URL)', () => {
  let data: ReconciledShop;
  let fixture: RabbitFixture;
  let shop: DatabaseSync;
  let mailer: DatabaseSync;
  let module: string;
  const buses: Bus[] = [];

  beforeEach(async () => {
    fixture = await createRabbitFixture({ ladderPrefix: LADDER });
    data = await openReconciledShop();
    ({ shop, mailer, module } = data);
  });
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
    await fixture.destroy();
    await removeLadder(LADDER);
    // A repair of the command line declares, and makes a ladder under the prefix it was given.
    await removeLadder(fixture.prefix);
    data.close();
  });

  function reconcile(...words: readonly string[]): Promise<ReconciliationReport> {
    const url = `${rabbitUrl}?prefix=${fixture.prefix}`;
    const command = ['reconcile', '--channels', module, '--grace', '0', '--json', '--url', url, ...words];
    const main = new URL('./main.ts', import.meta.url).pathname;
    const node = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning', main];
    return new Promise((resolve, reject) =>
      execFile(process.execPath, [...node, ...command], (error, out, err) => {
        if (out === '') reject(error ?? new Error(err));
        else resolve(JSON.parse(out) as ReconciliationReport);
      }),
    );
  }
  /** The first message stays at the handler until it is let go, the second waits on the ladder, others are handled. */
  async function openMailer(seen: Collector<number>, go: Promise<void>): Promise<Bus> {
    const bus = createBus({ engine: fixture.open(), source: '/mailer' });
    bus.declare([placed]);
    bus.subscribe(placed, {
      name: 'mail',
      concurrency: 5,
      handler: async (message) => {
        const n = numberOf(message.data);
        const isFirst = !seen.values.includes(n);
        seen.add(n);
        if (n === 1 && isFirst) await go;
        if (n === 2 && isFirst) return snooze(LONG_MS);
        return handleOnce({
          inbox: sqliteStore(mailer).inbox,
          subscription: 'mail',
          message,
          clock: systemClock,
          work: async (tx) => void tx.prepare('INSERT INTO effects (n) VALUES (?)').run(n),
        });
      },
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
    expect(relay.view()).toMatchObject({ failures: 0 });
  }
  const effects = async (): Promise<readonly number[]> =>
    mailer
      .prepare('SELECT n FROM effects ORDER BY n')
      .all()
      .map(({ n }) => Number(n));

  it('leaves what is at a handler elsewhere and what is on the ladder to a person; control: who vouches publishes it again', async () => {
    const seen = new Collector<number>();
    const { fired, fire } = signal();
    const bus = await openMailer(seen, fired);
    await order(bus, 1, 2, 3);
    await seen.waitFor(3);
    await eventually(effects, (found) => found.length === 1, 'the third handled');
    const left = async (): Promise<number | undefined> =>
      (await bus.view()).channels[0]?.subscriptions[0]?.inFlight;
    await eventually(left, (count) => count === 1, 'the second being on the ladder');

    const found = await reconcile('--repair', '--assume-undecided');
    expect(found.counts).toMatchObject({ settled: 1, unverifiable: 2, lost: 0 });
    expect(found.blindSpots).toEqual([]);
    expect(found.repair).toMatchObject({ republishable: 0, republished: 0, needsPersonCount: 2 });
    expect(found.repair.needsPerson[0]?.remedy).toMatch(/ask again with --assume-idle/);
    expect(seen.values).toHaveLength(3);

    // The same without the defence: neither is lost, both come again, and only the inbox keeps the effects at one each.
    const vouched = await reconcile('--repair', '--assume-undecided', '--assume-idle');
    expect(vouched.counts).toMatchObject({ settled: 1, unverifiable: 0, lost: 2 });
    expect(vouched.repair).toMatchObject({ republished: 2, needsPersonCount: 0 });
    await seen.waitFor(5);
    fire();
    await eventually(effects, (all) => all.length === 3, 'all three handled');
    expect(await effects()).toEqual([1, 2, 3]);
    expect((await reconcile()).counts).toMatchObject({ settled: 3, unverifiable: 0, lost: 0 });
  });

  it('control: what is really gone comes back when somebody vouches, and only then', async () => {
    const seen = new Collector<number>();
    const bus = await openMailer(seen, Promise.resolve());
    await order(bus, 3);
    await eventually(effects, (found) => found.length === 1, 'the first handled');
    await buses.pop()?.stop({ drainMs: 1_000 });
    const producer = createBus({ engine: fixture.open(), source: '/shop' });
    producer.declare([placed]);
    await producer.start();
    buses.push(producer);
    await order(producer, 4);
    // It waits, and the broker says so.
    const waiting = await reconcile('--repair', '--assume-undecided', '--assume-idle');
    expect(waiting.counts).toMatchObject({ settled: 1, waitingInEngine: 1, lost: 0 });
    const queue = `${namesOf(fixture.prefix, 4).exchange('placed')}/s/mail`;
    expect(await onBroker(async (amqp) => (await amqp.deleteQueue(queue)).messageCount)).toBe(1);
    // Nothing is made by looking, so the subscription is not there to be shown.
    const gone = await reconcile('--assume-idle');
    expect(gone.counts).toMatchObject({ settled: 1, unverifiable: 1, lost: 0 });
    expect(gone.blindSpots).toEqual([{ channel: 'placed', subscription: 'mail' }]);
    expect((await reconcile('--repair', '--assume-undecided')).repair.republished).toBe(0);
    expect((await reconcile('--repair', '--assume-undecided', '--assume-idle')).repair.republished).toBe(1);
    await openMailer(seen, Promise.resolve());
    await eventually(effects, (found) => found.length === 2, 'the lost one handled');
    expect(await effects()).toEqual([3, 4]);
  });
});
