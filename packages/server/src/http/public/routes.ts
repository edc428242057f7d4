/** The public room: what anyone may read, and what watches the process. No cookie, nothing personal. */
import type { FastifyPluginAsync } from 'fastify';
import { createFinalRecords } from '../../live/final-records.ts';
import type { HttpDeps } from '../deps.ts';
import type { EventStreams } from '../server-sent-events.ts';
import { evidenceRoutes } from './evidence.ts';
import { processRoutes } from './process.ts';
import { statusRoutes } from './status.ts';

export function publicRoutes(deps: HttpDeps, streams: EventStreams): FastifyPluginAsync {
  return async (app) => {
    statusRoutes(app, deps, createFinalRecords(deps.ledger.admission), streams);
    evidenceRoutes(app, deps);
    processRoutes(app, deps);
  };
}
