/** The OpenAPI document: complete, sound, and served with its reference page from this process alone. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormatsModule from 'ajv-formats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scopes } from '../access/scopes.ts';
import { problemTable } from '../problem.ts';
import { tags } from './operation.ts';
import { refusalTable } from './refusals.ts';
import { type OperatorRig, openOperatorRig, type Parsed } from './testing/operator-rig.ts';

const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;
let rig: OperatorRig;
let doc: Parsed;
let operations: { name: string; operation: Parsed }[];
beforeAll(async () => {
  rig = await openOperatorRig();
  doc = (await rig.ask('GET', '/openapi.json', { token: null })).json;
  operations = Object.entries(doc.paths).flatMap(([path, methods]) =>
    Object.entries(methods as object).map(([method, operation]) => ({
      name: `${method} ${path}`,
      operation,
    })),
  );
});
afterAll(() => rig.close());

test('every operation has a name of its own, a summary, a known tag, a scope and a key', () => {
  expect(doc.openapi).toBe('3.1.0');
  const names = operations.map(({ operation }) => operation.operationId);
  expect(new Set(names).size).toBe(names.length);
  for (const { name, operation } of operations) {
    expect(operation.operationId, name).toMatch(/^[a-z][A-Za-z]+$/);
    expect(operation.summary, name).toMatch(/^[A-Z].{8,}[^.]$/);
    expect(Object.keys(tags), name).toContain(operation.tags[0]);
    expect(operation.security, name).toEqual([{ apiKey: [] }]);
    expect(scopes, name).toContain(/Scope: `([^`]+)`/.exec(operation.description)?.[1]);
  }
});

test('every operation shows how it answers and how it refuses', () => {
  for (const { name, operation } of operations) {
    const statuses = Object.keys(operation.responses);
    expect(
      statuses.some((status) => status.startsWith('2')),
      name,
    ).toBe(true);
    for (const status of ['400', '401', '403', '429', '503']) expect(statuses, name).toContain(status);
    const responses = Object.entries(operation.responses as Record<string, { content: object }>);
    const refusals = responses.filter(([status]) => status >= '400').map(([, { content }]) => content);
    expect(new Set(refusals.map((content) => JSON.stringify(content))), name).toEqual(
      new Set([
        JSON.stringify({ 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } }),
      ]),
    );
    for (const parameter of operation.parameters ?? [])
      expect(parameter.schema, `${name} ${parameter.name}`).toBeDefined();
    const placeholders = [...name.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    const inPath = (operation.parameters ?? [])
      .filter((one: { in: string }) => one.in === 'path')
      .map((one: { name: string }) => one.name);
    expect(new Set(inPath), name).toEqual(new Set(placeholders));
  }
});

test('every schema compiles, and every reference leads somewhere', () => {
  const ajv = new Ajv2020({ strict: false });
  addFormats(ajv);
  const whole = JSON.parse(JSON.stringify(doc).replaceAll('"#/components/', '"doc#/components/'));
  ajv.addSchema({ $id: 'doc', components: whole.components });
  for (const name of Object.keys(doc.components.schemas)) expect(name).toMatch(/^[A-Z][A-Za-z]+$/);
  const compileAll = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      if (key === 'schema') ajv.compile(inner as object);
      else compileAll(inner);
    }
  };
  compileAll(whole.paths);
  for (const name of Object.keys(whole.components.schemas))
    ajv.compile({ $ref: `doc#/components/schemas/${name}` });
});

test('the reference page asks nobody else', async () => {
  const page = await rig.ask('GET', '/docs', { token: null });
  expect(page.status).toBe(200);
  expect(page.headers['content-security-policy']).toContain("script-src 'self';");
  const sources = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]!);
  expect(sources.length).toBeGreaterThan(3);
  for (const source of sources) {
    expect(source).toMatch(/^(\/docs|\.)\//);
    expect(
      (await rig.ask('GET', new URL(source, 'http://x/docs').pathname, { token: null })).status,
      source,
    ).toBe(200);
  }
  expect(page.text).not.toMatch(/<script>|onload=/);
});

test('every problem and reason is on the page its type points to', async () => {
  const page = await rig.ask('GET', '/docs/errors', { token: null });
  for (const slug of Object.keys(problemTable)) expect(page.text).toContain(`id="${slug}"`);
  for (const [reason, { slug }] of Object.entries(refusalTable)) {
    expect(page.text).toContain(`id="reason-${reason}"`);
    expect(Object.keys(problemTable)).toContain(slug);
  }
});
