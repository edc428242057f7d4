/** What a saga makes of outcomes, time and messages: on the three databases, and a clock that is moved by hand. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { eventually } from '../conformance/fixture.ts';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import { createManualClock, type ManualClock } from '../conformance/manual-clock.ts';
import { systemClock } from '../clock.ts';
import { MessagingError } from '../errors.ts';
import { silentLog } from '../log.ts';
import {
  defineSaga,
  reactsTo,
  type SagaStep,
  startsWith,
  stepDone,
  stepFailed,
  type StepOutcome,
  stepUnknown,
  stepWaits,
} from '../saga.ts';
import { createSqlFixture, serverOf, type SqlFixture, sqlServers } from '../testing/sql-fixture.ts';
import { createSagaRunner, type SagaRunner } from './saga-runner.ts';
import { createSqlSagaStore } from './sql-saga-store.ts';
import type { SagaState } from './saga-state.ts';
import type { SagaStore } from './saga-store.ts';

let store: SagaStore;
let clock: ManualClock;
let told: string[];

const tell = (what: string) => () => void told.push(what);
const runs = (what: string, outcome: StepOutcome) => () => {
  told.push(what);
  return outcome;
};
const first: SagaStep<unknown> = {
  name: 'first',
  run: runs('first', stepDone('one')),
  compensate: tell('unfirst'),
};
const last: SagaStep<unknown> = { name: 'last', run: runs('last', stepDone()) };

function runnerOf(middle: Omit<SagaStep<unknown>, 'name'>, timeoutMs?: number): SagaRunner<unknown> {
  const saga = defineSaga<unknown>({
    name: 'test',
    steps: [first, { name: 'middle', ...middle }, last],
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  return createSagaRunner({ saga, store, clock, leaseMs: 1_000 });
}
const stateOf = async (runner: SagaRunner<unknown>): Promise<SagaState> => {
  const record = await runner.load('k');
  if (!record) throw new Error('no instance');
  return record.state;
};
const begun = async (runner: SagaRunner<unknown>): Promise<SagaRunner<unknown>> => {
  expect(await runner.begin('k', { a: 1 })).toBe(true);
  await runner.sweep();
  return runner;
};
const throws = (): never => {
  throw new Error('out of order');
};

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(`sagas on ${dialect} (needs ${variable ?? 'nothing'})`, () => {
    let database: SqlFixture;

    beforeAll(async () => {
      database = await createSqlFixture(dialect, url ?? '');
      store = createSqlSagaStore({ sql: database.sql });
      await store.prepare();
    });
    afterAll(() => database.destroy());
    beforeEach(async () => {
      await database.sql.run('DELETE FROM saga_ends');
      await database.sql.run('DELETE FROM saga_mail');
      await database.sql.run('DELETE FROM sagas');
      clock = createManualClock();
      told = [];
    });

    describe('outcomes', () => {
      it('done: goes on with what earlier steps gave, to the end', async () => {
        let seen: unknown;
        const runner = await begun(
          runnerOf({
            run(context) {
              seen = { ...context, signal: undefined };
              return stepDone({ two: 2 });
            },
          }),
        );
        const { status, id, steps } = await stateOf(runner);
        expect(status).toBe('completed');
        expect(seen).toMatchObject({
          key: 'k',
          data: { a: 1 },
          attempt: 1,
          stepId: `${id}.middle`,
          results: { first: 'one' },
        });
        expect(steps.map((step) => step.status)).toEqual(['done', 'done', 'done']);
        expect(await runner.begin('k', {})).toBe(false);
        expect(await runner.sweep()).toBe(0);
      });

      it('failed: undoes what was done, backwards, and not the step that certainly did nothing', async () => {
        const runner = await begun(
          runnerOf({ run: () => stepFailed('sold out'), compensate: tell('unmiddle') }),
        );
        expect(await stateOf(runner)).toMatchObject({ status: 'compensated', failure: 'sold out' });
        expect(told).toEqual(['first', 'unfirst']);
      });

      it('a throw: tried again at its times, then unknown; nothing is undone on a guess', async () => {
        const runner = await begun(runnerOf({ run: throws, retries: { delays: [100, 500] } }));
        for (const [wait, status] of [
          [99, 'running'],
          [1, 'running'],
          [499, 'running'],
          [1, 'unknown'],
        ] as const) {
          clock.advance(wait);
          await runner.sweep();
          expect((await stateOf(runner)).status).toBe(status);
        }
        const { history, steps } = await stateOf(runner);
        expect(steps[1]).toMatchObject({ status: 'begun', attempts: 3, failures: 3 });
        expect(history.map(({ what }) => what)).toEqual([
          'done',
          'attempt 1 failed',
          'attempt 2 failed',
          'attempt 3 failed',
          'unknown',
        ]);
        expect(told).toEqual(['first']);
        clock.advance(1e9);
        expect(await runner.sweep()).toBe(0);
      });

      it.each([
        ['done', 'completed', ['first', 'last']],
        ['failed', 'compensated', ['first', 'unfirst']],
      ] as const)('unknown: a person says %s', async (outcome, status, effects) => {
        const runner = await begun(runnerOf({ run: () => stepUnknown('no answer') }));
        expect((await runner.list({ status: 'unknown' })).map(({ key }) => key)).toEqual(['k']);
        await runner.resolve('k', { outcome, note: 'looked it up' });
        await runner.sweep();
        expect((await stateOf(runner)).status).toBe(status);
        expect(told).toEqual(effects);
        expect((await stateOf(runner)).history).toContainEqual(
          expect.objectContaining({ step: 'middle', detail: 'looked it up' }),
        );
        await expect(runner.resolve('k', { outcome, note: '' })).rejects.toMatchObject({
          code: 'DB_MSG_SAGA_CHANGED',
        });
        await expect(runner.resolve('x', { outcome, note: '' })).rejects.toMatchObject({
          code: 'DB_MSG_SAGA_NOT_FOUND',
        });
      });

      it('unknown with onUnknown compensate: the step itself is undone too', async () => {
        const runner = await begun(
          runnerOf({
            run: () => stepUnknown('no answer'),
            compensate: tell('unmiddle'),
            onUnknown: 'compensate',
          }),
        );
        expect((await stateOf(runner)).status).toBe('compensated');
        expect(told).toEqual(['first', 'unmiddle', 'unfirst']);
      });

      it('a compensation that keeps failing is parked with the history, and goes on when a person says so', async () => {
        let broken = true;
        const middle: Omit<SagaStep<unknown>, 'name'> = {
          run: () => stepUnknown('no answer'),
          onUnknown: 'compensate',
          compensate: () => (broken ? throws() : tell('unmiddle')()),
          retries: { delays: [100] },
        };
        const runner = await begun(runnerOf(middle));
        clock.advance(100);
        await runner.sweep();
        expect((await stateOf(runner)).status).toBe('parked');
        expect(told).toEqual(['first']);
        expect((await stateOf(runner)).history.map(({ what }) => what)).toEqual([
          'done',
          'unknown',
          'attempt 1 failed',
          'attempt 2 failed',
          'parked',
        ]);
        broken = false;
        await runner.unpark('k', { how: 'again', note: 'repaired' });
        await runner.sweep();
        expect((await stateOf(runner)).status).toBe('compensated');
        expect(told).toEqual(['first', 'unmiddle', 'unfirst']);
      });

      it('a compensation that a person did by hand is not done again', async () => {
        const runner = await begun(
          runnerOf({
            run: () => stepUnknown(''),
            onUnknown: 'compensate',
            compensate: throws,
            retries: { delays: [] },
          }),
        );
        expect((await stateOf(runner)).status).toBe('parked');
        await runner.unpark('k', { how: 'undone', note: 'refunded by hand' });
        await runner.sweep();
        expect((await stateOf(runner)).status).toBe('compensated');
        expect(told).toEqual(['first', 'unfirst']);
      });
    });

    describe('time', () => {
      it('after the time of the whole saga no further step begins', async () => {
        const runner = runnerOf(
          {
            run: () => {
              clock.advance(5_000);
              return stepDone();
            },
          },
          4_000,
        );
        await begun(runner);
        expect(await stateOf(runner)).toMatchObject({
          status: 'compensated',
          failure: 'the saga ran out of time',
        });
        expect(told).toEqual(['first', 'unfirst']);
      });

      it('a step whose process ends in it is unknown after five such ends, and does not end processes for ever', async () => {
        // A process that ends never stores what came of it: here the store is gone after the mark.
        let runs = 0;
        const saga = defineSaga<unknown>({
          name: 'test',
          steps: [
            {
              name: 'deadly',
              run: () => {
                runs += 1;
                return stepDone();
              },
            },
          ],
        });
        const dying: SagaStore = {
          ...bound(store),
          save: (record, changes) =>
            record.state.status === 'completed'
              ? Promise.reject(new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the process ended'))
              : store.save(record, changes),
        };
        const runner = createSagaRunner({ saga, store: dying, clock, leaseMs: 1_000 });
        await runner.begin('k', {});
        for (let life = 0; life < 7; life += 1) {
          await runner.sweep();
          clock.advance(1_000);
        }
        expect(runs).toBe(5);
        expect((await stateOf(runner)).status).toBe('unknown');
      });
    });

    describe('places', () => {
      it('one slow step holds one place: the others go on through the rest, and a stop waits for it', async () => {
        const gate = Promise.withResolvers<void>();
        const saga = defineSaga<string>({
          name: 'places',
          steps: [
            {
              name: 'one',
              run: async ({ data }) => {
                if (data === 'slow') await gate.promise;
                return stepDone();
              },
            },
          ],
        });
        const warned: string[] = [];
        const log = { ...silentLog, warn: (_: unknown, text: string) => void warned.push(text) };
        const options = { saga, store, clock: systemClock, log };
        const runner = createSagaRunner({ ...options, sweepMs: 60_000, concurrency: 2 });
        await runner.begin('slow', 'slow');
        for (let n = 0; n < 5; n += 1) await runner.begin(`quick ${n}`, 'quick');
        runner.start();
        await eventually(
          () => runner.list({ status: 'completed' }),
          (over) => over.length === 5,
          'the quick ones',
        );
        expect((await runner.list({ status: 'running' })).map(({ key }) => key)).toEqual(['slow']);
        // With no time for it a stop ends, tells, and the step goes on by itself.
        await runner.stop({ drainMs: 0 });
        expect(warned).toEqual([expect.stringContaining('while attempts are under way')]);
        expect((await runner.load('slow'))?.state.status).toBe('running');
        const stopped = runner.stop();
        gate.resolve();
        await stopped;
        expect(warned).toHaveLength(1);
        expect((await runner.load('slow'))?.state.steps[0]?.status).toBe('done');
        const before = await runner.load('slow');
        await new Promise((resolve) => setImmediate(resolve));
        expect(await runner.load('slow')).toEqual(before);
      });
    });

    describe('messages', () => {
      const answer: Omit<SagaStep<unknown>, 'name'> = {
        run: () => stepWaits(),
        onMessage: (_context, { type, data }) =>
          type === 'paid' ? stepDone(data) : type === 'refused' ? stepFailed('refused') : undefined,
        timeoutMs: 1_000,
      };

      it('the answer lets it go on; repeats and strangers do nothing', async () => {
        const runner = await begun(runnerOf(answer));
        await runner.deliver('k', { messageId: '1', type: 'other', data: {} });
        await runner.sweep();
        expect((await stateOf(runner)).status).toBe('waiting');
        for (let time = 0; time < 3; time += 1)
          await runner.deliver('k', { messageId: '2', type: 'paid', data: { of: 2 } });
        await runner.sweep();
        const state = await stateOf(runner);
        expect([state.status, state.steps[1]?.result]).toEqual(['completed', { of: 2 }]);
        expect(await runner.deliver('nobody', { messageId: '3', type: 'paid', data: {} })).toBe(false);
      });

      it('an answer that comes before the question is kept for it', async () => {
        const runner = runnerOf(answer);
        await runner.begin('k', {});
        await runner.deliver('k', { messageId: '1', type: 'paid', data: {} });
        await runner.sweep();
        await runner.sweep();
        expect((await stateOf(runner)).status).toBe('completed');
      });

      it('a late answer resolves what is unknown; one that comes too late stays as unread mail', async () => {
        const runner = await begun(runnerOf(answer));
        clock.advance(1_000);
        await runner.sweep();
        expect((await stateOf(runner)).status).toBe('unknown');
        await runner.deliver('k', { messageId: '1', type: 'refused', data: {} });
        await runner.sweep();
        expect((await stateOf(runner)).status).toBe('compensated');
        await runner.deliver('k', { messageId: '2', type: 'paid', data: {} });
        await runner.sweep();
        expect((await runner.unreadMail('k')).map(({ messageId }) => messageId)).toEqual(['2']);
      });

      it('begins with a message and reacts to others, over the bus', async () => {
        const schema = Type.Object({ order: Type.String() });
        const placed = defineChannel({ name: 'placed', version: 1, schema });
        const paid = defineChannel({ name: 'paid', version: 1, schema });
        const saga = defineSaga<{ order: string }>({
          name: 'over-the-bus',
          steps: [
            {
              name: 'pay',
              run: () => stepWaits(),
              onMessage: (_c, { type }) => (type === 'paid' ? stepDone() : undefined),
            },
          ],
          startedBy: [startsWith(placed, { key: ({ data }) => data.order, data: ({ data }) => data })],
          reactsTo: [reactsTo(paid, ({ data }) => data.order)],
        });
        const runner = createSagaRunner({ saga, store, clock: systemClock, sweepMs: 20 });
        const bus = createBus({
          engine: createInProcessEngine(new DatabaseSync(':memory:')),
          source: '/test',
        });
        bus.declare([placed, paid]);
        runner.subscribe(bus);
        await bus.start();
        runner.start();
        await bus.publish(placed, { order: 'A' });
        await bus.publish(placed, { order: 'A' });
        await eventually(
          () => runner.load('A'),
          (record) => record?.state.status === 'waiting',
          'the question',
        );
        await bus.publish(paid, { order: 'A' });
        await eventually(
          () => runner.load('A'),
          (record) => record?.state.status === 'completed',
          'the end',
        );
        expect(await runner.list()).toHaveLength(1);
        await runner.stop();
        await bus.stop();
      });

      it('refuses a channel that is named twice: its two subscriptions would share the messages out', () => {
        const schema = Type.Object({ order: Type.String() });
        const paid = defineChannel({ name: 'paid', version: 1, schema });
        const reaction = reactsTo(paid, ({ data }) => data.order);
        const start = startsWith(paid, { key: ({ data }) => data.order, data: ({ data }) => data });
        for (const given of [
          { startedBy: [start], reactsTo: [reaction] },
          { reactsTo: [reaction, reaction] },
        ])
          expect(() => defineSaga<unknown>({ name: 'twice', steps: [first], ...given })).toThrow(
            /"paid" is named twice/,
          );
      });
    });

    const bound = (real: SagaStore): SagaStore => ({
      emits: real.emits,
      prepare: () => real.prepare(),
      create: (record) => real.create(record),
      load: (saga, key) => real.load(saga, key),
      save: (record, changes) => real.save(record, changes),
      due: (saga, now, limit) => real.due(saga, now, limit),
      deliver: (saga, key, mail, now) => real.deliver(saga, key, mail, now),
      mail: (saga, key) => real.mail(saga, key),
      purge: (saga, purge) => real.purge(saga, purge),
      list: (saga, filter, limit) => real.list(saga, filter, limit),
    });
  });
}
