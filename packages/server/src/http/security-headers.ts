/**
 * Headers that every answer carries, and CORS for the shop's origins. Pages set their own Content-Security-Policy; everything
 * else is data and may load nothing.
 */
import cors from '@fastify/cors';
import type { FastifyInstance } from 'fastify';
import type { Config } from '../config.ts';

const dataPolicy = "default-src 'none'; frame-ancestors 'none'";

/** What every answer carries. */
export function commonHeaders(config: Config): Readonly<Record<string, string>> {
  const transport =
    config.tls || config.publicUrl?.startsWith('https:')
      ? { 'strict-transport-security': 'max-age=31536000' }
      : {};
  return {
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'content-security-policy': dataPolicy,
    ...transport,
  };
}

export function securityHeaders(app: FastifyInstance, config: Config): void {
  const headers = commonHeaders(config);
  app.addHook('onRequest', (_request, reply, done) => {
    void reply.headers(headers);
    done();
  });
}

const exposedHeaders = ['location', 'retry-after', 'etag', 'x-request-id', 'ratelimit', 'ratelimit-policy'];

/** Only the shop's own origins, without credentials: an app of the shop sends a bearer, cookies belong to the member page alone. */
export async function corsFor(app: FastifyInstance, config: Config): Promise<void> {
  await app.register(cors, {
    origin: config.allowedOrigins.length > 0 ? [...config.allowedOrigins] : false,
    methods: ['GET', 'HEAD', 'POST'],
    allowedHeaders: ['authorization', 'content-type', 'idempotency-key', 'last-event-id'],
    exposedHeaders,
    credentials: false,
    maxAge: 600,
  });
}

/** What `corsFor` adds to an answer that is no preflight, as names and values in turn, where origins are allowed at all. */
export function originHeaders(config: Config, origin: string | null): readonly string[] {
  const always = ['vary', 'Origin', 'access-control-expose-headers', exposedHeaders.join(', ')];
  if (origin === null || !config.allowedOrigins.includes(origin)) return always;
  return ['access-control-allow-origin', origin, ...always];
}
