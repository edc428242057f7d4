/** Streams on the three databases against their contract, and what only PostgreSQL can get wrong. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, limitPatience } from '../conformance/fixture.ts';
import { lateCommit, readOn, type StreamFixture, streamCases } from '../conformance/stream-cases.ts';
import { caseNamed, registerControls } from '../conformance/controls.ts';
import {
  plantInStreams,
  readByNumber,
  type StreamDefect,
  streamDefects,
} from '../conformance/stream-defects.ts';
import {
  createSqlFixture,
  type OpenSql,
  serverOf,
  type SqlFixture,
  sqlServers,
} from '../testing/sql-fixture.ts';
import { openSqlStore } from '../stores/open.ts';
import { createSqlStreamStore } from './sql-stream-store.ts';
import type { RecordedEvent, StreamEvent } from './stream-store.ts';

const seenBy: Readonly<Record<StreamDefect, string>> = {
  'the expected version is not compared': 'of many appends at the same expected version',
  'an append in a transaction does not belong to it': "an append in the caller's transaction",
  'reads begin behind the version': 'append numbers from 1',
  'the last of a page is skipped': 'a reader beside many writers',
  'a snapshot of any schema is used': 'a snapshot shortens the way',
  'a late commit is skipped': 'an event that commits after one',
};

limitPatience(10_000);
const some: readonly StreamEvent[] = [{ type: 'noted', data: { n: 1 } }];

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(`streams on ${dialect} (needs ${variable ?? 'nothing'})`, () => {
    let database: SqlFixture;
    let second: OpenSql;
    let fixture: StreamFixture;

    beforeAll(async () => {
      database = await createSqlFixture(dialect, url ?? '');
      second = await openSqlStore(database.address);
      const streams = createSqlStreamStore({ sql: database.sql });
      await Promise.all([streams.prepare(), streams.prepare()]);
      fixture = { sql: database.sql, streams, reader: createSqlStreamStore({ sql: second.sql }) };
    });
    afterAll(async () => {
      await second.close();
      await database.destroy();
    });

    it.each(streamCases)('$name', async ({ run }) => {
      await expect(run(fixture)).resolves.toBeUndefined();
    });

    it('numbers that are none are refused, and change nothing', async () => {
      const { streams } = fixture;
      const refused = { code: 'DB_MSG_INVALID_OPTIONS' };
      for (const bad of [Number.NaN, 0.5, -1, Number.POSITIVE_INFINITY]) {
        const snapshot = { version: 1, schemaVersion: 1, state: {} };
        for (const call of [
          () => streams.append('numbers', some, { expectedVersion: bad }),
          () =>
            database.sql.transaction((tx) => streams.appendIn(tx, 'numbers', some, { expectedVersion: bad })),
          () => streams.read('numbers', { fromVersion: bad }),
          () => streams.read('numbers', { limit: bad }),
          () => streams.readAll(undefined, bad),
          () => streams.loadSnapshot('numbers', 'sum', bad),
          () => streams.saveSnapshot('numbers', 'sum', { ...snapshot, version: bad }),
          () => streams.saveSnapshot('numbers', 'sum', { ...snapshot, schemaVersion: bad }),
        ])
          await expect(call()).rejects.toMatchObject(refused);
      }
      await expect(streams.read('numbers', { limit: 10_001 })).rejects.toMatchObject(refused);
      expect(await streams.read('numbers', { fromVersion: 0 })).toEqual([]);
      expect(await streams.append('numbers', some, { expectedVersion: 0 })).toEqual({ version: 1 });
    });

    // Only on PostgreSQL a transaction commits after one with higher numbers.
    const defects = (Object.keys(streamDefects) as StreamDefect[]).filter(
      (defect) => dialect === 'postgres' || defect !== 'a late commit is skipped',
    );
    describe('planted defects', () => {
      beforeAll(() => limitPatience(1_500));
      afterAll(() => limitPatience(10_000));

      registerControls(
        it,
        `streams on ${dialect}`,
        defects.map((defect) => {
          const { name, run } = caseNamed(streamCases, seenBy[defect]);
          return {
            defect,
            caughtBy: name,
            healthy: () => run(fixture),
            defective: () =>
              run({
                sql: database.sql,
                streams: plantInStreams(defect, fixture.streams, database.sql),
                reader: plantInStreams(defect, fixture.reader, second.sql),
              }),
          };
        }),
      );
    });

    // Only PostgreSQL numbers what others may commit before: elsewhere there is nothing to run, and so nothing that is skipped.
    const numbering = dialect === 'postgres' ? ['where a later number may commit first'] : [];
    describe.each(numbering)('%s', () => {
      it('control: a reader by number alone loses the event that commits late', async () => {
        limitPatience(500);
        const seen = await lateCommit(fixture, readByNumber(second.sql));
        limitPatience(10_000);
        expect(seen.map(({ version }) => version)).toEqual([1, 2]);
        expect(new Set(seen.map(({ stream }) => stream)).size).toBe(1);
      });

      it('rows restored into another cluster, whose transaction numbers are lower, are seen after the remedy of the docs', async () => {
        const { sql, streams } = fixture;
        const versions = async (): Promise<number[]> => {
          const all = await readOn(streams, undefined, 1_000);
          return all.filter(({ stream }) => stream === 'restored').map(({ version }) => version);
        };
        for (let n = 0; n < 3; n += 1) await streams.append('restored', some);
        const future = '(pg_current_xact_id()::text::bigint + 1000000000)::text::xid8';
        await sql.run(`UPDATE stream_events SET xid = ${future} WHERE stream = 'restored'`);
        await sql.run(`UPDATE stream_heads SET xid = ${future} WHERE stream = 'restored'`);
        expect(await versions()).toEqual([]);
        await expect(sql.transaction((tx) => streams.appendIn(tx, 'restored', some))).rejects.toMatchObject({
          code: 'DB_MSG_STREAM_OVERTAKEN',
        });
        await sql.run("UPDATE stream_events SET xid = '1'");
        await sql.run("UPDATE stream_heads SET xid = '0'");
        await streams.append('restored', some, { expectedVersion: 3 });
        await eventually(versions, (seen) => seen.length === 4, 'all four');
        expect(await versions()).toEqual([1, 2, 3, 4]);
      });

      /** A begins first (it has its number), B appends and commits, then A appends to the same stream. */
      async function overtake(check: boolean): Promise<readonly RecordedEvent[]> {
        const { sql, streams, reader } = fixture;
        const stream = `overtaken-${String(check)}`;
        await sql.transaction(async (tx) => {
          await streams.appendIn(tx, `other-${stream}`, some);
          await reader.append(stream, some);
          if (!check) await tx.run("UPDATE stream_heads SET xid = '0' WHERE stream = ?", [stream]);
          await streams.appendIn(tx, stream, some, { expectedVersion: 1 });
        });
        // Readers wait for whatever transaction of this server began before, also those of others.
        return eventually(
          async () => (await readOn(streams, undefined, 1_000)).filter((one) => one.stream === stream),
          (seen) => seen.length === 2,
          'both events',
        );
      }

      it('a transaction that a later one overtook on a stream is refused, because readers would see it first', async () => {
        await expect(overtake(true)).rejects.toMatchObject({
          code: 'DB_MSG_STREAM_OVERTAKEN',
          retryable: true,
        });
      });

      it('control: without the refusal readers get the stream in the wrong order', async () => {
        expect((await overtake(false)).map(({ version }) => version)).toEqual([2, 1]);
      });
    });
  });
}
