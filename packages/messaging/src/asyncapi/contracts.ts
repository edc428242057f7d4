/** The contract of a channel as AsyncAPI shows it: the schema other tools can read, or an honest word that there is none. */
import type { Channel } from '../channel.ts';
import type { ContractSchema } from '../contract.ts';

export type Json = Readonly<Record<string, unknown>>;

const DRAFT_2020 = 'application/schema+json;version=draft-2020-12';
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

/** What stands as `payload`. An encoding with a schema of its own is what is on the wire; the contract's JSON Schema then stands beside it. */
export function payloadOf({ definition: { schema, encoding } }: Channel): Json {
  if (!encoding) return schemaOf(schema);
  if (encoding.schema) return { schemaFormat: encoding.schema.format, schema: encoding.schema.definition };
  return { description: `Bytes of ${encoding.contentType}; the encoding names no schema.` };
}

/** Of a contract: the schema itself, in the format it is written in. */
export function schemaOf(contract: ContractSchema): Json {
  if (!('~standard' in contract)) return jsonSchema(plain(contract));
  const standard = contract['~standard'] as StandardWithJson;
  const given = shownBy(standard);
  if ('schema' in given) return jsonSchema(plain(given.schema));
  return {
    description: `Checked at run time by ${standard.vendor}, which ${given.fault}: this document cannot show its shape.`,
    'x-standard-schema': standard.vendor,
  };
}

/** A vendor throws for a part that JSON Schema has no word for (a date, a class): then the rest of the document is shown all the same. */
function shownBy({
  jsonSchema,
}: StandardWithJson): { readonly schema: unknown } | { readonly fault: string } {
  try {
    const schema = jsonSchema?.input({ target: 'draft-07' });
    return schema === undefined ? { fault: 'gives no JSON Schema' } : { schema };
  } catch (error) {
    return {
      fault: `cannot say it in JSON Schema (${error instanceof Error ? error.message : String(error)})`,
    };
  }
}

/** Some vendors also speak Standard JSON Schema; data is never transformed on the way, so what goes in is what is on the wire. */
interface StandardWithJson {
  readonly vendor: string;
  readonly jsonSchema?: { readonly input: (options: { readonly target: string }) => unknown };
}

function jsonSchema(schema: Json): Json {
  return usesNewer(schema) ? { schemaFormat: DRAFT_2020, schema } : schema;
}

function usesNewer(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(usesNewer);
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([name, inner]) => NEWER_THAN_DRAFT_07.has(name) || usesNewer(inner));
}

/** As it would be written down: typebox keeps notes of its own under names that begin with a tilde. */
function plain(schema: unknown): Json {
  return JSON.parse(
    JSON.stringify(schema, (name: string, value: unknown) => (name.startsWith('~') ? undefined : value)),
  ) as Json;
}
