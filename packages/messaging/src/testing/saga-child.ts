/**
 * A saga that is made to be killed. Arguments: the address of a database, the file of the other side's effects, the scenario, a point, at which visit of it, and
 * what is wrong with it. The other side takes each id once, as a payment provider does with an idempotency key.
 */
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '../clock.ts';
import { createIds } from '../ids.ts';
import { defineSaga, type StepContext, stepDone, stepFailed, type StepOutcome, stepWaits } from '../saga.ts';
import { createSagaRunner, type SagaRunner } from '../sagas/saga-runner.ts';
import type { SagaStore } from '../sagas/saga-store.ts';
import { createSqlSagaStore, type SqlSagaStoreOptions } from '../sagas/sql-saga-store.ts';
import type { SqlDatabase, SqlResult, SqlRunner } from '../sql.ts';
import { openSqlStore } from '../stores/open.ts';
import { changedStore } from './changed-saga-store.ts';
import { messageOn } from './sound-message.ts';

export const sagaPoints = [
  'after begin',
  'after claim',
  'before run',
  'in run',
  'before save',
  'after save',
  'in undo',
  'after statement',
] as const;
export type SagaPoint = (typeof sagaPoints)[number];
/** `answered`: the last step waits for a message, which is there, and its effect is in the answer. */
export type SagaScenario = 'delivered' | 'refused' | 'answered';

export type SagaChildDefect =
  | 'none'
  /** A new step id for each attempt. */
  | 'new ids'
  /** The messages of a step go out in a transaction of their own. */
  | 'emits before'
  | 'emits after';

export interface SagaErrand {
  readonly sql: SqlDatabase;
  readonly effects: string;
  readonly scenario: SagaScenario;
  readonly at?: (point: SagaPoint) => void;
  readonly defect?: SagaChildDefect;
}

/** Short, so that the next process need not wait long for the claim of a killed one. */
const LEASE_MS = 150;

export function orderSaga(errand: SagaErrand): SagaRunner<{ order: string }> {
  const { sql, effects, scenario, at = () => {}, defect = 'none' } = errand;
  const other = new DatabaseSync(effects, { timeout: 5_000 });
  other.exec('CREATE TABLE IF NOT EXISTS effects (id TEXT PRIMARY KEY, what TEXT NOT NULL)');
  const take = other.prepare('INSERT OR IGNORE INTO effects (id, what) VALUES (?, ?)');
  const ids = createIds(systemClock);
  const does = (what: string) => (context: StepContext<unknown>) => {
    at('before run');
    take.run(defect === 'new ids' ? ids.next() : context.stepId, what);
    at('in run');
    return stepDone(what, { messages: [messageOn(what, { id: context.stepId })] });
  };
  const undoes = (what: string) => (context: StepContext<unknown>) => {
    take.run(context.stepId, `un${what}`);
    at('in undo');
  };
  const shipping: Readonly<Record<SagaScenario, (context: StepContext<unknown>) => StepOutcome>> = {
    delivered: does('ship'),
    refused: () => stepFailed('no carrier'),
    answered: () => stepWaits(),
  };
  const saga = defineSaga<{ order: string }>({
    name: 'order',
    steps: [
      { name: 'reserve', run: does('reserve'), compensate: undoes('reserve') },
      { name: 'pay', run: does('pay'), compensate: undoes('pay') },
      {
        name: 'ship',
        run: (context) => shipping[scenario](context),
        onMessage: does('ship'),
      },
    ],
  });
  const store = storeOf(watchedSql(sql, at), defect);
  return createSagaRunner({ saga, store: watched(store, at), leaseMs: LEASE_MS });
}

const appendToOutbox: NonNullable<SqlSagaStoreOptions<unknown>['appendToOutbox']> = async (tx, messages) => {
  for (const { channel, message } of messages)
    await tx.run('INSERT INTO emitted (id, channel) VALUES (?, ?)', [message.id, channel]);
};

function storeOf(sql: SqlDatabase, defect: SagaChildDefect): SagaStore {
  const store = createSqlSagaStore({ sql, appendToOutbox });
  if (defect !== 'emits before' && defect !== 'emits after') return store;
  return changedStore(store, {
    async save(record, changes) {
      const emit = async () =>
        changes.messages.length > 0 &&
        (await sql.transaction(async (tx) => appendToOutbox(tx, changes.messages)));
      if (defect === 'emits before') await emit();
      const saved = await store.save(record, { ...changes, messages: [] });
      if (defect === 'emits after' && saved) await emit();
      return saved;
    },
  });
}

/** Also inside of transactions, and after each commit. */
function watchedSql(sql: SqlDatabase, at: (point: SagaPoint) => void): SqlDatabase {
  const after = async <T>(what: Promise<T>): Promise<T> => {
    const result = await what;
    at('after statement');
    return result;
  };
  const runOf =
    (runner: SqlRunner) =>
    (...given: Parameters<SqlRunner['run']>): Promise<SqlResult> =>
      after(runner.run(...given));
  return {
    dialect: sql.dialect,
    run: runOf(sql),
    transaction: (work) => after(sql.transaction((tx) => work({ native: tx.native, run: runOf(tx) }))),
    connect: () => sql.connect(),
  };
}

function watched(store: SagaStore, at: (point: SagaPoint) => void): SagaStore {
  let saves = 0;
  return changedStore(store, {
    async create(record) {
      const created = await store.create(record);
      at('after begin');
      return created;
    },
    async save(record, changes) {
      const isClaim = (saves += 1) === 1;
      at('before save');
      const saved = await store.save(record, changes);
      at(isClaim ? 'after claim' : 'after save');
      return saved;
    },
  });
}

const [argument = '', effects = '', scenario = '', point = '', visit = '', defect = ''] =
  process.argv.slice(2);
if (defect !== '') {
  const { sql } = await openSqlStore(argument);
  let visits = 0;
  const runner = orderSaga({
    sql,
    effects,
    scenario: scenario as SagaScenario,
    defect: defect as SagaChildDefect,
    at(here) {
      if (here === point && (visits += 1) === Number(visit)) process.kill(process.pid, 'SIGKILL');
    },
  });
  await runner.begin('A-1', { order: 'A-1' });
  if (scenario === 'answered')
    await runner.deliver('A-1', { messageId: 'answer', type: 'answer', data: null });
  while ((await runner.sweep()) > 0);
  process.exit(0);
}
