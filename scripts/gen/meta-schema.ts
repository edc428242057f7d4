// packages/messaging/src/meta-schema.ts: the code that ajv makes of the JSON Schema 2020-12 meta-schema, made ahead (https://ajv.js.org/standalone.html). To make it
// in each process took more of the processor than all else of its first contract.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import standalone from 'ajv/dist/standalone/index.js';
import type { Generator } from './generated.ts';

const asRequired = 'require("ajv/dist/runtime/equal").default';

/** The code is ajv's and the constants in it are the meta-schema, so their notices go with it. */
const headOf = (
  licence: string,
): string => `// @ts-nocheck -- made code has no types; what is exported has its own
// Made by "npm run gen" (scripts/gen/meta-schema.ts) with ajv. Edit nothing here.
/*
The code is made by ajv and from parts of it:

${licence.trim()}

The meta-schema in it: Copyright (c) 2022 JSON Schema Specification Authors.
Licensed under the Academic Free License version 3.0.
*/
import equalModule from 'ajv/dist/runtime/equal.js';
/** False: ajv itself has to say whether it is one, and what is wrong. */
export const isSchema: (schema: unknown) => boolean = validate0;
`;

export const generate: Generator = () => {
  // As the judge of contract.ts, whose verdict it has to be.
  const ajv = new Ajv2020({ strict: false, code: { source: true, esm: true } });
  const validate = ajv.getSchema('https://json-schema.org/draft/2020-12/schema');
  if (!validate) throw new Error('ajv has no 2020-12 meta-schema any more');
  const code = standalone
    .default(ajv, validate)
    .replace('"use strict";export const validate = validate0;export default validate0;', '')
    .replace(asRequired, 'equalModule.default');
  if (/\brequire\(|\bexport\b/.test(code)) throw new Error('ajv makes other code than this generator knows');
  const licence = readFileSync(fileURLToPath(import.meta.resolve('ajv/LICENSE')), 'utf8');
  return [{ path: 'packages/messaging/src/meta-schema.ts', text: `${headOf(licence)}${code}\n` }];
};
