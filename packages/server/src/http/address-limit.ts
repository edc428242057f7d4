/**
 * The rate of one network address, before anything else is looked at. It covers what members and the public call; the operator's API has its
 * own limit per key, and probes and scrapes have none.
 */
import type { FastifyInstance } from 'fastify';
import type { LimitState } from '../admission/turnstile.ts';
import type { HttpDeps } from './deps.ts';
import { OperationalError } from '../errors.ts';
import { countedAddress } from './passed-on.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Counts against the rate of the caller's address. */
    countsAddress?: boolean;
  }
}

/** The headers that tell a caller of its rate. */
export function rateHeaders({ limits }: HttpDeps['config']): {
  readonly policy: string;
  readonly of: (state: LimitState) => string;
} {
  const { addressPerSecond, addressBurst } = limits;
  return {
    policy: `"address";q=${addressBurst};w=${Math.max(1, Math.round(addressBurst / addressPerSecond))}`,
    of: ({ remaining, waitMs }) => `"address";r=${remaining};t=${Math.ceil(waitMs / 1000)}`,
  };
}

export function addressLimit(
  app: FastifyInstance,
  { turnstile, metrics, config }: Pick<HttpDeps, 'turnstile' | 'metrics' | 'config'>,
): void {
  const rate = rateHeaders(config);
  app.addHook('onRequest', (request, reply, done) => {
    if (!request.routeOptions.config.countsAddress) return done();
    const state = countedAddress(request.raw) ?? turnstile.address(request.ip);
    void reply.header('ratelimit-policy', rate.policy);
    void reply.header('ratelimit', rate.of(state));
    if (state.allowed) return done();
    metrics.shed('address-rate');
    done(new OperationalError('RATE_LIMITED', { retryAfterMs: state.waitMs }));
  });
}
