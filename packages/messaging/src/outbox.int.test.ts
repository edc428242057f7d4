/**
 * Outbox, relay and inbox on real SQLite: what is written in the transaction arrives, in order, whatever fails in between. Each
 * promise has its control: the same test with the defence off has to fail.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from './bus.ts';
import { defineChannel } from './channel.ts';
import { systemClock } from './clock.ts';
import { Collector, eventually } from './conformance/fixture.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { createIds } from './ids.ts';
import { alreadyHandled, inboxSchema, purgeInbox } from './inbox.ts';
import { ack, type Outcome } from './outcome.ts';
import {
  appendToOutbox,
  createOutboxWriter,
  outboxSchema,
  type OutboxSource,
  sqliteOutbox,
  sqliteOutboxSource,
} from './outbox.ts';
import { createRelay, type Relay } from './relay.ts';
import { sqliteOutboxHistorySchema, sqliteRecorded, sqliteSettled } from './stores/sqlite/store.ts';

const placed = defineChannel({ name: 'placed', version: 1, schema: Type.Object({ n: Type.Integer() }) });
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });

let folder: string;
let state: DatabaseSync;
let store: DatabaseSync;
let bus: Bus;
let relay: Relay | undefined;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'outbox-'));
  state = new DatabaseSync(join(folder, 'state.db'));
  state.exec(
    `${outboxSchema}${inboxSchema} CREATE TABLE orders (n INTEGER PRIMARY KEY, mails INTEGER NOT NULL DEFAULT 0) STRICT`,
  );
  store = new DatabaseSync(':memory:');
  bus = createBus({ engine: createInProcessEngine(store), source: '/shop' });
  bus.declare([placed]);
  await bus.start();
});
afterEach(async () => {
  await relay?.stop();
  relay = undefined;
  await bus.stop({ drainMs: 200 });
  state.close();
  rmSync(folder, { recursive: true });
});

function order(from: number, to: number): void {
  state.exec('BEGIN IMMEDIATE');
  for (let n = from; n <= to; n += 1) {
    state.prepare('INSERT INTO orders (n) VALUES (?)').run(n);
    appendToOutbox(state, [write(placed, { n })]);
  }
  state.exec('COMMIT');
}

function collect(): Collector<number> {
  const got = new Collector<number>();
  bus.subscribe(placed, {
    name: 'mail',
    handler: ({ data }) => {
      got.add(data.n);
      return ack();
    },
  });
  return got;
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, index) => index + 1);

describe('outbox', () => {
  it('takes messages with the transaction and only inside of one', () => {
    expect(() => appendToOutbox(state, [write(placed, { n: 1 })])).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS' }),
    );
    state.exec('BEGIN');
    appendToOutbox(state, [write(placed, { n: 1 })]);
    state.exec('ROLLBACK');
    expect(state.prepare('SELECT count(*) AS count FROM outbox').get()).toMatchObject({ count: 0 });
  });

  it('refuses data that breaks the contract before anything is written', () => {
    expect(() => write(placed, { n: 'text' } as never)).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_DATA' }),
    );
  });
});

describe('relay', () => {
  it('publishes in order, across batches, and purges what is marked', async () => {
    const got = collect();
    order(1, 1_500);
    relay = createRelay({ source: sqliteOutboxSource(state), bus, clock: systemClock, batchSize: 100 });
    relay.start();
    await got.waitFor(1_500);
    order(1_501, 1_600);
    relay.wake();
    await got.waitFor(1_600);
    expect(got.values).toEqual(upTo(1_600));
    await relay.stop();
    expect(state.prepare('SELECT count(*) AS count FROM outbox').get()).toMatchObject({ count: 600 });
    expect(relay.view()).toMatchObject({ published: 1_600, failures: 0 });
  });

  it('finds rows by its sweep when the doorbell was missed', async () => {
    const got = collect();
    relay = createRelay({ source: sqliteOutboxSource(state), bus, clock: systemClock, sweepMs: 20 });
    relay.start();
    order(1, 5);
    expect(await got.waitFor(5)).toEqual(upTo(5));
  });

  it('goes on after failures of the bus and of the source, losing nothing', async () => {
    const got = collect();
    const real = sqliteOutboxSource(state);
    let calls = 0;
    // Read, publish, read, mark: each kind of call fails at least once.
    const unlucky = new Set([2, 6, 9, 13]);
    const failing = <T>(work: Promise<T>): Promise<T> =>
      unlucky.has(++calls) ? Promise.reject(new Error('unlucky')) : work;
    const source: OutboxSource = {
      readUnpublished: (limit) => failing(real.readUnpublished(limit)),
      markPublished: async (n) => {
        await failing(Promise.resolve());
        await real.markPublished(n);
      },
    };
    order(1, 50);
    relay = createRelay({
      source,
      bus: { forward: async (rows) => failing(Promise.resolve()).then(() => bus.forward(rows)) },
      clock: systemClock,
      batchSize: 10,
      backOffMs: 1,
    });
    relay.start();
    await eventually(
      async () => new Set(got.values).size,
      (size) => size === 50,
      'all fifty',
    );
    expect(relay.view().failures).toBe(4);
  });

  /** A crash right after the confirm, or instead of it: the relay dies, a new one takes over on the same rows. */
  async function crashInPublish(forward: (real: Bus) => Bus['forward']): Promise<number> {
    const got = collect();
    order(1, 20);
    const stuck = createRelay({
      source: sqliteOutboxSource(state),
      bus: { forward: forward(bus) },
      clock: systemClock,
      batchSize: 5,
      backOffMs: 3_600_000,
    });
    stuck.start();
    await eventually(
      async () => stuck.view(),
      ({ failures, published }) => failures > 0 || published === 20,
      'the crash',
    );
    await stuck.stop({ drainMs: 0 });
    relay = createRelay({ source: sqliteOutboxSource(state), bus, clock: systemClock });
    relay.start();
    // A stop publishes what is there first.
    await relay.stop();
    await bus.publish(placed, { n: 0 });
    await eventually(
      async () => got.values,
      (values) => values.includes(0),
      'the last message',
    );
    return new Set(got.values).size - 1;
  }

  it('loses nothing when it dies before or after a confirm', async () => {
    let batches = 0;
    expect(
      await crashInPublish((real) => async (rows) => {
        batches += 1;
        if (batches === 2) throw new Error('died before the publish');
        return real.forward(rows);
      }),
    ).toBe(20);
  });

  it('control: marking before the confirm loses messages, and this test sees it', async () => {
    let batches = 0;
    // The defect: the publish counts as confirmed at once, so the rows are marked whatever becomes of it.
    const lost = await crashInPublish((real) => async (rows) => {
      batches += 1;
      if (batches !== 2) await real.forward(rows);
      return [];
    }).then((arrived) => 20 - arrived);
    expect(lost).toBe(5);
  });
});

