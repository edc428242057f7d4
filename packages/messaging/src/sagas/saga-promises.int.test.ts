/** What sagas promise, on the three databases, as cases that can be put to any store; and that a store with a defect fails them. Mail has such cases of its own, and kills too. */
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock, type ManualClock } from '../conformance/manual-clock.ts';
import { silentLog } from '../log.ts';
import { controlsOf, type PartCase } from '../resilience/testing/part-cases.ts';
import { defineSaga, type SagaStep, stepDone, type StepOutcome, stepWaits } from '../saga.ts';
import type { SqlDatabase, SqlTransaction } from '../sql.ts';
import { sqliteSql } from '../sql/sqlite.ts';
import { createSqlFixture, serverOf, type SqlFixture, sqlServers } from '../testing/sql-fixture.ts';
import { createSagaRunner, type SagaRunner } from './saga-runner.ts';
import type { SagaState } from './saga-state.ts';
import type { SagaStore } from './saga-store.ts';
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

const messages = [{ channel: 'paid', message: {} as never }];
/** What a step may return that is of no use; by what is said of it. */
const unusable: readonly (readonly [string, unknown])[] = [
  ['returned no outcome', undefined],
  ['returned no outcome', { kind: 'dnoe' }],
  ['BigInt', stepDone({ cents: 5n })],
  ['no appendToOutbox', stepDone(1, { messages })],
];

const cases: readonly PartCase<Make>[] = [
  {
    name: 'a step whose outcome cannot be used has run once: it is unknown at once, with the reason',
    async run(make) {
      for (const [reason, returned] of unusable) {
        await fresh();
        const run = () => {
          done.push('pay');
          return returned as StepOutcome;
        };
        const runner = runnerOf(make, [{ name: 'pay', run }], {});
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
      for (const [reason, returned] of unusable.slice(1)) {
        await fresh();
        const onMessage = () => {
          done.push('asked');
          return returned as StepOutcome;
        };
        const runner = runnerOf(make, [{ name: 'pay', run: () => stepWaits(), onMessage }], {});
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
];

const real: Make = createSqlSagaStore;
const defects = {
  'a store without an outbox takes messages until it has to store them': {
    make: changed((store) => ({ emits: true, save: (...given) => store.save(...given) })),
    seenBy: ['is unknown at once', 'stays for a person'],
  },
};

/** The real store, with something of it done otherwise. */
function changed(change: (store: SagaStore, parts: Parts) => Partial<SagaStore>): Make {
  return (parts) => {
    const store = createSqlSagaStore(parts);
    return {
      emits: store.emits,
      prepare: () => store.prepare(),
      create: (record) => store.create(record),
      load: (saga, key) => store.load(saga, key),
      save: (record, changes) => store.save(record, changes),
      due: (saga, now, limit) => store.due(saga, now, limit),
      deliver: (saga, key, mail, now) => store.deliver(saga, key, mail, now),
      mail: (saga, key) => store.mail(saga, key),
      purge: (saga, purge) => store.purge(saga, purge),
      list: (saga, filter, limit) => store.list(saga, filter, limit),
      ...change(store, parts),
    };
  };
}

async function fresh(): Promise<void> {
  for (const table of ['saga_ends', 'saga_mail', 'sagas', 'emitted'])
    await database.sql.run(`DELETE FROM ${table}`);
  clock = createManualClock();
  done = [];
  told = [];
}

/** Nothing here is about a file, and its flushes would take most of the time. */
function inMemory(): typeof database {
  const db = new DatabaseSync(':memory:');
  return { sql: sqliteSql(db), destroy: async () => db.close() };
}

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(
    `promises of sagas on ${dialect} (needs ${variable ?? 'nothing'})`,
    () => {
      beforeAll(async () => {
        database = dialect === 'sqlite' ? inMemory() : await createSqlFixture(dialect, url ?? '');
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
      it.each(onFresh)('$name', ({ run }) => run(real));
      // They are made above the statements, and so the same on each database.
      if (dialect === 'sqlite') registerControls(it, 'sagas', controlsOf<Make>(onFresh, real, defects));
    },
  );
}
