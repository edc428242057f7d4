/** Projections on the three databases: once in effect through SIGKILL at every point, two runners, failures, and a rebuild beside the live one. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startChild } from '../conformance/child-process.ts';
import { type Clock, systemClock } from '../clock.ts';
import { onFixture, registerControls } from '../conformance/controls.ts';
import { eventually, signal } from '../conformance/fixture.ts';
import { createManualClock } from '../conformance/manual-clock.ts';
import { silentLog } from '../log.ts';
import { type ProjectionPoint, projectionPoints } from '../testing/projection-child.ts';
import {
  createSqlFixture,
  type OpenSql,
  serverOf,
  type SqlFixture,
  sqlServers,
} from '../testing/sql-fixture.ts';
import {
  createProjection,
  forgetProjection,
  liveProjection,
  type Projection,
  type ProjectionOptions,
} from './projection.ts';
import type { SqlDatabase } from '../sql.ts';
import { openSqlStore } from '../stores/open.ts';
import { createSqlStreamStore } from './sql-stream-store.ts';
import type { StreamStore } from './stream-store.ts';

const EVENTS = 11;

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(`projections on ${dialect} (needs ${variable ?? 'nothing'})`, () => {
    let database: SqlFixture;
    let streams: StreamStore;

    beforeEach(async () => {
      database = await createSqlFixture(dialect, url ?? '');
      streams = createSqlStreamStore({ sql: database.sql });
      await streams.prepare();
      await database.sql.run('CREATE TABLE totals (total INTEGER NOT NULL)');
      await database.sql.run('INSERT INTO totals (total) VALUES (0)');
      for (let n = 0; n < EVENTS; n += 1) await streams.append(`s${n % 3}`, [{ type: 'noted', data: n }]);
      await eventually(
        () => streams.readAll(undefined, 100),
        (events) => events.length === EVENTS,
        'all events to be in order',
      );
    });
    afterEach(() => database.destroy());

    const total = async (): Promise<number> =>
      Number((await database.sql.run('SELECT total FROM totals')).rows[0]?.['total']);
    const projection = (options: Partial<ProjectionOptions> = {}, { sql }: OpenSql = database): Projection =>
      createProjection({
        name: 'total',
        version: 1,
        streams,
        sql,
        batchSize: 2,
        backOffMs: 1,
        handle: async (tx, events) =>
          void (await tx.run('UPDATE totals SET total = total + ?', [events.length])),
        ...options,
      });

    async function killAt(point: ProjectionPoint, how: 'together' | 'apart'): Promise<number> {
      await projection().prepare();
      const child = startChild(new URL('../testing/projection-child.ts', import.meta.url), [
        database.address,
        point,
        how,
      ]);
      await child.ended;
      expect(child.trouble()).toBe('');
      expect(await total()).toBeLessThan(EVENTS);
      await projection().catchUp();
      return total();
    }

    it.each(projectionPoints)('a SIGKILL %s costs nothing and doubles nothing', async (point) => {
      expect(await killAt(point, 'together')).toBe(EVENTS);
    });

    it('control: a checkpoint in a transaction of its own counts a batch twice', async () => {
      expect(await killAt('before commit', 'apart')).toBe(EVENTS + 2);
    });

    it('two runners at once handle every event once', async () => {
      const second = await openSqlStore(database.address);
      await projection().prepare();
      await Promise.all([projection().catchUp(), projection({}, second).catchUp()]);
      expect(await total()).toBe(EVENTS);
      await second.close();
    });

    it('stays at an event that it cannot handle, says so, and goes on when it can', async () => {
      let broken = true;
      const following = projection({
        async handle(tx, events) {
          await tx.run('UPDATE totals SET total = total + ?', [events.length]);
          if (broken && events.some(({ data }) => data === 6)) throw new Error('cannot take a six');
        },
      });
      await following.prepare();
      following.start();
      await eventually(
        async () => following.view(),
        ({ failures }) => failures >= 3,
        'failures',
      );
      expect(await total()).toBe(6);
      expect(following.view().lastError).toContain('cannot take a six');
      broken = false;
      await eventually(total, (now) => now === EVENTS, 'the rest');
      await following.stop();
      expect(following.view()).toMatchObject({ state: 'stopped', lastError: undefined, handled: EVENTS });
    });

    it('stops in the time it is given, though its batch is not answered', async () => {
      const begun = signal();
      const answered = signal();
      const warned: string[] = [];
      const clock = createManualClock();
      const stuck = projection({
        clock,
        log: { ...silentLog, warn: (_, text) => warned.push(text) },
        handle: async () => {
          begun.fire();
          await answered.fired;
        },
      });
      await stuck.prepare();
      stuck.start();
      await begun.fired;
      let stopped = false;
      const stopping = stuck.stop({ drainMs: 5_000 }).then(() => {
        stopped = true;
      });
      clock.advance(4_999);
      await new Promise((resolve) => setImmediate(resolve));
      expect(stopped).toBe(false);
      clock.advance(1);
      await stopping;
      expect(warned).toEqual([expect.stringContaining('while its last batch is under way')]);
      answered.fire();
      await stuck.stop();
      expect(warned).toHaveLength(1);
    });

    it('is rebuilt from the first event beside the live one, and takes its place when it has caught up', async () => {
      const old = projection();
      await old.prepare();
      await old.promote();
      await database.sql.run('CREATE TABLE totals_v2 (total INTEGER NOT NULL)');
      await database.sql.run('INSERT INTO totals_v2 (total) VALUES (0)');
      const next = projection({
        version: 2,
        handle: async (tx, events) =>
          void (await tx.run('UPDATE totals_v2 SET total = total + ?', [10 * events.length])),
      });
      await next.prepare();
      expect(await next.checkpoint()).toBeUndefined();
      expect(await liveProjection(database.sql, 'total')).toBe(1);
      await next.promote();
      expect(await liveProjection(database.sql, 'total')).toBe(2);
      expect(await total()).toBe(EVENTS);
      const { rows } = await database.sql.run('SELECT total FROM totals_v2');
      expect(Number(rows[0]?.['total'])).toBe(10 * EVENTS);
      await expect(forgetProjection(database.sql, 'total', 2)).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
      });
      await forgetProjection(database.sql, 'total', 1);
      await expect(old.catchUp()).rejects.toMatchObject({ code: 'DB_MSG_NOT_STARTED' });
    });
  });
}

/** SQLite alone: every statement of a server waits for its socket, and there the event loop turns whatever a projection does. */
describe('projections on sqlite', () => {
  // Each look at it is later by as much as a batch may take; timers are those of the machine.
  const hurrying = (): Clock => {
    let elapsed = 0;
    return { ...systemClock, monotonic: () => (elapsed += 20) };
  };
  // By a clock that stands still no turn is ever due.
  const standing = (): Clock => ({ ...systemClock, monotonic: () => 0 });
  const leavesTurns = async (clock: Clock): Promise<void> =>
    onFixture(
      () => createSqlFixture('sqlite', ''),
      async ({ sql }) => expect(await turnsWhileCatchingUp(sql, clock)).toBeGreaterThan(EVENTS / 4),
    );

  it('leaves the event loop its turns while it catches up', async () => {
    await expect(leavesTurns(hurrying())).resolves.toBeUndefined();
  });

  registerControls(it, 'projections', [
    {
      defect: 'no turn is left to the event loop',
      caughtBy: 'leaves the event loop its turns while it catches up',
      healthy: () => leavesTurns(hurrying()),
      defective: () => leavesTurns(standing()),
    },
  ]);
});

async function turnsWhileCatchingUp(sql: SqlDatabase, clock: Clock): Promise<number> {
  const streams = createSqlStreamStore({ sql });
  await streams.prepare();
  await streams.append(
    's',
    Array.from({ length: EVENTS }, (_, n) => ({ type: 'noted', data: n })),
  );
  const options = { name: 'turns', version: 1, streams, sql, batchSize: 1, clock, handle: async () => {} };
  const rebuilt = createProjection(options);
  await rebuilt.prepare();
  let turned = 0;
  let immediate = setImmediate(function again() {
    turned += 1;
    immediate = setImmediate(again);
  });
  try {
    expect(await rebuilt.catchUp()).toBe(EVENTS);
    return turned;
  } finally {
    clearImmediate(immediate);
  }
}
