/**
 * Idempotency-Key on the operator's POSTs (draft-ietf-httpapi-idempotency-key-header): the first request with a key does the work, and a
 * repeat is answered with what the first was answered, from the ledger, after a restart too.
 *
 *   none --reserve--> in progress --2xx--> stored          (repeat: the stored answer; another request: 422)
 *                                 --else--> none           (nothing was changed, so the same key may try again)
 *
 * A refusal is not stored: it changed nothing, and a retry that would now succeed should. The fingerprint of a request is its method, URL and
 * body. A streamed import has no body yet when it is asked: its length and type stand for it then, its content is hashed while the handler reads it, and
 * the digest is stored with the answer. A repeat is read to its end, which changes nothing, and is answered only when it was the same content.
 */
import { createHash, type Hash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { AccessLedger } from '../../ledger.ts';
import { maxImportBytes } from '../operator/import-source.ts';
import { refusal } from '../operator/refusals.ts';
import { callerOf } from './guard.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Makes of an answer what may be stored for repeats: an answer with a secret is stored without it. */
    storedBody?: (body: string) => string;
    /** The handler reads the body itself, as it arrives. */
    streamed?: boolean;
  }
  interface FastifyRequest {
    /** Set while this request holds the reservation of its Idempotency-Key. */
    idempotencyKey: string | null;
    /** Of what was read of a streamed body. */
    contentHash: Hash | null;
  }
}

type RequestStore = Pick<AccessLedger, 'reserveRequest' | 'storeResponse' | 'releaseRequest'>;

const keyShape = /^[\x21-\x7e]{1,255}$/;
const retryMs = 1_000;

/** Adds the hooks to this plugin's scope; comes after `guard`, because a key belongs to its caller. */
export function idempotency(app: FastifyInstance, access: RequestStore): void {
  app.decorateRequest('idempotencyKey', null);
  app.decorateRequest('contentHash', null);

  app.addHook('preHandler', async (request, reply) => {
    const header = request.headers['idempotency-key'];
    if (request.method !== 'POST' || typeof header !== 'string') return;
    const key = unquoted(header);
    if (!keyShape.test(key)) throw refusal('key-malformed');
    const answer = await access.reserveRequest(callerOf(request).keyId, key, fingerprint(request));
    if (answer.state === 'stored' && isStreamed(request)) return replayStreamed(request, reply, answer);
    if (answer.state === 'stored') return replay(reply, answer);
    if (answer.state === 'mismatch') throw refusal('key-reused');
    if (answer.state === 'in-progress') throw refusal('key-in-progress', { retryAfterMs: retryMs });
    request.idempotencyKey = key;
    // Without a body nothing is imported, and so nothing is stored for a repeat.
    if (isStreamed(request) && request.body) {
      request.contentHash = createHash('sha256');
      request.body = hashed(request.body as AsyncIterable<Uint8Array>, request.contentHash);
    }
  });

  app.addHook('onSend', async (request, reply, payload) => {
    const key = request.idempotencyKey;
    if (key === null) return payload;
    request.idempotencyKey = null;
    const scope = callerOf(request).keyId;
    try {
      if (reply.statusCode < 300) await store(access, scope, key, request, reply, payload);
      else await access.releaseRequest(scope, key);
    } catch (error) {
      // What was done is durable: failing to remember the answer must not turn it into an error.
      request.log.warn(
        { err: error, requestId: request.id },
        'the answer to an Idempotency-Key was not stored',
      );
    }
    return payload;
  });
}

async function store(
  access: RequestStore,
  scope: string,
  key: string,
  request: FastifyRequest,
  reply: FastifyReply,
  payload: unknown,
): Promise<void> {
  const body = typeof payload === 'string' ? payload : '';
  const stored = request.routeOptions.config.storedBody?.(body) ?? body;
  const location = reply.getHeader('location');
  await access.storeResponse(
    scope,
    key,
    reply.statusCode,
    request.contentHash ? `${request.contentHash.digest('hex')}\n${stored}` : stored,
    typeof location === 'string' ? location : null,
  );
}

/** The draft writes the key as a quoted string; what is sent without quotes means the same. */
function unquoted(header: string): string {
  return header.length > 1 && header.startsWith('"') && header.endsWith('"') ? header.slice(1, -1) : header;
}

const isStreamed = (request: FastifyRequest): boolean => request.routeOptions.config.streamed === true;

async function* hashed(body: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    hash.update(chunk);
    yield chunk;
  }
}

/** The digest stands before the first line break of what is stored. */
async function replayStreamed(
  request: FastifyRequest,
  reply: FastifyReply,
  stored: Stored,
): Promise<FastifyReply> {
  const end = stored.body.indexOf('\n');
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of hashed(request.body as AsyncIterable<Uint8Array>, hash)) {
    bytes += chunk.length;
    if (bytes > maxImportBytes) throw refusal('key-reused');
  }
  if (hash.digest('hex') !== stored.body.slice(0, end)) throw refusal('key-reused');
  return replay(reply, { ...stored, body: stored.body.slice(end + 1) });
}

function fingerprint(request: FastifyRequest): string {
  const { headers, method, url } = request;
  const body = isStreamed(request)
    ? `${headers['content-type'] ?? ''}\n${headers['content-length'] ?? ''}`
    : JSON.stringify(request.body ?? null);
  return createHash('sha256').update(`${method}\n${url}\n${body}`).digest('hex');
}

interface Stored {
  readonly status: number;
  readonly body: string;
  readonly location: string | null;
}

function replay(reply: FastifyReply, stored: Stored): FastifyReply {
  reply
    .code(stored.status)
    .header('Idempotency-Replayed', 'true')
    .serializer((body: string) => body);
  if (stored.location) reply.header('location', stored.location);
  if (stored.body === '') return reply.send();
  return reply.type('application/json; charset=utf-8').send(stored.body);
}
