import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { MemberIndex } from './member-index.ts';

const keyOf = (i: number): string => createHash('sha256').update(`member ${i}`).digest('hex').slice(0, 32);

describe('the member index', () => {
  it('knows everyone it was told of and nobody else, through every growth', () => {
    const index = new MemberIndex();
    for (let i = 1; i <= 50_000; i += 1) index.add(keyOf(i));
    for (let i = 1; i <= 50_000; i += 1) expect(index.has(keyOf(i))).toBe(true);
    for (let i = 50_001; i <= 100_000; i += 1) expect(index.has(keyOf(i))).toBe(false);
    expect(index.size).toBe(50_000);
  });

  it('stays within 20 bytes a member once it holds a few, and within 16 once it holds many', () => {
    const index = new MemberIndex();
    const worst = { few: 0, many: 0 };
    for (let i = 1; i <= 60_000; i += 1) {
      index.add(keyOf(i));
      const share = index.bytes / index.size;
      if (i > 100) worst.few = Math.max(worst.few, share);
      if (i > 20_000) worst.many = Math.max(worst.many, share);
    }
    expect(worst.few).toBeLessThanOrEqual(20.1);
    expect(worst.many).toBeLessThanOrEqual(16);
  });

  it('made for many it takes them without growing, within 12 bytes each, and more as well', () => {
    const index = new MemberIndex(40_000);
    const before = index.bytes;
    for (let i = 1; i <= 40_000; i += 1) index.add(keyOf(i));
    expect(index.bytes).toBeLessThan(before * 1.2);
    expect(index.bytes / index.size).toBeLessThan(12);
    for (let i = 40_001; i <= 56_000; i += 1) index.add(keyOf(i));
    for (let i = 1; i <= 56_000; i += 1) expect(index.has(keyOf(i))).toBe(true);
    expect(index.size).toBe(56_000);
  });

  it('takes the chunks of the ledger, and a member twice as one', () => {
    const index = new MemberIndex(10);
    const chunk = Buffer.concat([1, 2, 3, 2].map((i) => Buffer.from(keyOf(i), 'hex')));
    index.addKeys(chunk);
    index.add(keyOf(3));
    expect([1, 2, 3, 4].map((i) => index.has(keyOf(i)))).toEqual([true, true, true, false]);
    expect(index.size).toBe(3);
  });

  it('holds keys at the edges of the table', () => {
    const index = new MemberIndex();
    const edges = [
      '0'.repeat(32),
      'f'.repeat(32),
      `${'f'.repeat(15)}e${'0'.repeat(16)}`,
      `${'0'.repeat(15)}1${'f'.repeat(16)}`,
    ];
    for (const key of edges) index.add(key);
    for (const key of edges) expect(index.has(key)).toBe(true);
  });
});
