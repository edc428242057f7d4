/** What a database says when it gives way to another (a deadlock, a lock that was waited for too long, a failed serialisation, SQLite busy) is DB_MSG_STORE_BUSY, whoever ran the statement. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../clock.ts';
import { signal } from '../conformance/fixture.ts';
import { handleOnce } from '../handle-once.ts';
import { alreadyHandled, inboxSchema, purgeInbox } from '../inbox.ts';
import { appendToOutbox, outboxSchema, sqliteOutbox } from '../outbox.ts';
import { ack, type Outcome } from '../outcome.ts';
import { busyFault } from '../sql/faults.ts';
import { type StoreFixture, storeChoices } from './fixture.ts';
import { sqliteInbox } from './sqlite/store.ts';

const busy = { code: 'DB_MSG_STORE_BUSY', retryable: true, cause: expect.any(Error) };
/** The client itself, as an application has it: nothing of the toolkit stands in between. */
interface Native {
  query(text: string): Promise<unknown>;
}

for (const { kind, missing, create } of storeChoices.filter((one) => one.kind !== 'sqlite'))
  describe.skipIf(missing)(`handlers on ${kind}${missing ? ` (needs ${missing})` : ''}`, () => {
    let fixture: StoreFixture;
    beforeAll(async () => {
      fixture = await create();
      await fixture.query('CREATE TABLE things (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)');
      await fixture.query('INSERT INTO things (id, n) VALUES (1, 0), (2, 0)');
    });
    afterAll(() => fixture.destroy());

    const handle = (id: string, work: (tx: Native) => Promise<void>): Promise<Outcome> =>
      handleOnce({
        inbox: fixture.store.inbox,
        subscription: 's',
        message: { id },
        clock: systemClock,
        work: (tx) => work(tx as Native),
      });
    const add = (tx: Native, id: number) => tx.query(`UPDATE things SET n = n + 1 WHERE id = ${id}`);

    /** Each has its first row before either asks for the other's. */
    async function deadlock(
      first: string,
      second: string,
    ): Promise<readonly PromiseSettledResult<Outcome>[]> {
      const has = { [first]: signal(), [second]: signal() };
      const work = (own: string, other: string, from: number, to: number) =>
        handle(own, async (tx) => {
          await add(tx, from);
          has[own]?.fire();
          await has[other]?.fired;
          await add(tx, to);
        });
      return Promise.allSettled([work(first, second, 1, 2), work(second, first, 2, 1)]);
    }

    it('in a deadlock: one is done, the other is told so, keeps nothing and can be done again', async () => {
      const results = await deadlock('a', 'b');
      const lost = results.findIndex(({ status }) => status === 'rejected');
      expect(results.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
      expect(results[lost]).toMatchObject({ reason: busy });
      expect((await fixture.query('SELECT n FROM things ORDER BY id')).map(({ n }) => Number(n))).toEqual([
        1, 1,
      ]);
      await expect(handle(lost === 0 ? 'a' : 'b', async (tx) => void (await add(tx, 1)))).resolves.toEqual(
        ack(),
      );
    });

    it('that do not wait for a lock, or not longer', async () => {
      const isHeld = signal();
      const mayEnd = signal();
      const holder = handle('holder', async (tx) => {
        await add(tx, 1);
        isHeld.fire();
        await mayEnd.fired;
      });
      await isHeld.fired;
      const late = handle('late', async (tx) => {
        await tx.query('SELECT n FROM things WHERE id = 1 FOR UPDATE NOWAIT');
      });
      await expect(late).rejects.toMatchObject(busy);
      // The inbox's own statement waits for the holder's id, and gives way too.
      const limit =
        kind === 'postgres' ? "SET LOCAL lock_timeout = '50ms'" : 'SET innodb_lock_wait_timeout = 1';
      const same = fixture.store.inbox.transaction(async (tx) => {
        await (tx as Native).query(limit);
        return fixture.store.inbox.alreadyHandled(tx, { subscription: 's', messageId: 'holder', now: 1 });
      });
      await expect(same).rejects.toMatchObject(busy);
      mayEnd.fire();
      await holder;
    });

    describe.each(kind === 'postgres' ? ['on a snapshot'] : [])('%s', () => {
      it('that cannot be put in an order', async () => {
        const late = fixture.store.inbox.transaction(async (tx) => {
          const client = tx as Native;
          await client.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
          await client.query('SELECT n FROM things');
          await handle('meanwhile', async (other) => void (await add(other, 1)));
          await add(client, 1);
        });
        await expect(late).rejects.toMatchObject(busy);
      });
    });
  });

describe('on SQLite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'busy-'));
  const open = () => new DatabaseSync(join(folder, 'a.db'), { timeout: 0 });
  const [db, other] = [open(), open()];
  db.exec(`PRAGMA journal_mode = WAL; ${outboxSchema}${inboxSchema}`);
  afterAll(() => {
    for (const one of [db, other]) one.close();
    rmSync(folder, { recursive: true });
  });
  const refused = expect.objectContaining(busy);
  const message = { id: 'm', type: 'c', version: 1, source: '/t', time: '', data: {}, headers: {} };

  it('everything that meets another writer says that it is busy', async () => {
    other.exec('BEGIN IMMEDIATE');
    db.exec('BEGIN');
    expect(() => alreadyHandled(db, { subscription: 's', messageId: 'm', now: 1 })).toThrow(refused);
    expect(() => appendToOutbox(db, [{ channel: 'c', message }])).toThrow(refused);
    db.exec('ROLLBACK');
    expect(() => purgeInbox(db, 1)).toThrow(refused);
    expect(() => sqliteOutbox(db).markPublished(1)).toThrow(refused);
    const options = { inbox: sqliteInbox(db), subscription: 's', message, clock: systemClock };
    await expect(handleOnce({ ...options, work: async () => {} })).rejects.toMatchObject(busy);
    other.exec('ROLLBACK');
    await expect(handleOnce({ ...options, work: async () => {} })).resolves.toEqual(ack());
  });

  it("a statement of the handler's on another file is told too", async () => {
    const elsewhere = join(folder, 'b.db');
    const [second, blocker] = [new DatabaseSync(elsewhere, { timeout: 0 }), new DatabaseSync(elsewhere)];
    second.exec('CREATE TABLE t (n)');
    blocker.exec('BEGIN IMMEDIATE');
    const work = async (): Promise<void> => second.exec('INSERT INTO t VALUES (1)');
    const options = { inbox: sqliteInbox(db), subscription: 's', message: { id: 'n' }, clock: systemClock };
    await expect(handleOnce({ ...options, work })).rejects.toMatchObject(busy);
    for (const one of [second, blocker]) one.close();
  });
});

