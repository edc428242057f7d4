/**
 * What remote voucher sources say over HTTP, shared by the two classes (`docs/guides/voucher-sources.md` is the page for providers):
 *
 *   POST   {url}/vouchers                    {transactionId, campaignId, unit}, Idempotency-Key  -> 200/201 voucher
 *   GET    {url}/vouchers/{transactionId}    -> 200 {state: "issued", voucher} | 200 {state: "cancelled"} | 404
 *   DELETE {url}/vouchers/{transactionId}    -> 200 {state: "cancelled"} | 409 {state: "issued", voucher}
 *   GET    {url}/status                      -> 200 {available?}
 *
 * Here is decided which answers are definite. Definite no: the request was never sent, or a 4xx that says so. Everything that leaves
 * room for "it happened, the answer was lost" is unknown: time-outs, resets, 5xx (a proxy may speak for a provider that went on),
 * 408, 409, 410, and a success that cannot be read.
 */
import type { Voucher } from '../ledger.ts';
import { callJson, type JsonAnswer } from './json-call.ts';
import type { IssueResult, VoucherRequest } from './voucher-source.ts';

export interface RemoteSourceOptions {
  readonly name: string;
  /** Base address, without a slash at its end: `https://provider.example/v1`. */
  readonly url: string;
  /** Sent as `Authorization: Bearer`. */
  readonly secret: string;
  /** After this long an unanswered request can no longer reach the provider, ms. Default 60,000. */
  readonly longestFlightMs?: number;
}

const CHECK_TIMEOUT_MS = 10_000;

export function headersOf(options: RemoteSourceOptions): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${options.secret}` };
}

export function voucherUrl(options: RemoteSourceOptions, request: VoucherRequest): string {
  return `${options.url}/vouchers/${request.transactionId}`;
}

export async function issueRemotely(
  options: RemoteSourceOptions,
  request: VoucherRequest,
): Promise<IssueResult> {
  const { transactionId, campaignId, unit, signal } = request;
  const answer = await callJson({
    url: `${options.url}/vouchers`,
    method: 'POST',
    headers: { ...headersOf(options), 'idempotency-key': transactionId },
    body: { transactionId, campaignId, unit },
    signal,
  });
  return issueResult(answer);
}

export function issueResult(answer: JsonAnswer): IssueResult {
  if (answer.kind === 'unsent')
    return { result: 'refused', errorCode: answer.errorCode, detail: answer.detail, permanent: false };
  if (answer.kind === 'unknown')
    return { result: 'unknown', errorCode: answer.errorCode, detail: answer.detail };
  const { status, retryAfterMs } = answer;
  const errorCode = `http-${status}`;
  const detail = `The provider answered ${status}${titleOf(answer.body)}.`;
  if (status >= 200 && status < 300) {
    const voucher = readVoucher(answer.body);
    return voucher
      ? { result: 'issued', voucher }
      : { result: 'unknown', errorCode: 'answer-unreadable', detail: `${detail} It holds no voucher.` };
  }
  if (status >= 500 || UNSETTLED.has(status)) return { result: 'unknown', errorCode, detail };
  const wait = retryAfterMs === undefined ? {} : { retryAfterMs };
  return { result: 'refused', errorCode, detail, permanent: FOR_GOOD.has(status), ...wait };
}

/** 409: another request with this id is under way, or was served. 410: the id is dead. Both are for a query to settle. */
const UNSETTLED: ReadonlySet<number> = new Set([408, 409, 410]);
/** This unit will never get a voucher by asking again. Others (401, 403, 404, 429, 3xx) are about us or the moment. */
const FOR_GOOD: ReadonlySet<number> = new Set([400, 402, 405, 406, 413, 415, 422]);

export function readVoucher(body: unknown): Voucher | null {
  if (!isObject(body)) return null;
  const voucher = isObject(body['voucher']) ? body['voucher'] : body;
  const text = (name: string): string | undefined => {
    const value = voucher[name];
    return typeof value === 'string' && value.length > 0 && value.length <= 2_000 ? value : undefined;
  };
  const code = text('code');
  if (code === undefined) return null;
  const [pin, url, validUntil] = [text('pin'), text('url'), text('validUntil')];
  return { code, ...(pin && { pin }), ...(url && { url }), ...(validUntil && { validUntil }) };
}

export function stateOf(body: unknown): string | undefined {
  return isObject(body) && typeof body['state'] === 'string' ? body['state'] : undefined;
}

/** Pre-flight: reachable, authorised and, when the provider tells, enough of them. */
export async function checkRemotely(options: RemoteSourceOptions, units: number): Promise<readonly string[]> {
  const answer = await callJson({
    url: `${options.url}/status`,
    method: 'GET',
    headers: headersOf(options),
    signal: AbortSignal.timeout(CHECK_TIMEOUT_MS),
  });
  if (answer.kind !== 'answer')
    return [`The voucher source "${options.name}" does not answer: ${answer.detail}`];
  if (answer.status === 401 || answer.status === 403)
    return [`The voucher source "${options.name}" refuses the secret (${answer.status}).`];
  if (answer.status >= 300 && answer.status !== 404)
    return [`The voucher source "${options.name}" answered ${answer.status}.`];
  const available = isObject(answer.body) ? answer.body['available'] : undefined;
  if (typeof available !== 'number' || available >= units) return [];
  return [`The voucher source "${options.name}" has ${available} vouchers for ${units} units.`];
}

function titleOf(body: unknown): string {
  const title = isObject(body) ? (body['title'] ?? body['error'] ?? body['message']) : undefined;
  return typeof title === 'string' ? `: ${title.slice(0, 200)}` : '';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
