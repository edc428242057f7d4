import { expect, it } from 'vitest';
import { ReadyQueue } from './ready-queue.ts';

it('hands out in the order it got them, and first what came back', () => {
  const queue = new ReadyQueue<number>();
  for (let item = 0; item < 1_000; item += 1) queue.push(item);
  const taken = Array.from({ length: 600 }, () => queue.shift());
  expect(taken).toEqual(Array.from({ length: 600 }, (_, item) => item));
  expect([queue.length, queue.first]).toEqual([400, 600]);
  for (const item of taken.slice(300).toReversed()) queue.unshift(item as number);
  expect([queue.length, queue.first]).toEqual([700, 300]);
  const rest = Array.from({ length: 701 }, () => queue.shift());
  expect(rest).toEqual([...Array.from({ length: 700 }, (_, item) => 300 + item), undefined]);
  queue.unshift(7);
  queue.push(8);
  expect([queue.shift(), queue.shift(), queue.shift(), queue.length]).toEqual([7, 8, undefined, 0]);
});
