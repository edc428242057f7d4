/** What becomes of mail that no step takes at once, on the three databases: what throws, what is for a later step, what is for none; and that a store with a defect fails the same cases. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock, type ManualClock } from '../conformance/manual-clock.ts';
import { silentLog } from '../log.ts';
import { controlsOf, type PartCase } from '../resilience/testing/part-cases.ts';
import { defineSaga, type SagaStep, stepDone, stepFailed, stepWaits } from '../saga.ts';
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
import type { MailLook, SagaState } from './saga-state.ts';
import type { SagaChanges, SagaRecord, SagaStore } from './saga-store.ts';
import { createSqlSagaStore } from './sql-saga-store.ts';

type Database = Pick<SqlFixture, 'sql' | 'destroy'>;
/** Makes of the real store the one that is used. */
type Make = (store: SagaStore, database: Database) => SagaStore;

let database: Database;
let clock: ManualClock;
/** Messages that `onMessage` was asked about, in the order of asking. */
let asked: string[];
let told: string[];
let emitted: string[];

const DELAYS = [100, 500];
/** Waits for a message of this type; a `broken` one throws. */
const waitsFor = (name: string, type: string, step: Partial<SagaStep<unknown>> = {}): SagaStep<unknown> => ({
  name,
  run: () => stepWaits(),
  retries: { delays: DELAYS },
  onMessage: (_context, message) => {
    asked.push(`${name} ${message.id}`);
    if (message.type === 'broken') throw new Error('not readable');
    if (message.type === 'refused') return stepFailed('refused');
    return message.type === type ? stepDone(message.id) : undefined;
  },
  ...step,
});

async function begun(make: Make, steps: readonly SagaStep<unknown>[]): Promise<SagaRunner<unknown>> {
  const store = createSqlSagaStore({
    sql: database.sql,
    appendToOutbox: (_tx, messages) => void emitted.push(...messages.map(({ channel }) => channel)),
  });
  const runner = createSagaRunner({
    saga: defineSaga<unknown>({ name: 'test', steps }),
    store: make(store, database),
    clock,
    log: { ...silentLog, error: (_fields, text) => void told.push(text) },
  });
  await runner.begin('k', {});
  await runner.sweep();
  return runner;
}

const stateOf = async (runner: SagaRunner<unknown>): Promise<SagaState> =>
  (await runner.load('k'))?.state as SagaState;
const unread = async (runner: SagaRunner<unknown>): Promise<readonly string[]> =>
  (await runner.unreadMail('k')).map(({ messageId }) => messageId);
const deliver = async (runner: SagaRunner<unknown>, id: string, type: string): Promise<void> => {
  expect(await runner.deliver('k', { messageId: id, type, data: null })).toBe(true);
};
/** As many sweeps as a loop that is woken after each piece of work makes: the number that found something. */
async function sweeps(runner: SagaRunner<unknown>): Promise<number> {
  let count = 0;
  while (count < 5 && (await runner.sweep()) > 0) count += 1;
  return count;
}

