/** Rows that the writer read between turns are claimed like any other, each once, and only while they are what its cursor comes to next. */
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { Store } from './store.ts';
import type { HandOut, Operation, PublishRow, TurnReply } from './turn.ts';

const channel = {
  name: 'c',
  order: 'none',
  onFailure: 'skip',
  priorityLevels: 1,
  ephemeral: false,
  routing: 'fanout',
  keepMs: 1e6,
} as const;
const subscriptions = ['s', 't'].map((name) => ({ channel: 'c', name }));

const rowsOf = (from: number, to: number, more: Partial<PublishRow> = {}): readonly PublishRow[] =>
  Array.from({ length: to - from + 1 }, (_, index) => ({
    channel: 'c',
    level: 0,
    key: null,
    expiresAt: null,
    dueAt: null,
    body: `"${from + index}"`,
    ...more,
  }));
const bodiesOf = (from: number, to: number): readonly string[] => rowsOf(from, to).map(({ body }) => body);
const joined = (consumer: number, subscription = 's'): Operation => ({
  op: 'subscribe',
  consumer,
  channel: 'c',
  subscription,
  prefetch: 100,
  leaseMs: 1e9,
});
const publish = (rows: readonly PublishRow[]): Operation => ({ op: 'publish', rows });

/** A store, and turns on it at a time. */
function opened(): {
  readonly db: DatabaseSync;
  readonly store: Store;
  readonly run: (now: number, ...operations: readonly Operation[]) => TurnReply;
  /** Settles all that a reply handed out, and so makes room. */
  readonly settle: (now: number, reply: TurnReply) => TurnReply;
} {
  const db = new DatabaseSync(':memory:');
  const store = new Store(db, { durable: false, keepUnsubscribedMs: 1 });
  const run = (now: number, ...operations: readonly Operation[]): TurnReply =>
    store.run({ now, monotonic: now, operations });
  run(1, { op: 'declare', topology: { channels: [channel], subscriptions } });
  const settle = (now: number, { handOuts }: TurnReply): TurnReply =>
    run(
      now,
      ...handOuts.map(
        ({ consumer, items }): Operation => ({
          op: 'settle',
          consumer,
          settlements: items.map(({ token }) => ({ kind: 'ack', token })),
        }),
      ),
    );
  return { db, store, run, settle };
}

const itemsOf = ({ handOuts }: TurnReply): readonly HandOut[] => handOuts.flatMap(({ items }) => items);
const bodiesIn = (reply: TurnReply): readonly string[] => itemsOf(reply).map(({ body }) => body);
const placesIn = (reply: TurnReply): readonly (number | undefined)[] =>
  itemsOf(reply).map(({ place }) => place);
