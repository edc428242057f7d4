import type { DatabaseSync } from 'node:sqlite';
import { Admin } from '@platformatic/kafka';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { run } from './cli/run.ts';
import { Unawaited } from './cli/unawaited.ts';
import { systemClock } from './clock.ts';
import { eventually, numbers } from './conformance/fixture.ts';
import { engineFromUrl } from './engine-from-url.ts';
import {
  clientOf,
  createKafkaFixture,
  type KafkaFixture,
  kafkaUrl,
} from './engines/kafka/conformance-fixture.ts';
import { handleOnce } from './handle-once.ts';
import { createIds } from './ids.ts';
import { createKeyedRelay } from './keyed-relay.ts';
import { appendToOutbox, createOutboxWriter } from './outbox.ts';
import type { ReconciliationReport } from './reconciliation-report.ts';
import { sqliteStore } from './stores/sqlite/store.ts';
import { openReconciledShop, type ReconciledShop } from './testing/reconciled-shop.ts';

const placed = defineChannel({ name: 'placed', version: 1, schema: Type.Object({ n: Type.Integer() }) });
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });

describe.skipIf(kafkaUrl === undefined)('reconciliation with Kafka (needs KAFKA_URL)', () => {
  let data: ReconciledShop;
  let fixture: KafkaFixture;
  let shop: DatabaseSync;
  let mailer: DatabaseSync;
  let module: string;
  const buses: Bus[] = [];

  beforeEach(async () => {
    fixture = await createKafkaFixture();
    data = await openReconciledShop();
    ({ shop, mailer, module } = data);
  });
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
    await fixture.destroy();
    data.close();
  });

  async function reconcile(...words: readonly string[]): Promise<ReconciliationReport> {
    let out = '';
    let err = '';
    const url = `${kafkaUrl}?prefix=${fixture.prefix}`;
    await run(['reconcile', '--channels', module, '--grace', '0', '--json', '--url', url, ...words], {
      env: {},
      stdout: { write: (text) => (out += text) },
      stderr: { write: (text) => (err += text) },
      stdin: { isTTY: false, read: async () => '' },
      clock: systemClock,
      signal: new AbortController().signal,
      unawaited: new Unawaited(systemClock),
      openEngine: engineFromUrl,
      version: '0.0.0',
    });
    expect(out, err).not.toBe('');
    return JSON.parse(out) as ReconciliationReport;
  }
  async function open(handles: boolean): Promise<Bus> {
    const bus = createBus({ engine: fixture.engine({ partitions: 3, trimEveryMs: 0 }), source: '/shop' });
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
  async function close(bus: Bus): Promise<void> {
    buses.splice(buses.indexOf(bus), 1);
    await bus.stop({ drainMs: 1_000 });
  }
  function record(from: number, to: number): void {
    shop.exec('BEGIN IMMEDIATE');
    for (const n of numbers(from, to)) appendToOutbox(shop, [write(placed, { n }, { key: `k${n % 3}` })]);
    shop.exec('COMMIT');
  }
  async function relayTo(bus: Bus): Promise<void> {
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
  const handled = (count: number): Promise<unknown> =>
    eventually(effects, ({ length }) => length === count, `${count} handled`);

  /** Deleted by mistake, up to the end, whoever has read it. */
  async function empty(topic: string): Promise<void> {
    const admin = new Admin(clientOf(kafkaUrl ?? ''));
    try {
      const partitions = [0, 1, 2].map((partition) => ({ partition, offset: -1n }));
      await admin.deleteRecords({ topics: [{ name: topic, partitions }] });
    } finally {
      await admin.close();
    }
  }

  it('one command finds what was never sent, lost and never recorded; one with --repair publishes the lost, once', async () => {
    const consumer = await open(true);
    record(1, 10);
    await relayTo(consumer);
    // Sent past the outbox: nobody recorded these.
    for (const n of [21, 22]) await consumer.publish(placed, { n });
    await handled(12);
    await close(consumer);

    const producer = await open(false);
    record(16, 20);
    await relayTo(producer);
    expect((await reconcile()).counts).toMatchObject({ settled: 10, waitingInEngine: 5, lost: 0 });
    await empty(`${fixture.prefix}${placed.name}`);
    // Recorded, and the relay stands.
    record(11, 15);

    // What may have been decided is a person's to say.
    expect((await reconcile()).repair).toMatchObject({ republishable: 0, needsPersonCount: 12 });
    const found = await reconcile('--assume-undecided');
    expect(found).toMatchObject({
      clean: false,
      repair: { mode: 'dryRun', republishable: 5, republished: 0 },
    });
    expect(found.counts).toMatchObject({ settled: 10, lost: 5, unpublished: 5, unrecorded: 2 });
    expect(found.blindSpots).toEqual([]);
    expect(await effects()).toHaveLength(12);

    expect((await reconcile('--repair', '--assume-undecided')).repair).toMatchObject({
      republished: 5,
      failures: [],
    });
    await relayTo(producer);
    await open(true);
    await handled(22);
    expect(await effects()).toEqual(numbers(1, 22));
    const after = await reconcile('--repair', '--assume-undecided');
    expect(after.counts).toMatchObject({ settled: 20, lost: 0, unpublished: 0, unrecorded: 2 });
    expect(after.repair.republished).toBe(0);
  });

  it('control: a repair of what is not lost changes nothing at an inbox, and twice the effects without one', async () => {
    const consumer = await open(true);
    record(1, 3);
    await relayTo(consumer);
    await handled(3);
    // The inbox has forgotten them: now they count as lost although they took effect.
    mailer.exec('DELETE FROM inbox');
    const blind = await reconcile('--repair', '--assume-undecided');
    expect(blind.repair.republished).toBe(3);
    await handled(6);
    expect(await effects()).toEqual([1, 1, 2, 2, 3, 3]);
  });
});
