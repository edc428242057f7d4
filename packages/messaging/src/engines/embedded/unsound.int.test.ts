/** Values that types refuse and JavaScript does not: they are the trouble of the one who made them, and of nobody who shares a turn with him. */
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { Collector } from '../../conformance/fixture.ts';
import type {
  Consumer,
  Delivery,
  EngineConnection,
  Letter,
  OutgoingMessage,
  Settlement,
} from '../../engine.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { embeddedEngineOn, openInProcessWriter } from './engine.ts';
import { Store } from './store.ts';
import type { Operation, PublishRow, Turn, TurnReply } from './turn.ts';

const topology = {
  channels: [
    {
      name: 'c',
      order: 'none',
      onFailure: 'skip',
      priorityLevels: 2,
      ephemeral: false,
      routing: 'fanout',
      keepMs: 60_000,
    },
  ],
  subscriptions: [{ channel: 'c', name: 's' }],
} as const;
const refusal = { code: 'DB_MSG_INVALID_OPTIONS' };

interface Opened {
  readonly connection: EngineConnection;
  /** Operations that reached the writer. */
  readonly reached: Operation[];
  readonly fatal: Error[];
}

async function open(): Promise<Opened> {
  const writer = openInProcessWriter(new DatabaseSync(':memory:'));
  const reached: Operation[] = [];
  const fatal: Error[] = [];
  const engine = embeddedEngineOn(async () => ({
    ...writer,
    run(turn) {
      reached.push(...turn.operations);
      return writer.run(turn);
    },
  }));
  const connection = await engine.connect({
    clock: createManualClock(),
    onFatal: (error) => fatal.push(error),
  });
  await connection.declare(topology);
  reached.length = 0;
  return { connection, reached, fatal };
}

const outgoing = (id: string): OutgoingMessage => ({
  channel: 'c',
  message: {
    id,
    type: 'c',
    version: 1,
    source: '/s',
    time: '2026-01-01T00:00:00.000Z',
    data: { id },
    headers: {},
  },
});
const withMessage = (change: object): unknown => {
  const sound = outgoing('bad');
  return { ...sound, message: { ...sound.message, ...change } };
};

describe('a publish', () => {
  const circle: Record<string, unknown> = {};
  circle['itself'] = circle;
  it.each<[string, unknown, string]>([
    ['null', null, 'DB_MSG_INVALID_OPTIONS'],
    ['without a message', { channel: 'c' }, 'DB_MSG_INVALID_OPTIONS'],
    ['a message that is null', { channel: 'c', message: null }, 'DB_MSG_INVALID_OPTIONS'],
    ['an empty message', { channel: 'c', message: {} }, 'DB_MSG_INVALID_OPTIONS'],
    ['a message without id', withMessage({ id: undefined }), 'DB_MSG_INVALID_OPTIONS'],
    ['an id that is an object', withMessage({ id: {} }), 'DB_MSG_INVALID_OPTIONS'],
    ['a message without type', withMessage({ type: '' }), 'DB_MSG_INVALID_OPTIONS'],
    ['a message without source', withMessage({ source: 5 }), 'DB_MSG_INVALID_OPTIONS'],
    ['a key that is an object', withMessage({ key: {} }), 'DB_MSG_INVALID_OPTIONS'],
    ['an expiry that is none', withMessage({ expiresAt: 'soon' }), 'DB_MSG_INVALID_OPTIONS'],
    ['data with a BigInt', withMessage({ data: 1n }), 'DB_MSG_INVALID_DATA'],
    ['data that contains itself', withMessage({ data: circle }), 'DB_MSG_INVALID_DATA'],
    ['dueAt NaN', { ...outgoing('bad'), dueAt: Number.NaN }, 'DB_MSG_INVALID_OPTIONS'],
    ['dueAt a text', { ...outgoing('bad'), dueAt: 'tomorrow' }, 'DB_MSG_INVALID_OPTIONS'],
    ['priority NaN', { ...outgoing('bad'), priority: Number.NaN }, 'DB_MSG_INVALID_OPTIONS'],
    ['priority an object', { ...outgoing('bad'), priority: {} }, 'DB_MSG_INVALID_OPTIONS'],
    ['a channel that is a symbol', { ...outgoing('bad'), channel: Symbol('c') }, 'DB_MSG_INVALID_OPTIONS'],
  ])('of %s is refused before the writer, and those beside it are stored', async (_, bad, code) => {
    const { connection, reached, fatal } = await open();
    const [before, refused, after] = await Promise.allSettled([
      connection.publish([outgoing('a')]),
      connection.publish([outgoing('with-the-bad-one'), bad as OutgoingMessage]),
      connection.publish([outgoing('b')]),
    ]);
    expect([before.status, after.status]).toEqual(['fulfilled', 'fulfilled']);
    expect(refused).toMatchObject({ reason: { code, retryable: false } });
    // The control: what is sound comes through the same way, so the writer was there to be reached.
    expect(reached.flatMap((one) => (one.op === 'publish' ? one.rows : []))).toHaveLength(2);
    expect(await idsWaiting(connection)).toEqual(['a', 'b']);
    expect(fatal).toEqual([]);
    await connection.close();
  });
});