const cases: readonly PartCase<Make>[] = [
  {
    name: 'what throws is asked about again at the retries of its step, then the outcome is unknown and a person is told',
    async run(make) {
      const runner = await begun(make, [waitsFor('pay', 'paid')]);
      await deliver(runner, 'm', 'broken');
      expect(await sweeps(runner)).toBe(1);
      for (const [wait, calls, status] of [
        [99, 1, 'waiting'],
        [1, 2, 'waiting'],
        [499, 2, 'waiting'],
        [1, 3, 'unknown'],
        [1e9, 3, 'unknown'],
      ] as const) {
        clock.advance(wait);
        expect(await sweeps(runner)).toBeLessThanOrEqual(1);
        expect([asked.length, (await stateOf(runner)).status]).toEqual([calls, status]);
      }
      expect(told).toEqual([
        expect.stringContaining('message "m" keeps failing'),
        expect.stringContaining('unknown'),
      ]);
      expect((await stateOf(runner)).history.at(-1)?.detail).toContain('m: Error: not readable');
      // It is not lost, and an answer that comes now still counts.
      expect(await unread(runner)).toEqual(['m']);
      await deliver(runner, 'answer', 'paid');
      expect(await sweeps(runner)).toBe(1);
      expect(await stateOf(runner)).toMatchObject({ status: 'completed', steps: [{ result: 'answer' }] });
      expect(await unread(runner)).toEqual(['m']);
    },
  },
  {
    name: 'what throws does not put off the time-out, and is asked about again after it',
    async run(make) {
      const runner = await begun(make, [waitsFor('pay', 'paid', { timeoutMs: 300 })]);
      await deliver(runner, 'm', 'broken');
      await sweeps(runner);
      clock.advance(100);
      await sweeps(runner);
      clock.advance(199);
      expect(await sweeps(runner)).toBe(0);
      clock.advance(1);
      expect(await sweeps(runner)).toBe(1);
      const { status, history } = await stateOf(runner);
      expect([status, history.at(-1)?.detail]).toEqual(['unknown', 'no answer came in time']);
      clock.advance(300);
      expect(await sweeps(runner)).toBe(1);
      expect([asked.length, (await stateOf(runner)).status]).toEqual([3, 'unknown']);
      expect(told.at(-1)).toContain('keeps failing');
    },
  },
  {
    name: 'what throws does not hold up what comes behind it, and what comes does not use up its retries',
    async run(make) {
      const runner = await begun(make, [waitsFor('pay', 'paid')]);
      await deliver(runner, 'm', 'broken');
      await sweeps(runner);
      for (const id of ['1', '2', '3']) {
        await deliver(runner, id, 'other');
        await sweeps(runner);
      }
      expect(asked).toEqual(['pay m', 'pay 1', 'pay 2', 'pay 3']);
      await deliver(runner, 'answer', 'paid');
      await sweeps(runner);
      expect((await stateOf(runner)).status).toBe('completed');
      expect(await unread(runner)).toEqual(['m']);
    },
  },
  {
    name: 'mail for a later step is kept for it, and each step is asked once',
    async run(make) {
      const runner = await begun(make, [waitsFor('pay', 'paid'), waitsFor('ship', 'shipped')]);
      await deliver(runner, 'early', 'shipped');
      await sweeps(runner);
      await sweeps(runner);
      expect([asked, await unread(runner)]).toEqual([['pay early'], ['early']]);
      await deliver(runner, 'stranger', 'other');
      await deliver(runner, 'answer', 'paid');
      await sweeps(runner);
      expect(await stateOf(runner)).toMatchObject({
        status: 'completed',
        steps: [{ result: 'answer' }, { result: 'early' }],
      });
      expect(asked).toEqual(['pay early', 'pay stranger', 'pay answer', 'ship early']);
    },
  },
  {
    name: 'what the last step that listens does not take is read; what none of the steps came to stays for a person',
    async run(make) {
      const runner = await begun(make, [
        waitsFor('pay', 'paid'),
        waitsFor('ship', 'shipped'),
        { name: 'end', run: () => stepWaits() },
      ]);
      await deliver(runner, 'stranger', 'other');
      await deliver(runner, 'answer', 'paid');
      await sweeps(runner);
      expect(asked).toEqual(['pay stranger', 'pay answer', 'ship stranger']);
      expect(await unread(runner)).toEqual([]);
      // Shipped, though refused: the step that it is for never waits.
      const turned = await begunAs(make, 'turned');
      await turned.deliver('turned', { messageId: 'early', type: 'shipped', data: null });
      await turned.deliver('turned', { messageId: 'no', type: 'refused', data: null });
      await sweeps(turned);
      expect((await turned.load('turned'))?.state.status).toBe('compensated');
      expect((await turned.unreadMail('turned')).map(({ messageId }) => messageId)).toEqual(['early']);
      expect(await turned.purge({ before: clock.now() + 1 })).toBe(0);
    },
  },
  {
    name: 'stepWaits takes a message and goes on waiting until the same time, and what it emits goes out',
    async run(make) {
      const messages = [messageOn('noted')];
      const runner = await begun(make, [
        { name: 'pay', run: () => stepWaits(), timeoutMs: 1_000, onMessage: () => stepWaits({ messages }) },
        waitsFor('ship', 'shipped'),
      ]);
      clock.advance(999);
      await deliver(runner, 'm', 'progress');
      await sweeps(runner);
      expect([emitted, await unread(runner)]).toEqual([['noted'], []]);
      clock.advance(1);
      await sweeps(runner);
      expect((await stateOf(runner)).status).toBe('unknown');
    },
  },
];

