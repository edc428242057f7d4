// docs/reference/openapi.json, docs/reference/api.md and docs/reference/errors.md: from the routes themselves, whose schemas validate
// every request, and from the catalogues of errors. The application is built whole, on a ledger in memory, and asked for its document.

import { DatabaseSync } from 'node:sqlite';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { errorCatalogue } from '../../packages/messaging/src/errors.ts';
import { catalogue } from '../../packages/server/src/errors.ts';
import { scopeMeanings } from '../../packages/server/src/http/access/scopes.ts';
import { openFixture } from '../../packages/server/src/http/app-fixture.ts';
import { refusalTable } from '../../packages/server/src/http/operator/refusals.ts';
import { operatorRoutes } from '../../packages/server/src/http/operator/routes.ts';
import { documentedProblems } from '../../packages/server/src/http/problem.ts';
import { openInProcessLedger } from '../../packages/server/src/ledgers/sqlite/in-process.ts';
import { type Generator, notice } from './generated.ts';

type Schema = {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly format?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly minimum?: number;
  readonly maximum?: number;
};
type Content = Readonly<Record<string, { readonly schema: Schema }>>;
type Operation = {
  readonly operationId?: string;
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly description?: string;
    readonly schema: Schema;
  }[];
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Content }>>;
};
type OpenApi = {
  readonly info: { readonly description: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
};

async function openApiDocument(): Promise<OpenApi> {
  const fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    rooms: (deps) => [operatorRoutes({ ...deps, reconcile: async () => ({}) })],
  });
  const document = fixture.app.swagger() as unknown as OpenApi;
  await fixture.close();
  return JSON.parse(JSON.stringify(document)) as OpenApi;
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** A type in a few words; named schemas are links. */
function typeOf(schema: Schema): string {
  if (schema.$ref) {
    const name = schema.$ref.split('/').at(-1) ?? '';
    return `[${name}](#${name.toLowerCase()})`;
  }
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum) return schema.enum.map((value) => `\`${String(value)}\``).join(', ');
  const union = schema.anyOf ?? schema.oneOf;
  if (union) return [...new Set(union.map(typeOf))].join(' or ');
  if (schema.type === 'array') return `list of ${schema.items ? typeOf(schema.items) : 'anything'}`;
  return schema.format === 'date-time' ? 'time (RFC 3339)' : (schema.type ?? 'anything');
}

function rangeOf({ minimum, maximum, default: standard }: Schema): string {
  const parts = [
    minimum === undefined ? '' : `from ${minimum}`,
    maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? '' : `to ${maximum}`,
    standard === undefined ? '' : `default \`${JSON.stringify(standard)}\``,
  ].filter((part) => part !== '');
  return parts.length > 0 ? ` (${parts.join(', ')})` : '';
}

/** The fields of an object, one a line; objects inside it follow with their path. */
function fieldRows(schema: Schema, prefix = ''): string[] {
  const fields = Object.entries(schema.properties ?? {});
  return fields.flatMap(([name, field]) => {
    const needed = schema.required?.includes(name) ? 'yes' : '';
    const row = `| \`${prefix}${name}\` | ${cell(typeOf(field) + rangeOf(field))} | ${needed} | ${cell(field.description ?? '')} |`;
    const inner = field.type === 'array' ? field.items : field;
    return [
      row,
      ...(inner?.properties
        ? fieldRows(inner, `${prefix}${name}${field.type === 'array' ? '[]' : ''}.`)
        : []),
    ];
  });
}

function fieldTable(schema: Schema): string[] {
  const rows = fieldRows(schema);
  return rows.length === 0 ? [] : ['| field | type | needed | meaning |', '|---|---|---|---|', ...rows, ''];
}

function bodyLines(content: Content | undefined): string[] {
  return Object.entries(content ?? {}).flatMap(([type, { schema }]) => {
    const item = schema.type === 'array' ? schema.items : schema;
    return [`Body \`${type}\`: ${typeOf(schema)}.`, '', ...(item ? fieldTable(item) : [])];
  });
}