const errorWith = (fields: object, cause?: unknown): Error =>
  Object.assign(new Error('x', cause === undefined ? {} : { cause }), fields);
const deadlocks: readonly [client: string, error: Error][] = [
  ['pg', errorWith({ code: '40P01', severity: 'ERROR', routine: 'DeadLockReport' })],
  ['a client that keeps the routine only', errorWith({ code: '55P03', routine: 'ProcSleep' })],
  ['mysql2', errorWith({ code: 'ER_LOCK_DEADLOCK', errno: 1213, sqlState: '40001', sqlMessage: 'Deadlock' })],
  ['by name', errorWith({ code: 'ER_CHECKREAD' })],
  ['by number, with the words of the server', errorWith({ errno: 1205, sqlMessage: 'Lock wait timeout' })],
  ['by state', errorWith({ errno: 1614, sqlState: '40001' })],
  ['node:sqlite', errorWith({ code: 'ERR_SQLITE_ERROR', errcode: 5 })],
  ['node:sqlite, extended', errorWith({ code: 'ERR_SQLITE_ERROR', errcode: 517 })],
];

it.each(deadlocks)('%s: is busy, also in the wrapper of a query builder', (_client, error) => {
  expect(busyFault(error)).toMatchObject({ code: 'DB_MSG_STORE_BUSY', cause: error });
  for (const wrapped of [
    errorWith({ query: 'UPDATE t', params: [] }, error),
    errorWith({ sql: 'UPDATE t' }, error),
    // As the versions of Sequelize have it: 1 to 3, 4 to 6, and 7.
    errorWith({ name: 'SequelizeDatabaseError', sql: 'UPDATE t', parent: error }),
    errorWith({
      name: 'SequelizeDatabaseError',
      sql: undefined,
      parent: error,
      original: error,
      parameters: {},
    }),
    errorWith({ name: 'SequelizeDatabaseError', sql: 'UPDATE t', parameters: {} }, error),
  ])
    expect(busyFault(wrapped)).toMatchObject({ code: 'DB_MSG_STORE_BUSY', cause: wrapped });
});

