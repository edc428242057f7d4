/** The table finds every member that was put in, through every growth, and whoever shares its bits. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { MemberTable } from './member-table.ts';

const keyOf = (name: string | number): Uint8Array =>
  createHash('sha256').update(`member ${name}`).digest().subarray(0, 16);

it('finds each of many at any moment of its growth, and hardly anyone else', () => {
  const table = new MemberTable();
  for (let seq = 1; seq <= 20_000; seq++) {
    table.add(keyOf(seq), seq);
    // The newest, and one of all that went before: while half of the slots are moved too.
    expect(table.seqsOf(keyOf(seq))).toContain(seq);
    const earlier = 1 + ((seq * 7919) % seq);
    expect(table.seqsOf(keyOf(earlier))).toContain(earlier);
  }
  for (let seq = 1; seq <= 20_000; seq++) expect(table.seqsOf(keyOf(seq))).toContain(seq);
  const strangers = Array.from({ length: 20_000 }, (_, i) => table.seqsOf(keyOf(`stranger ${i}`)).length);
  expect(strangers.reduce((sum, n) => sum + n, 0)).toBeLessThan(20);
});

it('gives every seq of those who share their bits', () => {
  const table = new MemberTable();
  const [a, b] = [keyOf('a'), Uint8Array.from(keyOf('a'), (byte, i) => (i < 4 ? byte : byte ^ 1))];
  table.add(a, 3);
  table.add(b, 8);
  expect(table.seqsOf(a)).toEqual([3, 8]);
  expect(table.seqsOf(b)).toEqual([3, 8]);
  expect(table.seqsOf(keyOf('c'))).toEqual([]);
});

it('goes around its end', () => {
  const table = new MemberTable();
  const last = Uint8Array.from(keyOf('z'), (byte, i) => (i < 4 ? 0xff : byte));
  for (let seq = 1; seq <= 5; seq++) table.add(last, seq);
  expect(table.seqsOf(last)).toEqual([1, 2, 3, 4, 5]);
});

it('takes at most 27 bytes a member while it grows and 16 when it has grown', () => {
  const table = new MemberTable(1_000);
  let most = 0;
  for (let seq = 1; seq <= 50_000; seq++) {
    table.add(keyOf(seq), seq);
    if (seq > 1_000) most = Math.max(most, table.bytes / seq);
  }
  expect(most).toBeLessThan(27);
  const roomy = new MemberTable(50_000);
  expect(roomy.bytes / 50_000).toBeLessThan(11);
});
