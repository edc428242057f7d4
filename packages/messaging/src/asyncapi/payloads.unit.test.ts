/** What contracts look like inside of a document: their references lead where they led, and what cannot be shown is told while the rest stands. */
import { createRequire } from 'node:module';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineChannel } from '../channel.ts';
import type { ContractSchema } from '../contract.ts';
import { avroEncoding } from '../encodings/avro.ts';
import { type AsyncApiDocument, asyncApiOf } from './document.ts';

const specification = createRequire(import.meta.url)(
  '@asyncapi/specs/schemas/3.1.0-without-$id.json',
) as object;
const addFormats = addFormatsModule as unknown as (ajv: Ajv) => void;
const official = new Ajv({ strict: false, allErrors: true });
addFormats(official);
const validate = official.compile(specification);

const written = (document: AsyncApiDocument): Record<string, unknown> =>
  JSON.parse(JSON.stringify(document)) as Record<string, unknown>;
/** The document of one channel, as it is read from a file and as AsyncAPI wants it. */
function documentOf(schema: unknown, more: object = {}): Record<string, unknown> {
  const channel = defineChannel({ name: 'a', version: 1, schema: schema as ContractSchema, ...more });
  const beside = defineChannel({ name: 'beside', version: 1, schema: Type.Object({ n: Type.Number() }) });
  const document = written(asyncApiOf({ title: 'Shop', version: '1', publishes: [channel, beside] }));
  expect(validate(document) ? [] : validate.errors).toEqual([]);
  expect(at(document, '#/components/messages/beside.v1/payload/properties/n')).toEqual({ type: 'number' });
  return document;
}
/** As JSON Reference has it: from the root of the document, through nothing that is itself a reference. */
function at(document: unknown, reference: string): unknown {
  return decodeURIComponent(reference.slice(1))
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce<unknown>((value, part) => {
      const inner = value as Record<string, unknown> | undefined;
      return typeof inner?.['$ref'] === 'string' ? undefined : inner?.[part];
    }, document);
}
function referencesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const own = (value as { $ref?: unknown }).$ref;
  return [...(typeof own === 'string' ? [own] : []), ...Object.values(value).flatMap(referencesIn)];
}
const payloadIn = (document: unknown, message = 'a.v1'): Record<string, unknown> =>
  at(document, `#/components/messages/${message}/payload`) as Record<string, unknown>;

const tree: z.ZodType = z.object({
  name: z.string(),
  get kids() {
    return z.array(tree);
  },
});
const nodeText = { type: 'object', properties: { next: { $ref: '#' }, name: { type: 'string' } } };

describe('a reference', () => {
  const good = { name: 'x', kids: [{ name: 'y', kids: [] }] };
  const bad = { name: 'x', kids: [{ name: 1, kids: [] }] };
  const kids = (items: object) => ({
    type: 'object',
    required: ['name'],
    properties: { name: { type: 'string' }, kids: { type: 'array', items } },
  });
  it.each<[string, unknown]>([
    ['#, as zod writes what holds itself', tree],
    ['into $defs', { ...kids({ $ref: '#/$defs/kid' }), $defs: { kid: kids({ $ref: '#/$defs/kid' }) } }],
    [
      'beside other keywords, as typebox writes what holds itself',
      Type.Cyclic({ Node: Type.Object({ name: Type.String(), kids: Type.Array(Type.Ref('Node')) }) }, 'Node'),
    ],
    ['to the $id of the schema', { ...kids({ $ref: 'https://shop/kid' }), $id: 'https://shop/kid' }],
    [
      'under an $id',
      { ...kids({ $ref: '#/$defs/b' }), $id: 'urn:shop:kid', $defs: { b: kids({ $ref: '#' }) } },
    ],
    [
      'to an anchor',
      { ...kids({ $ref: '#kid' }), $defs: { kid: { $anchor: 'kid', ...kids({ $ref: '#kid' }) } } },
    ],
    [
      'to a name that needs escapes',
      { ...kids({ $ref: '#/$defs/a~1b%20%25c~0' }), $defs: { 'a/b %c~': kids({ $ref: '#' }) } },
    ],
    [
      'from within a part with an $id of its own',
      {
        ...kids({ $ref: 'part' }),
        $id: 'https://shop/whole',
        $defs: {
          part: { $id: 'part', $defs: { it: kids({ $ref: '#/$defs/it' }) }, allOf: [{ $ref: '#/$defs/it' }] },
        },
      },
    ],
    ['in a schema newer than draft 07', { ...kids({ $ref: '#' }), dependentRequired: { kids: ['name'] } }],
  ])('%s leads to a part of its own payload, which means the same', (_what, schema) => {
    const document = documentOf(schema, { reply: schema });
    for (const message of ['a.v1', 'a.reply']) {
      const place = `/components/messages/${message}/payload`;
      const references = referencesIn(payloadIn(document, message));
      expect(references.length).toBeGreaterThan(0);
      for (const reference of references) {
        expect(reference).toMatch(new RegExp(`^#${place}(/|$)`));
        expect(at(document, reference)).toBeInstanceOf(Object);
      }
      const isWrapped = 'schemaFormat' in payloadIn(document, message);
      const check = new Ajv2020({ strict: false }).compile({
        ...document,
        $ref: `#${place}${isWrapped ? '/schema' : ''}`,
      });
      expect([check(good), check(bad)]).toEqual([true, false]);
    }
    // All of the document.
    for (const reference of referencesIn(document)) expect(at(document, reference)).toBeDefined();
  });

  it('of the contract beside an encoding leads there too', () => {
    const encoding = avroEncoding({ type: 'record', name: 'R', fields: [{ name: 'name', type: 'string' }] });
    const document = documentOf(nodeText, { encoding });
    expect(at(document, '#/components/messages/a.v1/x-contract/properties/next')).toEqual({
      $ref: '#/components/messages/a.v1/x-contract',
    });
  });

  it('is none where it is the name of a property or a part of data, and one to elsewhere stays', () => {
    const elsewhere = { $ref: 'http://json-schema.org/draft-07/schema#' };
    const data = { $ref: '#/$defs/a', '~kind': 'x', $id: 'y' };
    const schema = {
      $id: 'https://shop/a',
      properties: {
        $ref: { type: 'string' },
        of: { const: data, default: data, enum: [data], examples: [data] },
      },
    };
    expect(payloadIn(documentOf(schema))).toEqual(schema);
    const standard = { version: 1, vendor: 'acme', jsonSchema: { input: () => ({ not: elsewhere }) } };
    const foreign = { '~standard': { ...standard, validate: (value: unknown) => ({ value }) } };
    expect(payloadIn(documentOf(foreign))).toEqual({ not: elsewhere });
  });
});

