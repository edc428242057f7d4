/**
 * The webhook messenger: hands the message to an endpoint of the shop, which carries it further (its own push service, AlimTalk, SMS).
 *
 * Standard Webhooks: `webhook-id` stays the same for every sending of a delivery, `webhook-timestamp` is per sending,
 * `webhook-signature` is `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`. A receiver that has seen the id drops the repeat.
 *
 *   2xx                                    sent
 *   410, 400, 404, 405, 413, 415, 422      refused for good: the next messenger
 *   3xx, other 4xx, 5xx, never connected   refused for now: the receiver said, or never heard, that it has it
 *   no answer                              unknown
 *
 * Redirects are refused, all of them: the signature was made for one address. Addresses inside the network are refused unless configured.
 */
import { createHmac } from 'node:crypto';
import type { Clock } from '@doorbuster/messaging';
import { Agent, request } from 'undici';
import { OperationalError } from '../../errors.ts';
import { guardedLookup, refusalOfUrl } from '../address-guard.ts';
import type { Messenger, OutgoingMessage, SendResult } from '../messenger.ts';

export interface WebhookMessengerOptions {
  readonly name: string;
  readonly url: string;
  /** `whsec_` and base64, as Standard Webhooks writes it; 24 to 64 bytes. */
  readonly secret: string;
  readonly clock: Clock;
  /** Whether loopback and private addresses may be called. Default false. */
  readonly allowPrivateAddresses?: boolean;
  /** Connections at the same time. Default 16. */
  readonly connections?: number;
}

const FOR_GOOD: ReadonlySet<number> = new Set([400, 404, 405, 410, 413, 415, 422]);
const BEFORE_SENDING: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTALLOWED',
  'UND_ERR_CONNECT_TIMEOUT',
]);

export function createWebhookMessenger(options: WebhookMessengerOptions): Messenger {
  const url = new URL(options.url);
  const key = secretBytes(options);
  const guarded = options.allowPrivateAddresses !== true;
  const agent = new Agent({
    connections: options.connections ?? 16,
    connect: guarded ? { lookup: guardedLookup } : {},
  });
  const refusal = refusalOf(url, guarded);

  return {
    name: options.name,
    canReach: () => true,
    async send(message) {
      if (refusal)
        return { result: 'refused', errorCode: 'address-not-allowed', detail: refusal, permanent: true };
      const body = bodyOf(message, options.clock.now());
      const headers = signedHeaders(key, message.messageId, Math.floor(options.clock.now() / 1_000), body);
      try {
        const answer = await request(url, {
          method: 'POST',
          headers,
          body,
          dispatcher: agent,
          signal: message.signal,
        });
        await answer.body.dump();
        return resultOf(answer.statusCode, answer.headers['retry-after']);
      } catch (error) {
        return failureOf(error as Error & { code?: string }, message.signal);
      }
    },
    async check() {
      return refusal ? [`The webhook "${options.name}": ${refusal}.`] : [];
    },
    close: () => agent.close(),
  };
}

function signedHeaders(
  key: Uint8Array,
  id: string,
  timestamp: number,
  body: string,
): Readonly<Record<string, string>> {
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
  return {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': `v1,${signature}`,
  };
}

/** Throws CONFIG_INVALID. */
function secretBytes({ name, secret }: WebhookMessengerOptions): Uint8Array {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  if (key.length < 24 || key.length > 64)
    throw new OperationalError('CONFIG_INVALID', {
      detail: `The secret of the messenger "${name}" is not \`whsec_\` and the base64 of 24 to 64 bytes.`,
    });
  return key;
}

function refusalOf(url: URL, guarded: boolean): string | null {
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return `${url.protocol} is not http`;
  if (url.username !== '' || url.password !== '')
    return 'credentials in the address are not supported; receivers check the signature';
  return guarded ? refusalOfUrl(url) : null;
}

function bodyOf(
  { deliveryId, campaignId, contact, subject, text, voucher, locale }: OutgoingMessage,
  now: number,
): string {
  const data = { deliveryId, campaignId, contact, subject, text, voucher, locale };
  return JSON.stringify({ type: 'voucher.message', timestamp: new Date(now).toISOString(), data });
}

function resultOf(status: number, retryAfter: string | string[] | undefined): SendResult {
  if (status >= 200 && status < 300) return { result: 'sent' };
  const wait =
    typeof retryAfter === 'string' && /^\d{1,6}$/.test(retryAfter)
      ? { retryAfterMs: Number(retryAfter) * 1_000 }
      : {};
  const detail =
    status < 400
      ? `The endpoint redirects (${status}), which is refused.`
      : `The endpoint answered ${status}.`;
  return { result: 'refused', errorCode: `http-${status}`, detail, permanent: FOR_GOOD.has(status), ...wait };
}

function failureOf(error: Error & { code?: string }, signal: AbortSignal): SendResult {
  const { code } = error;
  if (code === 'EADDRNOTALLOWED')
    return { result: 'refused', errorCode: 'address-not-allowed', detail: error.message, permanent: true };
  if (code && BEFORE_SENDING.has(code))
    return { result: 'refused', errorCode: 'unreachable', detail: error.message, permanent: false };
  if (signal.aborted)
    return { result: 'unknown', errorCode: 'timeout', detail: 'The endpoint did not answer in time.' };
  return { result: 'unknown', errorCode: 'connection-lost', detail: error.message };
}
