/** The limit is bytes of UTF-8: characters are one to three of them, and four for two. */
import { describe, expect, it } from 'vitest';
import { isAbove, refuseAbove } from './message-size.ts';

describe('the size of a message', () => {
  it.each([
    ['as long as the limit', 'x'.repeat(12), false],
    ['one letter above', 'x'.repeat(13), true],
    ['a third of it, of three bytes each', '한'.repeat(4), false],
    ['fewer characters than the limit has bytes', '한'.repeat(5), true],
    ['surrogate pairs', '😀'.repeat(3), false],
    ['surrogate pairs above', '😀'.repeat(4), true],
  ])('%s', (_, text, above) => {
    expect(isAbove(12, text)).toBe(above);
    expect(Buffer.byteLength(text) > 12).toBe(above);
  });

  it('is told by the message that is above', () => {
    refuseAbove(12, 12, 'm');
    expect(() => refuseAbove(12, 13, 'm')).toThrow('message m takes 13 bytes; 12 are allowed');
  });
});