describe('a property', () => {
  it('whose name begins with a tilde, or is a newer keyword, is one like others', () => {
    const schema = Type.Object({
      '~total': Type.Number(),
      '~kind': Type.String(),
      prefixItems: Type.String(),
    });
    expect(payloadIn(documentOf(schema))).toEqual({
      type: 'object',
      required: ['~total', '~kind', 'prefixItems'],
      properties: {
        '~total': { type: 'number' },
        '~kind': { type: 'string' },
        prefixItems: { type: 'string' },
      },
    });
  });

  it("loses typebox's notes, where these are not hidden", () => {
    const noted = { '~kind': 'String', '~optional': true, type: 'string' };
    expect(payloadIn(documentOf({ '~kind': 'Object', type: 'object', properties: { a: noted } }))).toEqual({
      type: 'object',
      properties: { a: { type: 'string' } },
    });
  });
});

describe('a contract that gives as its JSON Schema', () => {
  const cycle: Record<string, unknown> = {};
  cycle['self'] = cycle;
  const thrower = (): never => {
    const nothing: unknown = null;
    throw nothing;
  };
  const deep = Array.from({ length: 20_000 }).reduce<object>((inner) => ({ not: inner }), {});
  it.each<[string, () => unknown, RegExp]>([
    ['null', () => null, /acme, which gives no JSON Schema, but null: this/],
    ['true', () => true, /gives no JSON Schema, but true:/],
    ['a text', () => 'x', /gives no JSON Schema, but "x":/],
    ['a list', () => [], /gives no JSON Schema, but \[\]:/],
    ['a function', () => () => {}, /gives no JSON Schema:/],
    ['a cycle', () => cycle, /cannot say it in JSON Schema \(Converting circular structure to JSON\)/],
    ['a BigInt', () => ({ minimum: 1n }), /cannot say it in JSON Schema \(.*BigInt.*\)/],
    ['what is too deep', () => deep, /cannot say it in JSON Schema \(Maximum call stack/],
    ['nothing but null that it throws', thrower, /cannot say it in JSON Schema \(null\)/],
  ])('%s is shown with the reason, and the rest stands', (_what, input, reason) => {
    const standard = { version: 1, vendor: 'acme', validate: (value: unknown) => ({ value }) };
    const schema = { '~standard': { ...standard, jsonSchema: { input } } };
    expect(payloadIn(documentOf(schema, { reply: schema }))).toEqual({
      description: expect.stringMatching(reason),
      'x-standard-schema': 'acme',
    });
  });

  it('and is itself a JSON Schema with a BigInt, is shown so too', () => {
    expect(payloadIn(documentOf({ type: 'object', default: 1n }))).toEqual({
      description: expect.stringMatching(/^A JSON Schema that cannot be written down \(.*BigInt.*\)/),
    });
  });
});
