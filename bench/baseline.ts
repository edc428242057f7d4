/**
 * What both baselines share: fastify with the same session check (the server's own module), the same body schema and route. They differ in
 * the one function that is given the member.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '@doorbuster/messaging';
import fastify from 'fastify';
import { createSessions, type Sessions } from '../packages/server/src/http/auth/sessions.ts';
import { optionsOf, say, told } from './child-process.ts';
import { campaignId, type Ready, type SystemOptions } from './system.ts';

export interface BaselineAnswer {
  readonly status: number;
  readonly body: object;
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
  open: (options: SystemOptions) => { readonly enter: Enter; readonly close: () => void },
): Promise<void> {
  const options = optionsOf<SystemOptions>();
  const key = { kid: 's1', key: randomBytes(32) };
  const sessions = createSessions([key], 60, systemClock);
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
      return reply.code(status).send(body);
    },
  );
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const ready: Ready = { url: `http://127.0.0.1:${port}`, sessions: writeSessions(sessions, options) };
  await say(ready);
  await told();
  app.server.closeAllConnections();
  await app.close();
  close();
  process.disconnect?.();
}

/** One session a line, each of a member of its own. Returns the file. */
export function writeSessions(sessions: Sessions, { directory, members }: SystemOptions): string {
  const file = join(directory, 'sessions');
  const lines = Array.from({ length: members }, () => {
    const memberKey = randomBytes(16).toString('hex');
    return sessions.issue(campaignId, memberKey).session;
  });
  writeFileSync(file, lines.join('\n'));
  return file;
}
