import { describe, expect, it } from 'vitest';
import type { StoredLetter } from './letters.ts';
import { ParkedKeys } from './parked-keys.ts';
import { BEHIND_ITS_KEY, type Held, heldKeysOf, inSequence } from './placeholders.ts';

const own = { turn: undefined, returning: [{ redrive: 'r1', turn: 1 }], left: 0 };
const once = { redrive: 'r1', turn: 1 };

function parked(): ParkedKeys {
  const keys = new ParkedKeys();
  keys.park('a', {});
  return keys;
}

describe('parked keys', () => {
  it('the last of a sequence frees the key, and no other', () => {
    const keys = parked();
    const sight = { at: keys.now, held: own };
    expect(keys.admit('a', once, sight)).toBe(true);
    expect(keys.has('a')).toBe(true);
    expect(keys.admit('a', { ...once, isLast: true }, sight)).toBe(true);
    expect(keys.has('a')).toBe(false);
  });

  it('not while a letter or another placeholder is left, or something was parked since the look', () => {
    const left = parked();
    left.admit('a', { ...once, isLast: true }, { at: left.now, held: { ...own, left: 1 } });
    expect(left.has('a')).toBe(true);
    const since = parked();
    const sight = { at: since.now, held: own };
    since.park('a', {});
    expect(since.admit('a', { ...once, isLast: true }, sight)).toBe(true);
    expect(since.has('a')).toBe(true);
  });

  it('behind one that failed again a redriven message does not pass, also not with a redrive that found only the others', () => {
    const keys = parked();
    expect(keys.admit('a', once, { at: keys.now, held: own })).toBe(true);
    keys.park('a', once);
    expect(keys.isUnsure('a', once)).toBe(false);
    expect(keys.admit('a', once, undefined)).toBe(false);
    const second = { at: keys.now, held: { turn: 1, returning: [{ redrive: 'r2', turn: 2 }], left: 3 } };
    expect(keys.isUnsure('a', { redrive: 'r2', turn: 2 })).toBe(true);
    expect(keys.admit('a', { redrive: 'r2', turn: 2 }, second)).toBe(true);
    expect(keys.admit('a', { redrive: 'r2', turn: 1 }, undefined)).toBe(false);
  });

  it('what is on its way behind it with more turns is older', () => {
    const keys = parked();
    const returning = [
      { redrive: 'r0', turn: 9 },
      { redrive: 'r1', turn: 1 },
      { redrive: 'r2', turn: 2 },
    ];
    expect(keys.admit('a', once, { at: keys.now, held: { ...own, returning } })).toBe(false);
    expect(keys.admit('a', { redrive: 'r2', turn: 1 }, { at: keys.now, held: { ...own, returning } })).toBe(
      true,
    );
  });

  it('what an older version redrives frees its key alone, as that version meant it', () => {
    const keys = parked();
    const note = { redriven: true };
    expect(keys.isUnsure('a', note)).toBe(true);
    expect(keys.admit('a', note, { at: keys.now, held: { ...own, left: 1 } })).toBe(true);
    expect(keys.has('a')).toBe(true);
    keys.admit('a', note, { at: keys.now, held: undefined });
    expect(keys.has('a')).toBe(false);
  });
});

describe('placeholders', () => {
  const held = (id: string, turn: number, more: Partial<StoredLetter> = {}): Held => ({
    letter: { id, turn, key: 'a', inLane: true, group: BEHIND_ITS_KEY, history: [], ...more } as StoredLetter,
    amqp: { id } as never,
  });

  it('the last copy takes its own and those before it, which have none coming', () => {
    const all = ['r1', 'r2', 'r3'].map((returning) => held(returning, 0, { returning }));
    const { keys, served } = heldKeysOf([held('x', 1), ...all], new Set(['r2']));
    expect(served).toEqual([{ id: 'r1' }, { id: 'r2' }]);
    expect(keys.get('a')).toEqual({
      turn: 1,
      returning: ['r1', 'r2', 'r3'].map((redrive) => ({ redrive, turn: 0 })),
      left: 2,
    });
  });

  it('what was redriven more often goes first within its key, and other messages keep their place', () => {
    const other = held('other', 9, { inLane: false });
    const order = inSequence([held('f', 0), other, held('a', 1), held('b', 1), held('g', 0)]);
    expect(order.map(({ letter }) => letter.id)).toEqual(['a', 'b', 'f', 'g', 'other']);
  });
});
