/** API keys of the operator: created, listed, rotated, revoked. A secret is shown once, in the answer that made it. */
import type { FastifyInstance } from 'fastify';
import Type, { type Static } from 'typebox';
import type { ApiKey } from '../../ledger.ts';
import { createApiKey, rotateApiKey } from '../access/api-keys.ts';
import { actorOf, callerOf } from '../access/guard.ts';
import type { Keyring } from '../access/keyring.ts';
import { missingScopes, scopeMeanings, scopes } from '../access/scopes.ts';
import { describe } from './operation.ts';
import type { OperatorDeps } from './operator-deps.ts';
import { refusal } from './refusals.ts';
import * as schemas from './schemas.ts';
import { timeOf, timeOrNull } from './schemas.ts';

const strict = { additionalProperties: false } as const;
const scope = schemas.oneOf([...scopes, '*'], {
  description: `${scopes.map((name) => `\`${name}\`: ${scopeMeanings[name]}`).join(' ')} \`*\`: everything.`,
});
const keyId = Type.String({ pattern: '^[0-9a-f]{16}$', examples: ['3f9c1b2a4d5e6f70'] });
const keyBody = Type.Object(
  {
    name: Type.String({
      minLength: 1,
      maxLength: 100,
      description: 'What it is for.',
      examples: ['nightly import'],
    }),
    scopes: Type.Array(scope, { minItems: 1, maxItems: scopes.length + 1, uniqueItems: true }),
    expiresAt: Type.Optional(schemas.nullable(schemas.instant('When it stops working; never without.'))),
  },
  strict,
);
const keyFields = {
  keyId,
  name: Type.String(),
  scopes: Type.Array(Type.String()),
  createdAt: schemas.instant('Created.'),
  lastUsedAt: schemas.nullable(schemas.instant('Last used.')),
  expiresAt: schemas.nullable(schemas.instant('Stops working.')),
  revokedAt: schemas.nullable(schemas.instant('Revoked.')),
};
const keyView = Type.Object(keyFields, strict);
const issuedKey = Type.Object(
  {
    ...keyFields,
    token: schemas.nullable(
      Type.String({
        description:
          'What goes behind `Authorization: Bearer`. Shown in this answer only; null when an Idempotency-Key repeats it.',
      }),
    ),
  },
  strict,
);
const rotationBody = Type.Object(
  {
    graceSeconds: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 604_800,
        default: 0,
        description: 'How long the old secret still works.',
      }),
    ),
  },
  strict,
);
const keyParams = Type.Object({ keyId }, strict);

type KeyParams = { Params: Static<typeof keyParams> };

export function apiKeyRoutes(app: FastifyInstance, deps: OperatorDeps, keyring: Keyring): void {
  createRoute(app, deps);
  listRoute(app, deps);
  rotateRoute(app, deps, keyring);
  revokeRoute(app, deps, keyring);
}

/** What a repeat is answered: the secret is not kept for it. */
function withoutToken(body: string): string {
  return JSON.stringify({ ...(JSON.parse(body) as object), token: null });
}

function viewOf({ keyId, name, scopes, createdAt, lastUsedAt, expiresAt, revokedAt }: ApiKey) {
  const ends = { expiresAt: timeOrNull(expiresAt), revokedAt: timeOrNull(revokedAt) };
  return { keyId, name, scopes, createdAt: timeOf(createdAt), lastUsedAt: timeOrNull(lastUsedAt), ...ends };
}

function createRoute(app: FastifyInstance, deps: OperatorDeps): void {
  const operation = describe({
    id: 'createApiKey',
    tag: 'api-keys',
    scope: 'keys:write',
    summary: 'Create an API key',
    description: 'A key can only give scopes that it has itself.',
    body: keyBody,
    idempotent: true,
    storedBody: withoutToken,
    answers: { 201: issuedKey },
  });
  app.post<{ Body: Static<typeof keyBody> }>('/v1/api-keys', operation, async (request, reply) => {
    const { name, expiresAt } = request.body;
    const asked = request.body.scopes as readonly string[];
    const missing = missingScopes(callerOf(request).scopes, asked);
    if (missing.length > 0) throw refusal('scope-not-held', { members: { scopes: missing } });
    const { apiKey, token } = await createApiKey(
      deps.ledger.access,
      deps.randomness,
      { name, scopes: asked, expiresAt: expiresAt ? Date.parse(expiresAt) : null },
      actorOf(request),
    );
    reply.code(201).header('location', `/v1/api-keys/${apiKey.keyId}`).header('cache-control', 'no-store');
    return { ...viewOf(apiKey), token };
  });
}

function listRoute(app: FastifyInstance, { ledger }: OperatorDeps): void {
  const operation = describe({
    id: 'listApiKeys',
    tag: 'api-keys',
    scope: 'keys:write',
    summary: 'List API keys, without their secrets',
    answers: { 200: Type.Object({ items: Type.Array(keyView) }, strict) },
  });
  app.get('/v1/api-keys', operation, async () => ({
    items: (await ledger.access.listApiKeys()).map(viewOf),
  }));
}

function rotateRoute(app: FastifyInstance, deps: OperatorDeps, keyring: Keyring): void {
  const operation = describe({
    id: 'rotateApiKey',
    tag: 'api-keys',
    scope: 'keys:write',
    summary: 'Give an API key a new secret',
    description: 'A key of more scopes than the caller has cannot be rotated by it.',
    params: keyParams,
    body: Type.Union([rotationBody, Type.Null()]),
    idempotent: true,
    storedBody: withoutToken,
    answers: { 201: issuedKey },
  });
  app.post<KeyParams & { Body: Static<typeof rotationBody> | null }>(
    '/v1/api-keys/:keyId/rotations',
    operation,
    async (request, reply) => {
      const { keyId } = request.params;
      await refuseStronger(deps, callerOf(request).scopes, keyId);
      const graceUntil = deps.clock.now() + (request.body?.graceSeconds ?? 0) * 1000;
      const rotated = await rotateApiKey(
        deps.ledger.access,
        deps.randomness,
        keyId,
        graceUntil,
        actorOf(request),
      );
      keyring.forget(keyId);
      if (!rotated) throw refusal('unknown-id');
      reply.code(201).header('cache-control', 'no-store');
      return { ...viewOf(rotated.apiKey), token: rotated.token };
    },
  );
}

function revokeRoute(app: FastifyInstance, deps: OperatorDeps, keyring: Keyring): void {
  const operation = describe({
    id: 'revokeApiKey',
    tag: 'api-keys',
    scope: 'keys:write',
    summary: 'Revoke an API key, at once and for good',
    params: keyParams,
    answers: { 204: null },
  });
  app.delete<KeyParams>('/v1/api-keys/:keyId', operation, async (request, reply) => {
    const { keyId } = request.params;
    await refuseStronger(deps, callerOf(request).scopes, keyId);
    const revoked = await deps.ledger.access.revokeApiKey(keyId, actorOf(request));
    keyring.forget(keyId);
    if (!revoked) throw refusal('unknown-id');
    return reply.code(204).send();
  });
}

/** Whoever may rotate a stronger key would be handed its scopes. */
async function refuseStronger(
  { ledger }: OperatorDeps,
  held: readonly string[],
  keyId: string,
): Promise<void> {
  const key = (await ledger.access.listApiKeys()).find((one) => one.keyId === keyId);
  if (!key) throw refusal('unknown-id');
  const missing = missingScopes(held, key.scopes);
  if (missing.length > 0) throw refusal('scope-not-held', { members: { scopes: missing } });
}
