import { expect, it } from 'vitest';
import { isMeant } from './dead-letter-filter.ts';

const letter = { channel: 'c', subscription: 's', group: 'g', key: 'k', messageId: 'm', parkedAt: 100 };

it('an empty filter means every letter', () => {
  expect(isMeant(letter, {})).toBe(true);
});

it.each([
  [{ channel: 'c' }, { channel: 'd' }],
  [{ subscription: 's' }, { subscription: 't' }],
  [{ group: 'g' }, { group: 'h' }],
  [{ key: 'k' }, { key: 'l' }],
  [{ messageIds: ['x', 'm'] }, { messageIds: [] }],
  [{ before: 101 }, { before: 100 }],
])('%o means it, %o does not, and neither do both', (one, other) => {
  expect(isMeant(letter, one)).toBe(true);
  expect(isMeant(letter, other)).toBe(false);
  expect(isMeant(letter, { channel: 'c', ...other })).toBe(false);
});

it('a letter without a key is none of a key', () => {
  expect(isMeant({ ...letter, key: undefined }, { key: 'k' })).toBe(false);
});
