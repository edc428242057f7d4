/** Who works on an instance that waits and has mail, on the three databases: one at a time, and no mail is lost that comes meanwhile; and that a store with a defect fails the same cases. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock, type ManualClock } from '../conformance/manual-clock.ts';
import { silentLog } from '../log.ts';
import { controlsOf, type PartCase } from '../resilience/testing/part-cases.ts';
import { defineSaga, type StepOutcome, stepDone, stepWaits } from '../saga.ts';
import type { SqlDatabase, SqlRunner } from '../sql.ts';
import { changedStore } from '../testing/changed-saga-store.ts';
import { messageOn } from '../testing/sound-message.ts';
import {
  createMemoryFixture,
  createSqlFixture,
  serverOf,
  type SqlFixture,
  sqlServers,
} from '../testing/sql-fixture.ts';
import { createSagaRunner, type SagaRunner } from './saga-runner.ts';
import type { SagaStore } from './saga-store.ts';
import { createSqlSagaStore, type SqlSagaStoreOptions } from './sql-saga-store.ts';

type Parts = SqlSagaStoreOptions<unknown>;
type Make = (parts: Parts) => SagaStore;
type Answer = (id: string) => Promise<StepOutcome> | StepOutcome;

let database: Pick<SqlFixture, 'sql' | 'destroy'>;
let clock: ManualClock;
/** Who was asked about which message of which instance. */
let asked: string[];
let told: string[];

const LEASE_MS = 60_000;
/** As a process has it. Answers are awaited whatever their type says, so a gate can hold one up as a slow one would. */
function runnerOf(store: SagaStore, who: string, answer: Answer): SagaRunner<unknown> {
  const onMessage = (({ key }, { id }) => {
    asked.push(`${who} ${key} ${id}`);
    return answer(id) as StepOutcome;
  }) satisfies NonNullable<Parameters<typeof defineSaga>[0]['steps'][number]['onMessage']>;
  return createSagaRunner({
    saga: defineSaga<unknown>({ name: 'test', steps: [{ name: 'ask', run: () => stepWaits(), onMessage }] }),
    store,
    clock,
    leaseMs: LEASE_MS,
    log: { ...silentLog, error: (_fields, text) => void told.push(text) },
  });
}
const storeOf = (make: Make, parts: Partial<Parts> = {}): SagaStore =>
  make({ sql: database.sql as SqlDatabase<unknown>, ...parts });
const answers: Answer = (id) => (id === 'last' ? stepDone(id) : stepWaits());

async function waiting(store: SagaStore, ...keys: string[]): Promise<SagaRunner<unknown>> {
  const runner = runnerOf(store, 'b', answers);
  for (const key of keys) await runner.begin(key, {});
  while ((await runner.sweep()) > 0);
  return runner;
}
const deliver = async (runner: SagaRunner<unknown>, id: string, key = 'k'): Promise<void> => {
  expect(await runner.deliver(key, { messageId: id, type: 'x', data: null })).toBe(true);
};

const cases: readonly PartCase<Make>[] = [
  {
    name: 'what is worked on is handed to nobody else, and mail that comes meanwhile is read right after',
    async run(make) {
      const begun = Promise.withResolvers<void>();
      const gate = Promise.withResolvers<void>();
      const store = storeOf(make);
      const other = await waiting(store, 'k');
      const slow = runnerOf(store, 'a', async (id) => {
        begun.resolve();
        await gate.promise;
        return answers(id);
      });
      await deliver(other, 'first');
      const sweeping = slow.sweep();
      await begun.promise;
      expect(await other.sweep()).toBe(0);
      await deliver(other, 'last');
      clock.advance(LEASE_MS - 1);
      expect(await other.sweep()).toBe(0);
      gate.resolve();
      expect(await sweeping).toBe(1);
      expect([asked, (await other.load('k'))?.state.status]).toEqual([['a k first'], 'waiting']);
      expect(await other.sweep()).toBe(1);
      expect(asked).toEqual(['a k first', 'b k last']);
      expect((await other.load('k'))?.state).toMatchObject({
        status: 'completed',
        steps: [{ result: 'last' }],
      });
      expect([await other.unreadMail('k'), told]).toEqual([[], []]);
    },
  },
  {
    name: 'a lease that is left ends by itself, and everything that came is read then',
    async run(make) {
      const store = storeOf(make);
      const other = await waiting(store, 'k');
      await deliver(other, 'first');
      // Between its claim and its look at the mail, as a process that ends would.
      const dying = runnerOf(
        changedStore(store, { mail: () => Promise.reject(new Error('the process ended')) }),
        'a',
        answers,
      );
      expect(await dying.sweep()).toBe(0);
      await deliver(other, 'last');
      expect(await other.sweep()).toBe(0);
      clock.advance(LEASE_MS - 1);
      expect(await other.sweep()).toBe(0);
      clock.advance(1);
      expect(await other.sweep()).toBe(1);
      expect([asked, (await other.load('k'))?.state.status]).toEqual([
        ['b k first', 'b k last'],
        'completed',
      ]);
    },
  },
  {
    name: 'mail that comes while an outcome is being stored is read right after',
    async run(make) {
      const storing = Promise.withResolvers<void>();
      const gate = Promise.withResolvers<void>();
      const appendToOutbox = async (): Promise<void> => {
        storing.resolve();
        await gate.promise;
      };
      const store = storeOf(make, { appendToOutbox });
      const other = await waiting(store, 'k');
      const looked = Promise.withResolvers<void>();
      const watched = reworded(database.sql, (text) => {
        if (text.includes('FROM sagas')) looked.resolve();
        return text;
      });
      const postman = runnerOf(storeOf(make, { sql: watched }), 'postman', answers);
      const messages = [messageOn('noted')];
      const slow = runnerOf(store, 'a', () => stepWaits({ messages }));
      await deliver(other, 'first');
      const sweeping = slow.sweep();
      // Its look for mail is behind it, and its commit is not.
      await storing.promise;
      const delivering = deliver(postman, 'last');
      if (database.sql.dialect !== 'sqlite')
        await Promise.race([delivering, looked.promise.then(roundTrips)]);
      gate.resolve();
      await Promise.all([sweeping, delivering]);
      expect(await other.sweep()).toBe(1);
      expect([asked, (await other.load('k'))?.state.status]).toEqual([
        ['a k first', 'b k last'],
        'completed',
      ]);
    },
  },
  {
    name: 'two runners that sweep while mail comes ask about each message once, and no lease has to end for it',
    async run(make) {
      const keys = ['k', 'l', 'm'];
      const ids = ['1', '2', '3', '4', '5', '6'];
      const store = storeOf(make);
      const runners = [await waiting(store, ...keys), runnerOf(storeOf(make), 'a', answers)];
      let isOver = false;
      const sweeping = runners.map(async (runner) => {
        while (!isOver) await runner.sweep();
      });
      for (const id of ids)
        await Promise.all(
          keys.map((key, index) => deliver(runners[index % 2] as SagaRunner<unknown>, id, key)),
        );
      isOver = true;
      await Promise.all(sweeping);
      for (const runner of runners) while ((await runner.sweep()) > 0);
      const about = asked.map((one) => one.split(' ').slice(1).join(' ')).toSorted();
      expect(about).toEqual(keys.flatMap((key) => ids.map((id) => `${key} ${id}`)));
      expect(told).toEqual([]);
    },
  },
];

