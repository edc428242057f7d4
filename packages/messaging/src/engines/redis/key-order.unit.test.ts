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
  expect(order.admit('k', delivery(1), 0, false)).toBe(true);
  for (const [token, since] of waiting) expect(order.admit('k', delivery(token), since, false)).toBe(false);
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
    expect(order.admit('k', delivery(4), 0, false)).toBe(true);
  });

  it('knows nothing of what is not out', () => {
    const order = orderOf([2, 0]);
    expect([order.next('k', 2), order.next('other', 1), order.next('k', 1)?.token]).toEqual([
      undefined,
      undefined,
      2,
    ]);
  });

  it('puts what the server had kept before what was read', () => {
    const order = orderOf([2, 0]);
    order.admit('k', delivery('kept'), 0, true);
    expect(order.next('k', 1)?.token).toBe('kept');
  });

  it('does not hold up other keys', () => {
    expect(orderOf().admit('other', delivery(9), 0, false)).toBe(true);
  });
});

describe('what waits and leaves', () => {
  it('names what stays out, which is followed from then on', () => {
    const order = orderOf([2, 0], [3, 0]);
    expect(order.isFollowed('k', 1)).toBe(false);
    expect(order.takeBehind('k')).toEqual([
      { token: 2, out: 1 },
      { token: 3, out: 1 },
    ]);
    expect([order.waiting, order.isFollowed('k', 1), order.isFollowed('k', 2)]).toEqual([0, true, false]);
  });

  it('names nothing as out where that is what ended', () => {
    const order = orderOf([2, 0]);
    expect(order.end('k', 1)).toEqual([{ token: 2, out: undefined }]);
    expect(order.admit('k', delivery(3), 0, false)).toBe(true);
    expect(order.isFollowed('k', 3)).toBe(false);
  });

  it('leaves with one that ended while it waited', () => {
    const order = orderOf([2, 0], [3, 0]);
    expect(order.end('k', 2)).toEqual([{ token: 3, out: 1 }]);
    expect([order.waiting, order.isFollowed('k', 1)]).toEqual([0, true]);
  });

  it('goes with all of its key when one of it has waited too long', () => {
    const order = orderOf([2, 10], [3, 20]);
    expect(order.takeOlder(10)).toEqual([]);
    expect(order.takeOlder(11).map(({ token }) => token)).toEqual([2, 3]);
  });

  it('goes all at once', () => {
    const order = orderOf([2, 0]);
    order.admit('other', delivery(5), 0, false);
    order.admit('other', delivery(6), 0, false);
    expect(order.takeAll().map(({ token, out }) => [token, out])).toEqual([
      [2, 1],
      [6, 5],
    ]);
    expect(order.takeAll()).toEqual([]);
  });

  it('is the same after many keys', () => {
    const order = orderOf([2, 0]);
    for (let n = 0; n < 5_000; n += 1) {
      order.admit(`other${n}`, delivery(10 + n), 0, false);
      order.next(`other${n}`, 10 + n);
    }
    expect(order.next('k', 1)?.token).toBe(2);
  });
});
