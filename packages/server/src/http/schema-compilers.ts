/**
 * How schemas become checks. Two validators: bodies are taken exactly as sent, while parameters, queries and headers are text by nature and
 * are read as the numbers and booleans that the schema names. Draft 2020-12, because that is what OpenAPI 3.1 documents.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import type { FastifySchemaCompiler } from 'fastify';

// ajv-formats is CommonJS: under nodenext its default import is typed as the module, at run time it is the function.
const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;

const strict = {
  strict: false,
  discriminator: true,
  removeAdditional: false,
  useDefaults: true,
  allErrors: true,
  ownProperties: true,
  verbose: true,
  // Compiling the meta-schema took a third of a start, and a start is what members wait for after a crash. The schemas are our own; a test
  // holds the whole document against the meta-schema.
  validateSchema: false,
} as const;

export function buildValidator(externalSchemas: unknown): FastifySchemaCompiler<object> {
  const exact = new Ajv2020({ ...strict, coerceTypes: false });
  const fromText = new Ajv2020({ ...strict, coerceTypes: true });
  for (const ajv of [exact, fromText]) {
    addFormats(ajv);
    for (const schema of Object.values((externalSchemas ?? {}) as Record<string, object>))
      ajv.addSchema(schema);
  }
  return ({ schema, httpPart }) => {
    const ajv = httpPart === 'body' ? exact : fromText;
    const id = (schema as { $id?: string }).$id;
    return (id ? ajv.getSchema(id) : undefined) ?? ajv.compile(schema);
  };
}

export function buildSerializer(): () => (data: unknown) => string {
  return () => (data) => JSON.stringify(data);
}
