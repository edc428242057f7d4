import { describe, expect, it } from 'vitest';
import { tableText } from './terminal.ts';

describe('a table', () => {
  it('is as wide as its widest cell, with no blanks at the end of a line', () => {
    expect(
      tableText(
        [
          { id: 'a', state: 'open' },
          { id: 'spring-drop', state: 'closed' },
        ],
        ['id', 'state'],
      ),
    ).toBe('id           state\na            open\nspring-drop  closed\n');
  });

  it('counts a Korean, Chinese or Japanese character as two, an emoji too', () => {
    const rows = [
      { title: '첫눈 쿠폰', n: 1 },
      { title: 'snow', n: 2 },
      { title: '☕🎁', n: 3 },
      { title: '\u1112\u1161\u11ab', n: 4 },
    ];
    const columns = tableText(rows, ['title', 'n']).trimEnd().split('\n');
    expect(columns).toEqual([
      'title      n',
      '첫눈 쿠폰  1',
      'snow       2',
      '☕🎁       3',
      '\u1112\u1161\u11ab         4',
    ]);
  });

  it('never hands control characters of others to the terminal', () => {
    const text = tableText([{ a: '\u001b[2J\r\nforged\u202eline\u0007\u009b31m' }], ['a']);
    expect(text).not.toMatch(/[\u001b\r\u0007\u009b\u202e]/);
    expect(text.split('\n')).toHaveLength(3);
  });

  it('shows what is missing as a dash, and lists and objects as JSON', () => {
    expect(tableText([{ a: null, c: ['x'] }], ['a', 'b', 'c'])).toBe('a  b  c\n-  -  ["x"]\n');
    expect(tableText([], ['a'])).toBe('(none)\n');
  });
});