async function idsWaiting(connection: EngineConnection): Promise<readonly (string | undefined)[]> {
  return (await connection.peek({ channel: 'c', name: 's' }, 10)).map(({ message }) => message?.id);
}

describe('a settlement', () => {
  const letter: Letter = { id: 'l', reason: 'r', group: 'g', at: 0, history: [], stateOnRedrive: '{}' };
  it.each<[string, (token: number) => unknown]>([
    ['null', () => null],
    ['of no known kind', (token) => ({ kind: 'keep', token })],
    ['with a token that is a symbol', () => ({ kind: 'ack', token: Symbol('t') })],
    ['that retries at NaN', (token) => ({ kind: 'retry', token, dueAt: Number.NaN, state: '{}' })],
    [
      'that retries with a state that is an object',
      (token) => ({ kind: 'retry', token, dueAt: 0, state: {} }),
    ],
    ['without its letter', (token) => ({ kind: 'deadLetter', token })],
    [
      'with a reason that is none',
      (token) => ({ kind: 'deadLetter', token, letter: { ...letter, reason: null } }),
    ],
    [
      'with a letter at NaN',
      (token) => ({ kind: 'deadLetter', token, letter: { ...letter, at: Number.NaN } }),
    ],
    [
      'with a history of BigInts',
      (token) => ({ kind: 'deadLetter', token, letter: { ...letter, history: [1n] } }),
    ],
  ])('%s is refused, and those of its batch are settled', async (_, bad) => {
    const { connection, reached, fatal } = await open();
    const { consumer, tokens } = await threeOut(connection);
    const [first = 0, second = 0, third = 0] = tokens;
    await expect(
      consumer.settle([
        { kind: 'ack', token: first },
        bad(second) as Settlement,
        { kind: 'ack', token: third },
      ]),
    ).rejects.toMatchObject({ ...refusal, message: expect.stringMatching(/1: /) as string });
    expect(reached.flatMap((one) => (one.op === 'settle' ? one.settlements : []))).toHaveLength(2);
    const view = await connection.inspect();
    expect(view.channels[0]?.subscriptions[0]?.inFlight).toBe(1);
    await expect(consumer.settle([{ kind: 'ack', token: second }])).resolves.toEqual(['settled']);
    expect(fatal).toEqual([]);
    await connection.close();
  });

  it('of a letter whose time has a fraction is stored at a whole millisecond', async () => {
    const { connection } = await open();
    const { consumer, tokens } = await threeOut(connection);
    const parked = { kind: 'deadLetter', token: tokens[0] ?? 0, letter: { ...letter, at: 4.5 } } as const;
    await expect(consumer.settle([parked])).resolves.toEqual(['settled']);
    expect(await connection.deadLetters.list({}, { limit: 5 })).toMatchObject([{ parkedAt: 5 }]);
    await connection.close();
  });
});

async function threeOut(
  connection: EngineConnection,
): Promise<{ readonly consumer: Consumer; readonly tokens: readonly number[] }> {
  const got = new Collector<Delivery>();
  await connection.publish(['a', 'b', 'c'].map(outgoing));
  const spec = { channel: 'c', subscription: 's', prefetch: 3, leaseMs: 30_000 };
  const consumer = await connection.subscribe(spec, (some) => some.forEach((one) => got.add(one)));
  await got.waitFor(3);
  return { consumer, tokens: got.values.map(({ token }) => token as number) };
}

describe('other operations', () => {
  it('are refused when they go to no place: a rewind, an extension, a page after a letter that is gone', async () => {
    const { connection, fatal } = await open();
    const place = { channel: 'c', name: 's' };
    for (const from of [{ timeMs: Number.NaN }, { offset: 5 }, null, 'yesterday', {}])
      await expect(connection.rewind(place, from as never)).rejects.toMatchObject(refusal);
    await expect(connection.rewind(place, { timeMs: 1.5 })).resolves.toBeUndefined();
    const { consumer, tokens } = await threeOut(connection);
    await expect(consumer.extend([{} as never])).rejects.toMatchObject(refusal);
    const ids = ['l1', 'l2'];
    for (const [index, id] of ids.entries()) {
      const letter = { id, reason: 'r', group: 'g', at: 0, history: [], stateOnRedrive: '{}' };
      await consumer.settle([{ kind: 'deadLetter', token: tokens[index] ?? 0, letter }]);
    }
    const list = (after: string): Promise<readonly { readonly id: string }[]> =>
      connection.deadLetters.list({}, { limit: 5, after });
    expect(await list('l1')).toMatchObject([{ id: 'l2' }]);
    await connection.deadLetters.discard({ messageIds: ['a'] }, 1);
    await expect(list('l1')).rejects.toMatchObject(refusal);
    expect(fatal).toEqual([]);
    await connection.close();
  });
});

