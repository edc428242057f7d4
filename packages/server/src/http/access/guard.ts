/**
 * The door of the operator's routes: who calls (API key), whether the key may do this (scope), and how often. A scope is declared on the
 * route (`config.scope`), and a route without one is refused at start: forgetting it is not a way in.
 */
import type { Clock } from '@doorbuster/messaging';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { OperationalError } from '../../errors.ts';
import type { Actor } from '../../ledger.ts';
import { refusal } from '../operator/refusals.ts';
import { HttpProblem } from '../problem.ts';
import type { Keyring, KeyIdentity } from './keyring.ts';
import { createRateLimit, type RateLimit, type RateState } from './rate-limit.ts';
import { allows, type Scope } from './scopes.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What an API key needs for this route of the operator. */
    scope?: Scope;
  }
  interface FastifyRequest {
    /** The caller of an operator route; null elsewhere. */
    apiKey: KeyIdentity | null;
  }
}

export interface GuardOptions {
  readonly keyring: Keyring;
  readonly clock: Clock;
  /** Requests of one key a minute. */
  readonly requestsPerMinute: number;
}

const challenge = { 'www-authenticate': 'Bearer realm="doorbuster operator"' };

/**
 * Wrong keys of one address a minute; then the address waits. Keys that fitted before still pass: many callers share an address, and a stranger must
 * not be able to keep an operator from pausing a campaign. Guessing is hopeless either way; this saves the ledger the look-ups.
 */
const wrongKeysPerMinute = 60;

/** Adds the hooks to this plugin's scope: every route registered after it in the same scope is guarded. */
export function guard(app: FastifyInstance, { keyring, clock, requestsPerMinute }: GuardOptions): void {
  const perKey = createRateLimit(clock, requestsPerMinute, 60);
  const perAddress = createRateLimit(clock, wrongKeysPerMinute, 60);

  app.decorateRequest('apiKey', null);
  app.addHook('onRoute', (route) => {
    if (!route.config?.scope) throw new Error(`${String(route.method)} ${route.url} declares no scope`);
  });
  app.addHook('onRequest', async (request, reply) => {
    const token = tokenOf(request);
    const failed = perAddress.peek(request.ip);
    if (!failed.allowed && !(token && keyring.isFamiliar(token))) throw tooMany(failed);
    const key = await identify(keyring, token).catch((error: unknown) => {
      if (error instanceof HttpProblem) perAddress.take(request.ip);
      throw error;
    });
    request.apiKey = key;
    countRequest(perKey, key, reply);
    const scope = request.routeOptions.config.scope!;
    if (!allows(key.scopes, scope)) throw refusal('scope-missing', { members: { scope } });
  });
}

/** The caller as it goes into the audit record. */
export function actorOf(request: FastifyRequest): Actor {
  return { kind: 'api-key', id: callerOf(request).keyId, requestId: request.id };
}

export function callerOf(request: FastifyRequest): KeyIdentity {
  if (!request.apiKey) throw new Error('an operator route ran without its guard');
  return request.apiKey;
}

const tokenOf = (request: FastifyRequest): string | undefined =>
  /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];

async function identify(keyring: Keyring, token: string | undefined): Promise<KeyIdentity> {
  if (!token) throw refusal('api-key-missing', { headers: challenge });
  const key = await keyring.identify(token);
  if (!key) throw refusal('api-key-wrong', { headers: challenge });
  return key;
}

function countRequest(limit: RateLimit, key: KeyIdentity, reply: FastifyReply): void {
  const state = limit.take(key.keyId);
  reply.header('RateLimit-Policy', `"operator";q=${limit.quota};w=${limit.windowSeconds}`);
  reply.header('RateLimit', `"operator";r=${state.remaining};t=${state.resetSeconds}`);
  if (!state.allowed) throw tooMany(state);
}

function tooMany(state: RateState): OperationalError {
  return new OperationalError('RATE_LIMITED', { retryAfterMs: state.resetSeconds * 1000 });
}