function operationLines(path: string, method: string, operation: Operation): string[] {
  const parameters = (operation.parameters ?? []).map(
    ({ name, in: place, required, description, schema }) =>
      `| \`${name}\` | ${place} | ${cell(typeOf(schema) + rangeOf(schema))} | ${required ? 'yes' : ''} | ${cell(description ?? '')} |`,
  );
  const answers = Object.entries(operation.responses).map(([status, { description, content }]) => {
    const types = Object.entries(content ?? {}).map(([type, { schema }]) => `\`${type}\`: ${typeOf(schema)}`);
    return `| ${status} | ${cell(description)} | ${cell(types.join('; '))} |`;
  });
  return [
    `### ${operation.summary ?? operation.operationId ?? path}`,
    '',
    `\`${method.toUpperCase()} ${path}\``,
    '',
    ...(operation.description ? [operation.description, ''] : []),
    ...(parameters.length > 0
      ? ['| parameter | in | type | needed | meaning |', '|---|---|---|---|---|', ...parameters, '']
      : []),
    ...bodyLines(operation.requestBody?.content),
    '| answer | meaning | content |',
    '|---|---|---|',
    ...answers,
    '',
  ];
}

function apiPage(document: OpenApi): string {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const sections = document.tags.flatMap(({ name, description }) => {
    const own = operations.filter(({ operation }) => operation.tags?.[0] === name);
    const lines = own.flatMap(({ path, method, operation }) => operationLines(path, method, operation));
    return own.length > 0 ? [`## ${name}`, '', description, '', ...lines] : [];
  });
  const schemas = Object.entries(document.components.schemas).flatMap(([name, schema]) => [
    `### ${name}`,
    '',
    ...(schema.description ? [schema.description, ''] : []),
    ...fieldTable(schema),
  ]);
  const scopes = Object.entries(scopeMeanings).map(([scope, meaning]) => `| \`${scope}\` | ${meaning} |`);
  return [
    notice,
    '# HTTP API',
    '',
    `${document.info.description} The conventions are told in the [guide](../guides/api.md), the refusals in [errors](errors.md); the same as a document for programs: [openapi.json](openapi.json), and on a running server \`/openapi.json\` and \`/docs\`.`,
    '',
    '## Scopes of API keys',
    '',
    '| scope | allows |',
    '|---|---|',
    ...scopes,
    '| `*` | everything |',
    '',
    ...sections,
    '## Schemas',
    '',
    ...schemas,
  ].join('\n');
}

function errorsPage(): string {
  const problems = documentedProblems().map(
    ({ slug, status, title, remedy }) =>
      `| <a id="${slug}"></a>\`${slug}\` | ${status} | ${cell(title)} | ${cell(remedy)} |`,
  );
  const reasons = Object.entries(refusalTable).map(
    ([reason, { slug, detail, remedy }]) =>
      `| \`${reason}\` | [\`${slug}\`](#${slug}) | ${cell(detail)} | ${cell(remedy)} |`,
  );
  const operational = Object.entries(catalogue).map(
    ([code, { retryable, message, remedy }]) =>
      `| \`${code}\` | ${retryable ? 'yes' : 'no'} | ${cell(message)} | ${cell(remedy)} |`,
  );
  const messaging = Object.entries(errorCatalogue).map(
    ([code, { retryable, meaning }]) => `| \`${code}\` | ${retryable ? 'yes' : 'no'} | ${cell(meaning)} |`,
  );
  return [
    notice,
    '# Errors',
    '',
    'Every refusal of the HTTP API is a problem (RFC 9457, `application/problem+json`) with `type`, `title`, `status`, `code` and `requestId`. A running server answers the same at `/docs/errors`, where each `type` points.',
    '',
    '## Problems',
    '',
    '| type | status | meaning | what to do |',
    '|---|---|---|---|',
    ...problems,
    '',
    "## Reasons of the operator's API",
    '',
    'Finer than the type: the field `reason`.',
    '',
    '| reason | type | meaning | what to do |',
    '|---|---|---|---|',
    ...reasons,
    '',
    '## Operational errors of the server',
    '',
    'In logs, on the command line, and as `code` of a problem.',
    '',
    '| code | retry | meaning | what to do |',
    '|---|---|---|---|',
    ...operational,
    '',
    '## Operational errors of the messaging toolkit',
    '',
    '| code | retry | meaning |',
    '|---|---|---|',
    ...messaging,
    '',
  ].join('\n');
}

export const generate: Generator = async () => {
  const document = await openApiDocument();
  return [
    { path: 'docs/reference/openapi.json', text: `${JSON.stringify(document, null, 1)}\n` },
    { path: 'docs/reference/api.md', text: apiPage(document) },
    { path: 'docs/reference/errors.md', text: errorsPage() },
  ];
};
