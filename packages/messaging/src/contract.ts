/**
 * Contracts: what the data of a channel looks like. JSON Schema (typebox makes them, and its types infer raw ones too) is
 * checked by ajv; anything that speaks Standard Schema (zod, valibot, arktype) checks itself.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import type { Static, TSchema } from 'typebox';

/** The part of https://standardschema.dev that is used here. */
export interface StandardSchema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string;
        readonly path?: readonly unknown[] | undefined;
      }[];
    };

export type ContractSchema = TSchema | StandardSchema;

/** The data type a schema describes. */
export type DataOf<S> =
  S extends StandardSchema<infer Output> ? Output : S extends TSchema ? Static<S> : unknown;

/** Undefined when the data fits, else what is wrong in one line. */
export type Check = (data: unknown) => string | undefined | Promise<string | undefined>;

// ajv-formats is CommonJS: under nodenext its default import is typed as the module, at run time it is the function.
const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;

export function compileCheck(schema: ContractSchema): Check {
  return isStandardSchema(schema) ? standardCheck(schema) : jsonSchemaCheck(schema);
}

function isStandardSchema(schema: ContractSchema): schema is StandardSchema {
  return '~standard' in schema;
}

function jsonSchemaCheck(schema: TSchema): Check {
  // One ajv per contract: a shared one would refuse two schemas with the same $id. No coercion, no defaults: data is never changed.
  const ajv = new Ajv2020({ strict: false, allErrors: false });
  addFormats(ajv);
  const validate = ajv.compile(schema);
  return (data) => (validate(data) ? undefined : ajv.errorsText(validate.errors, { dataVar: 'data' }));
}

function standardCheck(schema: StandardSchema): Check {
  const describe = (result: StandardResult<unknown>): string | undefined =>
    result.issues
      ?.map((issue) => `${issue.path?.map(String).join('.') ?? 'data'}: ${issue.message}`)
      .join(', ');
  return (data) => {
    const result = schema['~standard'].validate(data);
    return result instanceof Promise ? result.then(describe) : describe(result);
  };
}