/** More than a statement on another connection takes, so that one that does not wait for a lock is over. */
async function roundTrips(): Promise<void> {
  for (let n = 0; n < 50; n += 1) await database.sql.run('SELECT 1');
}

/** The real store, with something of it done otherwise. */
const changed =
  (change: (store: SagaStore, sql: SqlDatabase) => Partial<SagaStore>): Make =>
  (parts) => {
    const store = createSqlSagaStore(parts);
    return changedStore(store, change(store, parts.sql));
  };

const defects = {
  'a claim is a save like any other: what has mail is due at once': {
    make: changed((store) => ({
      save: (record, changes) => store.save(record, { ...changes, isLease: false }),
    })),
    seenBy: ['handed to nobody else', 'a lease that is left'],
  },
  'a message makes what is worked on due': {
    make: changed((store, sql) => ({
      async deliver(saga, key, mail, now) {
        const known = await store.deliver(saga, key, mail, now);
        await sql.run('UPDATE sagas SET due_at = ? WHERE saga = ? AND saga_key = ?', [now, saga, key]);
        return known;
      },
    })),
    seenBy: ['handed to nobody else', 'a lease that is left'],
  },
  'the save that ends a lease does not look for mail': {
    make: changed((store, sql) => ({
      async save(record, changes) {
        const saved = await store.save(record, changes);
        if (saved && changes.isLease !== true)
          await sql.run('UPDATE sagas SET due_at = ? WHERE saga = ? AND saga_key = ?', [
            record.dueAt ?? null,
            record.saga,
            record.key,
          ]);
        return saved;
      },
    })),
    seenBy: ['handed to nobody else'],
  },
  'a lease has no end': {
    make: changed((store) => ({
      save: (record, changes) =>
        store.save(changes.isLease === true ? { ...record, dueAt: undefined } : record, changes),
    })),
    seenBy: ['a lease that is left'],
  },
};

/** What differs between servers, and SQLite, whose transactions come one after another, has not. */
const lockDefects = {
  'who delivers does not lock the instance': {
    make: (parts: Parts) =>
      createSqlSagaStore({
        ...parts,
        sql: reworded(parts.sql, (text) => text.replace(' FOR UPDATE', '')),
      }),
    seenBy: ['while an outcome is being stored'],
  },
};

/** The database, with each statement in the words that `change` has for it. */
function reworded(sql: SqlDatabase<unknown>, change: (text: string) => string): SqlDatabase<unknown> {
  const runOf =
    (runner: SqlRunner): SqlRunner['run'] =>
    (text, params) =>
      runner.run(change(text), params);
  return {
    dialect: sql.dialect,
    run: runOf(sql),
    transaction: (work) => sql.transaction((tx) => work({ native: tx.native, run: runOf(tx) })),
    connect: () => sql.connect(),
  };
}

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(`leases of sagas on ${dialect} (needs ${variable ?? 'nothing'})`, () => {
    beforeAll(async () => {
      database = dialect === 'sqlite' ? createMemoryFixture() : await createSqlFixture(dialect, url ?? '');
      await createSqlSagaStore({ sql: database.sql }).prepare();
    });
    afterAll(() => database.destroy());
    const fresh = async (): Promise<void> => {
      for (const table of ['saga_ends', 'saga_mail', 'sagas']) await database.sql.run(`DELETE FROM ${table}`);
      clock = createManualClock();
      asked = [];
      told = [];
    };
    beforeEach(fresh);

    const onFresh = cases.map(({ name, run }) => ({
      name,
      run: async (make: Make) => {
        await fresh();
        await run(make);
      },
    }));
    it.each(onFresh)('$name', async ({ run }) => {
      await expect(run(createSqlSagaStore)).resolves.toBeUndefined();
    });
    // Those that are made above the statements are the same on each database.
    registerControls(
      it,
      `leases of sagas on ${dialect}`,
      controlsOf<Make>(onFresh, createSqlSagaStore, dialect === 'sqlite' ? defects : lockDefects),
    );
  });
}
