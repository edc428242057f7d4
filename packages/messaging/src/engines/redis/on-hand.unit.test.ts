import { describe, expect, it } from 'vitest';
import { NO_ENTRY, OnHand } from './on-hand.ts';

function onHand(): OnHand {
  let next = 1;
  return new OnHand(() => next++);
}

describe('what a consumer has on hand', () => {
  it('finds what was read by its number, once', () => {
    const held = onHand();
    const one = held.addRead('1-0', 10, false);
    const two = held.addRead('2-0', 10, false);
    expect([held.nameOf(one), held.nameOf(two), held.size]).toEqual(['1-0', '2-0', 2]);
    expect([held.remove(one), held.remove(one), held.size]).toEqual([true, false, 1]);
    expect([held.nameOf(one), held.isSure(one), held.isSure(two)]).toEqual([NO_ENTRY, false, true]);
  });

  it('keeps one that stays while thousands come and go, and never gives its number again', () => {
    const held = onHand();
    const stays = held.addRead('0-1', 10, false);
    const seen = new Set([stays]);
    for (let n = 1; n <= 5_000; n += 1) {
      const number = held.addRead(`${n}-0`, 10, false);
      expect(seen.has(number)).toBe(false);
      seen.add(number);
      expect(held.nameOf(number)).toBe(`${n}-0`);
      expect(held.remove(number)).toBe(true);
    }
    expect([held.nameOf(stays), held.size]).toEqual(['0-1', 1]);
  });

  it('has room for as many as come', () => {
    const held = onHand();
    const numbers = Array.from({ length: 3_000 }, (_, n) => held.addRead(`${n}-0`, 10, n % 2 === 0));
    expect(held.size).toBe(3_000);
    expect(numbers.map((one) => held.nameOf(one))).toEqual(numbers.map((_, n) => `${n}-0`));
    expect(numbers.map((one) => held.isSure(one))).toEqual(numbers.map((_, n) => n % 2 !== 0));
    expect(held.names()).toHaveLength(3_000);
  });

  it('doubts what is on hand when leases ended somewhere, and not what comes later', () => {
    const held = onHand();
    const before = held.addRead('1-0', 10, false);
    held.doubtAll();
    const after = held.addRead('2-0', 10, false);
    expect([held.isSure(before), held.isSure(after)]).toEqual([false, true]);
  });

  it('takes back what was not settled, doubted, also where its place was taken meanwhile', () => {
    const held = onHand();
    const one = held.addRead('1-0', 10, false);
    held.remove(one);
    const others = Array.from({ length: 127 }, (_, n) => held.addRead(`${n + 2}-0`, 10, false));
    for (let round = 0; round < 2; round += 1)
      for (const other of others.splice(0)) {
        held.remove(other);
        others.push(held.addRead('9-0', 10, false));
      }
    held.restore(one, '1-0', 20, 'k');
    expect([held.nameOf(one), held.isSure(one), held.keyOf(one), held.size]).toEqual([
      '1-0',
      false,
      'k',
      128,
    ]);
    expect(others.every((other) => held.nameOf(other) === '9-0')).toBe(true);
  });

  it('finds what the server names, whose key it is, and what is surely over', () => {
    const held = onHand();
    const read = held.addRead('1-0', 10, false);
    held.addLent('0|s2-0|c|1|', 10);
    held.extend('0|s2-0|c|1|', 30);
    const late = held.addRead('3-0', 10, false);
    held.extend(late, 30);
    expect(held.tokenOf('1-0')).toBe(read);
    held.remove(read);
    expect([held.tokenOf('1-0'), held.nameOf(read), held.size]).toEqual([undefined, NO_ENTRY, 2]);
    const over = held.addRead('1:4-0', 10, false, 'key|4');
    expect([held.keyOf(over), held.keyOf(late)]).toEqual(['key|4', '']);
    expect(held.ended(20)).toEqual([over]);
    held.addLent('1|d2-0|c|1|key|2', 10);
    expect(held.tokenOf('1|d2-0|c|1|key|2')).toBe('1|d2-0|c|1|key|2');
    expect(held.keyOf('1|d2-0|c|1|key|2')).toBe('key|2');
    expect(held.ended(20)).toEqual(['1|d2-0|c|1|key|2', over]);
    held.remove('1|d2-0|c|1|key|2');
    expect(held.keyOf('1|d2-0|c|1|key|2')).toBe('');
  });
});