describe('inbox', () => {
  const mails = (): number =>
    (state.prepare('SELECT sum(mails) AS mails FROM orders').get() as { mails: number }).mails;

  /** Handles each message twice, the first time with a crash of its transaction halfway. */
  async function handleTwice(handle: (n: number, messageId: string, crash: boolean) => void): Promise<void> {
    order(1, 10);
    const done = new Collector<number>();
    bus.subscribe(placed, {
      name: 'mail',
      retries: { immediate: 2, delayed: [] },
      handler: ({ id, data }, { attempt }): Outcome => {
        handle(data.n, id, attempt === 1);
        done.add(data.n);
        return ack();
      },
    });
    const rows = await sqliteOutboxSource(state).readUnpublished(100);
    await bus.forward(rows);
    await bus.forward(rows);
    await done.waitFor(20);
  }

  const inTransaction = (work: () => void): void => {
    state.exec('BEGIN IMMEDIATE');
    try {
      work();
      state.exec('COMMIT');
    } catch (error) {
      state.exec('ROLLBACK');
      throw error;
    }
  };
  const mail = (n: number): void =>
    void state.prepare('UPDATE orders SET mails = mails + 1 WHERE n = ?').run(n);

  it('lets each message take effect once, though it comes twice and its first transaction fails', async () => {
    await handleTwice((n, messageId, crash) =>
      inTransaction(() => {
        if (alreadyHandled(state, { subscription: 'mail', messageId, now: 1 })) return;
        mail(n);
        if (crash) throw new Error('crashed halfway');
      }),
    );
    expect(mails()).toBe(10);
  });

  it('control: noting the id in a transaction of its own loses the effect, and this test sees it', async () => {
    await handleTwice((n, messageId, crash) => {
      let handled = false;
      inTransaction(() => {
        handled = alreadyHandled(state, { subscription: 'mail', messageId, now: 1 });
      });
      if (handled) return;
      inTransaction(() => {
        mail(n);
        if (crash) throw new Error('crashed halfway');
      });
    });
    expect(mails()).toBe(0);
  });

  it('refuses to work outside of a transaction, and forgets by age', () => {
    expect(() => alreadyHandled(state, { subscription: 's', messageId: 'm', now: 1 })).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS' }),
    );
    inTransaction(() => {
      for (let now = 0; now < 10; now += 1)
        alreadyHandled(state, { subscription: 's', messageId: `m${now}`, now });
    });
    expect(purgeInbox(state, 6, 4)).toBe(4);
    expect(purgeInbox(state, 6)).toBe(2);
    inTransaction(() =>
      expect(alreadyHandled(state, { subscription: 's', messageId: 'm7', now: 99 })).toBe(true),
    );
  });

  it('a reconciliation that begins later knows how far back each subscription still remembers', async () => {
    inTransaction(() => {
      for (let now = 1; now < 10; now += 1)
        alreadyHandled(state, { subscription: now % 2 ? 's' : 't', messageId: `m${now}`, now });
    });
    expect(purgeInbox(state, 7, 5)).toBe(5);
    state.exec(sqliteOutboxHistorySchema);
    const keptSince = (subscription: string) =>
      sqliteSettled(state, { subscription, channels: ['placed'] }).keptSince();
    expect(await Promise.all(['s', 't', 'u'].map(keptSince))).toEqual([6, 5, 0]);
    inTransaction(() => void purgeInbox(state, 4));
    expect(await keptSince('s')).toBe(6);
    purgeInbox(state, 100);
    expect(await Promise.all(['s', 't'].map(keptSince))).toEqual([10, 9]);
  });
});

describe('an outbox whose published rows are purged', () => {
  const time = (number: number): number => {
    const row = state.prepare('SELECT body FROM outbox WHERE number = ?').get(number) as { body: string };
    return Date.parse((JSON.parse(row.body) as { time: string }).time);
  };

  it('notes how far back it still reaches', async () => {
    state.exec(sqliteOutboxHistorySchema);
    order(1, 1_000);
    const recorded = sqliteRecorded(state, 'shop');
    expect(await recorded.keptSince()).toBe(0);
    const last = time(1_000);
    sqliteOutbox(state).markPublished(1_000);
    expect(state.prepare('SELECT count(*) AS rows FROM outbox').get()).toEqual({ rows: 0 });
    expect(await recorded.keptSince()).toBe(last + 1);
  });

  it('is certain of nothing older than the schema that notes it', async () => {
    order(1, 1_000);
    const last = time(1_000);
    sqliteOutbox(state).markPublished(1_000);
    for (let run = 0; run < 2; run += 1) state.exec(sqliteOutboxHistorySchema);
    expect(await sqliteRecorded(state, 'shop').keptSince()).toBeGreaterThan(last);
  });
});
