/**
 * Contracts: what the data of a channel looks like. JSON Schema (typebox makes them, and its types infer raw ones too) is
 * checked by ajv; anything that speaks Standard Schema (zod, valibot, arktype) checks itself.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import type { Static, TSchema } from 'typebox';
import { describeError, MessagingError } from './errors.ts';
import { isSchema } from './meta-schema.ts';
import { isPromise } from './outcome.ts';

/** The part of https://standardschema.dev that is used here. `Input` is what travels, `Output` what handlers get. */
export interface StandardSchema<Output = unknown, Input = Output> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
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

/** What a handler gets: for a Standard Schema its output, made from what came. */
export type DataOf<S> =
  S extends StandardSchema<infer Output, infer _Input> ? Output : S extends TSchema ? Static<S> : unknown;

/** What is published, and travels as it is: for a Standard Schema with transforms or defaults its input. */
export type InputOf<S> = S extends {
  readonly '~standard': { readonly types?: { readonly input: infer Input } | undefined };
}
  ? unknown extends Input
    ? DataOf<S>
    : Input
  : DataOf<S>;

/** Undefined when the data fits, else what is wrong in one line. Never throws or rejects: a contract that does is a fault of the data. */
export type Check = (data: unknown) => string | undefined | Promise<string | undefined>;

/** What a contract makes of data: what handlers get, or what is wrong in one line. */
export type ReadData = { readonly data: unknown } | { readonly fault: string };

export interface Contract {
  readonly check: Check;
  /** Never throws or rejects either. JSON Schema gives the data back as it is, a Standard Schema its output. */
  readonly read: (data: unknown) => ReadData | Promise<ReadData>;
}

// ajv-formats is CommonJS: under nodenext its default import is typed as the module, at run time it is the function.
const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;

/**
 * Throws what ajv throws for a JSON Schema that is none, and DB_MSG_INVALID_OPTIONS for one that checks asynchronously. `travelsAs` says what the data is stored as: NaN and Infinity
 * are numbers by a JSON Schema only where an encoding may carry them, for JSON would make null of them.
 */
export function compileContract(schema: ContractSchema, travelsAs: 'json' | 'encoded' = 'json'): Contract {
  return isStandardSchema(schema) ? standardContract(schema) : jsonSchemaContract(schema, travelsAs);
}

/** The check alone, for what is no channel's data. */
export function compileCheck(schema: ContractSchema): Check {
  return compileContract(schema).check;
}

function isStandardSchema(schema: ContractSchema): schema is StandardSchema {
  return '~standard' in schema;
}

/** Judges whether schemas are schemas, and keeps none of them. */
let judge: Ajv2020 | undefined;

/**
 * Throws what ajv throws for a schema that is none. To compile what a schema may be costs ten times as much as most contracts do, so that was done ahead
 * (`npm run gen`); where that code does not say yes, or the schema names a meta-schema of its own, ajv says what it always did.
 */
function refuseNoSchema(schema: TSchema): void {
  if (!('$schema' in schema) && isSchema(schema)) return;
  judge ??= new Ajv2020({ strict: false });
  void judge.validateSchema(schema, true);
}

function jsonSchemaContract(schema: TSchema, travelsAs: 'json' | 'encoded'): Contract {
  refuseNoSchema(schema);
  // One ajv per contract: a shared one would refuse two schemas with the same $id. No coercion, no defaults: data is never changed.
  const strictNumbers = travelsAs === 'json';
  const ajv = new Ajv2020({ strict: false, strictNumbers, allErrors: false, validateSchema: false });
  addFormats(ajv);
  const validate = ajv.compile(schema);
  // Its answer would be a promise, which is true whatever the data is.
  if ('$async' in validate)
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'a JSON Schema with $async: use a Standard Schema');
  const check = (data: unknown): string | undefined => {
    try {
      return validate(data) ? undefined : ajv.errorsText(validate.errors, { dataVar: 'data' });
    } catch (error) {
      return threw(error);
    }
  };
  const read = (data: unknown): ReadData => {
    const fault = check(data);
    return fault === undefined ? { data } : { fault };
  };
  return { check, read };
}

function standardContract(schema: StandardSchema): Contract {
  const read = (data: unknown): ReadData | Promise<ReadData> => {
    try {
      const result = schema['~standard'].validate(data);
      if (!isPromise(result)) return readOf(result);
      return Promise.resolve(result)
        .then(readOf)
        .catch((error: unknown) => ({ fault: threw(error) }));
    } catch (error) {
      return { fault: threw(error) };
    }
  };
  const check: Check = (data) => {
    const result = read(data);
    return result instanceof Promise ? result.then(faultOf) : faultOf(result);
  };
  return { check, read };
}

const threw = (error: unknown): string => `the contract could not be checked: ${describeError(error)}`;
const faultOf = (result: ReadData): string | undefined => ('fault' in result ? result.fault : undefined);

function readOf(result: StandardResult<unknown>): ReadData {
  if (!result.issues) return { data: result.value };
  const fault = result.issues
    .map(({ path, message }) => `${path?.map(segmentOf).join('.') ?? 'data'}: ${message}`)
    .join(', ');
  return { fault };
}

/** A key, or an object that has one. */
function segmentOf(segment: unknown): string {
  const isObject = typeof segment === 'object' && segment !== null && 'key' in segment;
  return String(isObject ? segment.key : segment);
}
