import { describe, expect, it } from 'vitest';
import { type Binding, isBinding, isBound, type RoutingKind } from './routing.ts';

const message = (routingKey: string, headers: Record<string, string> = {}) => ({ routingKey, headers });

it.each([null, undefined, 7, [], {}, { match: 'all' }, { match: 'any', headers: null }])(
  'a binding of no known shape takes nothing: %j',
  (binding) => {
    for (const routing of ['direct', 'topic', 'headers'] as const)
      expect(isBound(routing, [binding as unknown as Binding], message('eu', { eu: 'eu' }))).toBe(false);
  },
);

it.each([
  [null, false],
  [7, false],
  [[], false],
  [{}, false],
  [{ match: 'all' }, false],
  [{ match: 'some', headers: {} }, false],
  [{ match: 'any', headers: null }, false],
  [{ match: 'any', headers: { eu: 7 } }, false],
  ['', true],
  [{ match: 'all', headers: { eu: 'yes' } }, true],
])('%j is a binding: %s', (found, expected) => {
  expect(isBinding(found)).toBe(expected);
});

describe('what a binding takes', () => {
  it.each<[RoutingKind, Binding, string, boolean]>([
    ['fanout', 'anything', '', true],
    ['direct', 'eu', 'eu', true],
    ['direct', 'eu', 'eu.de', false],
    ['direct', '#', 'eu', false],
    ['topic', '#', '', true],
    ['topic', '#', 'order.paid.eu', true],
    ['topic', 'order.*', 'order.paid', true],
    ['topic', 'order.*', 'order', false],
    ['topic', 'order.*', 'order.paid.eu', false],
    ['topic', 'order.#', 'order', true],
    ['topic', 'order.#', 'order.paid.eu', true],
    ['topic', '#.eu', 'order.paid.eu', true],
    ['topic', '*.#.eu', 'eu', false],
    ['topic', '#.paid.#', 'order.paid.eu', true],
    ['topic', 'order..eu', 'order..eu', true],
    ['topic', 'Order', 'order', false],
  ])('%s %s on "%s": %s', (routing, binding, key, taken) => {
    expect(isBound(routing, [binding], message(key))).toBe(taken);
  });

  it.each<['all' | 'any', Record<string, string>, boolean]>([
    ['all', { region: 'eu', kind: 'paid' }, true],
    ['all', { region: 'eu', kind: 'refunded' }, false],
    ['any', { region: 'eu', kind: 'refunded' }, true],
    ['any', { region: 'us' }, false],
    ['all', {}, true],
    ['any', {}, false],
  ])('headers, %s of %o: %s', (match, headers, taken) => {
    const wanted = [{ match, headers }];
    expect(isBound('headers', wanted, message('', { region: 'eu', kind: 'paid' }))).toBe(taken);
  });

  it('takes nothing without a binding, except on fanout', () => {
    expect(isBound('topic', [], message('order.paid'))).toBe(false);
    expect(isBound('fanout', [], message('order.paid'))).toBe(true);
  });

  it('takes what one of several bindings takes', () => {
    expect(isBound('direct', ['eu', 'us'], message('us'))).toBe(true);
  });
});
