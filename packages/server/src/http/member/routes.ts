/** The members' room: API and page. A campaign without a survey is entered with no body at all, so an empty JSON body reads as `{}` here. */
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import { createFinalRecords } from '../../live/final-records.ts';
import type { HttpDeps } from '../deps.ts';
import type { EventStreams } from '../server-sent-events.ts';
import { entryRoutes } from './entries.ts';
import { mineRoutes } from './mine.ts';
import { pageRoutes } from './page.ts';
import { sessionRoutes } from './sessions.ts';

export function memberRoutes(deps: HttpDeps, streams: EventStreams): FastifyPluginAsync {
  return async (app) => {
    const finals = createFinalRecords(deps.ledger.admission);
    emptyJsonIsAnObject(app);
    sessionRoutes(app, deps);
    entryRoutes(app, deps);
    mineRoutes(app, deps, finals, streams);
    await app.register(async (pages) => pageRoutes(pages, deps, finals));
  };
}

function emptyJsonIsAnObject(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) done(null, {});
    else void parse(request, body as string, done);
  });
}
