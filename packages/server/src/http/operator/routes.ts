/**
 * The operator's room: every route behind the guard (API key, scope, rate), POSTs behind idempotency. Registered by `createApp` as one plugin, so
 * that its hooks, body parsers and limits end at its walls.
 */
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import { campaignDefinitionSchema } from '../../campaign/definition.ts';
import { guard } from '../access/guard.ts';
import { idempotency } from '../access/idempotency.ts';
import { createKeyring } from '../access/keyring.ts';
import { apiKeyRoutes } from './api-keys.ts';
import { campaignRoutes } from './campaigns.ts';
import { deliveryRoutes } from './deliveries.ts';
import { entryRoutes } from './entries.ts';
import { evidenceRoutes } from './evidence.ts';
import { importRoutes } from './imports.ts';
import { lifecycleRoutes } from './lifecycle.ts';
import { memberRoutes } from './members.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { referenceRoutes } from './reference.ts';
import { campaignView, problem } from './schemas.ts';

export interface OperatorOptions {
  /** Requests of one key a minute. */
  readonly requestsPerMinute?: number;
}

/** Bytes: a definition with 50 questions of 100 options in two languages. */
const bodyLimit = 1024 * 1024;

export function operatorRoutes(
  deps: OperatorDeps,
  { requestsPerMinute = 1_200 }: OperatorOptions = {},
): FastifyPluginAsync {
  return async (app) => {
    await app.register(referenceRoutes());
    await app.register(async (room) => guardedRoutes(room, deps, requestsPerMinute));
  };
}

async function guardedRoutes(
  app: FastifyInstance,
  deps: OperatorDeps,
  requestsPerMinute: number,
): Promise<void> {
  const keyring = createKeyring(deps.ledger.access, deps.clock);
  guard(app, { keyring, clock: deps.clock, requestsPerMinute });
  idempotency(app, deps.ledger.access);
  bodies(app);
  share(app, 'CampaignDefinition', campaignDefinitionSchema);
  share(app, 'Campaign', campaignView);
  share(app, 'Problem', problem);
  campaignRoutes(app, deps);
  lifecycleRoutes(app, deps);
  entryRoutes(app, deps);
  deliveryRoutes(app, deps);
  memberRoutes(app, deps);
  evidenceRoutes(app, deps);
  apiKeyRoutes(app, deps, keyring);
  await app.register(async (scope) => importRoutes(scope, deps));
}

/** Named schemas may be known already: the member's room shares some. */
function share(app: FastifyInstance, id: string, schema: object): void {
  if (!app.getSchema(id)) app.addSchema(schema);
}

/** JSON only, and JSON merge patch under its own name: a form of another site cannot be posted here. */
function bodies(app: FastifyInstance): void {
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    ['application/json', 'application/merge-patch+json'],
    { parseAs: 'string', bodyLimit },
    parseJson,
  );
}
