import { expect, it } from 'vitest';
import { PartitionTurns } from './partition-turns.ts';

it('takes the partitions of a channel in turn, whatever is published to others between', () => {
  const turns = new PartitionTurns();
  const [orders, mails] = [
    { topics: ['orders', 'orders.1'], partitions: 3 },
    { topics: ['mails'], partitions: 2 },
  ];
  const taken = Array.from({ length: 4 }, () => [turns.of(orders), turns.of(mails)]);
  expect(taken).toEqual([
    [0, 0],
    [1, 1],
    [2, 0],
    [0, 1],
  ]);
});

it('remembers nothing of a topic with one partition, as replies have', () => {
  const turns = new PartitionTurns();
  for (let n = 0; n < 100; n += 1) expect(turns.of({ topics: [`reply-${n}`], partitions: 1 })).toBe(0);
  expect(turns.size).toBe(0);
});
