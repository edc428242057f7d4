import { describe, expect, it } from 'vitest';
import type { StoredLetter } from './letters.ts';
import { ParkedKeys } from './parked-keys.ts';
import { BEHIND_ITS_KEY, type Held, heldKeysOf, inSequence } from './placeholders.ts';

const noFailure = { hasFailed: false, returning: ['r1'], left: 0 };

function parked(): ParkedKeys {
  const keys = new ParkedKeys();
  keys.fail('a');
  return keys;
}

describe('parked keys', () => {
  it('the last of a sequence frees the key, and no other', () => {
    const keys = parked();
    const sight = { at: keys.now, held: noFailure };
    expect(keys.admit('a', { redrive: 'r1' }, sight)).toBe(true);
    expect(keys.has('a')).toBe(true);
    expect(keys.admit('a', { redrive: 'r1', isLast: true }, sight)).toBe(true);
    expect(keys.has('a')).toBe(false);
  });

  it('does not while a letter or another placeholder is left, or something was parked since the look', () => {
    const left = parked();
    left.admit('a', { redrive: 'r1', isLast: true }, { at: left.now, held: { ...noFailure, left: 1 } });
    expect(left.has('a')).toBe(true);
    const since = parked();
    const sight = { at: since.now, held: noFailure };
    since.follow('a');
    since.admit('a', { redrive: 'r1', isLast: true }, sight);
    expect(since.has('a')).toBe(true);
  });

  it('behind one that failed again a redriven message does not pass, until a redrive brings both', () => {
    const keys = parked();
    expect(keys.admit('a', { redrive: 'r1' }, { at: keys.now, held: noFailure })).toBe(true);
    keys.fail('a');
    expect(keys.isUnsure('a', { redrive: 'r1' })).toBe(false);
    expect(keys.admit('a', { redrive: 'r1' }, undefined)).toBe(false);
    expect(keys.isUnsure('a', { redrive: 'r2' })).toBe(true);
    const failed = { at: keys.now, held: { hasFailed: true, returning: ['r2'], left: 2 } };
    expect(keys.admit('a', { redrive: 'r2' }, failed)).toBe(false);
    const overtaken = { at: keys.now, held: { ...noFailure, returning: ['r4'] } };
    expect(keys.admit('a', { redrive: 'r3' }, overtaken)).toBe(false);
    expect(keys.admit('a', { redrive: 'r4' }, overtaken)).toBe(true);
  });

  it('what an older version redrives frees its key alone, as that version meant it', () => {
    const keys = parked();
    const note = { redriven: true };
    expect(keys.isUnsure('a', note)).toBe(true);
    expect(keys.admit('a', note, { at: keys.now, held: { ...noFailure, left: 1 } })).toBe(true);
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
    const { keys, served } = heldKeysOf([held('x', 0), ...all], new Set(['r2']));
    expect(served).toEqual([{ id: 'r1' }, { id: 'r2' }]);
    expect(keys.get('a')).toEqual({ hasFailed: false, returning: ['r1', 'r2', 'r3'], left: 2 });
    expect(heldKeysOf([held('x', 0, { group: 'threw' })], new Set()).keys.get('a')?.hasFailed).toBe(true);
  });

  it('what was redriven more often goes first within its key, and other messages keep their place', () => {
    const other = held('other', 9, { inLane: false });
    const order = inSequence([held('f', 0), other, held('a', 1), held('b', 1), held('g', 0)]);
    expect(order.map(({ letter }) => letter.id)).toEqual(['a', 'b', 'f', 'g', 'other']);
  });
});
