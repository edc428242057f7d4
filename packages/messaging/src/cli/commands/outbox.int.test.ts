/** `outbox parked | retry | discard` on the three databases: what is parked is told with its reason, and a relay publishes what a person lets go on, in the order of its key. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defineChannel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { eventually } from '../../conformance/fixture.ts';
import type { OutgoingMessage } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { createKeyedRelay } from '../../keyed-relay.ts';
import { createOutboxWriter } from '../../outbox.ts';
import { laneOf } from '../../outbox-store.ts';
import { type StoreFixture, storeChoices } from '../../stores/fixture.ts';
import { documentOf, here, inProcess, type Said, useFolder } from '../testing/fixture.ts';

const schema = Type.Object({ n: Type.Integer() });
const placed = defineChannel({ name: 'order.placed', version: 1, schema, order: 'key' });
const paid = defineChannel({ name: 'order.paid', version: 1, schema, order: 'key' });
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });
const order = (channel: typeof placed | typeof paid, key: string, n: number): OutgoingMessage =>
  write(channel, { n }, { key });

interface Listed {
  readonly number: number;
  readonly channel: string;
  readonly messageId?: string;
  readonly key?: string;
  readonly reason: string;
  readonly parkedAt: number;
}

for (const { kind, missing, create } of storeChoices)
  describe.skipIf(missing)(`an outbox on ${kind}${missing ? ` (needs ${missing})` : ''}`, () => {
    let fixture: StoreFixture;
    beforeEach(async () => {
      fixture = await create();
    });
    afterEach(() => fixture.destroy());

    const outbox = (...args: string[]): Promise<Said> => here('outbox', ...args, '--store', fixture.address);
    const answer = async <T>(...args: string[]): Promise<T> => documentOf(await outbox(...args, '--json'));
    const listed = (...args: string[]): Promise<readonly Listed[]> => answer('parked', ...args);

    /** As a relay leaves them: the first of each key is parked, the others wait behind it. */
    async function park(messages: readonly OutgoingMessage[], reason = 'too large'): Promise<void> {
      const { store } = fixture;
      await store.inbox.transaction((tx) => store.append(tx, messages));
      const owned = await store.outbox.own();
      const rows = await eventually(
        async () => (await owned?.readFresh(1_000)) ?? [],
        (found) => found.length === messages.length,
        'the rows',
      );
      const seen = new Set<string>();
      const held = rows.map(({ number }, index) => {
        const lane = laneOf({ ...(messages[index] as OutgoingMessage), number });
        const isFirst = !seen.has(lane);
        seen.add(lane);
        return { isFirst, row: { number, lane, reason } };
      });
      const rowsOf = (isFirst: boolean) =>
        held.filter((one) => one.isFirst === isFirst).map(({ row }) => row);
      await owned?.record({
        upTo: rows.at(-1)?.number,
        parked: rowsOf(true),
        waiting: rowsOf(false),
        published: [],
        now: systemClock.now(),
      });
      await owned?.release();
    }

    /** What a relay publishes now, and that nothing more waits. */
    async function published(count: number): Promise<readonly string[]> {
      const stored: string[] = [];
      const relay = createKeyedRelay({
        outbox: fixture.store.outbox,
        bus: {
          forward: async (messages) => {
            stored.push(
              ...messages.map(({ message: { key, data } }) => `${key} ${(data as { n: number }).n}`),
            );
            return [];
          },
        },
        clock: systemClock,
        sweepMs: 20,
        keepMs: Number.POSITIVE_INFINITY,
      });
      relay.start();
      await eventually(
        async () => stored.length,
        (length) => length >= count,
        'the rows published',
      );
      await relay.stop();
      return stored;
    }

    it('parked tells rows with their reasons, oldest first and page by page', async () => {
      expect(await outbox('parked')).toMatchObject({ code: 0, out: '(none)\n' });
      const first = order(placed, 'a', 1);
      await park([first, order(placed, 'a', 2), order(paid, 'b', 1)], 'more than 10 bytes\nstack');
      const rows = await listed();
      const common = { reason: 'more than 10 bytes\nstack', parkedAt: expect.any(Number) };
      expect(rows).toMatchObject([
        { ...common, channel: 'order.placed', key: 'a', messageId: first.message.id },
        { ...common, channel: 'order.paid', key: 'b' },
      ]);
      const table = await outbox('parked', '--limit', '1');
      expect(table.out).toMatch(
        /^number +channel +key +message +parked +reason\n1 +order\.placed +a +\S+ +\S+ +more than 10 bytes\n$/,
      );
      expect(table.err).toContain('There may be more: --after 1');
      expect(await listed('--limit', '1', '--after', '1')).toEqual(rows.slice(1));
      expect(await listed('--after', String(rows.at(-1)?.number))).toEqual([]);
    });

    it('retry by number lets that one go on, and with it what waits behind it, in order', async () => {
      await park([
        order(placed, 'a', 1),
        order(placed, 'a', 2),
        order(placed, 'b', 1),
        order(placed, 'b', 2),
      ]);
      const [a] = await listed();
      const retried = await outbox('retry', '--number', String(a?.number));
      expect(retried).toMatchObject({ code: 0, out: '1 retried, 0 left\n' });
      expect(retried.err).toContain('next sweep');
      expect(await listed()).toMatchObject([{ key: 'b' }]);
      expect(await published(2)).toEqual(['a 1', 'a 2']);
      expect(await fixture.store.outbox.view(systemClock.now())).toMatchObject({ parked: 1, waiting: 1 });
      const again = await outbox('retry', '--number', String(a?.number));
      expect(again).toMatchObject({ code: 2, out: '', err: expect.stringContaining('no row 1 is parked') });
    });

    it('retry takes a message, a channel, or all, and --dry-run only counts', async () => {
      const message = order(placed, 'c', 1);
      await park([
        order(placed, 'a', 1),
        order(paid, 'b', 1),
        message,
        order(paid, 'd', 1),
        order(paid, 'e', 1),
      ]);
      expect(await answer('retry', '--all', '--dry-run')).toEqual({
        matching: 5,
        groups: [
          { count: 3, channel: 'order.paid', reason: 'too large' },
          { count: 2, channel: 'order.placed', reason: 'too large' },
        ],
        dryRun: true,
      });
      expect(await listed()).toHaveLength(5);
      const moved = (count: number, remaining = 0) => ({ moved: count, remaining, aborted: false });
      expect(await answer('retry', '--message-id', message.message.id)).toEqual(moved(1));
      expect(await answer('retry', '--channel', 'order.paid', '--limit', '2')).toEqual(moved(2, 1));
      expect(await listed()).toMatchObject([{ key: 'a' }, { key: 'e' }]);
      expect(await answer('retry', '--all')).toEqual(moved(2));
      expect((await published(5)).toSorted()).toEqual(['a 1', 'b 1', 'c 1', 'd 1', 'e 1']);
    });

    it('a row that cannot be read is listed, and let go for good when its channel is named again', async () => {
      await park([order(placed, 'a', 1), order(placed, 'a', 2)], 'no CloudEvent');
      await fixture.query(`UPDATE outbox SET body = '{"id":"x"}' WHERE number = 1`);
      expect(await listed()).toMatchObject([{ number: 1, reason: 'no CloudEvent', body: '{"id":"x"}' }]);
      const discard = ['discard', '--channel', 'order.placed', '--number', '1'];
      const unconfirmed = await outbox(...discard);
      expect(unconfirmed).toMatchObject({ code: 2, err: expect.stringContaining('--confirm order.placed') });
      expect(await outbox(...discard, '--dry-run')).toMatchObject({
        code: 0,
        err: expect.stringContaining('1 would be discarded; nothing was.'),
      });
      expect(await listed()).toHaveLength(1);
      expect(await answer(...discard, '--confirm', 'order.placed')).toEqual({
        discarded: 1,
        remaining: 0,
        aborted: false,
      });
      expect(await published(1)).toEqual(['a 2']);
    });

    it('stopped by Ctrl-C says so, and the same command goes on', async () => {
      await park([order(placed, 'a', 1)]);
      const all = ['outbox', 'retry', '--all', '--store', fixture.address];
      const stopped = await inProcess(all, { signal: AbortSignal.abort() });
      expect(stopped).toMatchObject({ code: 5, out: '0 retried, 1 left\n' });
      expect(await inProcess(all)).toMatchObject({ code: 0, out: '1 retried, 0 left\n' });
    });

    it.each([
      [['--number', '99'], /no row 99 is parked/],
      [['--number', '1', '--channel', 'order.paid'], /no row 1 of channel "order\.paid" is parked/],
      [['--channel', 'order.gone'], /no row of channel "order\.gone" is parked/],
      [['--message-id', 'nope', '--number', '1'], /no row .*is parked/],
    ])('retry %j, which is not parked, is refused and changes nothing', async (args, text) => {
      await park([order(placed, 'a', 1)]);
      const refused = await outbox('retry', ...args);
      expect(refused).toMatchObject({ code: 2, out: '', err: expect.stringMatching(text) });
      expect(await listed()).toHaveLength(1);
    });

    it('is named by DOORBUSTER_STORE_URL too', async () => {
      const env = { DOORBUSTER_STORE_URL: fixture.address };
      expect(await inProcess(['outbox', 'parked', '--json'], { env })).toMatchObject({
        code: 0,
        out: '[]\n',
      });
    });

    it('without its tables is told so', async () => {
      await fixture.query('DROP TABLE outbox_held');
      const told = await outbox('parked');
      expect(told).toMatchObject({ code: 3, out: '' });
      expect(told.err).toMatch(/the database of --store lacks a table[\s\S]*prepare\(\)/);
    });
  });