describe('the store, when a check was passed by', () => {
  const row = (body: unknown): PublishRow => ({
    channel: 'c',
    level: 0,
    key: null,
    expiresAt: null,
    dueAt: null,
    body: body as string,
  });
  const subscribe: Operation = {
    op: 'subscribe',
    consumer: 1,
    channel: 'c',
    subscription: 's',
    prefetch: 10,
    leaseMs: 1_000,
  };
  /** Leaves no room for another page. */
  function fill(database: DatabaseSync): void {
    const { page_count: pages } = database.prepare('PRAGMA page_count').get() as { page_count: number };
    database.exec(`PRAGMA max_page_count = ${pages}`);
  }
  const publish = (...bodies: readonly unknown[]): Operation => ({ op: 'publish', rows: bodies.map(row) });

  function stored(): {
    readonly database: DatabaseSync;
    readonly store: Store;
    readonly run: (...operations: readonly Operation[]) => TurnReply;
  } {
    const database = new DatabaseSync(':memory:');
    const store = new Store(database, { durable: false, keepUnsubscribedMs: 1_000 });
    const run = (...operations: readonly Operation[]): TurnReply =>
      store.run({ now: 1_000, monotonic: 1_000, operations } satisfies Turn);
    run({ op: 'declare', topology });
    return { database, store, run };
  }
  const bodiesIn = (database: DatabaseSync): readonly unknown[] =>
    database
      .prepare('SELECT body FROM messages ORDER BY position')
      .all()
      .map(({ body }) => body);

  it('undoes what the operation wrote and does the turn without it', () => {
    const { database, run } = stored();
    const reply = run(publish('a'), subscribe, publish('half of a bad one', {}), publish('b'));
    expect(reply.results).toMatchObject([
      { value: undefined },
      { value: undefined },
      { error: refusal },
      { value: undefined },
    ]);
    expect(bodiesIn(database)).toEqual(['a', 'b']);
    // Once each, to the one consumer that joined in this turn.
    expect(reply.handOuts).toHaveLength(1);
    expect(reply.handOuts[0]?.items.map(({ body }) => body)).toEqual(['a', 'b']);
  });

  it('keeps leases and positions as they were', () => {
    const { run } = stored();
    const joined = run(publish('a', 'b'), subscribe);
    const [one, two] = joined.handOuts[0]?.items.map(({ token }) => token) ?? [];
    const settle = (token: number | undefined, state: unknown): Operation => ({
      op: 'settle',
      consumer: 1,
      settlements: [{ kind: 'retry', token: token ?? 0, dueAt: 0, state: state as string }],
    });
    const reply = run(settle(one, {}), settle(two, '{}'));
    expect(reply.results).toMatchObject([{ error: refusal }, { value: ['settled'] }]);
    expect(run(settle(one, '{}')).results).toEqual([{ value: ['settled'] }]);
  });

  it('is lost all the same when the file is: nothing is tried again (the control)', () => {
    const { database, run } = stored();
    database.exec('DROP TABLE cursors');
    database.exec('CREATE TABLE cursors (subscription INTEGER)');
    expect(() => run(publish('a'), subscribe)).toThrow(/column/);
  });

  it('gives back a consumer that left in a turn for which there was no room, with what it held', () => {
    const { database, run } = stored();
    const joined = run(publish('a'), subscribe);
    const token = joined.handOuts[0]?.items[0]?.token ?? 0;
    fill(database);
    const full = run({ op: 'leave', consumer: 1 }, publish('x'.repeat(50_000)));
    expect(full.results).toMatchObject([{ error: { code: 'DB_MSG_DISK_FULL' } }, {}]);
    database.exec('PRAGMA max_page_count = 100000');
    const settled = run({ op: 'settle', consumer: 1, settlements: [{ kind: 'ack', token }] });
    expect(settled.results).toEqual([{ value: ['settled'] }]);
  });

  it('is not done again at once for a lease that ended while there is no room to give back what it held', () => {
    const { database, store, run } = stored();
    run(publish('x'.repeat(50_000)), subscribe);
    fill(database);
    const full = store.run({ now: 9_000, monotonic: 9_000, operations: [{ op: 'inspect' }] });
    expect(full.results).toMatchObject([{ error: { code: 'DB_MSG_DISK_FULL' } }]);
    expect(full.nextLeaseEnd).toBe(9_500);
  });
});