/** As Prisma tells it: by its own code, and for statements of one's own by the server's. */
const prisma = (code: string, meta?: object): Error =>
  errorWith({ name: 'PrismaClientKnownRequestError', code, clientVersion: '6.19.2', meta });
const ofAdapter = (originalCode: string) => ({
  driverAdapterError: errorWith({ name: 'DriverAdapterError' }, { kind: 'postgres', originalCode }),
});

it.each([
  ['a write conflict', prisma('P2034')],
  ['a raw statement on PostgreSQL', prisma('P2010', { code: '40P01', message: 'ERROR: deadlock detected' })],
  ['a raw statement on MySQL', prisma('P2010', { code: '1213', message: 'Deadlock found' })],
  ['a raw statement through an adapter', prisma('P2010', ofAdapter('55P03'))],
  ['a statement of its own through an adapter', prisma('P2039', ofAdapter('40P01'))],
])('Prisma, %s: is busy', (_name, error) => {
  expect(busyFault(error)).toMatchObject({ code: 'DB_MSG_STORE_BUSY', cause: error });
});

class VendorRefusal extends Error {}
const refusal = (fields: object, cause?: unknown): VendorRefusal =>
  Object.assign(new VendorRefusal('no', cause === undefined ? {} : { cause }), fields);

it.each<[name: string, error: unknown]>([
  ['a connection that is refused', errorWith({ code: 'ECONNREFUSED' })],
  ['a mistake', new TypeError('x')],
  ['no error', 'a text'],
  ['nothing', undefined],
  ["a vendor's number whose low byte is 5", refusal({ errcode: 40_197 })],
  ["a vendor's number 5", refusal({ errcode: 5 })],
  ["a vendor's number as a text", refusal({ code: 'ERR_SQLITE_ERROR', errcode: '5' })],
  ['another fault of SQLite', errorWith({ code: 'ERR_SQLITE_ERROR', errcode: 19 })],
  ["a vendor's 1205", refusal({ errno: 1205 })],
  ["a vendor's 40001", refusal({ code: '40001' })],
  ['another fault of pg', errorWith({ code: '23505', severity: 'ERROR', routine: '_bt_check_unique' })],
  ['another fault of mysql2', errorWith({ errno: 1062, sqlState: '23000', sqlMessage: 'Duplicate entry' })],
  ["a vendor's P2034", refusal({ code: 'P2034' })],
  ['a duplicate key of Prisma', prisma('P2002', { target: ['id'] })],
  ['a duplicate key in a raw statement of Prisma', prisma('P2010', { code: '23505', message: 'x' })],
  ['a fault of Prisma that tells nothing', prisma('P2010', { code: 'N/A', message: 'N/A' })],
  [
    'a duplicate key of Sequelize',
    errorWith({ sql: 'x', parent: errorWith({ errno: 1062, sqlState: '23000', sqlMessage: 'Duplicate' }) }),
  ],
  ...deadlocks.flatMap(([client, cause]): [string, unknown][] => [
    [`what the application made of ${client}`, refusal({}, cause)],
    [`what the application keeps of ${client}`, refusal({ original: cause })],
  ]),
])('%s stays what it is', async (_name, error) => {
  expect(busyFault(error)).toBe(error);
  const db = new DatabaseSync(':memory:');
  db.exec(inboxSchema);
  const message = { id: 'm' };
  const work = (): Promise<void> => Promise.reject(error);
  const handled = handleOnce({
    inbox: sqliteInbox(db),
    subscription: 's',
    message,
    clock: systemClock,
    work,
  });
  await expect(handled).rejects.toBe(error);
  db.close();
});
