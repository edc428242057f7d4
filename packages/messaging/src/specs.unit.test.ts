/** Bindings are checked where they are given: a store keeps them for longer than the process that gave a bad one. */
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type Channel, defineChannel } from './channel.ts';
import type { Binding, RoutingKind } from './routing.ts';
import { bindingsOf } from './specs.ts';

function routed(routing: Exclude<RoutingKind, 'fanout'>): Channel {
  return defineChannel({ name: 'routed', version: 1, schema: Type.Object({}), requires: { routing } });
}
const given = (bindings: unknown): readonly Binding[] => bindings as readonly Binding[];

describe('bindings', () => {
  it.each([
    ['direct', ['red']],
    ['topic', ['order.#', 'x'.repeat(255)]],
    ['headers', [{ match: 'all', headers: { region: 'north' } }]],
    ['headers', [{ match: 'any', headers: { region: '' } }]],
  ] as const)('of %s routing are taken as they are: %j', (routing, bindings) => {
    expect(bindingsOf(routed(routing), bindings)).toBe(bindings);
  });

  it.each([
    ['direct', undefined, 'a subscription needs bindings'],
    ['direct', [], 'a subscription needs bindings'],
    ['direct', 'red', 'a list of routing keys'],
    ['direct', ['red', ''], 'bindings[1] is a text that is not empty'],
    ['direct', ['a\ud800'], 'bindings[0] is a text without lone surrogates'],
    [
      'headers',
      [{ match: 'all', headers: { a: '\udc00' } }],
      'whose value is a text without lone surrogates',
    ],
    ['topic', [7], 'bindings[0] is a text that'],
    ['topic', ['é'.repeat(128)], 'at most 255 bytes'],
    ['topic', [{ match: 'all', headers: { a: 'b' } }], 'is a text'],
    ['headers', ['red'], 'is no object'],
    ['headers', [null], 'is no object'],
    ['headers', [{ region: 'north' }], "neither 'all' nor 'any'"],
    ['headers', [{ match: 'all' }], 'has no headers'],
    ['headers', [{ match: 'all', headers: [] }], 'has no headers'],
    ['headers', [{ match: 'any', headers: {} }], 'names no header'],
    ['headers', [{ match: 'all', headers: { '': 'b' } }], 'name is a text that is not empty'],
    ['headers', [{ match: 'all', headers: { a: 1 } }], 'header "a" whose value is a text'],
  ] as const)('of %s routing are refused: %j', (routing, bindings, words) => {
    expect(() => bindingsOf(routed(routing), given(bindings))).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(words) }),
    );
  });

  it('are refused where the channel does not route', () => {
    const plain = defineChannel({ name: 'plain', version: 1, schema: Type.Object({}) });
    expect(bindingsOf(plain, undefined)).toBeUndefined();
    expect(() => bindingsOf(plain, given(['red']))).toThrow(/requires\.routing/);
  });
});
