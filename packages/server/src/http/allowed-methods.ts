/**
 * A path that exists, asked with a method that it has not: 405 with `Allow` (RFC 9110, 15.5.6) instead of "there is nothing here". The router
 * knows a path by its method only, so the paths are kept a second time, and looked at where nothing was found: no good request pays for it.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { HttpProblem } from './problem.ts';

/** Adds its hook for the routes registered after it. The function says what to answer where no route was found. */
export function missingRoutes(app: FastifyInstance): (request: FastifyRequest) => HttpProblem {
  const paths = new Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }>();
  app.addHook('onRoute', ({ url, method }) => {
    // A route for every path there is (the preflight of CORS) makes no path exist.
    if (url === '*' || url === '/*') return;
    const path = paths.get(url) ?? { pattern: patternOf(url), methods: new Set() };
    paths.set(url, path);
    for (const each of [method].flat()) path.methods.add(each);
  });
  return (request) => {
    const path = request.url.split('?', 1)[0] ?? '';
    const allowed = [...paths.values()]
      .filter(({ pattern }) => pattern.test(path))
      .flatMap(({ methods }) => [...methods]);
    // With the method among them something else was missing: a file under a path that ends with an asterisk.
    if (allowed.length === 0 || allowed.includes(request.method)) return new HttpProblem('not-found');
    const allow = [...new Set(allowed)].sort().join(', ');
    return new HttpProblem('method-not-allowed', {
      detail: `Here are: ${allow}.`,
      headers: { allow },
    });
  };
}

/** `/v1/campaigns/:campaignId/status`, `/docs/static/*` */
function patternOf(url: string): RegExp {
  const source = url
    .replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll(/:\w+/g, '[^/]+');
  return new RegExp(`^${source}$`);
}
