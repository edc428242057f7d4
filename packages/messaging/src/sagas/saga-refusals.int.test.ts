/** What becomes of an outcome that the store does not take, on the three databases: for good, for the moment, or because the process ended; and that a store with a defect fails the same cases. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock, type ManualClock } from '../conformance/manual-clock.ts';
import { MessagingError } from '../errors.ts';
import { silentLog } from '../log.ts';
import { controlsOf, type PartCase } from '../resilience/testing/part-cases.ts';
import { defineSaga, type SagaStep, stepDone, type StepOutcome, stepWaits } from '../saga.ts';
import type { SqlDialect, SqlRunner, SqlTransaction } from '../sql.ts';
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
import type { SagaStore } from './saga-store.ts';
import { createSqlSagaStore, type SqlSagaStoreOptions } from './sql-saga-store.ts';

type Append = NonNullable<SqlSagaStoreOptions<unknown>['appendToOutbox']>;
type Make = (store: SagaStore) => SagaStore;

let database: Pick<SqlFixture, 'sql' | 'destroy'>;
let clock: ManualClock;
/** What steps did and were asked, in order. */
let done: string[];
let told: string[];

const LEASE_MS = 1_000;
const LIVES = 12;
const messages = [messageOn('paid')];
const append: Append = async (tx, emitted) => {
  for (const { channel } of emitted) await tx.run('INSERT INTO emitted (channel) VALUES (?)', [channel]);
};

function runnerOf(
  make: Make,
  step: Omit<SagaStep<unknown>, 'name'>,
  appendToOutbox: Append = append,
): SagaRunner<unknown> {
  return createSagaRunner({
    saga: defineSaga<unknown>({ name: 'test', steps: [{ name: 'pay', ...step }] }),
    store: make(createSqlSagaStore({ sql: database.sql, appendToOutbox })),
    clock,
    leaseMs: LEASE_MS,
    log: { ...silentLog, error: (_fields, text) => void told.push(text) },
  });
}

/** Begins it, and gives it mail that is there before its question. */
async function begun(runner: SagaRunner<unknown>, ...ids: string[]): Promise<void> {
  await runner.begin('k', {});
  for (const id of ids) await runner.deliver('k', { messageId: id, type: 'x', data: null });
}
/** As many leases as the longest way takes, and everything that is due in each. */
const lives = (runner: SagaRunner<unknown>): Promise<void> => life(runner, LIVES);
async function life(runner: SagaRunner<unknown>, leases = 1): Promise<void> {
  for (let lease = 0; lease < leases; lease += 1) {
    while ((await runner.sweep()) > 0);
    clock.advance(LEASE_MS);
  }
}
const stateOf = async (runner: SagaRunner<unknown>): Promise<SagaState> =>
  (await runner.load('k'))?.state as SagaState;
const unread = async (runner: SagaRunner<unknown>): Promise<readonly string[]> =>
  (await runner.unreadMail('k')).map(({ messageId }) => messageId);
const emitted = async (): Promise<readonly unknown[]> =>
  (await database.sql.run('SELECT channel FROM emitted')).rows.map(({ channel }) => channel);

/** Ways in which an outbox refuses for good, by name. */
const refusals: Readonly<Record<string, Append>> = {
  'the outbox is not there': async (tx) => {
    await tx.run('INSERT INTO no_outbox (channel) VALUES (?)', ['paid']);
  },
  'a row that it does not take': async (tx) => {
    await append(tx, messages);
    await tx.run('INSERT INTO emitted (channel) VALUES (NULL)');
  },
  'an error of the application': async (tx) => {
    await append(tx, messages);
    throw new RangeError('too large');
  },
};
/** PostgreSQL alone has no U+0000, and the others keep it: in what only the application's own table sees nothing else refuses it. */
const onPostgres: Readonly<Record<string, Append>> = {
  'U+0000': async (tx) => {
    await tx.run('INSERT INTO emitted (channel) VALUES (?)', ['a\0b']);
  },
};
const refusalsOf = (dialect: SqlDialect): readonly (readonly [string, Append])[] =>
  Object.entries(dialect === 'postgres' ? { ...refusals, ...onPostgres } : refusals);

