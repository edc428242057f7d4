/** How a failing batch is taken apart: who is held back, who goes on, and when the engine is to blame. */
import { describe, expect, it } from 'vitest';
import type { OutgoingMessage } from './engine.ts';
import { MessagingError } from './errors.ts';
import type { OutboxRow } from './outbox.ts';
import { laneOf } from './outbox-store.ts';
import { type SendRules, sendRows } from './relay-batch.ts';

const row = (number: number, key?: string, channel = 'c'): OutboxRow => ({
  number,
  channel,
  message: {
    id: `m${number}`,
    type: 'c',
    version: 1,
    source: '/',
    time: '',
    data: 0,
    headers: {},
    ...(key === undefined ? {} : { key }),
  },
});
/** Keys, `-` for none, with a channel before a slash where it is not `c`. */
const rowsOf = (text: string): OutboxRow[] =>
  text.split(' ').map((word, index) => {
    const [key, channel] = word.split('/').toReversed();
    return row(index + 1, key === '-' ? undefined : key, channel);
  });

async function send(
  text: string,
  fault: (ids: readonly string[]) => unknown,
  rules: Partial<SendRules> = {},
) {
  const calls: string[][] = [];
  const sent = await sendRows(rowsOf(text), {
    keyOrder: 'strict',
    onPoison: 'blockKey',
    mayGoOn: () => true,
    ...rules,
    forward: async (messages: readonly OutgoingMessage[]) => {
      const ids = messages.map(({ message }) => message.id);
      calls.push(ids);
      const error = fault(ids);
      if (error !== undefined) throw error;
      return [];
    },
  });
  const kinds = Array.from(
    { length: text.split(' ').length },
    (_, index) => sent.verdicts.get(index + 1)?.kind ?? '?',
  );
  return { calls, kinds: kinds.join(' '), stopped: sent.stoppedBy };
}
const never = (): undefined => undefined;
const at =
  (code: ConstructorParameters<typeof MessagingError>[0], ...bad: readonly string[]) =>
  (ids: readonly string[]): unknown =>
    ids.some((id) => bad.includes(id)) ? new MessagingError(code, 'refused') : undefined;

describe('sendRows', () => {
  it('publishes one row of a lane at a time, and rows without a key at once', async () => {
    const { calls } = await send('a b a - -', never);
    expect(calls).toEqual([['m1', 'm2', 'm4', 'm5'], ['m3']]);
  });

  it('publishes all at once where a key may come in one batch', async () => {
    expect((await send('a b a', never, { keyOrder: 'batched' })).calls).toEqual([['m1', 'm2', 'm3']]);
  });

  it('finds the row that fails by halves, and holds back what follows it', async () => {
    const { kinds, calls } = await send('a b c d e f g h a', at('DB_MSG_UNROUTABLE', 'm1'));
    expect(kinds).toBe(
      'waiting published published published published published published published waiting',
    );
    expect(calls).toHaveLength(7);
  });

  it('parks what is refused for good, with its followers behind it or going on', async () => {
    expect((await send('a b a', at('DB_MSG_MESSAGE_TOO_LARGE', 'm1'))).kinds).toBe(
      'parked published waiting',
    );
    const skip = await send('a b a', at('DB_MSG_MESSAGE_TOO_LARGE', 'm1'), { onPoison: 'skip' });
    expect(skip.kinds).toBe('parked published published');
  });

  it('blames no row for an engine that is out of reach', async () => {
    const { kinds, stopped, calls } = await send('a b a', at('DB_MSG_ENGINE_UNREACHABLE', 'm1', 'm2', 'm3'));
    expect([kinds, calls.length]).toEqual(['? ? ?', 1]);
    expect(stopped).toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
  });

  it('parks nothing when the server refuses the credentials or the rights', async () => {
    const { kinds, stopped, calls } = await send('a b a', at('DB_MSG_ENGINE_REFUSED', 'm1', 'm2', 'm3'));
    expect([kinds, calls.length]).toEqual(['? ? ?', 1]);
    expect(stopped).toMatchObject({ code: 'DB_MSG_ENGINE_REFUSED' });
  });

  it('parks the rows of a channel that is not declared, and those of others go on', async () => {
    const { kinds, stopped } = await send(
      'new/a b new/a new/c',
      at('DB_MSG_UNKNOWN_CHANNEL', 'm1', 'm3', 'm4'),
    );
    expect([kinds, stopped]).toEqual(['parked published waiting parked', undefined]);
  });

  it('asks for one row of a channel that is not declared, and by halves to find it', async () => {
    const text = 'new/- '.repeat(500).trim();
    const all = Array.from({ length: 500 }, (_, index) => `m${index + 1}`);
    let asked = 0;
    const parksUndeclared = (): boolean => (asked += 1) === 0;
    const { kinds, calls } = await send(text, at('DB_MSG_UNKNOWN_CHANNEL', ...all), { parksUndeclared });
    expect(new Set(kinds.split(' '))).toEqual(new Set(['waiting']));
    expect([calls.length, asked]).toEqual([10, 1]);
  });

  it('tries one row of a channel that was not declared before the others, which wait with it or follow it', async () => {
    const isDoubtful = (channel: string): boolean => channel === 'new';
    const rules = { isDoubtful, parksUndeclared: () => false };
    const text = 'a new/a new/a new/b';
    const refused = await send(text, at('DB_MSG_UNKNOWN_CHANNEL', 'm2', 'm3', 'm4'), rules);
    expect(refused.calls).toEqual([['m2'], ['m1']]);
    expect(refused.kinds).toBe('published waiting waiting waiting');
    const known = await send(text, never, rules);
    expect(known.calls).toEqual([['m2'], ['m1', 'm4'], ['m3']]);
  });

  it('blames the engine when row after row fails of an unknown cause, and a row when it is alone', async () => {
    const all = await send('a b c d e f g h', () => new TypeError('unknown'));
    expect(all.stopped).toBeInstanceOf(TypeError);
    const one = await send('a b c d', (ids) => (ids.includes('m2') ? new TypeError('unknown') : undefined));
    expect(one.kinds).toBe('published waiting published published');
    expect(one.stopped).toBeUndefined();
  });

  it('stops as soon as the outbox may be somebody else’s', async () => {
    let asked = 0;
    const { kinds, stopped } = await send('a a', never, { mayGoOn: () => ++asked === 1 });
    expect(kinds).toBe('published ?');
    expect(stopped).toMatchObject({ code: 'DB_MSG_STOPPED' });
  });
});

describe('laneOf', () => {
  it('tells keys of different channels and rows without a key apart, and stays short', () => {
    const lanes = [row(1), row(2), row(1, 'a'), row(1, '#2'), { ...row(1, 'a'), channel: 'd' }].map(laneOf);
    expect(new Set(lanes).size).toBe(5);
    expect(laneOf(row(1, 'k'.repeat(10_000))).length).toBeLessThan(100);
    expect(laneOf(row(1, 'a\0b'))).not.toContain('\0');
  });
});
