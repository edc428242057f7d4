/**
 * The reference of the API: `/openapi.json`, made from the schemas that validate, `/docs`, where it can be read and tried with a key, and
 * `/docs/errors`, where the `type` of every problem points. Everything is served from here: no third party sees who reads it.
 */
import type { SwaggerTransform, SwaggerTransformObject } from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyPluginAsync, FastifySchema } from 'fastify';
import { documentedProblems } from '../problem.ts';
import { problemAnswer } from '../schemas.ts';
import { tags } from './operation.ts';
import { refusalTable } from './refusals.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Bodies by content type that are documented, but read as a stream by the handler and so not validated by fastify. */
    documentedBody?: Readonly<Record<string, unknown>>;
  }
}

/** A body that is too large, or of a type that is not read here, is refused before anything else is looked at, wherever a body may come. */
const bodyRefusals = {
  413: problemAnswer('The body is too large.'),
  415: problemAnswer('The body has a type that is not read here.'),
};

const transform: SwaggerTransform = ({ schema, url, route }) => {
  const body = route.config?.documentedBody;
  const shown = { ...schema } as FastifySchema;
  const mayHaveBody = [route.method].flat().some((method) => method !== 'GET' && method !== 'HEAD');
  if (mayHaveBody) shown.response = { ...bodyRefusals, ...(shown.response as object) };
  if (!body) return { schema: shown, url };
  const content = Object.fromEntries(Object.entries(body).map(([type, typed]) => [type, { schema: typed }]));
  return { schema: { ...shown, body: { content } }, url };
};

/** The parts of the document that are looked at here. */
interface ShownOperation {
  readonly requestBody?: {
    required?: boolean;
    readonly content: Readonly<Record<string, { readonly schema?: { readonly anyOf?: readonly object[] } }>>;
  };
}

/** The plugin says of every body that it is required; one that may be null may be left out. */
const transformObject: SwaggerTransformObject = (made) => {
  const document = 'openapiObject' in made ? made.openapiObject : made.swaggerObject;
  for (const path of Object.values(document.paths ?? {}))
    for (const { requestBody } of Object.values(path ?? {}) as ShownOperation[]) {
      const choices = requestBody?.content['application/json']?.schema?.anyOf ?? [];
      const mayBeNull = choices.some((choice) => 'type' in choice && choice.type === 'null');
      if (requestBody && mayBeNull) requestBody.required = false;
    }
  return document;
};

/** What `createApp` gives to the swagger plugin besides the frame of the document. */
export const documentOptions = {
  transform,
  transformObject,
  /** Named schemas keep their names, so that generated clients have types called `Campaign`, not `def-3`. */
  refResolver: {
    buildLocalReference: (
      json: { readonly $id?: unknown },
      _base: unknown,
      _fragment: string,
      index: number,
    ) => (typeof json.$id === 'string' ? json.$id.replace(/#$/, '') : `schema-${index}`),
  },
};

export const operatorTags = Object.entries(tags).map(([name, description]) => ({ name, description }));

/** swagger-ui sets styles from script, which needs `unsafe-inline` for styles; scripts come from here only. */
const docsPolicy = {
  'default-src': ["'none'"],
  'script-src': ["'self'"],
  'style-src': ["'self'", "'unsafe-inline'"],
  'img-src': ["'self'", 'data:'],
  'font-src': ["'self'"],
  'connect-src': ["'self'"],
  'base-uri': ["'none'"],
  'form-action': ["'none'"],
  'frame-ancestors': ["'none'"],
};

/** Anyone may read it: there are no secrets in it, and it is in the public repository anyway. */
export function referenceRoutes(): FastifyPluginAsync {
  return async (app) => {
    await app.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: Object.fromEntries(
        Object.entries(docsPolicy).map(([name, sources]) => [name, `${sources.join(' ')}`]),
      ),
      theme: { title: 'Doorbuster API' },
      logo: null as never,
      uiConfig: {
        layout: 'BaseLayout',
        deepLinking: true,
        tryItOutEnabled: true,
        displayRequestDuration: true,
        persistAuthorization: false,
      },
    });
    app.get('/openapi.json', { schema: { hide: true } as FastifySchema }, async (_request, reply) => {
      reply.header('cache-control', 'public, max-age=60');
      return app.swagger();
    });
    app.get('/docs/errors', { schema: { hide: true } as FastifySchema }, async (_request, reply) => {
      reply.type('text/html; charset=utf-8').header('cache-control', 'public, max-age=60');
      reply.header(
        'content-security-policy',
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      );
      return errorsPage();
    });
  };
}

function errorsPage(): string {
  const problems = documentedProblems().map(
    ({ slug, status, title, remedy }) =>
      `<tr id="${escaped(slug)}"><th scope="row"><a href="#${escaped(slug)}">${escaped(slug)}</a></th><td>${status}</td><td>${escaped(title)}</td><td>${escaped(remedy)}</td></tr>`,
  );
  const reasons = Object.entries(refusalTable).map(
    ([reason, { slug, detail, remedy }]) =>
      `<tr id="reason-${escaped(reason)}"><th scope="row">${escaped(reason)}</th><td><a href="#${escaped(slug)}">${escaped(slug)}</a></td><td>${escaped(detail)}</td><td>${escaped(remedy)}</td></tr>`,
  );
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Doorbuster: problems</title>
<style>body{font:16px/1.5 system-ui;margin:2rem auto;max-width:70rem;padding:0 1rem;color-scheme:light dark}table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #8884}:target{outline:2px solid}</style>
<main><h1>Problems</h1><p>Every refusal is a problem (RFC 9457): <code>type</code> points to a line here. See also the <a href="/docs">API reference</a>.</p>
<table><thead><tr><th>Type</th><th>Status</th><th>Meaning</th><th>What to do</th></tr></thead><tbody>${problems.join('')}</tbody></table>
<h2>Reasons of the operator's API</h2><p>Finer than the type: the field <code>reason</code>.</p>
<table><thead><tr><th>Reason</th><th>Type</th><th>Meaning</th><th>What to do</th></tr></thead><tbody>${reasons.join('')}</tbody></table></main></html>`;
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
