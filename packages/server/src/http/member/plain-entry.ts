/**
 * Is this the plain entry request that nearly everybody sends? One look over the raw headers, without making the object of all of them: a
 * bearer, a small JSON body of known length, nothing that asks for special treatment. Whatever is unusual is not refused here but left to
 * the router's full way, which knows every rule; so this may say no too often and must never say yes wrongly.
 */
import type { IncomingMessage } from 'node:http';
import { campaignIdPattern } from '../schemas.ts';

export interface PlainEntry {
  readonly campaignId: string;
  readonly bearer: string;
  /** Bytes of the body; 0 without one. */
  readonly length: number;
  readonly origin: string | null;
  readonly forwardedFor: string | null;
}

const before = '/v1/campaigns/';
const after = '/entries';
const scheme = 'Bearer ';
/** Larger ones are rare, and the router streams and limits them. */
const longestBody = 16_384;
/** Each of these changes how a body is read, who answers, or whether anything is answered at all. */
const unusual = new Set([
  'transfer-encoding',
  'content-encoding',
  'expect',
  'upgrade',
  'accept-version',
  'connection',
]);
const read = new Set(['authorization', 'content-type', 'content-length', 'origin', 'x-forwarded-for']);

export function plainEntryOf({ method, url, rawHeaders }: IncomingMessage): PlainEntry | null {
  if (method !== 'POST' || !url?.startsWith(before) || !url.endsWith(after)) return null;
  const campaignId = url.slice(before.length, -after.length);
  if (!campaignIdPattern.test(campaignId)) return null;
  let bearer: string | null = null;
  let type: string | null = null;
  let length: string | null = null;
  let origin: string | null = null;
  let forwardedFor: string | null = null;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    // By length first: most headers are none of these.
    const { length: size } = name;
    if (size !== 6 && size !== 7 && size !== 10 && (size < 12 || size > 17)) continue;
    const known = name.toLowerCase();
    const value = rawHeaders[i + 1]!;
    if (known === 'connection' ? value.toLowerCase() !== 'keep-alive' : unusual.has(known)) return null;
    if (!read.has(known)) continue;
    switch (known) {
      case 'authorization':
        if (bearer !== null || !value.startsWith(scheme)) return null;
        bearer = value.slice(scheme.length);
        break;
      case 'content-type':
        if (type !== null) return null;
        type = value;
        break;
      case 'content-length':
        if (length !== null) return null;
        length = value;
        break;
      case 'origin':
        if (origin !== null) return null;
        origin = value;
        break;
      default:
        if (forwardedFor !== null) return null;
        forwardedFor = value;
    }
  }
  if (bearer === null || (type !== null && !isJson(type))) return null;
  const bytes = length === null ? 0 : Number(length);
  if (!(bytes <= longestBody) || (bytes > 0 && type === null)) return null;
  return { campaignId, bearer, length: bytes, origin, forwardedFor };
}

function isJson(type: string): boolean {
  return (
    type === 'application/json' ||
    type === 'application/json; charset=utf-8' ||
    type === 'application/json;charset=utf-8'
  );
}

/** The answers of a body that is plainly what it should be: undefined when there are none; null when the full way has to look. */
export function plainAnswersOf(text: string): Readonly<Record<string, unknown>> | undefined | null {
  if (text.length === 0) return undefined;
  // A prototype may be spelled with escapes; the full way reads those and refuses it.
  if (text.includes('__proto__') || text.includes('constructor') || text.includes('\\u')) return null;
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isPlainObject(body)) return null;
  const names = Object.keys(body);
  if (names.length === 0) return undefined;
  const { answers } = body;
  return names.length === 1 && isPlainObject(answers) && !hasLongText(answers) ? answers : null;
}

/** Beyond this the schema counts characters and not code units. */
const longestText = 2_000;

/** The survey's own check covers the rest of the schema: known questions only, options of at most 64 characters, finite numbers. */
function hasLongText(answers: Readonly<Record<string, unknown>>): boolean {
  for (const id in answers) {
    const answer = answers[id];
    if (typeof answer === 'string' && answer.length > longestText) return true;
  }
  return false;
}

function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
