/** What brokers lose after they have confirmed it, found and brought back: a queue deleted by mistake, a Redis without a disk that is restarted. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { systemClock } from './clock.ts';
import { eventually } from './conformance/fixture.ts';
import type { Engine } from './engine.ts';
import {
  createRabbitFixture,
  onBroker,
  rabbitUrl,
  removeLadder,
} from './engines/rabbitmq/conformance-fixture.ts';
import { namesOf } from './engines/rabbitmq/names.ts';
import { createRedisEngine } from './engines/redis/engine.ts';
import { listsFixture } from './engines/redis-lists/conformance-fixture.ts';
import { hasServerProgram, startOwnServer } from './redis/testing/own-server.ts';
import { handleOnce } from './handle-once.ts';
import { createIds } from './ids.ts';
import { ack } from './outcome.ts';
import { createKeyedRelay } from './keyed-relay.ts';
import { appendToOutbox, createOutboxWriter } from './outbox.ts';
import { reconcile, type ReconcileOptions } from './reconciliation.ts';
import type { ReconciliationReport } from './reconciliation-report.ts';
import { sqliteStore } from './stores/sqlite/store.ts';

const LADDER = 'reconciliation.';
const redisUrl = process.env['REDIS_URL'];
const placed = defineChannel({ name: 'placed', version: 1, schema: Type.Object({ n: Type.Integer() }) });
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });

describe('reconciliation with a broker', () => {
  let db: DatabaseSync;
  const buses: Bus[] = [];

  beforeEach(async () => {
    db = new DatabaseSync(':memory:');
    await sqliteStore(db).prepare();
    db.exec('CREATE TABLE effects (n INTEGER NOT NULL)');
  });
  afterEach(async () => {
    for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
    db.close();
  });

  afterAll(async () => {
    if (rabbitUrl) await removeLadder(LADDER);
  });

  const effects = async (): Promise<number> =>
    Number(db.prepare('SELECT count(*) AS c FROM effects').get()?.c);

  /** One life of the consumer; without `handles` it only publishes. */
  async function open(engine: Engine, handles: boolean): Promise<Bus> {
    const bus = createBus({ engine, source: '/shop' });
    bus.declare([placed]);
    if (handles)
      bus.subscribe(placed, {
        name: 'mail',
        handler: (message) =>
          handleOnce({
            inbox: sqliteStore(db).inbox,
            subscription: 'mail',
            message,
            clock: systemClock,
            work: async (tx) => void tx.prepare('INSERT INTO effects (n) VALUES (?)').run(message.data.n),
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
  async function order(bus: Pick<Bus, 'forward'>, from: number, to: number): Promise<void> {
    db.exec('BEGIN IMMEDIATE');
    for (let n = from; n <= to; n += 1) appendToOutbox(db, [write(placed, { n })]);
    db.exec('COMMIT');
    const relay = createKeyedRelay({
      outbox: sqliteStore(db).outbox,
      bus,
      clock: systemClock,
      keepMs: 3_600_000,
    });
    relay.start();
    await relay.stop();
    expect(relay.view()).toMatchObject({ failures: 0, published: to - from + 1 });
  }
  const check = (
    bus: Bus,
    repair = false,
    assumeIdle = false,
    more: Partial<ReconcileOptions> = {},
  ): Promise<ReconciliationReport> =>
    reconcile({
      assumeIdle,
      assumeUndecided: true,
      recorded: [sqliteStore(db).recorded('shop')],
      settled: [sqliteStore(db).settled({ subscription: 'mail', channels: ['placed'] })],
      clock: systemClock,
      graceMs: 0,
      engine: bus,
      ...(repair ? { repair: { bus } } : {}),
      ...more,
    });

  /** Ten are handled; ten more are confirmed and wait while the consumer is away; then they are lost. `sees`: the engine shows all it holds, also to a producer. */
  async function loseTen(engine: () => Engine, sees: boolean, lose: () => Promise<void>): Promise<void> {
    const consumer = await open(engine(), true);
    await order(consumer, 1, 10);
    await eventually(effects, (count) => count === 10, 'the first ten');
    await close(consumer);
    const producer = await open(engine(), false);
    await order(producer, 11, 20);
    const waiting = await check(producer);
    // RabbitMQ shows a bus its own subscriptions only; the report says that it could not look.
    const { length: blind } = waiting.blindSpots;
    expect(waiting.counts).toMatchObject({
      settled: 10,
      waitingInEngine: blind ? 0 : 10,
      unverifiable: blind ? 10 : 0,
      lost: 0,
    });
    expect(blind).toBe(sees ? 0 : 1);
    // What merely waits is not published again, whatever the operator vouches for.
    for (const assumeIdle of [false, true])
      expect((await check(producer, true, assumeIdle)).repair).toMatchObject({
        republishable: 0,
        republished: 0,
        needsPersonCount: blind ? 10 : 0,
      });
    await close(producer);
    await lose();

    const after = await open(engine(), true);
    const doubtful = sees ? undefined : await check(after, true);
    const { unverifiable, lost } = doubtful?.counts ?? { unverifiable: 10, lost: 0 };
    expect({ unverifiable, lost, republished: doubtful?.repair.republished ?? 0 }).toEqual({
      unverifiable: 10,
      lost: 0,
      republished: 0,
    });
    const found = await eventually(
      () => check(after, false, !sees),
      ({ counts }) => counts.lost === 10,
      'the loss',
    );
    expect(found).toMatchObject({ clean: false, repair: { mode: 'dryRun', republishable: 10 } });
    expect(await effects()).toBe(10);
    expect((await check(after, true, !sees)).repair.republished).toBe(10);
    await eventually(effects, (count) => count === 20, 'the ten that were lost');
    expect(
      (
        await eventually(
          () => check(after),
          ({ clean }) => clean,
          'nothing left',
        )
      ).counts.settled,
    ).toBe(20);
  }

  /** With its subscription declared and nobody at the queue. */
  async function openIdle(engine: Engine): Promise<Bus> {
    const bus = createBus({ engine, source: '/shop' });
    bus.declare([placed]);
    const mail = bus.subscribe(placed, { name: 'mail', handler: () => ack() });
    await bus.start();
    await mail.started;
    await mail.stop();
    buses.push(bus);
    return bus;
  }
  async function workOff(engine: Engine, count: number): Promise<void> {
    const consumer = await open(engine, true);
    await eventually(effects, (done) => done === count, `${count} handled`);
    await close(consumer);
  }
  const losing: Pick<Bus, 'forward'> = { forward: async () => [] };

  for (const [name, missing, create] of [
    ['RabbitMQ (RABBITMQ_URL)', !rabbitUrl, () => createRabbitFixture({ ladderPrefix: LADDER })],
    ['Redis lists (REDIS_URL)', !redisUrl, listsFixture(redisUrl ?? '')],
  ] as const)
    it.skipIf(missing)(
      `${name}: what a repair publishes hides nothing from its pages behind, what others publish meanwhile does`,
      async () => {
        const fixture = await create();
        try {
          const alone = await openIdle(fixture.open());
          await order(losing, 1, 7);
          const paged = { pageSize: 3 };
          expect((await check(alone, false, true, paged)).repair.republishable).toBe(7);
          const report = await check(alone, true, true, paged);
          expect(report.counts).toMatchObject({ lost: 7, waitingInEngine: 0 });
          expect(report.repair).toMatchObject({ republishable: 7, republished: 7 });
          await close(alone);
          await workOff(fixture.open(), 7);

          // Control: another repair has come as far as the second page. Nothing of it is published twice.
          const shared = await openIdle(fixture.open());
          await order(losing, 8, 14);
          const other = (
            await sqliteStore(db)
              .recorded('other')
              .page({ from: 0, to: 1e15 }, { after: undefined, limit: 14 })
          ).items;
          let calls = 0;
          const bus: Pick<Bus, 'forward'> = {
            async forward(messages) {
              const confirmed = await shared.forward(messages);
              calls += 1;
              if (calls === 1)
                await shared.forward(other.slice(10, 11).flatMap(({ outgoing }) => outgoing ?? []));
              return confirmed;
            },
          };
          const raced = await check(shared, true, true, { pageSize: 10, repair: { bus } });
          expect(raced.counts).toMatchObject({ settled: 7, lost: 3, waitingInEngine: 4 });
          expect(raced.repair.republished).toBe(3);
          await close(shared);
          await workOff(fixture.open(), 11);
        } finally {
          for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
          await fixture.destroy();
        }
      },
    );

  it.skipIf(!rabbitUrl)('RabbitMQ (RABBITMQ_URL): a queue that was deleted by mistake', async () => {
    const fixture = await createRabbitFixture({ ladderPrefix: LADDER });
    try {
      await loseTen(fixture.open, false, async () => {
        const queue = `${namesOf(fixture.prefix, 4).exchange('placed')}/s/mail`;
        expect(await onBroker(async (amqp) => (await amqp.deleteQueue(queue)).messageCount)).toBe(10);
      });
    } finally {
      for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
      await fixture.destroy();
    }
  });

  it.skipIf(!hasServerProgram())(
    'Redis (install redis-server): a restart of one that keeps nothing',
    async () => {
      const server = await startOwnServer('--appendonly', 'no');
      try {
        await loseTen(() => createRedisEngine({ url: server.url }), true, server.restart);
        expect(await effects()).toBe(20);
      } finally {
        for (const bus of buses.splice(0)) await bus.stop({ drainMs: 200 });
        await server.destroy();
      }
    },
  );
});
