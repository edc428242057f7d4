/**
 * Errors as the API speaks of them: RFC 9457 problem+json. The one place where an error becomes an HTTP status.
 *
 * A `type` is a relative address, `/docs/errors#<slug>`, that this server itself answers with the meaning and the remedy. Routes throw:
 * an `OperationalError` of the catalogue, or an `HttpProblem` of the table below for what exists only in HTTP. Anything
 * else is a bug: 500, logged whole, shown to nobody.
 */
import type { FastifyBaseLogger, FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { catalogue, type ErrorCode, type Fault, OperationalError } from '../errors.ts';
import type { Randomness } from '../randomness.ts';
import { faultOfSchema, type SchemaFault } from '../schema-faults.ts';

/** What exists only in HTTP. The title never changes for a slug; `detail` says what was wrong this time. */
export const problemTable = {
  'request-invalid': { status: 400, title: 'The request is not valid.', remedy: 'Mend what `faults` lists.' },
  'session-needed': {
    status: 401,
    title: 'A member session or token is needed.',
    remedy: 'Exchange a token of the shop at `sessions`.',
  },
  'api-key-needed': {
    status: 401,
    title: 'A valid API key is needed.',
    remedy: 'Send `Authorization: Bearer <api key>`.',
  },
  'scope-missing': {
    status: 403,
    title: 'The API key lacks the scope.',
    remedy: 'Use a key that has the scope named in `detail`.',
  },
  'origin-refused': {
    status: 403,
    title: 'The request comes from a foreign origin.',
    remedy: 'Add the origin to `allowedOrigins`.',
  },
  'not-found': { status: 404, title: 'There is nothing here.', remedy: 'Check the address.' },
  'method-not-allowed': {
    status: 405,
    title: 'This cannot be done here.',
    remedy: 'Use a method that `Allow` names.',
  },
  'no-entry': { status: 404, title: 'The member has no entry here.', remedy: 'Enter first.' },
  'state-conflict': {
    status: 409,
    title: 'The state does not allow this.',
    remedy: 'Read the current state and decide again.',
  },
  'request-in-progress': {
    status: 409,
    title: 'The same request is still under way.',
    remedy: 'Retry after the given time with the same key.',
  },
  'precondition-failed': {
    status: 412,
    title: 'It was changed in the meantime.',
    remedy: 'Read it again and repeat with its ETag.',
  },
  'body-too-large': { status: 413, title: 'The body is too large.', remedy: 'Send less in one request.' },
  'media-type-unsupported': {
    status: 415,
    title: 'The body has a type that is not read here.',
    remedy: 'Send `application/json`.',
  },
  'not-valid': { status: 422, title: 'The content breaks a rule.', remedy: 'Mend what `faults` lists.' },
  'idempotency-mismatch': {
    status: 422,
    title: 'This Idempotency-Key was used for another request.',
    remedy: 'Use a fresh key.',
  },
  'answers-invalid': {
    status: 422,
    title: 'The answers do not fit the survey.',
    remedy: 'Mend what `faults` lists.',
  },
  'precondition-required': {
    status: 428,
    title: 'An If-Match header is needed.',
    remedy: 'Read it and repeat with its ETag.',
  },
  'headers-too-large': {
    status: 431,
    title: 'The headers are too large.',
    remedy: 'Send fewer or shorter headers.',
  },
  'not-open': { status: 409, title: 'The campaign is not open yet.', remedy: 'Come back at `opensAt`.' },
  paused: { status: 409, title: 'The campaign is paused.', remedy: 'Come back later.' },
  ineligible: { status: 403, title: 'The member is not eligible.', remedy: 'The reason is in `detail`.' },
  'sold-out': { status: 410, title: 'Everything is given.', remedy: 'The receipt proves when it ran out.' },
  closed: { status: 410, title: 'The campaign is closed.', remedy: 'The receipt proves when it closed.' },
  'too-many-streams': {
    status: 503,
    title: 'Too many readers of live events.',
    remedy: 'Retry after the given time, or poll.',
  },
  draining: { status: 503, title: 'This process is stopping.', remedy: 'Retry after the given time.' },
  'internal-error': {
    status: 500,
    title: 'Something is wrong inside.',
    remedy: 'Tell the operator the request id.',
  },
} as const satisfies Record<string, { status: number; title: string; remedy: string }>;

export type ProblemSlug = keyof typeof problemTable;

const statusOfCode: Readonly<Record<ErrorCode, number>> = {
  LEDGER_BUSY: 503,
  LEDGER_FULL: 503,
  LEDGER_CLOSED: 503,
  LEDGER_HALTED: 503,
  LEDGER_LOCKED: 503,
  LEDGER_UNSAFE: 503,
  LEDGER_DAMAGED: 503,
  LEDGER_NEWER: 503,
  BUS_MISSING: 500,
  CAMPAIGN_UNKNOWN: 404,
  ADMISSION_FULL: 503,
  RATE_LIMITED: 429,
  TOKEN_INVALID: 401,
  CONFIG_INVALID: 500,
  SECRETS_MISSING: 500,
  PORT_BUSY: 500,
  DEFINITION_INVALID: 422,
};

export interface ProblemOptions {
  readonly detail?: string;
  readonly faults?: readonly Fault[];
  /** Further members of the body: `verdict`, `opensAt`, `receipt`. */
  readonly members?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** Thrown by routes for what exists only in HTTP. */
export class HttpProblem extends Error {
  readonly slug: ProblemSlug;
  readonly status: number;
  readonly options: ProblemOptions;

  constructor(slug: ProblemSlug, options: ProblemOptions = {}) {
    super(problemTable[slug].title, { cause: options.cause });
    this.name = 'HttpProblem';
    this.slug = slug;
    this.status = problemTable[slug].status;
    this.options = options;
  }
}

/** The body. `code` is the catalogue's for operational errors, else the slug. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail?: string;
  readonly requestId: string;
  readonly faults?: readonly Fault[];
  readonly [member: string]: unknown;
}

export const problemContentType = 'application/problem+json; charset=utf-8';
export const problemType = (slug: string): string => `/docs/errors#${slug}`;
const slugOfCode = (code: ErrorCode): string => code.toLowerCase().replaceAll('_', '-');

/** The catalogue's errors that a client can meet, for the page at `/docs/errors` and the reference. */
export function documentedProblems(): readonly {
  slug: string;
  status: number;
  title: string;
  remedy: string;
}[] {
  const operational = Object.entries(catalogue).map(([code, { message, remedy }]) => ({
    slug: slugOfCode(code as ErrorCode),
    status: statusOfCode[code as ErrorCode],
    title: message,
    remedy,
  }));
  const ofHttp = Object.entries(problemTable).map(([slug, entry]) => ({ slug, ...entry }));
  return [...operational, ...ofHttp].sort((a, b) => a.slug.localeCompare(b.slug));
}

/** Seconds for Retry-After: the base and up to as much again, so that a crowd sent away together does not come back together. */
export function jitteredSeconds(randomness: Randomness, baseMs: number): number {
  const [a = 0, b = 0] = randomness.bytes(2);
  const share = ((a << 8) | b) / 65_536;
  return Math.max(1, Math.ceil((baseMs * (1 + share)) / 1000));
}

const defaultRetryMs = 1_000;
/** A body with ten thousand faults is answered with the first of them. */
const maxFaults = 50;

interface Told {
  readonly status: number;
  readonly slug: string;
  readonly code: string;
  readonly title: string;
  readonly options: ProblemOptions;
}

function toldOf(error: unknown): Told {
  if (error instanceof HttpProblem)
    return {
      status: error.status,
      slug: error.slug,
      code: error.slug,
      title: error.message,
      options: error.options,
    };
  if (error instanceof OperationalError) return toldOfOperational(error);
  return toldOfFramework(error as FastifyError);
}

function toldOfOperational(error: OperationalError): Told {
  const status = statusOfCode[error.code];
  const title = catalogue[error.code].message;
  // What an operational error of the server says in detail (paths, files) is for the log; a client's own fault is told to the client.
  const detail = status < 500 && error.message !== title ? error.message.slice(title.length + 1) : undefined;
  return {
    status,
    slug: slugOfCode(error.code),
    code: error.code,
    title,
    options: {
      ...(detail ? { detail } : {}),
      ...(error.faults.length > 0 ? { faults: error.faults } : {}),
      ...(error.retryAfterMs === null ? {} : { retryAfterMs: error.retryAfterMs }),
    },
  };
}

const slugOfStatus: Readonly<Record<number, ProblemSlug>> = {
  404: 'not-found',
  413: 'body-too-large',
  415: 'media-type-unsupported',
  431: 'headers-too-large',
};

/** Faults found by fastify itself: schema, body parser, limits. */
function toldOfFramework(error: FastifyError): Told {
  if (error?.validation) {
    const faults = error.validation
      .slice(0, maxFaults)
      .map((fault) => faultOfSchema(`/${error.validationContext ?? 'body'}`, fault as SchemaFault));
    return told('request-invalid', { faults });
  }
  const status = typeof error?.statusCode === 'number' ? error.statusCode : 500;
  const slug = slugOfStatus[status];
  if (slug) return told(slug, {});
  if (status >= 400 && status < 500) return told('request-invalid', { detail: error.message });
  return told('internal-error', {});
}

function told(slug: ProblemSlug, options: ProblemOptions): Told {
  const { status, title } = problemTable[slug];
  return { status, slug, code: slug, title, options };
}

/** An error as it leaves: what any way of answering has to write. */
export interface ProblemAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Problem;
}

/** Who asked, for the log. `server`: one object for each server, because refusals are counted for each. */
export interface Asker {
  readonly requestId: string;
  readonly log: FastifyBaseLogger;
  readonly server: object;
}

/** Any error as a problem; what is no client's doing is logged. 429 and 503 always carry a jittered Retry-After. */
export function problemOf(error: unknown, asker: Asker, randomness: Randomness): ProblemAnswer {
  const { status, slug, code, title, options } = toldOf(error);
  const { requestId, log } = asker;
  if (status >= 500 && status !== 503) log.error({ err: error, requestId }, 'unexpected error');
  else if (status === 503 && !isExpected(error)) warnNowAndThen(asker, error, code);
  const comeBack = status === 429 || status === 503 || options.retryAfterMs !== undefined;
  const body: Problem = {
    type: problemType(slug),
    title,
    status,
    code,
    ...(options.detail ? { detail: options.detail } : {}),
    requestId,
    ...(options.faults ? { faults: options.faults } : {}),
    ...options.members,
  };
  const headers = {
    ...(comeBack
      ? { 'retry-after': String(jitteredSeconds(randomness, options.retryAfterMs ?? defaultRetryMs)) }
      : {}),
    ...options.headers,
    'content-type': problemContentType,
    'cache-control': 'no-store',
  };
  return { status, headers, body };
}

/** Writes any error as a problem onto the reply. */
export function sendProblem(
  reply: FastifyReply,
  request: FastifyRequest,
  error: unknown,
  randomness: Randomness,
): FastifyReply {
  const asker = { requestId: request.id, log: request.log, server: request.server.server };
  const { status, headers, body } = problemOf(error, asker, randomness);
  return reply.code(status).headers(headers).serializer(JSON.stringify).send(body);
}

/** Refusals since the start of each server, by code. */
const refusals = new WeakMap<object, Map<string, number>>();
const warnEvery = 1_000;

/** The first and then every thousandth: a full disk refuses everything, and its log would fill what room there is. */
function warnNowAndThen({ requestId, log, server }: Asker, error: unknown, code: string): void {
  const counts = refusals.get(server) ?? new Map<string, number>();
  refusals.set(server, counts);
  const count = counts.get(code) ?? 0;
  counts.set(code, count + 1);
  if (count % warnEvery === 0)
    log.warn({ err: error, requestId, refusedSoFar: count + 1 }, 'refused for now');
}

/** Shedding is ordinary under load and is counted, not logged line by line. */
function isExpected(error: unknown): boolean {
  return (
    error instanceof HttpProblem ||
    (error instanceof OperationalError && (error.code === 'ADMISSION_FULL' || error.code === 'LEDGER_BUSY'))
  );
}