/** Makes the database fail for the moment, as it does by itself; SQLite until `heal`. */
const troubles: Readonly<Record<SqlDialect, (tx: SqlRunner) => Promise<void>>> = {
  async sqlite(tx) {
    await tx.run('PRAGMA max_page_count = 1');
    for (let row = 0; row < 200; row += 1)
      await tx.run('INSERT INTO emitted (channel) VALUES (?)', ['x'.repeat(1_000)]);
  },
  async postgres(tx) {
    await tx.run(`SET LOCAL statement_timeout = '5ms'`);
    await tx.run('SELECT pg_sleep(5)');
  },
  async mariadb(tx) {
    await tx.run('KILL QUERY CONNECTION_ID()');
  },
};
async function heal(): Promise<void> {
  if (database.sql.dialect === 'sqlite') await database.sql.run('PRAGMA max_page_count = 1000000');
}
/** Fails so the first times. */
function failing(times: number): Append {
  let left = times;
  return async (tx: SqlTransaction<unknown>, given) => {
    if (left > 0) {
      left -= 1;
      await troubles[database.sql.dialect](tx);
    }
    await append(tx, given);
  };
}

const cases: readonly PartCase<Make>[] = [
  {
    name: 'an outcome that is refused for good is unknown at once, without what it gave: the step has run once',
    async run(make) {
      for (const [name, refusal] of refusalsOf(database.sql.dialect)) {
        await fresh();
        const run = (): StepOutcome => {
          done.push(name);
          return stepDone('paid', { messages });
        };
        const runner = runnerOf(make, { run }, refusal);
        await begun(runner);
        await lives(runner);
        const { status, history, steps } = await stateOf(runner);
        expect([status, done, steps[0]?.result, await emitted()]).toEqual(['unknown', [name], undefined, []]);
        expect(history).toEqual([
          expect.objectContaining({
            what: 'unknown',
            detail: expect.stringContaining('its outcome could not be stored'),
          }),
        ]);
        expect(told).toEqual([
          'the store refuses an outcome of a saga',
          expect.stringContaining('outcome of a step is unknown'),
        ]);
      }
    },
  },
  {
    name: 'one that is refused for good is undone where the step says so of what is unknown',
    async run(make) {
      const runner = runnerOf(
        make,
        {
          run() {
            done.push('done');
            return stepWaits({ messages });
          },
          onUnknown: 'compensate',
          compensate: () => void done.push('undone'),
        },
        refusals['the outbox is not there'],
      );
      await begun(runner);
      await lives(runner);
      expect([(await stateOf(runner)).status, done]).toEqual(['compensated', ['done', 'undone']]);
    },
  },
  {
    name: 'an answer that is refused for good is given once: the message stays for a person, and the outcome is unknown',
    async run(make) {
      for (const [name, refusal] of refusalsOf(database.sql.dialect))
        for (const answer of [stepDone('paid', { messages }), stepWaits({ messages })]) {
          await fresh();
          const onMessage = (): StepOutcome => {
            done.push(name);
            return answer;
          };
          const runner = runnerOf(
            make,
            { run: () => stepWaits(), onMessage, timeoutMs: 3 * LEASE_MS },
            refusal,
          );
          await begun(runner, 'm');
          await lives(runner);
          const { status, history } = await stateOf(runner);
          expect([status, done, await unread(runner), await emitted()]).toEqual([
            'unknown',
            [name],
            ['m'],
            [],
          ]);
          expect(history.at(-1)?.detail).toContain('m: its outcome could not be stored');
          expect(told[1]).toContain('message "m" has an answer that cannot be used');
        }
    },
  },
  {
    name: 'an answer that is refused for good does not take along those with it',
    async run(make) {
      const runner = runnerOf(
        make,
        {
          run: () => stepWaits(),
          onMessage(_context, { id }) {
            done.push(id);
            if (id === 'bad') return stepWaits({ messages });
            return id === 'good' ? stepDone() : stepWaits();
          },
        },
        refusals['the outbox is not there'],
      );
      await begun(runner, 'progress', 'bad', 'good');
      await lives(runner);
      expect([(await stateOf(runner)).status, done, await unread(runner)]).toEqual([
        'completed',
        ['progress', 'bad', 'good'],
        ['bad'],
      ]);
    },
  },
  {
    name: 'what the database cannot do for the moment is done again after the lease, and counts',
    async run(make) {
      const outcome = (): StepOutcome => {
        done.push('paid');
        return stepDone('paid', { messages });
      };
      const steps = [{ run: outcome }, { run: () => stepWaits(), onMessage: outcome }];
      for (const step of steps) {
        await fresh();
        const runner = runnerOf(make, step, failing(2));
        await begun(runner, 'm');
        for (let life = 1; life <= 3; life += 1) {
          await heal();
          while ((await runner.sweep()) > 0);
          expect(done).toHaveLength(life);
          clock.advance(LEASE_MS);
        }
        const { status, steps: states } = await stateOf(runner);
        expect([status, states[0]?.result, await emitted()]).toEqual(['completed', 'paid', ['paid']]);
      }
    },
  },
  {
    name: 'a message that ends the process each time is given up and stays for a person, and it alone',
    async run(make) {
      const runner = mortal(make, ({ id }) => id === 'deadly', { timeoutMs: 60 * LEASE_MS });
      await begun(runner, 'before', 'deadly');
      await lives(runner);
      const { status, history } = await stateOf(runner);
      expect([status, await unread(runner)]).toEqual(['unknown', ['deadly']]);
      // Once with the other, and five times by itself.
      expect(done).toEqual(['before', 'deadly', 'before', ...times(5, 'deadly')]);
      expect(history.at(-1)?.detail).toContain('deadly: its attempts end with no outcome on record');
      expect(told.filter((text) => text.includes('keeps ending with no answer on record'))).toHaveLength(1);
      await runner.deliver('k', { messageId: 'answer', type: 'x', data: null });
      await lives(runner);
      expect([(await stateOf(runner)).status, await unread(runner)]).toEqual(['completed', ['deadly']]);
    },
  },
  {
    name: 'it costs as many processes whatever came before it, and the time-out is stored at its time',
    async run(make) {
      const before = Array.from({ length: 10 }, (_, index) => `before ${index}`);
      const runner = mortal(make, ({ id }) => id === 'deadly', { timeoutMs: 3 * LEASE_MS });
      await begun(runner, ...before, 'deadly');
      await life(runner, 3);
      expect([(await stateOf(runner)).status, done]).toEqual([
        'waiting',
        [...before, 'deadly', ...before, ...times(2, 'deadly')],
      ]);
      // It is time, so the next one stores it before it ends.
      await life(runner);
      const { status, history } = await stateOf(runner);
      expect([status, history.at(-1)?.detail]).toEqual(['unknown', 'no answer came in time']);
      await lives(runner);
      expect([done.filter((id) => id === 'deadly').length, await unread(runner)]).toEqual([6, ['deadly']]);
      expect(done).toHaveLength(2 * before.length + 6);
    },
  },
  {
    name: 'what is due again meanwhile is not given up in its place, and does not have it asked more often',
    async run(make) {
      const delays = [1, 4, 1].map((leases) => leases * LEASE_MS);
      const runner = mortal(make, ({ id }) => id === 'deadly', { retries: { delays } });
      await begun(runner, 'failing', 'deadly');
      await lives(runner);
      expect(await unread(runner)).toEqual(['failing', 'deadly']);
      expect(done).toEqual(['failing', 'deadly', 'failing', ...times(5, 'deadly'), ...times(3, 'failing')]);
      expect(told.map((text) => text.split(' at the step')[0])).toEqual([
        ...times(6, 'a saga could not be worked on'),
        'message "deadly" keeps ending with no answer on record',
        'the outcome of a step is unknown; somebody has to find out',
        'message "failing" keeps failing',
      ]);
    },
  },
  {
    name: 'an answer at which a process ended once is asked about again before the time-out counts',
    async run(make) {
      const runner = mortal(make, ({ id }) => id === 'answer' && done.length === 1, { timeoutMs: LEASE_MS });
      await begun(runner, 'answer');
      await life(runner, 2);
      const { status, history } = await stateOf(runner);
      expect([status, done]).toEqual(['completed', ['answer', 'answer']]);
      expect(history.map(({ what }) => what)).toEqual(['wait', 'done']);
    },
  },
  {
    name: 'however many processes end, the time-out is stored one lease after it at most',
    async run(make) {
      const endsAtMail: Make = (store) =>
        changedStore(make(store), { mail: () => Promise.reject(new Error('the process ended')) });
      const ways = [
        (step: Partial<SagaStep<unknown>>) => mortal(make, () => true, step),
        (step: Partial<SagaStep<unknown>>) => mortal(endsAtMail, () => false, step),
      ];
      for (const timeoutMs of [1, LEASE_MS / 2, LEASE_MS, 1.5 * LEASE_MS])
        for (const way of ways) {
          await fresh();
          const runner = way({ ...undoing, timeoutMs });
          await begun(runner, 'deadly');
          const time = clock.now() + timeoutMs;
          while ((await runner.sweep()) > 0);
          // Somebody comes as soon as each lease is over.
          for (
            let next = await runner.load('k');
            next?.state.status === 'waiting';
            next = await runner.load('k')
          ) {
            clock.advance(Math.max(0, (next.dueAt ?? clock.now()) - clock.now()));
            while ((await runner.sweep()) > 0);
          }
          expect([timeoutMs, (await stateOf(runner)).status]).toEqual([timeoutMs, 'compensated']);
          expect(clock.now() - time).toBeLessThanOrEqual(LEASE_MS);
          expect(done.filter((id) => id === 'deadly').length).toBeLessThanOrEqual(2);
        }
    },
  },
  {
    name: 'what is looked at after the time-out only, and ends its process, has had its turn',
    async run(make) {
      const runner = mortal(make, () => true, { ...undoing, timeoutMs: 1 });
      await runner.begin('k', {});
      while ((await runner.sweep()) > 0);
      await begun(runner, 'deadly');
      clock.advance(LEASE_MS / 2);
      await life(runner);
      expect((await stateOf(runner)).status).toBe('waiting');
      await life(runner);
      expect([(await stateOf(runner)).status, done]).toEqual(['compensated', ['deadly', 'undone']]);
    },
  },
  {
    name: 'an answer at which the last process ended once is asked about again however long after the time-out',
    async run(make) {
      const isDeadly = ({ id }: { readonly id: string }): boolean => id === 'answer' && done.length === 1;
      const runner = mortal(make, isDeadly, { ...undoing, timeoutMs: 1 });
      await begun(runner, 'answer');
      while ((await runner.sweep()) > 0);
      clock.advance(LIVES * LEASE_MS);
      await life(runner);
      expect([(await stateOf(runner)).status, done]).toEqual(['completed', ['answer', 'answer']]);
    },
  },
  {
    name: 'a message that is given up decides nothing before what lies behind it was asked about',
    async run(make) {
      const lists = [
        // Each look ends at the first; the first look ends at it, and then it fails for good; the answer comes while the looks end; the database refuses the first answer.
        { first: 'deadly', ends: () => true },
        { first: 'failing', ends: () => done.length < 2 },
        { first: 'deadly', ends: () => true, isLate: true },
        { first: 'refused', ends: () => false },
      ];
      for (const { first, ends, isLate = false } of lists) {
        await fresh();
        const runner = mortal(make, ({ id }) => id === first && ends(), undoing);
        await begun(runner, first, ...(isLate ? [] : ['answer']));
        await life(runner, 2);
        if (isLate) await begun(runner, 'answer');
        await lives(runner);
        expect([(await stateOf(runner)).status, await unread(runner)]).toEqual(['completed', [first]]);
        expect(done.filter((id) => id === 'answer' || id === 'undone').at(-1)).toBe('answer');
      }
    },
  },
  {
    name: 'and decides it when there is no answer, also where a process ends in between',
    async run(make) {
      const endsOnce = (id: string): boolean =>
        id === 'other' && done.filter((one) => one === id).length === 2;
      const runner = mortal(make, ({ id }) => id === 'deadly' || endsOnce(id), undoing);
      await begun(runner, 'deadly', 'other');
      await lives(runner);
      const { status, failure } = await stateOf(runner);
      expect([status, failure]).toEqual(['compensated', expect.stringContaining('deadly: its attempts end')]);
      expect(done).toEqual(['deadly', 'other', ...times(4, 'deadly'), 'other', 'other', 'undone']);
    },
  },
];

