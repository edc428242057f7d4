/** The one way to SQL on the three databases: transactions that are whole or not at all, connections that break, and whoever waits for itself. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { signal } from '../conformance/fixture.ts';
import type { SqlDatabase, SqlTransaction } from '../sql.ts';
import { createSqlFixture, serverOf, type SqlFixture, sqlServers } from '../testing/sql-fixture.ts';
import { sqliteSql } from './sqlite.ts';

for (const [dialect, variable] of sqlServers) {
  const url = serverOf(variable);
  describe.skipIf(url === undefined)(`SQL on ${dialect} (needs ${variable ?? 'nothing'})`, () => {
    let fixture: SqlFixture;
    let sql: SqlDatabase;
    const count = async (): Promise<number> => {
      const { rows } = await sql.run('SELECT count(*) AS count FROM things');
      return Number(rows[0]?.count);
    };
    const insert = (tx: SqlTransaction, id: number) => tx.run('INSERT INTO things (id) VALUES (?)', [id]);

    beforeAll(async () => {
      fixture = await createSqlFixture(dialect, url ?? '');
      sql = fixture.sql;
      await sql.run('CREATE TABLE things (id INTEGER PRIMARY KEY)');
    });
    afterEach(async () => void (await sql.run('DELETE FROM things')));
    afterAll(() => fixture.destroy());

    it('tells rows and changes', async () => {
      const { changes } = await sql.run('INSERT INTO things (id) VALUES (?), (?)', [1, 2]);
      expect(changes).toBe(2);
      expect((await sql.run('UPDATE things SET id = id WHERE id > ?', [0])).changes).toBe(2);
      expect((await sql.run('SELECT id FROM things ORDER BY id')).rows.map(({ id }) => Number(id))).toEqual([
        1, 2,
      ]);
    });

    it('commits what resolves and keeps nothing of what rejects', async () => {
      await sql.transaction((tx) => insert(tx, 1));
      const failure = new Error('halfway');
      const failing = sql.transaction(async (tx) => {
        await insert(tx, 2);
        throw failure;
      });
      await expect(failing).rejects.toBe(failure);
      expect(await count()).toBe(1);
    });

    it('does not take for stored what the database gave up', async () => {
      const swallowing = sql.transaction(async (tx) => {
        await insert(tx, 1);
        await tx.run(dialect === 'postgres' ? 'SELECT * FROM nowhere' : 'ROLLBACK').catch(() => {});
      });
      await expect(swallowing).rejects.toMatchObject({ code: 'DB_MSG_ROLLED_BACK' });
      expect(await count()).toBe(0);
    });

    it('runs a batch whole or not at all', async () => {
      const connection = await sql.connect();
      const text = 'INSERT INTO things (id) VALUES (?)';
      await expect(
        connection.batch([
          { text, params: [1] },
          { text, params: [1] },
        ]),
      ).rejects.toThrow(/unique|duplicate/i);
      expect(await count()).toBe(0);
      await connection.batch([{ text, params: [1] }]);
      expect(await count()).toBe(1);
      expect(connection.lost).toBe(false);
      await connection.release();
    });

    it.skipIf(dialect === 'sqlite')('outlives a connection that is cut inside a transaction', async () => {
      const own = dialect === 'postgres' ? 'pg_backend_pid()' : 'CONNECTION_ID()';
      const cutting = sql.transaction(async (tx) => {
        await insert(tx, 1);
        const id = Number((await tx.run(`SELECT ${own} AS id`)).rows[0]?.id);
        await cut(sql, id);
        await insert(tx, 2);
      });
      await expect(cutting).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
      expect(await count()).toBe(0);
    });

    it.skipIf(dialect === 'sqlite')(
      'tells the one that gave way in a deadlock that it may try again',
      async () => {
        await sql.run('INSERT INTO things (id) VALUES (1), (2)');
        const [first, second] = [signal(), signal()];
        const lockBoth = (one: number, other: number, mine: typeof first, theirs: typeof first) =>
          sql.transaction(async (tx) => {
            await tx.run('SELECT id FROM things WHERE id = ? FOR UPDATE', [one]);
            mine.fire();
            await theirs.fired;
            await tx.run('SELECT id FROM things WHERE id = ? FOR UPDATE', [other]);
          });
        const ends = await Promise.allSettled([lockBoth(1, 2, first, second), lockBoth(2, 1, second, first)]);
        const failed = ends.filter((end) => end.status === 'rejected');
        expect(failed).toMatchObject([{ reason: { code: 'DB_MSG_STORE_BUSY', retryable: true } }]);
      },
    );
  });
}

/** Through another connection; resolves when the server has ended it. */
async function cut(sql: SqlDatabase, id: number): Promise<void> {
  if (sql.dialect === 'postgres') await sql.run('SELECT pg_terminate_backend(?, 5000)', [id]);
  else await sql.run(`KILL ${id}`);
}

describe('SQL on SQLite, in one thread', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sql-'));
  const path = join(folder, 'state.db');
  const db = new DatabaseSync(path);
  const sql = sqliteSql(db);
  const other = new DatabaseSync(path);
  afterAll(() => {
    db.close();
    other.close();
    rmSync(folder, { recursive: true });
  });
  const WAITS_FOR_ITSELF = { code: 'DB_MSG_INVALID_OPTIONS' };

  it('refuses what would wait for itself, on the connection and on another of the same file', async () => {
    await sql.transaction(async () => {
      await expect(sqliteSql(db).run('SELECT 1')).rejects.toMatchObject(WAITS_FOR_ITSELF);
      await expect(sqliteSql(other).transaction(async () => {})).rejects.toMatchObject(WAITS_FOR_ITSELF);
      const memory = sqliteSql(new DatabaseSync(':memory:'));
      await memory.transaction(() => expect(sql.run('SELECT 1')).rejects.toMatchObject(WAITS_FOR_ITSELF));
    });
  });

  it('lets what was begun inside go on when the transaction is over', async () => {
    const over = signal();
    let later: Promise<unknown> | undefined;
    await sql.transaction(async () => {
      later = (async () => {
        await over.fired;
        return sql.run('SELECT 1');
      })();
    });
    over.fire();
    await expect(later).resolves.toMatchObject({ changes: 1 });
  });

  it('gives way to a transaction that somebody opened by hand and kept', async () => {
    db.exec('BEGIN');
    for (const attempt of [sql.run('SELECT 1'), sql.transaction(async () => {})])
      await expect(attempt).rejects.toMatchObject({ code: 'DB_MSG_STORE_BUSY' });
    db.exec('COMMIT');
    await expect(sql.run('SELECT 1')).resolves.toMatchObject({ changes: 1 });
  });

  it('lets transactions of two connections to one file take turns instead of blocking the thread', async () => {
    const order: string[] = [];
    const slow = sql.transaction(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      order.push('first');
    });
    const quick = sqliteSql(other).transaction(async () => void order.push('second'));
    await Promise.all([slow, quick]);
    expect(order).toEqual(['first', 'second']);
  });
});
