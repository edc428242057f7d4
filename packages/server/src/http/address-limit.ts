/**
 * The rate of one network address, before anything else is looked at. It covers what members and the public call; the operator's API has its
 * own limit per key, and probes and scrapes have none.
 */
import type { FastifyInstance } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { OperationalError } from '../errors.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Counts against the rate of the caller's address. */
    countsAddress?: boolean;
  }
}

export function addressLimit(
  app: FastifyInstance,
  { turnstile, metrics, config }: Pick<HttpDeps, 'turnstile' | 'metrics' | 'config'>,
): void {
  const { addressPerSecond, addressBurst } = config.limits;
  const policy = `"address";q=${addressBurst};w=${Math.max(1, Math.round(addressBurst / addressPerSecond))}`;
  app.addHook('onRequest', (request, reply, done) => {
    if (!request.routeOptions.config.countsAddress) return done();
    const state = turnstile.address(request.ip);
    void reply.header('ratelimit-policy', policy);
    void reply.header('ratelimit', `"address";r=${state.remaining};t=${Math.ceil(state.waitMs / 1000)}`);
    if (state.allowed) return done();
    metrics.shed('address-rate');
    done(new OperationalError('RATE_LIMITED', { retryAfterMs: state.waitMs }));
  });
}
