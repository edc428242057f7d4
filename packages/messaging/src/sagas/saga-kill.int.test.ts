/** A saga through SIGKILL at every named point, on the three databases: it ends as if nothing had happened, with every effect once. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock } from '../conformance/manual-clock.ts';
import { defineSaga, stepDone, stepFailed, stepWaits } from '../saga.ts';
import { startChild } from '../conformance/child-process.ts';
import { eventually } from '../conformance/fixture.ts';
import {
  orderSaga,
  type SagaChildDefect,
  type SagaPoint,
  sagaPoints,
  type SagaScenario,
} from '../testing/saga-child.ts';
import { createSqlFixture, serverOf, type SqlFixture, sqlServers } from '../testing/sql-fixture.ts';
import { createSqlSagaStore } from './sql-saga-store.ts';
import { createSagaRunner } from './saga-runner.ts';
import { isOver } from './saga-state.ts';

const child = new URL('../testing/saga-child.ts', import.meta.url);
const delivered = {
  status: 'completed',
  effects: ['pay', 'reserve', 'ship'],
  emitted: ['pay', 'reserve', 'ship'],
};
const ended: Readonly<Record<SagaScenario, { status: string; effects: string[]; emitted: string[] }>> = {
  delivered,
  answered: delivered,
  refused: {
    status: 'compensated',
    effects: ['pay', 'reserve', 'unpay', 'unreserve'],
    emitted: ['pay', 'reserve'],
  },
};

const waitingSaga = defineSaga<unknown>({
  name: 'waiting',
  steps: [
    {
      name: 'ask',
      run: () => stepWaits(),
      onMessage: (_context, { type }) =>
        type === 'yes' ? stepDone() : type === 'no' ? stepFailed('no') : undefined,
    },
  ],
});

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(`sagas on ${dialect} (needs ${variable ?? 'nothing'})`, () => {
    let database: SqlFixture;
    let folder: string;

    beforeEach(async () => {
      database = await createSqlFixture(dialect, url ?? '');
      folder = mkdtempSync(join(tmpdir(), 'saga-'));
      await createSqlSagaStore({ sql: database.sql }).prepare();
      await database.sql.run(
        'CREATE TABLE emitted (id VARCHAR(120) PRIMARY KEY, channel VARCHAR(60) NOT NULL)',
      );
    });
    afterEach(async () => {
      await database.destroy();
      rmSync(folder, { recursive: true, force: true });
    });

    const forget = async (): Promise<void> => {
      for (const table of ['saga_ends', 'sagas', 'emitted']) await database.sql.run(`DELETE FROM ${table}`);
      rmSync(join(folder, 'effects.db'));
    };

    const emitted = async (): Promise<string[]> => {
      const { rows } = await database.sql.run('SELECT channel FROM emitted ORDER BY channel');
      return rows.map((row) => String(row['channel']));
    };

    async function kill(
      scenario: SagaScenario,
      point: SagaPoint,
      visit: number,
      defect: SagaChildDefect = 'none',
    ) {
      const effects = join(folder, 'effects.db');
      const one = startChild(child, [database.address, effects, scenario, point, String(visit), defect]);
      await one.ended;
      expect(one.trouble()).toBe('');
      const runner = orderSaga({ sql: database.sql, effects, scenario, defect });
      const before = await runner.load('A-1');
      const steps = before?.state.steps ?? [];
      const onRecord = ['reserve', 'pay', 'ship'].filter((_, index) =>
        ['done', 'undone'].includes(steps[index]?.status ?? ''),
      );
      // What a step has emitted is out where its outcome is on record, and nowhere else.
      expect(await emitted()).toEqual(onRecord.toSorted());
      return { effects, runner, before };
    }

    async function killAt(...given: Parameters<typeof kill>) {
      const { effects, runner, before } = await kill(...given);
      if (before === undefined) await runner.begin('A-1', { order: 'A-1' });
      const record = await eventually(
        async () => {
          await runner.sweep();
          return runner.load('A-1');
        },
        (now) => now !== undefined && isOver(now.state),
        'the end of the saga',
      );
      const db = new DatabaseSync(effects);
      const rows = db.prepare('SELECT what FROM effects ORDER BY what').all() as { what: string }[];
      db.close();
      return {
        killed: before !== undefined && !isOver(before.state),
        end: {
          status: record?.state.status,
          effects: rows.map(({ what }) => what),
          emitted: await emitted(),
        },
      };
    }

    // Every second of the eleven changes of the refused order on one database; one of each point on the others.
    const visitsOf = (point: SagaPoint): readonly number[] => {
      if (point === 'after begin' || point === 'after claim') return [1];
      // Of the save of the first step's outcome: between its compare-and-set and its messages, and between these and the commit.
      if (point === 'after statement') return dialect === 'sqlite' ? [7, 8] : [8];
      if (dialect !== 'sqlite') return [2];
      if (point === 'before save') return [1, 3, 5, 7, 9, 11];
      return point === 'after save' ? [2, 4, 6, 8, 9] : [1, 2];
    };
    for (const point of sagaPoints)
      for (const visit of visitsOf(point))
        it(`SIGKILL ${point}, visit ${visit}`, async () => {
          const scenario = point === 'in undo' || point.endsWith('save') ? 'refused' : 'delivered';
          const { killed, end } = await killAt(scenario, point, visit);
          expect(killed).toBe(true);
          expect(end).toEqual(ended[scenario]);
        });

    // Killed with a lease on what has mail: the next one waits for its end, and is asked about the same message.
    it('SIGKILL in the answer to a message', async () => {
      const { killed, end } = await killAt('answered', 'in run', 3);
      expect(killed).toBe(true);
      expect(end).toEqual(ended.answered);
    });

    it('mail is kept once per id, wakes who waits for it, and time-outs are found', async () => {
      const store = createSqlSagaStore({ sql: database.sql });
      const clock = createManualClock();
      const saga = defineSaga<number>({
        name: 'mail',
        steps: [
          {
            name: 'ask',
            run: () => stepWaits(),
            timeoutMs: 5_000,
            onMessage: (_context, { type, data }) => (type === 'answer' ? stepDone(data) : undefined),
          },
        ],
      });
      const runner = createSagaRunner({ saga, store, clock });
      await Promise.all([runner.begin('a', 1), runner.begin('b', 2)]);
      expect(await runner.begin('a', 1)).toBe(false);
      // Before the question is on record, which then has to find it.
      await runner.deliver('a', { messageId: 'early', type: 'answer', data: { n: 1 } });
      while ((await runner.sweep()) > 0);
      expect((await runner.load('a'))?.state).toMatchObject({
        status: 'completed',
        steps: [{ result: { n: 1 } }],
      });
      expect((await runner.list({ status: 'waiting' })).map(({ key }) => key)).toEqual(['b']);
      await Promise.all(
        [1, 2, 3].map(() => runner.deliver('b', { messageId: 'same', type: 'other', data: null })),
      );
      expect(await runner.unreadMail('b')).toEqual([{ messageId: 'same', type: 'other', data: null }]);
      expect(await runner.sweep()).toBe(1);
      expect(await runner.unreadMail('b')).toEqual([]);
      expect(await runner.sweep()).toBe(0);
      clock.advance(5_000);
      await runner.sweep();
      expect((await runner.load('b'))?.state.status).toBe('unknown');
      expect(await runner.deliver('nobody', { messageId: 'x', type: 'x', data: null })).toBe(false);
    });

    it('tells ids with one beginning apart, and refuses those that are too long to be told apart', async () => {
      const store = createSqlSagaStore({ sql: database.sql });
      const runner = createSagaRunner({ saga: waitingSaga, store });
      await runner.begin('a', {});
      const long = 'm'.repeat(189);
      for (const id of [`${long}1`, `${long}2`, `${long}1`])
        expect(await runner.deliver('a', { messageId: id, type: 'x', data: null })).toBe(true);
      expect(await runner.unreadMail('a')).toHaveLength(2);
      for (const [id, type] of [
        [`${long}12`, 'x'],
        ['short', `${long}12`],
      ] as const)
        await expect(runner.deliver('a', { messageId: id, type, data: null })).rejects.toMatchObject({
          code: 'DB_MSG_INVALID_OPTIONS',
        });
      expect(await runner.unreadMail('a')).toHaveLength(2);
    });

    it('forgets finished instances with their mail by age and status, and no others', async () => {
      const store = createSqlSagaStore({ sql: database.sql });
      const clock = createManualClock();
      const runner = createSagaRunner({ saga: waitingSaga, store, clock });
      const answer = async (key: string, type: string): Promise<void> => {
        await runner.deliver(key, { messageId: `${key} ${type}`, type, data: null });
        while ((await runner.sweep()) > 0);
        clock.advance(1_000);
      };
      for (const key of ['good', 'bad', 'unread', 'late', 'open']) await runner.begin(key, {});
      while ((await runner.sweep()) > 0);
      await answer('good', 'yes');
      await answer('bad', 'no');
      await answer('unread', 'yes');
      await answer('unread', 'too late');
      const before = clock.now();
      await answer('late', 'yes');
      const keys = async () => (await runner.list()).map(({ key }) => key);
      expect(await runner.purge({ before, status: 'compensated' })).toBe(1);
      expect(await keys()).toEqual(['good', 'late', 'open', 'unread']);
      // A start that is repeated is known as long as the instance is kept.
      expect(await runner.begin('good', {})).toBe(false);
      expect(await runner.purge({ before })).toBe(1);
      expect(await keys()).toEqual(['late', 'open', 'unread']);
      expect(await runner.purge({ before, withUnreadMail: true })).toBe(1);
      expect(await runner.purge({ before: clock.now(), limit: 5 })).toBe(1);
      expect(await keys()).toEqual(['open']);
      for (const table of ['saga_mail', 'saga_ends'])
        expect(Number((await database.sql.run(`SELECT count(*) AS c FROM ${table}`)).rows[0]?.['c'])).toBe(0);
      expect(await runner.begin('good', {})).toBe(true);
    });

    const goesOn = async (defect: SagaChildDefect): Promise<void> => {
      const { end } = await killAt('delivered', 'in run', 2, defect);
      expect(end).toEqual(ended.delivered);
    };
    const isWhole = async (defect: SagaChildDefect): Promise<void> => {
      await kill('delivered', 'after statement', 8, defect);
    };
    // They are made above the statements, and so the same on each database.
    if (dialect === 'sqlite')
      registerControls(
        it,
        'sagas and kills',
        (
          [
            ['a step id that changes with the attempt', 'SIGKILL in run, visit 2', goesOn, 'new ids'],
            [
              'messages go out before the outcome is stored',
              'SIGKILL after statement, visit 8',
              isWhole,
              'emits before',
            ],
            [
              'messages go out when the outcome is stored',
              'SIGKILL after statement, visit 8',
              isWhole,
              'emits after',
            ],
          ] as const
        ).map(([defect, caughtBy, run, planted]) => ({
          defect,
          caughtBy,
          healthy: async () => {
            await run('none');
            await forget();
          },
          defective: () => run(planted),
        })),
      );
  });
}
