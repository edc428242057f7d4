/** What sagas promise, on the three databases, as cases that can be put to any store; and that a store with a defect fails them. Mail has such cases of its own, and kills too. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock, type ManualClock } from '../conformance/manual-clock.ts';
import { silentLog } from '../log.ts';
import { controlsOf, type PartCase } from '../resilience/testing/part-cases.ts';
import { defineSaga, type SagaStep, stepDone, stepFailed, type StepOutcome, stepWaits } from '../saga.ts';
import type { SqlDatabase, SqlTransaction } from '../sql.ts';
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
import type { SagaState } from './saga-state.ts';
import type { SagaRecord, SagaStore } from './saga-store.ts';
import { createSqlSagaStore, type SqlSagaStoreOptions } from './sql-saga-store.ts';

type Parts = SqlSagaStoreOptions<unknown>;
type Make = (parts: Parts) => SagaStore;

let database: Pick<SqlFixture, 'sql' | 'destroy'>;
let clock: ManualClock;
/** What steps did, in order. */
let done: string[];
let told: string[];

const LEASE_MS = 1_000;
const appendToOutbox: NonNullable<Parts['appendToOutbox']> = async (
  tx: SqlTransaction<unknown>,
  messages,
) => {
  for (const { channel } of messages) await tx.run('INSERT INTO emitted (channel) VALUES (?)', [channel]);
};

function runnerOf(
  make: Make,
  steps: readonly SagaStep<unknown>[],
  parts: Partial<Parts> = { appendToOutbox },
): SagaRunner<unknown> {
  return createSagaRunner({
    saga: defineSaga<unknown>({ name: 'test', steps }),
    store: make({ sql: database.sql as SqlDatabase<unknown>, ...parts }),
    clock,
    leaseMs: LEASE_MS,
    log: { ...silentLog, error: (_fields, text) => void told.push(text) },
  });
}
const stateOf = async (runner: SagaRunner<unknown>): Promise<SagaState> =>
  (await runner.load('k'))?.state as SagaState;
/** One sweep for each of the leases that a step gets before it is given up, and some more. */
async function lives(runner: SagaRunner<unknown>): Promise<void> {
  for (let life = 0; life < 7; life += 1) {
    await runner.sweep();
    clock.advance(LEASE_MS);
  }
}

const messages = [messageOn('paid')];
/** What a step may return that is of no use, by what is said of it, to a store that is given these parts. */
const unusable: readonly (readonly [string, unknown, Partial<Parts>])[] = [
  ['returned no outcome', undefined, {}],
  ['returned no outcome', { kind: 'dnoe' }, {}],
  ['BigInt', stepDone({ cents: 5n }), {}],
  ['no appendToOutbox', stepDone(1, { messages }), {}],
  [
    'cannot be encoded',
    stepDone(1, { messages: [messageOn('paid', { data: { cents: 5n } })] }),
    { appendToOutbox },
  ],
  ['without U+0000', stepDone(1, { messages: [messageOn('paid', { id: 'a\0' })] }), { appendToOutbox }],
];

