/**
 * A saga that is made to be killed. Arguments: the address of a database, the file of the other side's effects, the scenario, a point, at which visit of it, and
 * `steady` or `forgetful` step ids. The other side takes each id once, as a payment provider does with an idempotency key. `forgetful` is the defect: a new id for each attempt.
 */
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '../clock.ts';
import { createIds } from '../ids.ts';
import { defineSaga, type StepContext, stepDone, stepFailed } from '../saga.ts';
import { createSagaRunner, type SagaRunner } from '../sagas/saga-runner.ts';
import type { SagaStore } from '../sagas/saga-store.ts';
import { createSqlSagaStore } from '../sagas/sql-saga-store.ts';
import type { SqlDatabase } from '../sql.ts';
import { openSqlStore } from '../stores/open.ts';

export const sagaPoints = [
  'after begin',
  'after claim',
  'before run',
  'in run',
  'before save',
  'after save',
  'in undo',
] as const;
export type SagaPoint = (typeof sagaPoints)[number];
export type SagaScenario = 'delivered' | 'refused';

export interface SagaErrand {
  readonly sql: SqlDatabase;
  readonly effects: string;
  readonly scenario: SagaScenario;
  readonly at?: (point: SagaPoint) => void;
  readonly forgetful?: boolean;
}

/** Short, so that the next process need not wait long for the claim of a killed one. */
const LEASE_MS = 150;

export function orderSaga(errand: SagaErrand): SagaRunner<{ order: string }> {
  const { sql, effects, scenario, at = () => {}, forgetful = false } = errand;
  const other = new DatabaseSync(effects, { timeout: 5_000 });
  other.exec('CREATE TABLE IF NOT EXISTS effects (id TEXT PRIMARY KEY, what TEXT NOT NULL)');
  const take = other.prepare('INSERT OR IGNORE INTO effects (id, what) VALUES (?, ?)');
  const ids = createIds(systemClock);
  const does = (what: string) => (context: StepContext<unknown>) => {
    at('before run');
    take.run(forgetful ? ids.next() : context.stepId, what);
    at('in run');
    return stepDone(what, { messages: [{ channel: what, message: { id: context.stepId } as never }] });
  };
  const undoes = (what: string) => (context: StepContext<unknown>) => {
    take.run(context.stepId, `un${what}`);
    at('in undo');
  };
  const saga = defineSaga<{ order: string }>({
    name: 'order',
    steps: [
      { name: 'reserve', run: does('reserve'), compensate: undoes('reserve') },
      { name: 'pay', run: does('pay'), compensate: undoes('pay') },
      {
        name: 'ship',
        run: (context) => (scenario === 'refused' ? stepFailed('no carrier') : does('ship')(context)),
      },
    ],
  });
  const store = createSqlSagaStore({
    sql,
    async appendToOutbox(tx, messages) {
      for (const { channel, message } of messages)
        await tx.run('INSERT INTO emitted (id, channel) VALUES (?, ?)', [message.id, channel]);
    },
  });
  return createSagaRunner({ saga, store: watched(store, at), leaseMs: LEASE_MS });
}

function watched(store: SagaStore, at: (point: SagaPoint) => void): SagaStore {
  let saves = 0;
  return {
    emits: store.emits,
    prepare: () => store.prepare(),
    async create(record) {
      const created = await store.create(record);
      at('after begin');
      return created;
    },
    load: (saga, key) => store.load(saga, key),
    async save(record, changes) {
      const isClaim = (saves += 1) === 1;
      at('before save');
      const saved = await store.save(record, changes);
      at(isClaim ? 'after claim' : 'after save');
      return saved;
    },
    due: (saga, now, limit) => store.due(saga, now, limit),
    deliver: (saga, key, mail, now) => store.deliver(saga, key, mail, now),
    mail: (saga, key) => store.mail(saga, key),
    purge: (saga, purge) => store.purge(saga, purge),
    list: (saga, filter, limit) => store.list(saga, filter, limit),
  };
}

const [argument = '', effects = '', scenario = '', point = '', visit = '', idsOf = ''] =
  process.argv.slice(2);
if (idsOf !== '') {
  const { sql } = await openSqlStore(argument);
  let visits = 0;
  const runner = orderSaga({
    sql,
    effects,
    scenario: scenario as SagaScenario,
    forgetful: idsOf === 'forgetful',
    at(here) {
      if (here === point && (visits += 1) === Number(visit)) process.kill(process.pid, 'SIGKILL');
    },
  });
  await runner.begin('A-1', { order: 'A-1' });
  await runner.sweep();
  process.exit(0);
}
