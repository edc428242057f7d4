/**
 * One JSON call to a provider over HTTP, and what its failure means. The question that matters is not "did it work" but "can it have
 * happened": `unsent` when the connection was never there, `unknown` when the request may have been read. It never retries and never
 * follows a redirect, because a repeated POST is exactly what the classes of voucher sources exist to decide about.
 */

export interface JsonCall {
  readonly url: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal: AbortSignal;
}

export type JsonAnswer =
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly body: unknown;
      readonly retryAfterMs: number | undefined;
    }
  /** The provider never saw it. */
  | { readonly kind: 'unsent'; readonly errorCode: string; readonly detail: string }
  | { readonly kind: 'unknown'; readonly errorCode: string; readonly detail: string };

const LARGEST_ANSWER_BYTES = 64 * 1024;

/** System and client errors that happen before a byte of the request is written. */
const BEFORE_SENDING: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'EADDRNOTALLOWED',
]);

export async function callJson(call: JsonCall): Promise<JsonAnswer> {
  try {
    const response = await fetch(call.url, {
      method: call.method,
      redirect: 'manual',
      signal: call.signal,
      headers: {
        accept: 'application/json',
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...call.headers,
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    });
    const text = await boundedText(response);
    return {
      kind: 'answer',
      status: response.status,
      body: parsed(text),
      retryAfterMs: retryAfterMs(response.headers.get('retry-after')),
    };
  } catch (error) {
    return failureOf(error, call.signal);
  }
}

/** Undefined for what is not JSON: the caller decides by the status what an unreadable answer means. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > LARGEST_ANSWER_BYTES)
      throw new Error(`the answer is longer than ${LARGEST_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function failureOf(error: unknown, signal: AbortSignal): JsonAnswer {
  const code = codeOf(error);
  const detail = error instanceof Error ? `${error.message}${code ? ` (${code})` : ''}` : String(error);
  if (code && BEFORE_SENDING.has(code)) return { kind: 'unsent', errorCode: 'unreachable', detail };
  if (signal.aborted)
    return { kind: 'unknown', errorCode: 'timeout', detail: 'The provider did not answer in time.' };
  return { kind: 'unknown', errorCode: 'connection-lost', detail };
}

/** fetch wraps what really happened; several addresses tried make an AggregateError whose parts agree or not. */
function codeOf(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown };
    if (at instanceof AggregateError) {
      const codes = at.errors.map(codeOf);
      return codes.every((one) => one !== undefined && BEFORE_SENDING.has(one)) ? codes[0] : undefined;
    }
    if (typeof code === 'string') return code;
  }
  return undefined;
}

/** Seconds only; a date in Retry-After is rare and would need a clock. */
function retryAfterMs(header: string | null): number | undefined {
  return header !== null && /^\d{1,6}$/.test(header.trim()) ? Number(header) * 1_000 : undefined;
}