const cases: readonly PartCase<Make>[] = [
  {
    name: 'a step whose outcome cannot be used has run once: it is unknown at once, with the reason',
    async run(make) {
      for (const [reason, returned, parts] of unusable) {
        await fresh();
        const run = () => {
          done.push('pay');
          return returned as StepOutcome;
        };
        const runner = runnerOf(make, [{ name: 'pay', run }], parts);
        await runner.begin('k', {});
        await lives(runner);
        const { status, history } = await stateOf(runner);
        expect([status, done]).toEqual(['unknown', ['pay']]);
        expect(history).toEqual([
          expect.objectContaining({ what: 'unknown', detail: expect.stringContaining(reason) }),
        ]);
        expect(told).toEqual([expect.stringContaining('outcome of a step is unknown')]);
      }
    },
  },
  {
    name: 'an answer to a message that cannot be used is given once: the message stays for a person, and the outcome is unknown',
    async run(make) {
      for (const [reason, returned, parts] of unusable.slice(1)) {
        await fresh();
        const onMessage = () => {
          done.push('asked');
          return returned as StepOutcome;
        };
        const runner = runnerOf(make, [{ name: 'pay', run: () => stepWaits(), onMessage }], parts);
        await runner.begin('k', {});
        await runner.deliver('k', { messageId: 'm', type: 'x', data: null });
        await lives(runner);
        const { status, history } = await stateOf(runner);
        expect([status, done]).toEqual(['unknown', ['asked']]);
        expect(history.at(-1)?.detail).toContain(reason);
        expect((await runner.unreadMail('k')).map(({ messageId }) => messageId)).toEqual(['m']);
        expect(told[0]).toContain('message "m" has an answer that cannot be used');
      }
    },
  },
  {
    name: 'of two runners that work on one instance the late one stores nothing and emits nothing',
    async run(make) {
      const begun = Promise.withResolvers<void>();
      const gate = Promise.withResolvers<void>();
      const pays = (who: string, wait: () => Promise<void>): SagaStep<unknown> => ({
        name: 'pay',
        async run() {
          await wait();
          return stepDone(who, { messages: [messageOn(who)] });
        },
      });
      const slow = runnerOf(make, [
        pays('slow', () => {
          begun.resolve();
          return gate.promise;
        }),
      ]);
      await slow.begin('k', {});
      const sweeping = slow.sweep();
      await begun.promise;
      clock.advance(LEASE_MS + 1);
      const quick = runnerOf(make, [pays('quick', async () => {})]);
      expect(await quick.sweep()).toBe(1);
      gate.resolve();
      await sweeping;
      const { status, steps } = await stateOf(quick);
      expect([status, steps[0]?.result]).toEqual(['completed', 'quick']);
      const { rows } = await database.sql.run('SELECT channel FROM emitted');
      expect(rows.map(({ channel }) => channel)).toEqual(['quick']);
    },
  },
  {
    name: 'a save that is late leaves state, outbox, mail and ends as they were',
    async run(make) {
      const runner = runnerOf(make, [{ name: 'ask', run: () => stepWaits() }]);
      await runner.begin('k', {});
      await runner.sweep();
      await runner.deliver('k', { messageId: 'm', type: 'x', data: null });
      const record = (await runner.load('k')) as SagaRecord;
      const late: SagaRecord = { ...record, state: { ...record.state, status: 'completed' } };
      const store = make({ sql: database.sql, appendToOutbox });
      expect(await store.save(late, { messages, read: ['m'], now: clock.now() })).toBe(false);
      expect(await runner.load('k')).toEqual(record);
      expect((await runner.unreadMail('k')).map(({ messageId }) => messageId)).toEqual(['m']);
      for (const table of ['emitted', 'saga_ends'])
        expect((await database.sql.run(`SELECT * FROM ${table}`)).rows).toEqual([]);
    },
  },
  {
    name: 'steps are undone in the reverse order, each once, also where each has to be tried again, and the one that failed is not',
    async run(make) {
      const step = (name: string, outcome: StepOutcome): SagaStep<unknown> => ({
        name,
        run: () => outcome,
        retries: { delays: [LEASE_MS] },
        // Tried again, it goes on from what is stored.
        compensate: ({ attempt }) => {
          if (attempt === 1) throw new Error('out of order');
          done.push(name);
        },
      });
      const runner = runnerOf(make, [
        ...['one', 'two', 'three'].map((name) => step(name, stepDone())),
        step('four', stepFailed('sold out')),
      ]);
      await runner.begin('k', {});
      await lives(runner);
      expect([(await stateOf(runner)).status, done]).toEqual(['compensated', ['three', 'two', 'one']]);
    },
  },
  {
    name: 'a time-out is stored: another runner finds it at its time, and the outcome is unknown',
    async run(make) {
      const steps: readonly SagaStep<unknown>[] = [
        { name: 'ask', run: () => stepWaits(), timeoutMs: 60_000 },
      ];
      const runner = runnerOf(make, steps);
      await runner.begin('k', {});
      await runner.sweep();
      const other = runnerOf(make, steps);
      clock.advance(59_999);
      expect(await other.sweep()).toBe(0);
      clock.advance(1);
      expect(await other.sweep()).toBe(1);
      expect((await stateOf(other)).status).toBe('unknown');
    },
  },
  {
    name: 'a message that comes in between is taken, once however often it comes',
    async run(make) {
      const runner = runnerOf(make, [
        {
          name: 'count',
          run: () => stepWaits(),
          onMessage: (_context, { id }) => (done.push(id) === 3 ? stepDone() : stepWaits()),
        },
      ]);
      await runner.begin('k', {});
      // Before its question, and repeated while it is asked, and later.
      for (const ids of [
        ['a', 'a'],
        ['b', 'a'],
        ['b', 'c', 'd'],
      ]) {
        for (const id of ids) await runner.deliver('k', { messageId: id, type: 'x', data: null });
        while ((await runner.sweep()) > 0);
      }
      expect([(await stateOf(runner)).status, done]).toEqual(['completed', ['a', 'b', 'c']]);
      expect((await runner.unreadMail('k')).map(({ messageId }) => messageId)).toEqual(['d']);
    },
  },
];

