/** Contracts by themselves: what they say of data, and that they always say something. */
import Type from 'typebox';
import { expect, it } from 'vitest';
import { compileContract, type StandardSchema } from './contract.ts';

const standard = (result: unknown): StandardSchema =>
  ({ '~standard': { version: 1, vendor: 't', validate: () => result } }) as StandardSchema;

it('JSON Schema gives data back as it is: no coercion, no defaults', async () => {
  const { check, read } = compileContract(Type.Object({ n: Type.Integer({ default: 1 }) }));
  const data = { n: 1, more: true };
  expect(await read(data)).toEqual({ data });
  expect(((await read(data)) as { data: unknown }).data).toBe(data);
  expect(await read({})).toEqual({ fault: "data must have required property 'n'" });
  expect(await check({ n: '1' })).toBe('data/n must be integer');
  expect(await check(data)).toBeUndefined();
});

it('NaN and Infinity are no numbers, because JSON has none of them', () => {
  const { check } = compileContract(Type.Object({ n: Type.Number() }));
  for (const n of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    expect(check({ n }), String(n)).toBe('data/n must be number');
  for (const n of [0, -0.5, Number.MAX_VALUE]) expect(check({ n })).toBeUndefined();
  const integers = compileContract(Type.Object({ n: Type.Integer() }));
  expect(integers.check({ n: Number.NaN })).toBe('data/n must be integer');
});

it('a path is told by its keys, also where they are objects', () => {
  const { check } = compileContract(
    standard({ issues: [{ message: 'bad', path: [{ key: 'user' }, 0, Symbol('s')] }, { message: 'worse' }] }),
  );
  expect(check({})).toBe('user.0.Symbol(s): bad, data: worse');
});

it('a JSON Schema that would answer with promises is refused', () => {
  expect(() => compileContract({ $async: true, type: 'object' } as never)).toThrow('$async');
});

it('data that a schema cannot walk through is a fault, not an exception', async () => {
  const tree = Type.Cyclic({ Node: Type.Object({ next: Type.Optional(Type.Ref('Node')) }) }, 'Node');
  let deep: object = {};
  for (let depth = 0; depth < 100_000; depth += 1) deep = { next: deep };
  expect(await compileContract(tree).check(deep)).toContain('could not be checked: RangeError');
});
