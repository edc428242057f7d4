/** The process itself: alive, ready, measured. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import type { HttpDeps } from '../deps.ts';
import { HttpProblem } from '../problem.ts';
import { jsonAnswer, problemAnswer, strict } from '../schemas.ts';

const state = Type.Object({ status: Type.Literal('ok') }, strict);

export function processRoutes(app: FastifyInstance, deps: HttpDeps): void {
  app.get(
    '/livez',
    {
      schema: {
        operationId: 'getLiveness',
        tags: ['process'],
        summary: 'The process answers.',
        response: { 200: jsonAnswer('It does.', state) },
      },
    },
    (_request, reply) => reply.header('cache-control', 'no-store').send({ status: 'ok' }),
  );

  app.get(
    '/readyz',
    {
      schema: {
        operationId: 'getReadiness',
        tags: ['process'],
        summary: 'Requests may be sent here.',
        response: { 200: jsonAnswer('They may.', state), 503: problemAnswer('Starting or stopping.') },
      },
    },
    (_request, reply) => {
      const { starting, draining } = app.doorbuster;
      if (starting || draining)
        throw new HttpProblem('draining', { detail: draining ? 'It is stopping.' : 'It is starting.' });
      return reply.header('cache-control', 'no-store').send({ status: 'ok' });
    },
  );

  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'getMetrics',
        tags: ['process'],
        summary: 'Metrics in the text format of Prometheus.',
        response: {
          200: { description: 'Metrics.', content: { 'text/plain': { schema: { type: 'string' } } } },
        },
      },
    },
    async (_request, reply) => {
      const { contentType, body } = await deps.metrics.expose();
      return reply.header('content-type', contentType).header('cache-control', 'no-store').send(body);
    },
  );
}