const real: Make = createSqlSagaStore;
const defects = {
  'a store without an outbox takes messages until it has to store them': {
    make: changed((store) => ({ emits: true, save: (...given) => store.save(...given) })),
    seenBy: ['is unknown at once', 'stays for a person'],
  },
  'nobody is late: whatever version is stored is overwritten': {
    make: changed((store) => ({
      async save(record, changes) {
        const stored = await store.load(record.saga, record.key);
        return store.save({ ...record, version: (stored?.version ?? 0) + 1 }, changes);
      },
    })),
    seenBy: ['the late one stores nothing', 'a save that is late'],
  },
  'messages go out in a transaction of their own, before the outcome is stored': {
    make: changed((store, { sql }) => ({
      async save(record, changes) {
        if (changes.messages.length > 0)
          await sql.transaction(async (tx) => appendToOutbox(tx, changes.messages));
        return store.save(record, { ...changes, messages: [] });
      },
    })),
    seenBy: ['the late one stores nothing', 'a save that is late'],
  },
  'mail is read in a transaction of its own, before the outcome is stored': {
    make: changed((store, { sql }) => ({
      async save(record, changes) {
        for (const id of changes.read)
          await sql.run('UPDATE saga_mail SET is_read = 1 WHERE saga_key = ? AND message_id = ?', [
            record.key,
            id,
          ]);
        return store.save(record, { ...changes, read: [] });
      },
    })),
    seenBy: ['a save that is late'],
  },
  'what is to be undone is undone from the first step on': {
    make: saving((record) => {
      const at = record.state.steps.findIndex(({ status }) => status === 'done');
      const turns = record.state.status === 'compensating' && at >= 0;
      return turns ? { ...record, state: { ...record.state, at } } : record;
    }),
    seenBy: ['in the reverse order'],
  },
  'that a step is undone is not stored': {
    make: saving((record) => {
      const { state } = record;
      const steps = state.steps.map((step) =>
        step.status === 'undone' ? { ...step, status: 'done' as const } : step,
      );
      return { ...record, state: { ...state, steps } };
    }),
    seenBy: ['in the reverse order'],
  },
  'a step that waits is due for a message only': {
    make: saving((record) => (record.state.status === 'waiting' ? { ...record, dueAt: undefined } : record)),
    seenBy: ['a time-out is stored'],
  },
  'until when a step waits is known to its process only': {
    make: saving((record) => {
      const { waitUntil: _, ...state } = record.state;
      return { ...record, state };
    }),
    seenBy: ['a time-out is stored'],
  },
  'a message is another one each time that it comes': {
    make: changed((store) => {
      let times = 0;
      return {
        deliver: (saga, key, mail, now) =>
          store.deliver(saga, key, { ...mail, messageId: `${mail.messageId} ${(times += 1)}` }, now),
      };
    }),
    seenBy: ['taken, once however often'],
  },
  'what was taken stays unread': {
    make: changed((store) => ({ save: (record, changes) => store.save(record, { ...changes, read: [] }) })),
    seenBy: ['taken, once however often'],
  },
  'a message wakes nobody': {
    make: changed((store, { sql }) => ({
      async deliver(saga, key, mail, now) {
        const before = await store.load(saga, key);
        const known = await store.deliver(saga, key, mail, now);
        const dueAt = before?.dueAt ?? null;
        await sql.run('UPDATE sagas SET due_at = ? WHERE saga = ? AND saga_key = ?', [dueAt, saga, key]);
        return known;
      },
    })),
    seenBy: ['taken, once however often'],
  },
};

/** The real store, with another record saved than what it was given. */
function saving(change: (record: SagaRecord) => SagaRecord): Make {
  return changed((store) => ({ save: (record, changes) => store.save(change(record), changes) }));
}

/** The real store, with something of it done otherwise. */
function changed(change: (store: SagaStore, parts: Parts) => Partial<SagaStore>): Make {
  return (parts) => {
    const store = createSqlSagaStore(parts);
    return changedStore(store, change(store, parts));
  };
}

async function fresh(): Promise<void> {
  for (const table of ['saga_ends', 'saga_mail', 'sagas', 'emitted'])
    await database.sql.run(`DELETE FROM ${table}`);
  clock = createManualClock();
  done = [];
  told = [];
}

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(
    `promises of sagas on ${dialect} (needs ${variable ?? 'nothing'})`,
    () => {
      beforeAll(async () => {
        database = dialect === 'sqlite' ? createMemoryFixture() : await createSqlFixture(dialect, url ?? '');
        await createSqlSagaStore({ sql: database.sql }).prepare();
        await database.sql.run('CREATE TABLE emitted (channel VARCHAR(60) NOT NULL)');
      });
      afterAll(() => database.destroy());
      beforeEach(fresh);

      const onFresh = cases.map(({ name, run }) => ({
        name,
        run: async (make: Make) => {
          await fresh();
          await run(make);
        },
      }));
      it.each(onFresh)('$name', async ({ run }) => {
        await expect(run(real)).resolves.toBeUndefined();
      });
      // They are made above the statements, and so the same on each database.
      if (dialect === 'sqlite') registerControls(it, 'sagas', controlsOf<Make>(onFresh, real, defects));
    },
  );
}
