import { describe, expect, it } from 'vitest';
import {
  packBodies,
  packHandOut,
  packReply,
  packTurn,
  unpackBodies,
  unpackHandOut,
  unpackReply,
  unpackTurn,
} from './packing.ts';
import type { HandOut, Operation, PublishRow, Turn, TurnReply } from './turn.ts';

const row = (body: string, more: Partial<PublishRow> = {}): PublishRow => ({
  channel: 'orders',
  level: 0,
  key: null,
  expiresAt: null,
  dueAt: null,
  body,
  ...more,
});

const crossed = <T>(value: T): T => structuredClone(value);

const turnOf = (operations: readonly Operation[]): Turn => ({ now: 5, monotonic: 1.5, operations });

describe('a turn that crosses the threads', () => {
  const turns: Readonly<Record<string, readonly Operation[]>> = {
    'nothing asked': [],
    'one publish': [{ op: 'publish', rows: [row('{"a":1}')] }],
    'a publish of nothing between others': [
      { op: 'publish', rows: [row('a')] },
      { op: 'publish', rows: [] },
      { op: 'publish', rows: [row('b'), row('c')] },
    ],
    'rows that differ in each of their columns': [
      {
        op: 'publish',
        rows: [
          row('a'),
          row('b', { channel: 'others' }),
          row('c', { level: 2 }),
          row('d', { key: 'k' }),
          row('e', { key: 'k', expiresAt: 7 }),
          row('f', { key: 'k', dueAt: 9 }),
          row('g', { key: 'k', dueAt: 9 }),
        ],
      },
    ],
    'empty bodies, wide characters and halves of pairs': [
      { op: 'publish', rows: [row(''), row('žluť'), row('😀'), row('\ud83d'), row('\ude00'), row('')] },
    ],
    'publishes, settlements and others in their order': [
      { op: 'publish', rows: [row('a')] },
      { op: 'settle', consumer: 1, settlements: [{ kind: 'ack', token: 3 }] },
      { op: 'publish', rows: [row('b')] },
      { op: 'extend', consumer: 1, tokens: [4, 5] },
      {
        op: 'settle',
        consumer: 1,
        settlements: [
          { kind: 'ack', token: 4 },
          { kind: 'retry', token: 5, dueAt: 8, state: 's' },
        ],
      },
      { op: 'settle', consumer: 2, settlements: [] },
    ],
  };
  for (const [name, operations] of Object.entries(turns))
    it(`comes out as it went in: ${name}`, () => {
      expect(unpackTurn(crossed(packTurn(turnOf(operations))))).toEqual(turnOf(operations));
    });

  it('says once what rows share', () => {
    const rows = Array.from({ length: 100 }, (_, n) => row(String(n)));
    const [packed] = packTurn(turnOf(rows.map((one) => ({ op: 'publish', rows: [one] })))).operations;
    expect(packed).toMatchObject({ op: 'publishes', heads: [{ channel: 'orders', rows: 100 }] });
  });
});

describe('a reply that crosses the threads', () => {
  const reply: TurnReply = {
    results: [
      { value: undefined },
      { value: undefined },
      { error: { code: 'DB_MSG_UNROUTABLE', message: 'no binding takes it' } },
      { value: undefined },
      { value: ['settled', 'lost', 'settled'] },
      { value: ['lost'] },
      { value: [] },
      { value: { moved: 1, remaining: 0 } },
      { value: false },
      { value: [{ offset: '1', body: 'settled' }] },
    ],
    handOuts: [
      {
        consumer: 1,
        items: [
          { token: 7, body: 'one', state: null, abandoned: 0 },
          { token: 9, body: 'žwei 😀', state: '{"attempts":1}', abandoned: 0 },
          { token: 8, body: '', state: null, abandoned: 2 },
          { token: 11, body: 'four', state: null, abandoned: 0 },
        ],
      },
      { consumer: 2, items: [{ token: 12, body: 'x', state: null, abandoned: 0 }] },
    ],
    nextDueAt: undefined,
    nextLeaseEnd: 3.25,
  };

  it('comes out as it went in', () => {
    expect(unpackReply(crossed(packReply(reply)))).toEqual(reply);
  });

  it('is one text for each consumer', () => {
    const [first] = packReply(reply).handOuts;
    expect(first).toMatchObject({ texts: ['onežwei 😀four'], tokens: [7, 9, 8, 11] });
  });

  it('is some texts where the bodies are many or long, and cuts none of them', () => {
    const bodies = ['a'.repeat(50_000), 'b'.repeat(15_536), '', 'c', 'd'.repeat(200_000), '', 'e'];
    const items = bodies.map((body, token) => ({ token, body, state: null, abandoned: 0 }));
    const long: TurnReply = { ...reply, handOuts: [{ consumer: 1, items }] };
    const packed = packReply(long);
    expect(packed.handOuts[0]?.texts.map(({ length }) => length)).toEqual([65_536, 1, 200_000, 1]);
    expect(unpackReply(crossed(packed))).toEqual(long);
  });
});

describe('bodies that cross ahead of their hand-out', () => {
  const bodies = ['one', '', 'žwei 😀', 'd'.repeat(70_000)];

  it('come out as they went in', () => {
    expect(unpackBodies(crossed(packBodies(bodies)))).toEqual(bodies);
  });

  it('are named by their places among those that come with it', () => {
    const item = (token: number, body: string, place?: number): HandOut => ({
      token,
      body,
      state: null,
      abandoned: 0,
      place,
    });
    const items = [
      item(1, 'tried'),
      item(2, bodies[2] as string, 2),
      item(3, bodies[3] as string, 3),
      item(4, 'late'),
    ];
    const packed = packHandOut({
      consumer: 7,
      items: [{ ...(items[0] as HandOut), abandoned: 1 }, ...items.slice(1)],
    });
    expect(packed.texts).toEqual(['triedlate']);
    const asked: number[] = [];
    const unpacked = unpackHandOut(crossed(packed), (place) => {
      asked.push(place);
      return { body: bodies[place] as string, read: { message: undefined, malformed: `${place}` } };
    });
    expect(asked).toEqual([2, 3]);
    expect(
      unpacked.items.map(({ token, body, abandoned, read }) => [
        token,
        body.length,
        abandoned,
        read?.malformed,
      ]),
    ).toEqual([
      [1, 5, 1, undefined],
      [2, 7, 0, '2'],
      [3, 70_000, 0, '3'],
      [4, 4, 0, undefined],
    ]);
  });

  it('are never asked for where nothing came', () => {
    const item = { token: 1, body: 'a', state: null, abandoned: 0, place: 0 };
    expect(() => unpackHandOut(packHandOut({ consumer: 1, items: [item] }))).toThrow('nothing came ahead');
  });
});
