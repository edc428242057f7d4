/** The process itself: alive, ready, measured. */
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import type { HttpDeps } from '../deps.ts';
import { HttpProblem } from '../problem.ts';
import { jsonAnswer, problemAnswer, strict } from '../schemas.ts';

const state = Type.Object({ status: Type.Literal('ok') }, strict);
const readiness = Type.Object(
  {
    status: Type.Literal('ok'),
    halted: Type.Array(Type.String(), {
      description:
        'Campaigns whose lane stands still for a person. They do not make the process unready: who is in is answered, and the page says what happens.',
    }),
  },
  strict,
);

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
        response: { 200: jsonAnswer('They may.', readiness), 503: problemAnswer('Starting or stopping.') },
      },
    },
    (_request, reply) => {
      const { starting, draining } = app.doorbuster;
      if (starting || draining)
        throw new HttpProblem('draining', { detail: draining ? 'It is stopping.' : 'It is starting.' });
      const halted = deps.ledger.halted().map(({ campaignId }) => campaignId);
      return reply.header('cache-control', 'no-store').send({ status: 'ok', halted });
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
