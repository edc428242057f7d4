/** Keys that differ by a space at the end, by case or by the form of an accent are different keys, in everything that a SQL database keeps for the toolkit. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import Type from 'typebox';
import { defineChannel } from '../channel.ts';
import { systemClock } from '../clock.ts';
import { eventually } from '../conformance/fixture.ts';
import { handleOnce } from '../handle-once.ts';
import { createIds } from '../ids.ts';
import { createOutboxWriter } from '../outbox.ts';
import { beginSaga } from '../sagas/saga-state.ts';
import type { SagaStore } from '../sagas/saga-store.ts';
import { createSqlSagaStore } from '../sagas/sql-saga-store.ts';
import { createSqlStreamStore } from '../streams/sql-stream-store.ts';
import { forgetProjection, liveProjection } from '../streams/projection.ts';
import type { StreamStore } from '../streams/stream-store.ts';
import type { OutgoingMessage } from '../engine.ts';
import { type StoreFixture, storeChoices } from './fixture.ts';

const alike = ['key', 'key ', 'key  ', 'Key', 'k\u00e9y', 'ke\u0301y', 'k\u0435y'];
const now = systemClock.now();

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(`keys on ${kind}${missing ? ` (needs ${missing})` : ''}`, () => {
    let fixture: StoreFixture;
    let sagas: SagaStore;
    let streams: StreamStore;

    beforeAll(async () => {
      fixture = await create();
      sagas = createSqlSagaStore({ sql: fixture.store.sql });
      streams = createSqlStreamStore({ sql: fixture.store.sql });
      await Promise.all([sagas.prepare(), streams.prepare()]);
    });
    afterAll(() => fixture.destroy());

    const begin = (key: string) =>
      sagas.create({ saga: 's', key, version: 1, state: beginSaga(key, { key }, 1, undefined), dueAt: now });

    it('of sagas, and of their mail', async () => {
      for (const key of alike) expect(await begin(key)).toBe(true);
      for (const key of alike) {
        expect(await begin(key)).toBe(false);
        expect(await sagas.load('s', key)).toMatchObject({ key, state: { id: key } });
        for (const messageId of alike)
          await sagas.deliver('s', key, { messageId, type: 't', data: key }, now);
        await sagas.deliver('s', key, { messageId: 'key', type: 't', data: 'a repeat' }, now);
        expect((await sagas.mail('s', key)).map(({ messageId }) => messageId)).toEqual(alike);
      }
      expect((await sagas.list('s', {}, 100)).map(({ key }) => key).toSorted()).toEqual(alike.toSorted());
    });

    it('of streams, and of their snapshots', async () => {
      for (const stream of alike)
        await streams.append(stream, [{ type: 'noted', data: stream }], { expectedVersion: 0 });
      for (const stream of alike) {
        expect((await streams.read(stream)).map(({ data }) => data)).toEqual([stream]);
        for (const name of alike)
          await streams.saveSnapshot(stream, name, { version: 1, schemaVersion: 1, state: stream + name });
      }
      for (const stream of alike)
        for (const name of alike)
          expect((await streams.loadSnapshot(stream, name, 1))?.state).toBe(stream + name);
    });

    it('of the inbox: messages and subscriptions', async () => {
      const { inbox } = fixture.store;
      const handled: boolean[] = [];
      for (const subscription of alike)
        for (const messageId of [...alike, 'key'])
          await inbox.transaction(async (tx) =>
            handled.push(await inbox.alreadyHandled(tx, { subscription, messageId, now })),
          );
      expect(handled).toEqual(alike.flatMap(() => [...alike.map(() => false), true]));
      const settled = fixture.store.settled({ subscription: 'key', channels: [] });
      expect([...(await settled.settled([...alike, 'KEY']))].toSorted()).toEqual(alike.toSorted());
    });

    it('of the outbox: ids, and the lanes beside its mark', async () => {
      const { store } = fixture;
      const messages = alike.map(
        (id): OutgoingMessage => ({
          channel: 'c',
          message: {
            id,
            type: 'c',
            version: 1,
            source: '/t',
            time: new Date(now).toISOString(),
            data: {},
            headers: {},
          },
        }),
      );
      await store.inbox.transaction(async (tx) => store.append(tx, messages));
      expect([...(await store.recorded('o').recorded([...alike, 'KEY']))].toSorted()).toEqual(
        alike.toSorted(),
      );
      const owned = await store.outbox.own();
      // On PostgreSQL what is committed comes when no open transaction of the server could come before it.
      const fresh = await eventually(
        async () => (await owned?.readFresh(100)) ?? [],
        ({ length }) => length === alike.length,
        'the rows',
      );
      const channel = fresh[0]?.channel ?? '';
      const waiting = fresh.map(({ number }, index) => ({ number, lane: alike[index] ?? '', reason: 'x' }));
      await owned?.record({ upTo: fresh.at(-1)?.number, waiting, parked: [], published: [], now });
      expect((await owned?.heldLanes())?.map(({ lane }) => lane).toSorted()).toEqual(alike.toSorted());
      for (const { lane, number } of waiting)
        expect(
          (await owned?.readWaiting({ lane, channel }, { limit: 10 }))?.map((row) => row.number),
        ).toEqual([number]);
      await owned?.release();
    });

    it('that no server can tell apart are refused', async () => {
      const refused = { code: 'DB_MSG_INVALID_OPTIONS' };
      const { inbox } = fixture.store;
      const handle = (subscription: string, id: string) =>
        handleOnce({ inbox, subscription, message: { id }, clock: systemClock, work: async () => {} });
      for (const bad of ['a\ud800', '\udc00', 'a\0', '\0']) {
        await expect(begin(bad)).rejects.toMatchObject(refused);
        await expect(streams.append(bad, [{ type: 't', data: 1 }])).rejects.toMatchObject(refused);
        await expect(streams.append('a', [{ type: bad, data: 1 }])).rejects.toMatchObject(refused);
        const mail = { messageId: bad, type: 't', data: 1 };
        await expect(sagas.deliver('s', 'key', mail, now)).rejects.toMatchObject(refused);
        await expect(handle('s', bad)).rejects.toMatchObject(refused);
        await expect(handle(bad, 'm')).rejects.toMatchObject(refused);
      }
    });

    it('that no server can tell apart are refused where they are looked up, too', async () => {
      const refused = { code: 'DB_MSG_INVALID_OPTIONS' };
      const { inbox, sql } = fixture.store;
      const noted = (subscription: string, messageId: string) =>
        inbox.transaction((tx) => inbox.alreadyHandled(tx, { subscription, messageId, now }));
      const snapshot = { version: 1, schemaVersion: 1, state: 1 };
      const state = beginSaga('i', {}, 1, undefined);
      const mail = { messageId: 'm', type: 't', data: 1 };
      const changes = { messages: [], read: [], now };
      for (const bad of ['a\ud800', 'a\0'])
        for (const look of [
          () => streams.read(bad),
          () => streams.loadSnapshot(bad, 'n', 1),
          () => streams.loadSnapshot('a', bad, 1),
          () => streams.saveSnapshot(bad, 'n', snapshot),
          () => streams.saveSnapshot('a', bad, snapshot),
          () => sagas.load('s', bad),
          () => sagas.load(bad, 'key'),
          () => sagas.mail('s', bad),
          () => sagas.deliver('s', bad, mail, now),
          () => sagas.save({ saga: 's', key: bad, version: 2, state, dueAt: now }, changes),
          () => sagas.list(bad, {}, 1),
          () => sagas.due(bad, now, 1),
          () => sagas.purge(bad, { before: now }),
          () => noted('s', bad),
          () => noted(bad, 'm'),
          () => fixture.store.purgeInbox({ subscription: bad, before: now }),
          async () => fixture.store.settled({ subscription: bad, channels: [] }),
          () => liveProjection(sql, bad),
          () => forgetProjection(sql, bad, 1),
        ])
          await expect(look(), String(look)).rejects.toMatchObject(refused);
      expect([await streams.read(''), await sagas.load('s', '')]).toEqual([[], undefined]);
    });

    it('that cannot be stored are not found by a reconciliation, which goes on', async () => {
      const { store } = fixture;
      const asked = ['a\0', 'a\ud800', 'stored'];
      await store.inbox.transaction((tx) =>
        store.inbox.alreadyHandled(tx, { subscription: 'odd', messageId: 'stored', now }),
      );
      const settled = store.settled({ subscription: 'odd', channels: [] });
      expect([...(await settled.settled(asked))]).toEqual(['stored']);
      expect([...(await store.recorded('o').recorded(asked))]).toEqual([]);
    });

    it('are names only: what lies in data and headers is kept whatever it is', async () => {
      const data = { text: 'a\0b' };
      await streams.append('free', [{ type: 't', data }]);
      expect(await streams.read('free')).toMatchObject([{ data }]);
      const message = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/t' })(
        defineChannel({ name: 'free', version: 1, schema: Type.Object({ text: Type.String() }) }),
        data,
        { headers: { odd: 'x\0y' } },
      );
      const { store } = fixture;
      await store.inbox.transaction(async (tx) => store.append(tx, [message]));
      expect([...(await store.recorded('o').recorded([message.message.id]))]).toEqual([message.message.id]);
    });

    // The others have compared keys as they are from the first version on: there is nothing to run, and so nothing that is skipped.
    describe.each(kind === 'mariadb' ? ['tables of an earlier version'] : [])('%s', () => {
      const padded = 'VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin';

      it('keep what they have and tell keys apart from then on, however many processes prepare them', async () => {
        const before = await create();
        const { sql } = before.store;
        const old = createSqlSagaStore({ sql });
        const oldStreams = createSqlStreamStore({ sql });
        await Promise.all([old.prepare(), oldStreams.prepare()]);
        await sql.run(`ALTER TABLE sagas MODIFY saga ${padded} NOT NULL, MODIFY saga_key ${padded} NOT NULL`);
        await sql.run(
          `ALTER TABLE saga_mail MODIFY saga_key ${padded} NOT NULL, MODIFY message_id ${padded} NOT NULL`,
        );
        await sql.run(`ALTER TABLE stream_heads MODIFY stream ${padded} NOT NULL`);
        await sql.run(`ALTER TABLE stream_events MODIFY stream ${padded} NOT NULL`);
        const state = beginSaga('i', {}, 1, undefined);
        const record = (key: string) => ({ saga: 's', key, version: 1, state, dueAt: now });
        expect(await old.create(record('k\u00e9y '))).toBe(true);
        // The control: this is what padding did.
        expect(await old.create(record('k\u00e9y'))).toBe(false);
        await oldStreams.append('k\u00e9y', [{ type: 'noted', data: 1 }]);
        const again = await before.open();
        const stores = [sql, again.sql];
        await Promise.all(stores.map((one) => createSqlSagaStore({ sql: one }).prepare()));
        await Promise.all(stores.map((one) => createSqlStreamStore({ sql: one }).prepare()));
        expect(await old.load('s', 'k\u00e9y ')).toMatchObject({ key: 'k\u00e9y ' });
        expect(await old.create(record('k\u00e9y'))).toBe(true);
        expect(await oldStreams.read('k\u00e9y')).toHaveLength(1);
        expect(await oldStreams.append('k\u00e9y ', [{ type: 'noted', data: 1 }])).toEqual({ version: 1 });
        await before.destroy();
      });

      it('a stream whose name the table has no room for is refused for that, and not cut off', async () => {
        const before = await create();
        const { sql } = before.store;
        const narrow = createSqlStreamStore({ sql });
        await narrow.prepare();
        await sql.run('ALTER TABLE stream_heads MODIFY stream VARBINARY(5) NOT NULL');
        await expect(narrow.append('too long', [{ type: 'noted', data: 1 }])).rejects.toMatchObject({
          code: 'ER_DATA_TOO_LONG',
        });
        await before.destroy();
      });
    });
  });