describe('an outbox that is none', () => {
  const folder = useFolder();

  it.each([
    ['no database', ['parked'], 3, /no database with an outbox was named[\s\S]*DOORBUSTER_STORE_URL/],
    ['no filter', ['retry', '--store', 'sqlite:x'], 2, /no filter was given[\s\S]*--all/],
    ['no number', ['retry', '--store', 'sqlite:x', '--number', 'one'], 2, /--number one: no number of a row/],
    ['discard of some', ['discard', '--store', 'sqlite:x', '--number', '1'], 2, /needs --channel or --all/],
    ['no file', ['parked', '--store', 'sqlite:/nowhere/shop.db'], 2, /there is no such file/],
    [
      'an engine',
      ['parked', '--store', 'amqp://localhost'],
      2,
      /the address of a store begins with postgres:/,
    ],
    [
      'a server out of reach',
      ['parked', '--store', 'postgres://127.0.0.1:1/x'],
      4,
      /out of reach[\s\S]*Check/,
    ],
  ])('%s is refused with what to do', async (_name, args, code, text) => {
    const refused = await here('outbox', ...args);
    expect(refused).toMatchObject({ code, out: '' });
    expect(refused.err).toMatch(text);
    expect(refused.err).not.toMatch(/\n {4}at /);
  });

  it('a file of another application is refused and stays as it is', async () => {
    const path = folder.path('other.db');
    const db = new DatabaseSync(path);
    db.exec('CREATE TABLE theirs (id)');
    const refused = await here('outbox', 'parked', '--store', `sqlite:${path}`);
    expect(refused).toMatchObject({ code: 3, out: '', err: expect.stringContaining('lacks a table') });
    expect(db.prepare('SELECT name FROM sqlite_schema').all()).toEqual([{ name: 'theirs' }]);
    db.close();
  });

  const postgres = process.env['DATABASE_URL'] ?? '';
  it.skipIf(postgres === '')('a database that is not there (needs DATABASE_URL)', async () => {
    const address = new URL(postgres);
    address.pathname = '/nowhere';
    const refused = await here('outbox', 'parked', '--store', address.href);
    expect(refused).toMatchObject({ code: 3, out: '' });
    expect(refused.err).toMatch(/the database of --store cannot be opened[\s\S]*Mend --store/);
  });
});