const undoing = {
  retries: { delays: [] },
  onUnknown: 'compensate',
  compensate: () => void done.push('undone'),
} as const;
const times = (length: number, what: string): readonly string[] => Array.from({ length }, () => what);

/** Its process ends when it was asked about these: what it would have stored is not. */
function mortal(
  make: Make,
  isDeadly: (message: { readonly id: string }) => boolean,
  step: Partial<SagaStep<unknown>>,
): SagaRunner<unknown> {
  let isOver = false;
  const dying: Make = (store) =>
    changedStore(make(store), {
      save(record, changes) {
        if (!isOver) return make(store).save(record, changes);
        isOver = false;
        return Promise.reject(new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the process ended'));
      },
    });
  return runnerOf(
    dying,
    {
      run: () => stepWaits(),
      onMessage(_context, message) {
        done.push(message.id);
        isOver ||= isDeadly(message);
        if (message.id === 'failing') throw new Error('not readable');
        if (message.id === 'refused') return stepDone('paid', { messages });
        return message.id === 'answer' ? stepDone() : stepWaits();
      },
      ...step,
    },
    refusals['the outbox is not there'],
  );
}

const real: Make = (store) => store;
/** The real store, whose refusals are told in other words. */
const telling =
  (words: (error: unknown) => unknown): Make =>
  (store) =>
    changedStore(store, {
      save: (record, changes) =>
        store.save(record, changes).catch((error: unknown) => {
          throw words(error);
        }),
    });
const isPassing = (error: unknown): boolean => error instanceof MessagingError && error.retryable;

const defects = {
  'what is refused for good is told as what passes': {
    make: telling((cause) => new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'no', { cause })),
    seenBy: [
      'the step has run once',
      'is undone where the step says so',
      'is given once',
      'does not take along those with it',
    ],
  },
  'what passes is told as refused for good': {
    make: telling((error) => (isPassing(error) ? new Error('no') : error)),
    seenBy: ['cannot do for the moment'],
  },
  'that a look was begun is not stored': {
    make: looking((look) => {
      const { begun: _, ...rest } = look;
      return rest;
    }),
    seenBy: ['ends the process each time'],
  },
  'whose turn it is is not stored': {
    make: looking((look) => {
      const { alone: _, ...rest } = look;
      return rest;
    }),
    seenBy: ['ends the process each time', 'it costs as many processes', 'is not given up in its place'],
  },
  'why a message was given up is not stored': {
    make: looking((look) => {
      const { givenUp: _, ...rest } = look;
      return rest;
    }),
    seenBy: ['decides it when there is no answer'],
  },
  'what goes on in its lease is not counted as begun': {
    make: looking(({ begun, ...look }) => ({ ...look, ...(begun !== undefined && begun > 1 && { begun }) })),
    seenBy: ['ends the process each time', 'it costs as many processes'],
  },
  'a lease is as long as ever, however late it is': {
    make: (store: SagaStore) =>
      changedStore(store, {
        save: (record, changes) =>
          store.save(changes.isLease ? { ...record, dueAt: clock.now() + LEASE_MS } : record, changes),
      }),
    seenBy: ['however many processes end'],
  },
  'until when a step waits is forgotten where it is asked one by one': {
    make: storing(({ waitUntil, ...state }) => ({
      ...state,
      ...(waitUntil !== undefined && !state.look?.alone && { waitUntil }),
    })),
    seenBy: ['it costs as many processes'],
  },
};

function looking(change: (look: MailLook) => MailLook): Make {
  return storing(({ look, ...state }) => ({ ...state, ...(look && { look: change(look) }) }));
}
/** The real store, with another state stored than what it was given. */
function storing(change: (state: SagaState) => SagaState): Make {
  return (store) =>
    changedStore(store, {
      save: (record, changes) => store.save({ ...record, state: change(record.state) }, changes),
    });
}

async function fresh(): Promise<void> {
  await heal();
  for (const table of ['saga_ends', 'saga_mail', 'sagas', 'emitted'])
    await database.sql.run(`DELETE FROM ${table}`);
  clock = createManualClock();
  done = [];
  told = [];
}

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(
    `refused outcomes of sagas on ${dialect} (needs ${variable ?? 'nothing'})`,
    () => {
      beforeAll(async () => {
        database = dialect === 'sqlite' ? createMemoryFixture() : await createSqlFixture(dialect, url ?? '');
        await createSqlSagaStore({ sql: database.sql }).prepare();
        await database.sql.run('CREATE TABLE emitted (channel VARCHAR(1000) NOT NULL)');
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
      if (dialect === 'sqlite')
        registerControls(it, 'refused outcomes of sagas', controlsOf<Make>(onFresh, real, defects));
    },
  );
}
