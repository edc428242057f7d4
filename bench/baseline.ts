/**
 * What the baselines share: fastify with the same session check (the server's own module, with the keys of the prepared installations), the same
 * body schema and route. They differ in the one function that is given the member.
 */
import type { AddressInfo } from 'node:net';
import { systemClock } from '@doorbuster/messaging';
import fastify from 'fastify';
import { createSessions } from '../packages/server/src/http/auth/sessions.ts';
import { openSecrets } from '../packages/server/src/secrets.ts';
import { optionsOf, say, told } from './child-process.ts';
import type { BaselineOptions, Ready } from './system.ts';

export interface BaselineAnswer {
  readonly status: number;
  /** A text is JSON already. */
  readonly body: object | string;
}
export type Enter = (memberKey: string, answers: object) => BaselineAnswer;

const entryBody = {
  type: 'object',
  additionalProperties: false,
  properties: {
    answers: {
      type: 'object',
      maxProperties: 50,
      propertyNames: { pattern: '^[a-z0-9][a-z0-9-]{0,63}$' },
      additionalProperties: {
        anyOf: [
          { type: 'string', maxLength: 2_000 },
          { type: 'number' },
          { type: 'array', items: { type: 'string', maxLength: 64 }, maxItems: 100 },
        ],
      },
    },
  },
};

/** Serves until told to end. `open` makes what stands behind the check, `close` undoes it. */
export async function serveBaseline(
  open: (options: BaselineOptions) => { readonly enter: Enter; readonly close: () => void },
): Promise<void> {
  const options = optionsOf<BaselineOptions>();
  const { secrets } = openSecrets(options.secretsFile, Date.now(), false);
  const sessions = createSessions(secrets.sessions, 60, systemClock);
  const { enter, close } = open(options);
  const app = fastify();
  app.post<{ Params: { campaignId: string }; Body: { answers?: object } }>(
    '/v1/campaigns/:campaignId/entries',
    { schema: { body: entryBody } },
    async (request, reply) => {
      const bearer = request.headers.authorization?.slice('Bearer '.length) ?? '';
      const session = sessions.read(request.params.campaignId, bearer);
      if (!session) return reply.code(401).send({ title: 'no session' });
      const { status, body } = enter(session.memberKey, request.body.answers ?? {});
      if (typeof body === 'string') void reply.header('content-type', 'application/json; charset=utf-8');
      return reply.code(status).send(body);
    },
  );
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  await say({ url: `http://127.0.0.1:${port}` } satisfies Ready);
  await told();
  app.server.closeAllConnections();
  await app.close();
  close();
  process.disconnect?.();
}
