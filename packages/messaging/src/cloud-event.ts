/**
 * CloudEvents 1.0 in structured JSON mode: what the embedded engine stores, and Redis will carry. Engines with
 * headers of their own (AMQP, Kafka) map the same attributes in binary mode; both are accepted on receive.
 *
 * The contract's version travels in `dataschema` as `urn:channel:<name>:v<n>`; an event of a foreign publisher
 * without it counts as version 1.
 */
import { MessagingError } from './errors.ts';
import type { Message } from './message.ts';
import { faultOfForm } from './sound-text.ts';

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

/** JSON text of a message of our own making. Throws DB_MSG_INVALID_OPTIONS when a header is not one that every CloudEvents reader takes, or is no text. */
export function encodeCloudEvent(message: Message): string {
  const fault = faultOfHeaders(message.headers);
  if (fault !== undefined) throw new MessagingError('DB_MSG_INVALID_OPTIONS', fault);
  return encodeReceived(message);
}

/**
 * JSON text of a message that came, whoever made it: readers take names that makers are refused (long ones, ones with `_`), and what was taken has to become a
 * dead letter, be shown and go back with all it had. Put together from texts, because what differs between two messages of
 * a channel is little: an object of all attributes would be made and walked for each.
 */
export function encodeReceived(message: Message): string {
  const { id, time, data } = message;
  let text = `{"specversion":"1.0","id":${quoted(id)},${originOf(message)},"time":${quoted(time)},${contentOf(message)}`;
  if (message.key !== undefined) text += `,"partitionkey":${JSON.stringify(message.key)}`;
  if (message.correlationId !== undefined)
    text += `,"correlationid":${JSON.stringify(message.correlationId)}`;
  if (message.causationId !== undefined) text += `,"causationid":${JSON.stringify(message.causationId)}`;
  if (message.expiresAt !== undefined) text += `,"expirytime":${JSON.stringify(message.expiresAt)}`;
  if (message.traceparent !== undefined) text += `,"traceparent":${JSON.stringify(message.traceparent)}`;
  if (message.routingKey !== undefined) text += `,"routingkey":${JSON.stringify(message.routingKey)}`;
  for (const name in message.headers) text += headerOf(name, message.headers[name]);
  if (data instanceof Uint8Array) return `${text},"data_base64":"${Buffer.from(data).toString('base64')}"}`;
  const json = JSON.stringify(data) as string | undefined;
  return json === undefined ? `${text}}` : `${text},"data":${json}}`;
}

/** What JavaScript left out in spite of its type is null, which reads as left out. */
const quoted = (text: string): string => (JSON.stringify(text) as string | undefined) ?? 'null';

/** Messages of one channel come together, so these are nearly always those of the last one. */
let lastOrigin = { type: '', source: '', text: '' };
let lastContent = { type: '', version: 0, contentType: '', text: '' };

function originOf({ type, source }: Message): string {
  if (lastOrigin.type !== type || lastOrigin.source !== source)
    lastOrigin = {
      type,
      source,
      text: `"type":${quoted(type)},"source":${quoted(source)}`,
    };
  return lastOrigin.text;
}

function contentOf({ type, version, contentType = 'application/json' }: Message): string {
  const last = lastContent;
  if (last.type === type && last.version === version && last.contentType === contentType) return last.text;
  const schema = JSON.stringify(`urn:channel:${type}:v${version}`);
  const text = `"datacontenttype":${JSON.stringify(contentType)},"dataschema":${schema}`;
  lastContent = { type, version, contentType, text };
  return text;
}

/** Throws DB_MSG_INVALID_OPTIONS for a name that is not allowed, or that is an attribute's. Engines with headers of their own ask the same. */
export function refuseHeaderName(name: string): void {
  const fault = faultOfHeaderName(name);
  if (fault !== undefined) throw new MessagingError('DB_MSG_INVALID_OPTIONS', fault);
}

/** What is wrong with the headers of a message that is being made; they need not be there. */
export function faultOfHeaders(headers: unknown): string | undefined {
  if (headers === undefined) return undefined;
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers))
    return 'headers are an object of texts';
  for (const name of Object.keys(headers)) {
    const fault = faultOfHeaderName(name);
    if (fault !== undefined) return fault;
    const ofValue = faultOfForm((headers as Readonly<Record<string, unknown>>)[name]);
    if (ofValue !== undefined) return `the header "${name}" ${ofValue}`;
  }
  return undefined;
}

/** Why a name cannot be a header's; undefined where it can. */
function faultOfHeaderName(name: string): string | undefined {
  if (EXTENSION_NAME.test(name) && !KNOWN.has(name)) return undefined;
  return `"${name}" cannot be a header: use 1 to 20 lower-case letters and digits`;
}

/** One that is no text in spite of its type is left out or written as JSON does it; an attribute is written once, from its field. */
function headerOf(name: string, value: unknown): string {
  const json = JSON.stringify(value) as string | undefined;
  return json === undefined || KNOWN.has(name) ? '' : `,${JSON.stringify(name)}:${json}`;
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
