/**
 * The HTTP application: a factory over `HttpDeps`, used by `main.ts` with a listening port and by tests with `inject()`. It sets what
 * holds for every route (limits, strict schemas, problems, security headers, the OpenAPI document) and registers the rooms.
 *
 * Schemas validate as they are written: nothing is removed, nothing in a body is coerced. Replies are serialized by JSON.stringify:
 * a response schema documents and is checked by tests, it never drops a field in silence.
 */
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import cookie from '@fastify/cookie';
import swagger from '@fastify/swagger';
import fastify, {
  LogController,
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
} from 'fastify';
import { missingRoutes } from './allowed-methods.ts';
import { FastEntries, type FastEntriesOptions, type RequestListener } from './member/fast-entries.ts';
import { memberRoutes } from './member/routes.ts';
import { onClientError } from './client-error.ts';
import type { HttpDeps } from './deps.ts';
import { documentOptions, operatorTags } from './operator/reference.ts';
import { sendProblem } from './problem.ts';
import { publicRoutes } from './public/routes.ts';
import { requestIds } from './request-ids.ts';
import { addressLimit } from './address-limit.ts';
import { buildSerializer, buildValidator } from './schema-compilers.ts';
import { problemSchema, receiptSchema } from './schemas.ts';
import { eventStreams } from './server-sent-events.ts';
import { corsFor, securityHeaders } from './security-headers.ts';

declare module 'fastify' {
  interface FastifyInstance {
    /** What the process knows about itself: set by `main.ts`, told by `/readyz`. */
    doorbuster: { starting: boolean; draining: boolean };
  }
}

export interface TlsFiles {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
}

export interface AppOptions {
  /** Further rooms, registered after the member's and the public ones: the operator's. */
  readonly rooms?: readonly FastifyPluginAsync[];
  /** Serve HTTPS; the caller has read the files. */
  readonly tls?: TlsFiles;
  /** False: every request takes the router's full way, for the comparison of the two. */
  readonly fastEntries?: boolean;
}

const maxBodyBytes = 64 * 1024;
const maxHeaderBytes = 16 * 1024;

export async function createApp(deps: HttpDeps, options: AppOptions = {}): Promise<FastifyInstance> {
  const state = { starting: false, draining: false };
  const app = fastify(serverOptions(deps, options, state));
  app.decorate('doorbuster', state);
  app.server.maxConnections = deps.config.limits.connections;
  const missing = missingRoutes(app);
  // Where nothing is, what is wrong with the body does not matter.
  app.setErrorHandler((error, request, reply) =>
    sendProblem(reply, request, request.is404 ? missing(request) : error, deps.randomness),
  );
  app.setNotFoundHandler((request, reply) => sendProblem(reply, request, missing(request), deps.randomness));
  securityHeaders(app, deps.config);
  measureRequests(app, deps);
  addressLimit(app, deps);
  // The document is gathered while routes are registered, so it comes before all of them.
  await app.register(swagger, { ...documentOptions, openapi: openApiFrame(deps) });
  app.addSchema(problemSchema);
  app.addSchema(receiptSchema);
  // Forms are read on the member page only, and plain text nowhere: a foreign site can post either without asking.
  app.removeContentTypeParser('text/plain');
  await app.register(cookie);
  await corsFor(app, deps.config);
  const streams = eventStreams(app, deps);
  await app.register(publicRoutes(deps, streams));
  await app.register(memberRoutes(deps, streams));
  for (const room of options.rooms ?? []) await app.register(room);
  return app;
}

const keepAliveMs = 72_000;
/** A client that sends a byte now and then holds a socket no longer than this. */
const requestTimeoutMs = 60_000;

function serverOptions(
  deps: HttpDeps,
  options: AppOptions,
  state: FastifyInstance['doorbuster'],
): FastifyServerOptions {
  const requestId = requestIds(deps.randomness);
  return {
    serverFactory: (onward: RequestListener) => serverOf(deps, options, { requestId, onward, state }),
    loggerInstance: deps.log,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestId,
    requestIdHeader: false,
    trustProxy: deps.config.trustProxy as boolean | string[],
    bodyLimit: maxBodyBytes,
    requestTimeout: requestTimeoutMs,
    connectionTimeout: 0,
    keepAliveTimeout: keepAliveMs,
    routerOptions: { ignoreTrailingSlash: false, caseSensitive: true, maxParamLength: 200 },
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    exposeHeadRoutes: true,
    // While closing, admission itself says 503 with Retry-After, which the framework's own answer lacks.
    return503OnClosing: false,
    schemaController: { compilersFactory: { buildValidator, buildSerializer } },
    clientErrorHandler: onClientError,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
      void sendProblem(reply, request, error, deps.randomness),
  } as unknown as FastifyServerOptions;
}

/** The server with its limits; plain entries are served in front of the router. */
function serverOf(
  deps: HttpDeps,
  { tls, fastEntries = true }: AppOptions,
  rest: Omit<FastEntriesOptions, 'deps'>,
): Server {
  const limits = {
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: 10_000,
    connectionsCheckingInterval: 2_000,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveMs,
  };
  const listener = fastEntries ? new FastEntries({ deps, ...rest }).listener : rest.onward;
  return tls ? createTlsServer({ ...tls, ...limits }, listener) : createServer(limits, listener);
}

function measureRequests(app: FastifyInstance, deps: HttpDeps): void {
  app.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    if (app.doorbuster.draining) void reply.header('connection', 'close');
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    deps.metrics.request(
      request.routeOptions.url ?? 'none',
      request.method,
      reply.statusCode,
      reply.elapsedTime,
    );
    done();
  });
}

function openApiFrame(deps: HttpDeps) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Doorbuster',
      version: '1',
      description:
        'Limited-quantity, first-come-first-served campaigns. Errors are RFC 9457 problems. Times are RFC 3339; inside receipts and records they are milliseconds since the epoch, as they were hashed.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: deps.config.publicUrl ?? '/' }],
    components: {
      securitySchemes: {
        apiKey: { type: 'http' as const, scheme: 'bearer', description: 'An API key of the operator.' },
        memberSession: {
          type: 'http' as const,
          scheme: 'bearer',
          description: 'A member session, or a member token of the shop itself.',
        },
        memberCookie: {
          type: 'apiKey' as const,
          in: 'cookie' as const,
          name: 'doorbuster_session',
          description: 'The session of the member page.',
        },
      },
    },
    tags: [
      { name: 'member', description: 'What a member does: session, entry, own result.' },
      { name: 'public', description: 'What anyone may read, cacheable.' },
      { name: 'process', description: 'What runs and watches the process.' },
      ...operatorTags,
    ],
  };
}