const count = (from: number, to: number): readonly number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe('what a store reads ahead', () => {
  it('is as much as a turn handed out, and comes next by its places', () => {
    const { store, run, settle } = opened();
    const first = run(2, publish(rowsOf(1, 250)), joined(1));
    expect(placesIn(first).every((place) => place === undefined)).toBe(true);
    expect(store.readAhead()).toEqual(bodiesOf(101, 200));
    // Those of before still hold.
    expect(store.readAhead()).toBeUndefined();
    const second = settle(3, first);
    expect(bodiesIn(second)).toEqual(bodiesOf(101, 200));
    expect(placesIn(second)).toEqual(count(0, 99));
    expect(store.readAhead()).toEqual(bodiesOf(201, 250));
    expect(bodiesIn(settle(4, second))).toEqual(bodiesOf(201, 250));
    expect(store.readAhead()).toBeUndefined();
  });

  it('is used up over some turns, and joined by what was not read ahead', () => {
    const { store, run, settle } = opened();
    const first = run(2, publish(rowsOf(1, 300)), joined(1));
    store.readAhead();
    const [consumer] = first.handOuts;
    const part = (from: number, to: number): TurnReply => ({
      ...first,
      handOuts: [{ consumer: 1, items: consumer?.items.slice(from, to) ?? [] }],
    });
    expect(placesIn(settle(3, part(0, 70)))).toEqual(count(0, 69));
    const joinedTo = run(4, joined(2));
    expect(placesIn(joinedTo)).toEqual([...count(70, 99), ...Array<undefined>(70)]);
    expect(bodiesIn(joinedTo)).toEqual(bodiesOf(171, 270));
  });

  it('is nothing behind a small hand-out, of large messages, or with nobody to take it', () => {
    const { store, run } = opened();
    run(2, publish(rowsOf(1, 250)));
    expect(store.readAhead()).toBeUndefined();
    run(3, { ...joined(1), prefetch: 63 } as Operation);
    expect(store.readAhead()).toBeUndefined();
    const large = opened();
    large.run(2, publish(rowsOf(1, 250, { body: `"${'x'.repeat(11_000)}"` })), joined(1));
    expect(large.store.readAhead()).toBeUndefined();
  });

  it('is not handed out when it expired meanwhile', () => {
    const { store, run, settle } = opened();
    const rows = rowsOf(1, 200).map((row, n) => (n === 100 ? { ...row, expiresAt: 5 } : row));
    const first = run(2, publish(rows), joined(1));
    expect(store.readAhead()).toHaveLength(100);
    const second = settle(6, first);
    expect(bodiesIn(second)).toEqual(bodiesOf(102, 200));
    expect(placesIn(second)).toEqual(count(1, 99));
  });

  it('is of no use after a rewind', () => {
    const { store, run } = opened();
    run(2, publish(rowsOf(1, 250)), joined(1));
    store.readAhead();
    run(4, { op: 'leave', consumer: 1 });
    run(5, { op: 'rewind', channel: 'c', subscription: 's', from: 'earliest', dryRun: false });
    const again = run(6, joined(2));
    expect(bodiesIn(again)).toEqual(bodiesOf(1, 100));
    expect(placesIn(again).every((place) => place === undefined)).toBe(true);
  });

  it('is given out once: what an undone turn took is read again', () => {
    const { db, store, run, settle } = opened();
    const first = run(2, publish(rowsOf(1, 250)), joined(1));
    store.readAhead();
    const { page_count: pages } = db.prepare('PRAGMA page_count').get() as { page_count: number };
    db.exec(`CREATE TRIGGER full AFTER UPDATE ON cursors BEGIN INSERT INTO scheduled (log, due_at, body) VALUES (1, 1e12, hex(zeroblob(90000))); END;
      PRAGMA max_page_count = ${pages}`);
    expect(settle(3, first).results).toMatchObject([{ error: { code: 'DB_MSG_DISK_FULL' } }]);
    expect(store.readAhead()).toBeUndefined();
    db.exec('DROP TRIGGER full; PRAGMA max_page_count = 100000');
    const second = settle(4, first);
    expect(bodiesIn(second)).toEqual(bodiesOf(101, 200));
    expect(placesIn(second).every((place) => place === undefined)).toBe(true);
  });

  it('is of one subscription, until that one takes nothing of it for some turns', () => {
    const { store, run, settle } = opened();
    let mine = run(2, publish(rowsOf(1, 2_000)), joined(1));
    expect(store.readAhead()).toEqual(bodiesOf(101, 200));
    let others = run(3, joined(2, 't'));
    const tookFrom: boolean[] = [];
    for (let turn = 4; turn < 8; turn += 1) {
      expect(store.readAhead()).toBeUndefined();
      others = settle(turn, others);
      tookFrom.push(placesIn(others)[0] !== undefined);
      mine = settle(turn, mine);
      expect(placesIn(mine)).toEqual(count(0, 99));
      expect(store.readAhead()).toHaveLength(100);
    }
    for (let turn = 8; turn < 20; turn += 1) {
      others = settle(turn, others);
      tookFrom.push(placesIn(others)[0] !== undefined);
      store.readAhead();
    }
    expect(tookFrom).toEqual([...Array<false>(13).fill(false), true, true, true]);
    expect(bodiesIn(others)).toEqual(bodiesOf(1_601, 1_700));
  });
});
