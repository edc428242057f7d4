/** A client of MariaDB that does not speak utf8mb4 would store other bytes than it was given: nothing is stored through it. */
import { createPool } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import type { OutgoingMessage } from '../../engine.ts';
import { handleOnce } from '../../handle-once.ts';
import { beginSaga } from '../../sagas/saga-state.ts';
import { createSqlSagaStore } from '../../sagas/sql-saga-store.ts';
import { createSqlStreamStore } from '../../streams/sql-stream-store.ts';
import { type StoreFixture, storeChoices } from '../fixture.ts';
import { alreadyHandledInMariadb, appendToMariadbOutbox, type MariadbClient, mariadbStore } from './store.ts';

const mariadb = storeChoices.find(({ kind }) => kind === 'mariadb');
const missing = mariadb?.missing;
const state = beginSaga('i', {}, 1, undefined);
const record = (key: string) => ({ saga: 's', key, version: 1, state, dueAt: 1 });
const keys = ['\u00c4rger', '\uc8fc\ubb38', '\u{1f600}'];
const message = { id: 'm', type: 'c', version: 1, source: '/t', time: '', data: {}, headers: {} };
const outgoing: OutgoingMessage = { channel: 'c', message };

describe.skipIf(missing)(`a client of another charset${missing ? ` (needs ${missing})` : ''}`, () => {
  let fixture: StoreFixture;
  beforeAll(async () => {
    fixture = (await mariadb?.create()) as StoreFixture;
  });
  afterAll(() => fixture.destroy());
  const open = (charset: string) => createPool({ uri: fixture.address, charset, connectionLimit: 2 });
  const sagas = () => createSqlSagaStore({ sql: fixture.store.sql });

  it.each([
    ['LATIN1_SWEDISH_CI', 'latin1'],
    ['EUCKR_KOREAN_CI', 'euckr'],
    ['UTF8_GENERAL_CI', 'utf8mb3'],
  ])(
    '%s is refused by everything that stores, and tables of an earlier version keep what they have',
    async (charset, name) => {
      const padded = 'VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL';
      await sagas().prepare();
      await fixture.query('DELETE FROM sagas');
      await fixture.query(`ALTER TABLE sagas MODIFY saga ${padded}, MODIFY saga_key ${padded}`);
      for (const key of keys) expect(await sagas().create(record(key))).toBe(true);
      const pool = open(charset);
      const store = mariadbStore(pool);
      const refused = {
        code: 'DB_MSG_INVALID_OPTIONS',
        message: expect.stringMatching(
          new RegExp(`speaks ${name}, .* createPool\\({ charset: 'utf8mb4' }\\)`),
        ),
      };
      const options = { inbox: store.inbox, subscription: 's', message, clock: systemClock };
      for (const call of [
        () => store.prepare(),
        () => createSqlSagaStore({ sql: store.sql }).prepare(),
        () => createSqlStreamStore({ sql: store.sql }).prepare(),
        () => createSqlSagaStore({ sql: store.sql }).create(record('k')),
        () => createSqlSagaStore({ sql: store.sql }).load('s', keys[0] ?? ''),
        () => store.outbox.own(),
        () => handleOnce({ ...options, work: async () => {} }),
      ])
        await expect(call()).rejects.toMatchObject(refused);
      const client = await pool.getConnection();
      await client.beginTransaction();
      await expect(appendToMariadbOutbox(client, [outgoing])).rejects.toMatchObject(refused);
      const entry = { subscription: 's', messageId: keys[2] ?? '', now: 1 };
      await expect(alreadyHandledInMariadb(client, entry)).rejects.toMatchObject(refused);
      expect(await fixture.query('SELECT 1 FROM inbox')).toEqual([]);
      await client.rollback();
      client.release();
      // The control: the client that speaks utf8mb4 changes the table, and finds every key.
      await sagas().prepare();
      for (const key of keys) expect(await sagas().load('s', key)).toMatchObject({ key });
      await pool.end();
    },
  );

  it('is seen on a borrowed connection that was set to another, and one of utf8mb4 notes the id, whether or not its client counts', async () => {
    const pool = open('UTF8MB4_BIN');
    const client = await pool.getConnection();
    const entry = { subscription: 'borrowed', messageId: keys[2] ?? '', now: 1 };
    await client.query("SET NAMES 'latin1'");
    await client.beginTransaction();
    await expect(alreadyHandledInMariadb(client, entry)).rejects.toThrow('speaks latin1');
    await client.rollback();
    await client.query("SET NAMES 'utf8mb4'");
    const uncounted: MariadbClient = {
      query: async (text, values) => {
        const [rows] = await client.query(text, values);
        return [Array.isArray(rows) ? rows : {}];
      },
    };
    await client.beginTransaction();
    expect(await alreadyHandledInMariadb(uncounted, entry)).toBe(false);
    expect(await alreadyHandledInMariadb(client, entry)).toBe(true);
    await client.commit();
    client.release();
    const { sql } = fixture.store;
    const { rows } = await sql.run('SELECT HEX(message_id) AS bytes FROM inbox WHERE subscription = ?', [
      'borrowed',
    ]);
    expect(rows).toEqual([{ bytes: 'F09F9880' }]);
    await pool.end();
  });

  it('control: without the look the same key is other bytes', async () => {
    const bytes = async (charset: string): Promise<unknown> => {
      const pool = open(charset);
      const [rows] = await pool.query('SELECT HEX(?) AS bytes', [keys[2]]);
      await pool.end();
      return (rows as { bytes: string }[])[0]?.bytes;
    };
    expect(await bytes('UTF8MB4_BIN')).toBe('F09F9880');
    expect(await bytes('UTF8_GENERAL_CI')).toBe('EDA0BDEDB880');
    expect(await bytes('LATIN1_SWEDISH_CI')).toBe('3D00');
  });

  it('one of utf8mb4 is asked once', async () => {
    const pool = open('UTF8MB4_GENERAL_CI');
    const asked: string[] = [];
    const { sql } = mariadbStore(
      Object.assign(Object.create(pool) as typeof pool, {
        query: (text: string, values: unknown[]) => {
          asked.push(text);
          return pool.query(text, values);
        },
        getConnection: () => pool.getConnection(),
      }),
    );
    for (let n = 0; n < 3; n += 1) await sql.run('SELECT 1');
    await sql.transaction(async (tx) => tx.run('SELECT 2'));
    expect(asked).toEqual(['SELECT @@character_set_client AS charset', 'SELECT 1', 'SELECT 1', 'SELECT 1']);
    await pool.end();
  });
});
