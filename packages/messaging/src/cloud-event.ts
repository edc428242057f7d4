/**
 * CloudEvents 1.0 in structured JSON mode: what the embedded engine stores, and Redis will carry. Engines with
 * headers of their own (AMQP, Kafka) map the same attributes in binary mode; both are accepted on receive.
 *
 * The contract's version travels in `dataschema` as `urn:channel:<name>:v<n>`; an event of a foreign publisher
 * without it counts as version 1.
 */
import { MessagingError } from './errors.ts';
import type { Message } from './message.ts';

export const cloudEventContentType = 'application/cloudevents+json';

const KNOWN = new Set([
  'specversion',
  'id',
  'type',
  'source',
  'time',
  'datacontenttype',
  'dataschema',
  'data',
  'data_base64',
  'subject',
  'partitionkey',
  'correlationid',
  'causationid',
  'expirytime',
  'traceparent',
  'routingkey',
]);
const EXTENSION_NAME = /^[a-z0-9]{1,20}$/;
const SCHEMA_VERSION = /:v(\d{1,9})$/;

/** JSON text of the message. Throws DB_MSG_INVALID_OPTIONS when a header's name is not allowed. */
export function encodeCloudEvent(message: Message): string {
  const event: Record<string, unknown> = {
    specversion: '1.0',
    id: message.id,
    type: message.type,
    source: message.source,
    time: message.time,
    datacontenttype: message.contentType ?? 'application/json',
    dataschema: `urn:channel:${message.type}:v${message.version}`,
  };
  if (message.key !== undefined) event.partitionkey = message.key;
  if (message.correlationId !== undefined) event.correlationid = message.correlationId;
  if (message.causationId !== undefined) event.causationid = message.causationId;
  if (message.expiresAt !== undefined) event.expirytime = message.expiresAt;
  if (message.traceparent !== undefined) event.traceparent = message.traceparent;
  if (message.routingKey !== undefined) event.routingkey = message.routingKey;
  for (const name in message.headers) {
    if (!EXTENSION_NAME.test(name) || KNOWN.has(name)) {
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `"${name}" cannot be a header: use 1 to 20 lower-case letters and digits`,
      );
    }
    event[name] = message.headers[name];
  }
  if (message.data instanceof Uint8Array) event.data_base64 = Buffer.from(message.data).toString('base64');
  else event.data = message.data;
  return JSON.stringify(event);
}

/** The message in a JSON text. Throws DB_MSG_MALFORMED with what is wrong. */
export function decodeCloudEvent(text: string): Message {
  const event = parseObject(text);
  if (event.specversion !== '1.0')
    throw malformed(`specversion is ${JSON.stringify(event.specversion)}, not "1.0"`);
  const message: Record<string, unknown> = {
    id: requiredText(event, 'id'),
    type: requiredText(event, 'type'),
    version: versionOf(event.dataschema),
    source: requiredText(event, 'source'),
    time: optionalText(event, 'time') ?? '',
    data: dataOf(event),
    headers: headersOf(event),
  };
  copyText(event, 'partitionkey', message, 'key');
  copyText(event, 'correlationid', message, 'correlationId');
  copyText(event, 'causationid', message, 'causationId');
  copyText(event, 'expirytime', message, 'expiresAt');
  copyText(event, 'traceparent', message, 'traceparent');
  copyText(event, 'routingkey', message, 'routingKey');
  if (message.data instanceof Uint8Array) copyText(event, 'datacontenttype', message, 'contentType');
  return message as unknown as Message;
}

function parseObject(text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw malformed('not JSON', cause);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw malformed('not a JSON object');
  return parsed as Record<string, unknown>;
}

function malformed(detail: string, cause?: unknown): MessagingError {
  return new MessagingError('DB_MSG_MALFORMED', `not a CloudEvent: ${detail}`, { cause });
}

function optionalText(event: Record<string, unknown>, name: string): string | undefined {
  const value = event[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw malformed(`${name} is not text`);
  return value;
}

function requiredText(event: Record<string, unknown>, name: string): string {
  const value = optionalText(event, name);
  if (!value) throw malformed(`${name} is missing`);
  return value;
}

function copyText(
  event: Record<string, unknown>,
  from: string,
  message: Record<string, unknown>,
  to: string,
): void {
  const value = optionalText(event, from);
  if (value !== undefined) message[to] = value;
}

/** Messages of one channel come together, so the last answer is nearly always the next one too. */
let lastSchema: unknown;
let lastVersion = 1;

function versionOf(schema: unknown): number {
  if (schema === lastSchema) return lastVersion;
  const found = typeof schema === 'string' ? SCHEMA_VERSION.exec(schema) : null;
  lastSchema = schema;
  lastVersion = found ? Number(found[1]) : 1;
  return lastVersion;
}

function dataOf(event: Record<string, unknown>): unknown {
  if (typeof event.data_base64 === 'string') return Buffer.from(event.data_base64, 'base64');
  return event.data;
}

function headersOf(event: Record<string, unknown>): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name in event) {
    if (KNOWN.has(name)) continue;
    const value = event[name];
    if (typeof value === 'string') headers[name] = value;
    else if (typeof value === 'number' || typeof value === 'boolean') headers[name] = String(value);
  }
  return headers;
}
