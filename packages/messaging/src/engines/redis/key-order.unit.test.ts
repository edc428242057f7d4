import { describe, expect, it } from 'vitest';
import type { Delivery } from '../../engine.ts';
import { KeyOrder } from './key-order.ts';

const delivery = (token: number | string): Delivery => ({
  token,
  message: undefined,
  raw: '',
  state: undefined,
  abandoned: 0,
});

/** Of one key: the first is out, the others wait since the times given. */
function orderOf(...waiting: readonly (readonly [token: number | string, since: number])[]): KeyOrder {
  const order = new KeyOrder();
  expect(order.admit('k', delivery(1), 0, '1:1-0')).toBe(true);
  for (const [token, since] of waiting)
    expect(order.admit('k', delivery(token), since, `1:${token}-0`)).toBe(false);
  return order;
}

describe('one of a key at a time', () => {
  it('hands out the next when the one before is acknowledged, and the key is free at its end', () => {
    const order = orderOf([2, 0], [3, 0]);
    expect([order.next('k', 1)?.token, order.next('k', 2)?.token, order.next('k', 3)]).toEqual([
      2,
      3,
      undefined,
    ]);
    expect(order.waiting).toBe(0);
    expect(order.admit('k', delivery(4), 0, '1:4-0')).toBe(true);
  });

  it('knows nothing of what is not out', () => {
    const order = orderOf([2, 0]);
    expect([order.next('k', 2), order.next('other', 1), order.next('k', 1)?.token]).toEqual([
      undefined,
      undefined,
      2,
    ]);
  });

  it('hands out in the order of the log, whichever way a message came, and a correction behind its original', () => {
    const order = orderOf([5, 0]);
    const kept = (ms: number, rest = ''): string =>
      `1|d${String(ms).padStart(16, '0')}-000000000000.1${rest}|c|1|k`;
    for (const [token, name] of [
      ['late', kept(7)],
      ['early', kept(4)],
      ['between', kept(5, '+0000000001')],
    ] as const)
      order.admit('k', delivery(token), 0, name);
    order.admit('k', delivery(6), 0, '1:6-0');
    order.admit('k', delivery(10), 0, '1:10-0');
    const said = [
      order.next('k', 1),
      order.next('k', 'early'),
      order.next('k', 5),
      order.next('k', 'between'),
      order.next('k', 6),
      order.next('k', 'late'),
    ];
    expect(said.map((one) => one?.token)).toEqual(['early', 5, 'between', 6, 'late', 10]);
  });

  it('does not hold up other keys', () => {
    expect(orderOf().admit('other', delivery(9), 0, '1:9-0')).toBe(true);
  });
});

describe('what waits and leaves', () => {
  it('names what stays out, which is followed from then on', () => {
    const order = orderOf([2, 0], [3, 0]);
    expect(order.isFollowed('k', 1)).toBe(false);
    expect(order.takeBehind('k')).toEqual([
      { key: 'k', token: 2, out: 1 },
      { key: 'k', token: 3, out: 1 },
    ]);
    expect([order.waiting, order.isFollowed('k', 1), order.isFollowed('k', 2)]).toEqual([0, true, false]);
  });

  it('names nothing as out where that is what ended, and what comes until the server has it goes the same way', () => {
    const order = orderOf([2, 0]);
    expect(order.end('k', 1)).toEqual([{ key: 'k', token: 2, out: undefined }]);
    expect(order.admit('k', delivery(3), 0, '1:3-0')).toBe(false);
    expect(order.returned(new Set(['k', 'other']))).toEqual([{ key: 'k', token: 3, out: undefined }]);
    expect(order.admit('k', delivery(4), 0, '1:4-0')).toBe(false);
    expect(order.allReturned().map(({ token }) => token)).toEqual([4]);
    expect(order.returned(new Set(['k']))).toEqual([]);
    expect(order.admit('k', delivery(5), 0, '1:5-0')).toBe(true);
    expect(order.isFollowed('k', 5)).toBe(false);
  });

  it('leaves the key free at once where nothing waited', () => {
    const order = orderOf();
    expect(order.end('k', 1)).toEqual([]);
    expect(order.admit('k', delivery(2), 0, '1:2-0')).toBe(true);
  });

  it('is not asked for a second time of a key of which something is out', () => {
    const order = orderOf([2, 0]);
    expect(order.returned(new Set(['k']))).toEqual([]);
    expect(order.next('k', 1)?.token).toBe(2);
  });

  it('leaves with one that ended while it waited', () => {
    const order = orderOf([2, 0], [3, 0]);
    expect(order.end('k', 2)).toEqual([{ key: 'k', token: 3, out: 1 }]);
    expect([order.waiting, order.isFollowed('k', 1)]).toEqual([0, true]);
  });

  it('goes with all of its key when one of it has waited too long', () => {
    const order = orderOf([2, 10], [3, 20]);
    expect(order.takeOlder(10)).toEqual([]);
    expect(order.takeOlder(11).map(({ token }) => token)).toEqual([2, 3]);
  });

  it('goes all at once', () => {
    const order = orderOf([2, 0]);
    order.admit('other', delivery(5), 0, '1:5-0');
    order.admit('other', delivery(6), 0, '1:6-0');
    expect(order.takeAll().map(({ token, out }) => [token, out])).toEqual([
      [2, 1],
      [6, 5],
    ]);
    expect(order.takeAll()).toEqual([]);
  });

  it('is the same after many keys', () => {
    const order = orderOf([2, 0]);
    for (let n = 0; n < 5_000; n += 1) {
      order.admit(`other${n}`, delivery(10 + n), 0, `1:${10 + n}-0`);
      order.next(`other${n}`, 10 + n);
    }
    expect(order.next('k', 1)?.token).toBe(2);
  });
});
