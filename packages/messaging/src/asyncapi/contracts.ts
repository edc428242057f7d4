/** The contract of a channel as AsyncAPI shows it: the schema other tools can read, or an honest word that there is none. */
import type { Channel } from '../channel.ts';
import type { ContractSchema } from '../contract.ts';
import { describeError } from '../errors.ts';
import { placedAt, usesNewer } from './placed-schema.ts';

export type Json = Readonly<Record<string, unknown>>;

const DRAFT_2020 = 'application/schema+json;version=draft-2020-12';

/** What stands as `payload`. An encoding with a schema of its own is what is on the wire; the contract's JSON Schema then stands beside it. */
export function payloadOf({ definition: { schema, encoding } }: Channel, place: string): Json {
  if (!encoding) return schemaOf(schema, place);
  if (encoding.schema) return { schemaFormat: encoding.schema.format, schema: encoding.schema.definition };
  return { description: `Bytes of ${encoding.contentType}; the encoding names no schema.` };
}

/** Of a contract: the schema itself, in the format it is written in. `place` is where it will stand, a JSON pointer from the root of the document. */
export function schemaOf(contract: ContractSchema, place: string): Json {
  if (!('~standard' in contract)) {
    const shown = shownBy(() => contract, place);
    if ('schema' in shown) return shown.schema;
    return {
      description: `A JSON Schema that cannot be written down (${shown.fault}): this document cannot show its shape.`,
    };
  }
  const standard = contract['~standard'] as StandardWithJson;
  const shown = shownBy(() => standard.jsonSchema?.input({ target: 'draft-07' }), place);
  if ('schema' in shown) return shown.schema;
  const fault = shown.isThrown ? `cannot say it in JSON Schema (${shown.fault})` : shown.fault;
  return {
    description: `Checked at run time by ${standard.vendor}, which ${fault}: this document cannot show its shape.`,
    'x-standard-schema': standard.vendor,
  };
}

type Shown = { readonly schema: Json } | { readonly fault: string; readonly isThrown: boolean };

/**
 * A vendor throws for a part that JSON Schema has no word for (a date, a class), and what it gives may be nothing that can be written down (a cycle, a
 * BigInt): then the rest of the document is shown all the same.
 */
function shownBy(given: () => unknown, place: string): Shown {
  try {
    const schema = plain(given());
    if (typeof schema === 'object' && schema !== null && !Array.isArray(schema))
      return { schema: jsonSchema(schema as Json, place) };
    const instead = schema === undefined ? '' : `, but ${JSON.stringify(schema)}`;
    return { fault: `gives no JSON Schema${instead}`, isThrown: false };
  } catch (error) {
    const [why = ''] = (error instanceof Error ? String(error.message) : describeError(error)).split('\n', 1);
    return { fault: why, isThrown: true };
  }
}

/** Some vendors also speak Standard JSON Schema; data is never transformed on the way, so what goes in is what is on the wire. */
interface StandardWithJson {
  readonly vendor: string;
  readonly jsonSchema?: { readonly input: (options: { readonly target: string }) => unknown };
}

function jsonSchema(schema: Json, place: string): Json {
  return usesNewer(schema)
    ? { schemaFormat: DRAFT_2020, schema: placedAt(schema, `${place}/schema`) }
    : placedAt(schema, place);
}

/** As it would be written down; undefined for what cannot be, as a function. */
function plain(schema: unknown): unknown {
  const text = JSON.stringify(schema) as string | undefined;
  return text === undefined ? undefined : JSON.parse(text);
}
