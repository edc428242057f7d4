/**
 * Headers that every answer carries, and CORS for the shop's origins. Pages set their own Content-Security-Policy; everything
 * else is data and may load nothing.
 */
import cors from '@fastify/cors';
import type { FastifyInstance } from 'fastify';
import type { Config } from '../config.ts';

const dataPolicy = "default-src 'none'; frame-ancestors 'none'";

export function securityHeaders(app: FastifyInstance, config: Config): void {
  const transport =
    config.tls || config.publicUrl?.startsWith('https:')
      ? { 'strict-transport-security': 'max-age=31536000' }
      : {};
  const headers = {
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'content-security-policy': dataPolicy,
    ...transport,
  };
  app.addHook('onRequest', (_request, reply, done) => {
    void reply.headers(headers);
    done();
  });
}

/** Only the shop's own origins, without credentials: an app of the shop sends a bearer, cookies belong to the member page alone. */
export async function corsFor(app: FastifyInstance, config: Config): Promise<void> {
  await app.register(cors, {
    origin: config.allowedOrigins.length > 0 ? [...config.allowedOrigins] : false,
    methods: ['GET', 'HEAD', 'POST'],
    allowedHeaders: ['authorization', 'content-type', 'idempotency-key', 'last-event-id'],
    exposedHeaders: ['location', 'retry-after', 'etag', 'x-request-id', 'ratelimit', 'ratelimit-policy'],
    credentials: false,
    maxAge: 600,
  });
}
