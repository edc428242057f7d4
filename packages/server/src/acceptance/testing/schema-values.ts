/**
 * Values for a JSON Schema of the OpenAPI document: mostly right ones, because only they get past the door, and now and then one part that is wrong, or
 * large, or strange. Knows what the document uses (types, enums, patterns, formats, bounds, unions, references) and no more.
 */
import fc from 'fast-check';

export interface JsonSchema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly patternProperties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly pattern?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly examples?: readonly unknown[];
}

/** Texts that broke others: controls, halves of characters, names of JavaScript's own, markup, formulas, paths, numbers as text. */
const strangeTexts = [
  '',
  '\0',
  'a\0b',
  '\ud800',
  '\udfff\ud800',
  '__proto__',
  'constructor',
  '<script>alert(1)</script>',
  "'; DROP TABLE entries; --",
  '=cmd()',
  '../../etc/passwd',
  '%00',
  '{{7*7}}',
  '\u202e\u0000\ufeff',
  '1e309',
  '-0',
  'null',
  'a'.repeat(5_000),
];

export const strange: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(...strangeTexts),
  fc.constantFrom(null, true, 0, -1, 0.1, 1e300, 2 ** 53, [], {}, [[[[]]]], { __proto__: null, length: -1 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.jsonValue({ maxDepth: 2 }),
);

/** A value that is right, as it is or with one of its parts, at any depth, replaced. */
export function nearly(value: unknown): fc.Arbitrary<unknown> {
  const places = placesIn(value, []);
  if (places.length === 0) return fc.constant(value);
  const broken = fc
    .tuple(fc.constantFrom(...places), strange)
    .map(([place, other]) => replaced(value, place, other));
  return fc.oneof({ weight: 2, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: broken });
}

type Place = readonly (string | number)[];

function placesIn(value: unknown, at: Place): Place[] {
  if (typeof value !== 'object' || value === null) return [];
  const keys = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return keys.flatMap((key) => {
    const place = [...at, key];
    return [place, ...placesIn((value as Record<string, unknown>)[key], place)];
  });
}

function replaced(value: unknown, [key, ...rest]: Place, other: unknown): unknown {
  if (key === undefined) return other;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string, unknown>;
  copy[key] = replaced(copy[key], rest, other);
  return copy;
}

/** Longer texts and lists say nothing more. */
const longest = 40;

/** `resolve` follows a reference. `depth` bounds what refers to itself. */
export function valuesOf(
  schema: JsonSchema,
  resolve: (ref: string) => JsonSchema,
  depth = 0,
): fc.Arbitrary<unknown> {
  // One wrong part is enough, and a large value has many parts.
  const right = depth === 0 ? 30 : 300;
  return fc.oneof(
    { weight: right, arbitrary: rightValues(schema, resolve, depth) },
    { weight: 1, arbitrary: strange },
    ...(schema.examples?.length
      ? [{ weight: right / 3, arbitrary: fc.constantFrom(...schema.examples) }]
      : []),
  );
}

function rightValues(
  schema: JsonSchema,
  resolve: (ref: string) => JsonSchema,
  depth: number,
): fc.Arbitrary<unknown> {
  if (depth > 8) return fc.constant(null);
  if (schema.$ref !== undefined) return valuesOf(resolve(schema.$ref), resolve, depth + 1);
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined)
    return fc.oneof(...choices.map((choice) => valuesOf(choice, resolve, depth + 1)));
  const type = Array.isArray(schema.type) ? (schema.type[0] as string) : (schema.type as string | undefined);
  switch (type) {
    case 'object':
      return objects(schema, resolve, depth);
    case 'array':
      return fc.array(valuesOf(schema.items ?? {}, resolve, depth + 1), {
        maxLength: Math.min(schema.maxItems ?? 3, 3),
      });
    case 'string':
      return texts(schema);
    case 'integer':
      return fc.oneof(
        fc.integer(bounds(schema, 1_000)),
        fc.constantFrom(schema.minimum ?? 0, schema.maximum ?? 2 ** 40),
      );
    case 'number':
      return fc.double({ min: schema.minimum ?? -1e6, max: schema.maximum ?? 1e6, noNaN: true });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    default:
      return fc.jsonValue({ maxDepth: 1 });
  }
}

function bounds({ minimum, maximum }: JsonSchema, span: number): { min: number; max: number } {
  const min = minimum ?? Math.min(0, maximum ?? 0);
  return { min, max: Math.min(maximum ?? min + span, 2 ** 31 - 1) };
}

function texts(schema: JsonSchema): fc.Arbitrary<unknown> {
  if (schema.format === 'date-time')
    return fc
      .date({ min: new Date(0), max: new Date('2099-12-31'), noInvalidDate: true })
      .map((date) => date.toISOString());
  if (schema.pattern !== undefined) return fc.stringMatching(new RegExp(schema.pattern), { size: 'small' });
  const minLength = schema.minLength ?? 0;
  return fc.string({
    unit: 'grapheme',
    minLength,
    maxLength: Math.max(minLength, Math.min(schema.maxLength ?? longest, longest)),
  });
}

function objects(
  schema: JsonSchema,
  resolve: (ref: string) => JsonSchema,
  depth: number,
): fc.Arbitrary<unknown> {
  const own = Object.fromEntries(
    Object.entries(schema.properties ?? {}).map(([name, value]) => [
      name,
      valuesOf(value, resolve, depth + 1),
    ]),
  );
  const known = fc.record(own, { requiredKeys: [...(schema.required ?? [])].filter((name) => name in own) });
  const [pattern, value] = Object.entries(schema.patternProperties ?? {})[0] ?? [];
  const named =
    pattern === undefined || value === undefined
      ? fc.constant({})
      : fc.dictionary(fc.stringMatching(new RegExp(pattern)), valuesOf(value, resolve, depth + 1), {
          maxKeys: 3,
        });
  const stray = fc.dictionary(fc.constantFrom('__proto__', 'constructor', 'extra', ''), strange, {
    minKeys: 1,
    maxKeys: 1,
  });
  return fc
    .tuple(known, named, fc.option(stray, { freq: 25, nil: {} }))
    .map((parts) => Object.assign({}, ...parts) as object);
}