async function begunAs(make: Make, key: string): Promise<SagaRunner<unknown>> {
  const runner = await begun(make, [waitsFor('pay', 'paid'), waitsFor('ship', 'shipped')]);
  await runner.begin(key, {});
  await runner.sweep();
  return runner;
}

/** The real store, with another thing saved than what it was given. */
function saving(
  change: (record: SagaRecord, changes: SagaChanges, store: SagaStore) => Promise<[SagaRecord, SagaChanges]>,
  after: (record: SagaRecord, database: Database) => Promise<unknown> = async () => undefined,
): Make {
  return (store, on) =>
    changedStore(store, {
      async save(record, changes) {
        const saved = await store.save(...(await change(record, changes, store)));
        if (saved) await after(record, on);
        return saved;
      },
    });
}
const looking = (change: (look: MailLook, state: SagaState) => MailLook): Make =>
  saving(async (record, changes) => {
    const { state } = record;
    const look = state.look && change(state.look, state);
    return [{ ...record, state: { ...state, ...(look ? { look } : {}) } }, changes];
  });

const real: Make = (store) => store;
const defects = {
  'unread mail makes an instance due at once, whatever its step has seen': {
    make: saving(
      async (...given) => [given[0], given[1]],
      async ({ saga, key, state }, { sql }) =>
        state.status === 'waiting' &&
        sql.run(
          'UPDATE sagas SET due_at = 0 WHERE saga = ? AND saga_key = ? AND EXISTS (SELECT 1 FROM saga_mail WHERE saga_mail.saga = sagas.saga AND saga_mail.saga_key = sagas.saga_key AND is_read = 0)',
          [saga, key],
        ),
    ),
    seenBy: ['asked about again at the retries', 'does not put off the time-out'],
  },
  'what throws is due at its next retry, and at nothing before it': {
    make: saving(async (record, changes) => {
      const failing = record.state.look?.failing[0];
      return [failing ? { ...record, dueAt: failing.againAt } : record, changes];
    }),
    seenBy: ['does not put off the time-out'],
  },
  'failures are not counted': {
    make: looking((look) => ({
      ...look,
      failing: look.failing.map((one) => ({ ...one, failures: 0 })),
    })),
    seenBy: ['asked about again at the retries'],
  },
  'every look asks about everything that is unread': {
    make: looking((look) => ({ ...look, upTo: 0 })),
    seenBy: [
      'asked about again at the retries',
      'does not hold up what comes behind it',
      'each step is asked once',
    ],
  },
  'what a step was asked about is read': {
    make: saving(async (record, changes, store) => {
      const mail = await store.mail(record.saga, record.key);
      const upTo = record.state.look?.upTo ?? 0;
      const read = mail.filter(({ place }) => place < upTo).map(({ messageId }) => messageId);
      return [record, { ...changes, read: [...changes.read, ...read] }];
    }),
    seenBy: ['asked about again at the retries', 'is kept for it', 'stays for a person'],
  },
  'what one step has looked at the next one does not look at': {
    make: looking((look, { at }) => ({ ...look, step: at })),
    seenBy: ['is kept for it'],
  },
};

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(`mail of sagas on ${dialect} (needs ${variable ?? 'nothing'})`, () => {
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
      emitted = [];
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
      await expect(run(real)).resolves.toBeUndefined();
    });
    // They are made above the store, and so the same on each database.
    if (dialect === 'sqlite')
      registerControls(it, 'sagas and mail', controlsOf<Make>(onFresh, real, defects));
  });
}
