/**
 * Fuzz from the OpenAPI document, over HTTP: requests for every operation and for methods that a path has not, drawn from a seed, so that the same seed sends
 * the same requests. The judge has the document alone: a status, a type and a shape that it shows; no 5xx but 503, and Retry-After with 503 and 429; nothing that
 * shows the inside. It tells faults, it throws none, so that one run finds all of them.
 */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import fc from 'fast-check';
import { Pool } from 'undici';
import type { FuzzTarget } from './fuzz-target.ts';
import { type JsonSchema, nearly, valuesOf } from './schema-values.ts';

const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;

interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header' | 'cookie';
  readonly required?: boolean;
  readonly schema?: JsonSchema;
}
type Content = Readonly<Record<string, { readonly schema?: JsonSchema }>>;
interface Operation {
  readonly operationId?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly required?: boolean; readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly content?: Content }>>;
  readonly security?: readonly Readonly<Record<string, unknown>>[];
}
export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
}

export interface FuzzRequest {
  readonly method: string;
  /** As in the document; the request's own path may be another one by then. */
  readonly template: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  /** Who asks. */
  readonly as: 'operator' | 'member' | 'nobody';
}

export interface FuzzResult {
  readonly requests: number;
  readonly operations: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** Operations that were answered with 2xx at least once, and those that never were. */
  readonly reached: readonly string[];
  readonly unreached: readonly string[];
  readonly faults: readonly string[];
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'] as const;
const atOnce = 16;
const patienceMs = 30_000;
/** Of one operation: the tenth says no more than the third. */
const mostFaults = 3;

export async function documentOf(url: string): Promise<OpenApiDocument> {
  return (await (await fetch(`${url}/openapi.json`)).json()) as OpenApiDocument;
}

/** Sends `perOperation` requests for each operation, mixed. */
export async function fuzz(
  target: FuzzTarget,
  document: OpenApiDocument,
  { seed, perOperation }: { readonly seed: number; readonly perOperation: number },
): Promise<FuzzResult> {
  const operations = Object.entries(document.paths).flatMap(([template, path]) =>
    Object.entries(path).map(([method, operation]) => ({
      template,
      method: method.toUpperCase(),
      operation,
    })),
  );
  const requests = operations.flatMap(({ template, method, operation }, index) =>
    fc.sample(requestsOf(target, document, template, method, operation), {
      seed: seed + index,
      numRuns: perOperation,
    }),
  );
  const judge = createJudge(document);
  const faults: string[] = [];
  const faultsOf = new Map<string, number>();
  const statuses: Record<string, number> = {};
  const reached = new Set<string>();
  const pool = new Pool(target.url, {
    connections: atOnce,
    headersTimeout: patienceMs,
    bodyTimeout: patienceMs,
  });
  // In strides, so that the operations are mixed and no campaign is closed before others have asked it.
  const order = Array.from({ length: perOperation }, (_, i) =>
    requests.filter((_request, at) => at % perOperation === i),
  ).flat();
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let request = order[next++]; request; request = order[next++]) {
      const key = target.keys[next % target.keys.length] ?? '';
      const { status, fault } = await send(pool, target, key, request, judge);
      statuses[status] = (statuses[status] ?? 0) + 1;
      if (status >= 200 && status < 300) reached.add(`${request.method} ${request.template}`);
      if (fault === null) continue;
      const name = `${request.method} ${request.template}`;
      const already = faultsOf.get(name) ?? 0;
      faultsOf.set(name, already + 1);
      if (already < mostFaults) faults.push(`${told(request)}\n  ${fault}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  await pool.destroy();
  const names = operations.map(({ method, template }) => `${method} ${template}`);
  return {
    requests: order.length,
    operations: operations.length,
    statuses,
    reached: names.filter((name) => reached.has(name)),
    unreached: names.filter((name) => !reached.has(name)),
    faults,
  };
}

function requestsOf(
  target: FuzzTarget,
  document: OpenApiDocument,
  template: string,
  method: string,
  { operationId = '', parameters = [], requestBody, security = [] }: Operation,
): fc.Arbitrary<FuzzRequest> {
  const resolve = (ref: string): JsonSchema =>
    document.components.schemas[ref.replace('#/components/schemas/', '')] ?? {};
  const values = (schema: JsonSchema | undefined) => valuesOf(schema ?? {}, resolve);
  const inPath = parameters.filter((parameter) => parameter.in === 'path');
  const inQuery = parameters.filter((parameter) => parameter.in === 'query');
  const inHeader = parameters.filter((parameter) => parameter.in === 'header');
  const parts = fc.record(
    Object.fromEntries(
      inPath.map(({ name, schema }) => {
        // A campaign that others still need is never closed.
        const real = (target.ids[name as keyof typeof target.ids] ?? []).filter(
          (id) => !(template.endsWith('/closures') && id === 'fuzzed'),
        );
        const known = real.length > 0 ? [{ weight: 9, arbitrary: fc.constantFrom(...real) }] : [];
        return [name, fc.oneof(...known, { weight: 1, arbitrary: values(schema) })];
      }),
    ),
  );
  const query = fc.record(Object.fromEntries(inQuery.map(({ name, schema }) => [name, values(schema)])), {
    requiredKeys: [],
  });
  const headers = fc.record(
    Object.fromEntries(
      inHeader.map(({ name, schema }) => {
        // Which ETag a campaign has by then nobody knows.
        const any = name === 'if-match' ? [fc.constant('*')] : [];
        return [name, fc.oneof(...any, headerText(values(schema)))];
      }),
    ),
    { requiredKeys: [] },
  );
  const body = bodiesOf(requestBody, resolve, target.bodies[operationId] ?? []);
  const own = 'apiKey' in (security[0] ?? {}) ? 'operator' : security.length > 0 ? 'member' : 'nobody';
  return fc
    .record({
      parts,
      query,
      stray: fc.option(fc.webQueryParameters(), { freq: 15, nil: '' }),
      headers,
      body,
      method: fc.oneof(
        { weight: 14, arbitrary: fc.constant(method) },
        { weight: 1, arbitrary: fc.constantFrom(...methods) },
      ),
      as: fc.oneof(
        { weight: 20, arbitrary: fc.constant(own) },
        { weight: 1, arbitrary: fc.constantFrom('operator', 'member', 'nobody') },
      ),
    })
    .map((drawn) => {
      const path = template.replaceAll(/\{(\w+)\}/g, (_whole, name: string) =>
        encoded(drawn.parts[name] ?? ''),
      );
      const search = Object.entries(drawn.query as Record<string, unknown>)
        .map(([name, value]) => `${name}=${encoded(value)}`)
        .join('&');
      const whole = [search, drawn.stray].filter((text) => text !== '').join('&');
      const [type, text] = drawn.method === 'GET' || drawn.method === 'HEAD' ? [null, null] : drawn.body;
      return {
        method: drawn.method,
        template,
        path: whole === '' ? path : `${path}?${whole}`,
        headers: { ...drawn.headers, ...(type === null ? {} : { 'content-type': type }) },
        body: drawn.method === 'TRACE' ? null : text,
        as: drawn.as as FuzzRequest['as'],
      };
    });
}

type Body = readonly [type: string | null, text: string | null];

function bodiesOf(
  requestBody: Operation['requestBody'],
  resolve: (ref: string) => JsonSchema,
  known: readonly unknown[],
): fc.Arbitrary<Body> {
  const none: fc.Arbitrary<Body> = fc.constant([null, null]);
  const junk: fc.Arbitrary<Body> = fc.tuple(
    fc.constantFrom('application/json', 'text/csv', 'text/plain', 'application/x-www-form-urlencoded', 'x'),
    fc.oneof(fc.string({ unit: 'binary' }), fc.json(), fc.constant('['.repeat(2_000))),
  );
  if (!requestBody) return fc.oneof({ weight: 9, arbitrary: none }, { weight: 1, arbitrary: junk });
  const right = Object.entries(requestBody.content).map(([type, { schema }]) => ({
    weight: 10,
    arbitrary: type.includes('json')
      ? jsonBodies(valuesOf(schema ?? {}, resolve), known).map(
          (value): Body => [type, JSON.stringify(value) ?? 'null'],
        )
      : csvText.map((text): Body => [type, text]),
  }));
  return fc.oneof(...right, { weight: 3, arbitrary: none }, { weight: 2, arbitrary: junk });
}

function jsonBodies(drawn: fc.Arbitrary<unknown>, known: readonly unknown[]): fc.Arbitrary<unknown> {
  return known.length === 0 ? drawn : fc.oneof(drawn, ...known.map(nearly));
}

const csvText = fc
  .tuple(
    fc.constantFrom('memberId,email', 'memberId', 'code', 'code,pin,url', 'strange', ''),
    fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), { maxLength: 5 }),
  )
  .map(([head, rows]) => [head, ...rows].join('\r\n'));

const encoded = (value: unknown): string => {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  return encodeURIComponent(text.toWellFormed()).slice(0, 6_000);
};

/** What a header can hold: anything else never leaves a client. */
const headerText = (values: fc.Arbitrary<unknown>): fc.Arbitrary<string> =>
  values.map((value) =>
    String(typeof value === 'object' ? JSON.stringify(value) : value)
      .replaceAll(/[^\x20-\x7e]/g, '')
      .slice(0, 500),
  );

const told = ({ method, path, headers, body, as }: FuzzRequest): string =>
  `${method} ${path.slice(0, 300)} as ${as} ${JSON.stringify(headers)} ${JSON.stringify(body)?.slice(0, 300)}`;

type Judge = (request: FuzzRequest, answer: Answer) => string | null;
interface Answer {
  readonly status: number;
  readonly type: string;
  readonly retryAfter: number;
  readonly text: string | null;
}

async function send(
  pool: Pool,
  target: FuzzTarget,
  key: string,
  request: FuzzRequest,
  judge: Judge,
): Promise<{ status: number; fault: string | null }> {
  const bearer = { operator: key, member: target.session, nobody: null }[request.as];
  try {
    const response = await pool.request({
      method: request.method as 'GET',
      path: request.path,
      headers: { ...request.headers, ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }) },
      ...(request.body === null ? {} : { body: request.body }),
    });
    const type = String(response.headers['content-type'] ?? '').split(';')[0] ?? '';
    // Live events never end by themselves.
    const isStream = type === 'text/event-stream';
    if (isStream) response.body.on('error', () => undefined).destroy();
    const text = isStream ? null : await response.body.text();
    const retryAfter = Number(response.headers['retry-after'] ?? 0);
    const status = response.statusCode;
    return { status, fault: judge(request, { status, type, retryAfter, text }) };
  } catch (error) {
    return { status: 0, fault: `no answer: ${(error as Error).message}` };
  }
}

function createJudge(document: OpenApiDocument): Judge {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats(ajv);
  ajv.addSchema({ $id: 'doc', components: document.components });
  const compiled = new Map<JsonSchema, ValidateFunction>();
  const faultsBy = (schema: JsonSchema, value: unknown): string | null => {
    let validate = compiled.get(schema);
    if (!validate) {
      const text = JSON.stringify(schema).replaceAll('"#/components/', '"doc#/components/');
      validate = ajv.compile(JSON.parse(text) as object);
      compiled.set(schema, validate);
    }
    return validate(value) ? null : ajv.errorsText(validate.errors);
  };
  const problem = document.components.schemas['Problem'] ?? {};

  return (request, { status, type, retryAfter, text }) => {
    const shown = `${status} ${type} ${text?.slice(0, 300) ?? ''}`;
    if (status >= 500 && status !== 503) return shown;
    if ((status === 503 || status === 429) && !(retryAfter >= 1)) return `without Retry-After: ${shown}`;
    if (/node_modules|at Object\.|\.ts:\d+/.test(text ?? '')) return `shows the inside: ${shown}`;
    const operation = operationOf(document, request);
    const documented = operation?.responses[status];
    // Where nothing is, or nothing of this method, there is no document to keep to.
    if (!operation) {
      if (request.method === 'OPTIONS' || request.method === 'HEAD' || text === null) return null;
      const unknown = status === 404 || status === 405 || status === 400;
      const isOther = !sameTemplate(request);
      if (!unknown && !isOther) return `a method that is not documented: ${shown}`;
      return unknown ? faultsBy(problem, JSON.parse(text)) : null;
    }
    if (!documented) return `a status that is not documented: ${shown}`;
    if (text === null || text === '') return null;
    const content = documented.content?.[type];
    if (!content) return `a type that is not documented: ${shown}`;
    if (!type.endsWith('json') || /ndjson/.test(type)) return null;
    const fault = faultsBy(content.schema ?? {}, JSON.parse(text));
    return fault && `not as documented: ${fault}: ${shown}`;
  };
}

/** The path that was drawn, still of the form that it was drawn for. */
function sameTemplate({ template, path }: FuzzRequest): boolean {
  const pattern = new RegExp(`^${template.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`);
  return pattern.test(path.split('?')[0] ?? '');
}

function operationOf(document: OpenApiDocument, request: FuzzRequest): Operation | null {
  if (!sameTemplate(request)) return null;
  return document.paths[request.template]?.[request.method.toLowerCase()] ?? null;
}
