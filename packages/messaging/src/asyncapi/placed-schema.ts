/**
 * A JSON Schema inside of a document. By itself its `#/$defs/a`, its `#` and the names that its parts carry (`$id`, `$anchor`) mean the schema; in
 * a document of AsyncAPI a `$ref` is looked up from the root of the document. So each is written as the path that leads there from the root, and
 * the names go: tools would read a path from the nearest `$id`. What names nothing of the schema stays as it is.
 *
 * Only places of schemas are looked at: a property may be called `$ref` or `~total`, and a default may hold both.
 */
import type { Json } from './contracts.ts';

/** Their values are data, however much they look like schemas. */
const DATA = new Set(['const', 'enum', 'default', 'examples']);
/** Schemas by names that are nobody's keywords. */
const NAMED = new Set([
  'properties',
  'patternProperties',
  '$defs',
  'definitions',
  'dependentSchemas',
  'dependencies',
]);
/** AsyncAPI's own schema object is draft 07: what is new since then would be read as something else, or as nothing. */
const NEWER_THAN_DRAFT_07 = new Set([
  'prefixItems',
  'unevaluatedProperties',
  'unevaluatedItems',
  'dependentRequired',
  'dependentSchemas',
  'minContains',
  'maxContains',
  '$dynamicRef',
  '$dynamicAnchor',
  '$recursiveRef',
]);
/** Of typebox, at places of schemas alone. Some are hidden from what is written down, unless typebox is told otherwise. */
const NOTES = new Set(['~kind', '~refine', '~codec', '~unsafe', '~readonly', '~optional', '~immutable']);

/** By which references find parts of a schema. */
const NAMES = new Set(['$id', '$anchor']);

/** What a schema without a name is called while its references are followed. */
const NAMELESS = 'contract:///';

/** By their full names, the paths that lead to parts of one schema from its root. */
type Places = Map<string, string>;

/** The schema as it stands at `place`, a JSON pointer from the root of the document. */
export function placedAt(schema: Json, place: string): Json {
  const places: Places = new Map([[NAMELESS, '']]);
  collect(schema, '', NAMELESS, places);
  const written = (one: Json, base: string): Json => {
    const own = baseOf(one, base);
    const kept = withInner(one, (inner) => written(inner, own));
    return typeof one['$ref'] === 'string'
      ? withReference(kept, foundIn(places, one['$ref'], own, place))
      : kept;
  };
  const result = written(schema, NAMELESS);
  return holdsReference(result) ? withoutNames(result) : result;
}

/** Whether it uses a keyword that draft 07 does not have. */
export function usesNewer(schema: Json): boolean {
  return some(schema, (one) => Object.keys(one).some((name) => NEWER_THAN_DRAFT_07.has(name)));
}

const holdsReference = (schema: Json): boolean => some(schema, (one) => typeof one['$ref'] === 'string');

function some(schema: Json, fits: (one: Json) => boolean): boolean {
  let found = fits(schema);
  withInner(schema, (inner) => {
    found ||= some(inner, fits);
    return inner;
  });
  return found;
}

/** Two payloads of one document may carry the same names. */
function withoutNames(schema: Json): Json {
  const left = withInner(schema, withoutNames);
  return Object.fromEntries(
    Object.entries(left).filter(([name, value]) => !NAMES.has(name) || typeof value !== 'string'),
  );
}

function collect(schema: Json, path: string, base: string, places: Places): void {
  const own = baseOf(schema, base);
  if (own !== base) places.set(own, path);
  for (const name of [schema['$anchor'], schema['$dynamicAnchor']])
    if (typeof name === 'string') places.set(`${own}#${name}`, path);
  // As drafts before 2019-09 write an anchor.
  const { $id } = schema;
  if (typeof $id === 'string' && $id.startsWith('#')) places.set(`${own}${$id}`, path);
  withInner(schema, (inner, step) => {
    collect(inner, path + step, own, places);
    return inner;
  });
}

function baseOf({ $id }: Json, base: string): string {
  return typeof $id === 'string' ? partsOf($id, base)[0] : base;
}

function partsOf(reference: string, base: string): readonly [name: string, fragment: string] {
  const [name = '', fragment = ''] = (URL.parse(reference, base)?.href ?? reference).split('#', 2);
  return [name, fragment];
}

function foundIn(places: Places, reference: string, base: string, place: string): string {
  const [name, fragment] = partsOf(reference, base);
  const isPath = fragment === '' || fragment.startsWith('/');
  const path = places.get(isPath ? name : `${name}#${fragment}`);
  if (path === undefined) return reference;
  return `#${place}${path}${isPath ? fragment : ''}`;
}

/** Draft 07 passes over what stands beside a reference, and no path leads through one: so it stands by itself, as one of `allOf`. */
function withReference(schema: Json, $ref: string): Json {
  const rest = Object.fromEntries(Object.entries(schema).filter(([name]) => name !== '$ref'));
  if (Object.keys(rest).length === 0) return { $ref };
  const others = Array.isArray(rest['allOf']) ? (rest['allOf'] as unknown[]) : [];
  return { ...rest, allOf: [...others, { $ref }] };
}

type Change = (inner: Json, step: string) => Json;

/** The schema without typebox's notes and with each schema in it changed; `step` is the path from one to the other. */
function withInner(schema: Json, change: Change): Json {
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([name]) => !NOTES.has(name))
      .map(([name, value]) => [name, DATA.has(name) ? value : changed(name, value, change)]),
  );
}

function changed(keyword: string, value: unknown, change: Change): unknown {
  const step = stepTo(keyword);
  if (Array.isArray(value))
    return value.map((one, at) => (isObject(one) ? change(one, `${step}/${at}`) : one));
  if (!isObject(value)) return value;
  if (!NAMED.has(keyword)) return change(value, step);
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [
      name,
      isObject(one) ? change(one, step + stepTo(name)) : one,
    ]),
  );
}

/** As a part of a reference, which is a URL. */
function stepTo(name: string): string {
  const escaped = name.toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1');
  return `/${encodeURI(escaped).replaceAll('#', '%23')}`;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
