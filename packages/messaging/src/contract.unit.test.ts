/** Contracts by themselves: what they say of data, and that they always say something. */
import Type from 'typebox';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, it, vi } from 'vitest';
import { compileContract, type StandardSchema } from './contract.ts';
import { isSchema } from './meta-schema.ts';

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

const goodSchemas: readonly object[] = [
  {},
  { type: ['string', 'null'], format: 'date' },
  { $defs: { a: { $anchor: 'x' } }, $ref: '#x' },
  { dependencies: { a: ['b'] } },
  { $schema: 'https://json-schema.org/draft/2020-12/schema', minimum: 1 },
  Type.Object({
    text: Type.String({ minLength: 1, pattern: '^a' }),
    list: Type.Array(Type.Integer(), { uniqueItems: true }),
    either: Type.Optional(Type.Union([Type.Literal('x'), Type.Null()])),
    flags: Type.Record(Type.String(), Type.Boolean()),
  }),
  Type.Cyclic({ Node: Type.Object({ next: Type.Optional(Type.Ref('Node')) }) }, 'Node'),
];
const badSchemas: readonly object[] = [
  { type: 'strng' },
  { type: ['string', 'string'] },
  { properties: { a: 7 } },
  { minLength: -1 },
  { required: [1] },
  { required: ['a', 'a'] },
  { $defs: { a: 7 } },
  { $id: 'a#b' },
  { allOf: [] },
  // As drafts before 2020-12 had it.
  Type.Tuple([Type.Number()]),
  { allOf: [{ not: { type: 4 } }] },
  { items: { properties: { b: { minimum: 'a' } } } },
  { prefixItems: [{ unevaluatedProperties: { if: { not: { type: 0 } } } }] },
  { $schema: 'http://x' },
  { $schema: 7 },
];

it.each([...goodSchemas, ...badSchemas])('a schema is one where ajv says so, in its words: %j', (schema) => {
  // Of what a contract throws, ajv alone is the measure: the code that was made ahead only saves its work.
  const refusalOf = (judge: () => unknown): string | undefined => {
    try {
      judge();
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  };
  const wanted = refusalOf(() => new Ajv2020({ strict: false }).validateSchema(schema as never, true));
  expect(wanted === undefined).toBe(goodSchemas.includes(schema));
  expect(refusalOf(() => compileContract(schema as never))).toBe(wanted);
  // One that names its meta-schema is ajv's alone to judge.
  expect('$schema' in schema || isSchema(schema) === (wanted === undefined)).toBe(true);
});

it('a good schema costs no process the work of compiling the meta-schema', () => {
  const judged = vi.spyOn(Ajv2020.prototype, 'validateSchema');
  try {
    compileContract(Type.Object({ n: Type.Integer() }));
    expect(judged).not.toHaveBeenCalled();
    expect(() => compileContract({ type: 'strng' } as never)).toThrow('schema is invalid');
    expect(judged).toHaveBeenCalledOnce();
  } finally {
    judged.mockRestore();
  }
});
