import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { MemberIndex } from './member-index.ts';

const keyOf = (i: number): string => createHash('sha256').update(`member ${i}`).digest('hex').slice(0, 32);

describe('the member index', () => {
  it('knows everyone it was told of and nobody else, through every growth', () => {
    const index = new MemberIndex();
    for (let i = 1; i <= 50_000; i += 1) index.add(keyOf(i), i);
    for (let i = 1; i <= 50_000; i += 1) expect(index.has(keyOf(i))).toBe(true);
    for (let i = 50_001; i <= 100_000; i += 1) expect(index.has(keyOf(i))).toBe(false);
    expect(index.size).toBe(50_000);
  });

  it('stays within 24 bytes a member once it holds a few', () => {
    const index = new MemberIndex();
    let worst = 0;
    for (let i = 1; i <= 20_000; i += 1) {
      index.add(keyOf(i), i);
      if (i > 100) worst = Math.max(worst, index.bytes / index.size);
    }
    expect(worst).toBeLessThanOrEqual(24);
  });

  it('takes the chunks of the ledger, and a member twice as one', () => {
    const index = new MemberIndex(10);
    const chunk = Buffer.concat([1, 2, 3, 2].map((i) => Buffer.from(keyOf(i), 'hex')));
    index.addKeys(chunk);
    index.add(keyOf(3), 3);
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
    edges.forEach((key, i) => index.add(key, i + 1));
    for (const key of edges) expect(index.has(key)).toBe(true);
  });
});
