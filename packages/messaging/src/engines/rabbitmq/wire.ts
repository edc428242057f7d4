/**
 * CloudEvents on AMQP 0-9-1. What we publish is in binary mode: attributes are `cloudEvents_*` headers, `message-id` is the id, the body is the
 * data. What we read may also use the `cloudEvents:` prefix, or be in structured mode (a JSON text).
 *
 * The toolkit's own headers begin with `x-db-`. They travel only on copies the engine makes of a message (retry, redrive), and a text that is
 * too long for a header makes the copy an envelope: a header table has to fit into one frame and amqplib's buffer of 64 KiB.
 */
import type { ConsumeMessage, GetMessage, MessagePropertyHeaders, Options } from 'amqplib';
import { cloudEventContentType, decodeCloudEvent, encodeCloudEvent } from '../../cloud-event.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';

export interface Parcel {
  readonly content: Buffer;
  readonly options: Options.Publish;
}

/** What a copy carries beside the message. */
export interface CopyNote {
  readonly state?: string | undefined;
  /** Hand-outs in vain before this copy was made: the broker counts again from 0 on each copy. */
  readonly abandoned?: number;
  /** How often the message has been copied: a note (`notes.ts`) belongs to one copy. */
  readonly turn?: number;
  /** Set when a parked key is free again from this message on. */
  readonly redriven?: boolean;
}

const UNDERSCORE = 'cloudEvents_';
/** In front of the attributes of what we publish. */
export const HEADER_PREFIX = UNDERSCORE;
const COLON = 'cloudEvents:';
const ENVELOPE = 'application/vnd.doorbuster.envelope+json';
const HEADER_BUDGET = 40_000;
const RESERVED = new Set([
  'specversion',
  'id',
  'type',
  'source',
  'time',
  'dataschema',
  'partitionkey',
  'correlationid',
  'causationid',
  'expirytime',
  'traceparent',
  'data',
  'datacontenttype',
  'data_base64',
  'subject',
  'routingkey',
]);
/** Attributes with a place of their own in a message. */
const FIELDS: Readonly<Record<string, string>> = {
  partitionkey: 'key',
  correlationid: 'correlationId',
  causationid: 'causationId',
  expirytime: 'expiresAt',
  traceparent: 'traceparent',
  routingkey: 'routingKey',
};
const SCHEMA_VERSION = /:v(\d{1,9})$/;
const EXTENSION_NAME = /^[a-z0-9]{1,20}$/;

/** Throws DB_MSG_INVALID_OPTIONS when a header's name is not allowed. */
export function encodeMessage(message: Message): Parcel {
  const headers: Record<string, string> = {
    [`${UNDERSCORE}specversion`]: '1.0',
    [`${UNDERSCORE}id`]: message.id,
    [`${UNDERSCORE}type`]: message.type,
    [`${UNDERSCORE}source`]: message.source,
    [`${UNDERSCORE}dataschema`]: `urn:channel:${message.type}:v${message.version}`,
  };
  let size = 200 + message.source.length + message.type.length * 2;
  const put = (name: string, value: string | undefined): void => {
    if (value === undefined || value === '') return;
    headers[UNDERSCORE + name] = value;
    size += value.length * 3 + 40;
  };
  put('time', message.time);
  put('partitionkey', message.key);
  put('correlationid', message.correlationId);
  put('causationid', message.causationId);
  put('expirytime', message.expiresAt);
  put('traceparent', message.traceparent);
  put('routingkey', message.routingKey);
  for (const name in message.headers) {
    if (!EXTENSION_NAME.test(name) || RESERVED.has(name)) {
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `"${name}" cannot be a header: use 1 to 20 lower-case letters and digits`,
      );
    }
    put(name, message.headers[name]);
  }
  const common = { persistent: true, mandatory: true, messageId: message.id };
  if (size > HEADER_BUDGET) {
    const content = Buffer.from(encodeCloudEvent(message));
    return { content, options: { ...common, contentType: cloudEventContentType } };
  }
  const binary = message.data instanceof Uint8Array;
  const content = binary
    ? Buffer.from(message.data as Uint8Array)
    : Buffer.from(JSON.stringify(message.data ?? null));
  const contentType = binary ? (message.contentType ?? 'application/octet-stream') : 'application/json';
  return { content, options: { ...common, contentType, headers } };
}

/** The message, and what a copy carries beside it; `parcel` is the message alone, ready for another copy. */
export interface Received {
  readonly parcel: Parcel;
  readonly message: Message | undefined;
  readonly malformed: string | undefined;
  readonly note: CopyNote;
}

export function decodeMessage(received: ConsumeMessage | GetMessage): Received {
  const { parcel, note } = open(received);
  try {
    return { parcel, note, message: messageOf(parcel), malformed: undefined };
  } catch (error) {
    return { parcel, note, message: undefined, malformed: (error as Error).message };
  }
}

/** What people and the port see of a stored message: a CloudEvent, or what came instead of one. */
export function rawOf({ message, parcel }: Pick<Received, 'message' | 'parcel'>): string {
  return message ? encodeCloudEvent(message) : parcel.content.toString();
}

/** A copy of the parcel with the note beside it. */
export function copyOf(parcel: Parcel, note: CopyNote): Parcel {
  const headers: Record<string, unknown> = { ...parcel.options.headers };
  if (note.abandoned) headers['x-db-abandoned'] = note.abandoned;
  if (note.turn) headers['x-db-turn'] = note.turn;
  if (note.redriven) headers['x-db-redriven'] = true;
  if (note.state === undefined) return { ...parcel, options: { ...parcel.options, headers } };
  if (sizeOf(headers) + note.state.length * 3 <= HEADER_BUDGET)
    return { ...parcel, options: { ...parcel.options, headers: { ...headers, 'x-db-state': note.state } } };
  return {
    content: Buffer.from(JSON.stringify({ state: note.state, parcel: packParcel(parcel) })),
    options: {
      persistent: true,
      ...(parcel.options.messageId === undefined ? {} : { messageId: parcel.options.messageId }),
      contentType: ENVELOPE,
      headers: onlyOwn(headers),
    },
  };
}

/** A parcel as a JSON value, for envelopes and dead letters. */
export interface PackedParcel {
  readonly body: string;
  readonly options: Options.Publish;
}

export function packParcel({ content, options }: Parcel): PackedParcel {
  return { body: content.toString('base64'), options };
}

export function unpackParcel({ body, options }: PackedParcel): Parcel {
  return { content: Buffer.from(body, 'base64'), options };
}

export function messageOf({ content, options }: Parcel): Message {
  const headers: MessagePropertyHeaders = options.headers ?? {};
  const prefix =
    headers[`${UNDERSCORE}id`] !== undefined ? UNDERSCORE : headers[`${COLON}id`] !== undefined ? COLON : '';
  if (prefix === '') return decodeCloudEvent(content.toString());
  return binaryMessage(headers, prefix, content, options.contentType);
}

/** Built in one pass: this is the way of every message that is handled. */
function binaryMessage(
  headers: MessagePropertyHeaders,
  prefix: string,
  content: Buffer,
  contentType: string | undefined,
): Message {
  const required = (name: string): string => {
    const value: unknown = headers[prefix + name];
    if (typeof value === 'string' && value !== '') return value;
    throw new MessagingError('DB_MSG_MALFORMED', `not a CloudEvent: ${name} is missing or no text`);
  };
  const specversion = required('specversion');
  if (specversion !== '1.0')
    throw new MessagingError(
      'DB_MSG_MALFORMED',
      `not a CloudEvent: specversion is "${specversion}", not "1.0"`,
    );
  const extensions: Record<string, string> = {};
  const message: Record<string, unknown> = {
    id: required('id'),
    type: required('type'),
    version: Number(SCHEMA_VERSION.exec(String(headers[`${prefix}dataschema`] ?? ''))?.[1] ?? 1),
    source: required('source'),
    time: String(headers[`${prefix}time`] ?? ''),
    data: dataOf(content, contentType),
    headers: extensions,
  };
  if (message.data instanceof Uint8Array && contentType !== undefined) message.contentType = contentType;
  for (const header in headers) {
    if (!header.startsWith(prefix)) continue;
    const name = header.slice(prefix.length);
    const field = FIELDS[name];
    if (field !== undefined) message[field] = String(headers[header]);
    else if (!RESERVED.has(name)) extensions[name] = String(headers[header]);
  }
  return message as unknown as Message;
}

function dataOf(content: Buffer, contentType: string | undefined): unknown {
  if (contentType !== undefined && !/json/i.test(contentType)) return content;
  try {
    return JSON.parse(content.toString());
  } catch (cause) {
    throw new MessagingError('DB_MSG_MALFORMED', 'the data is not JSON, as its content type says', { cause });
  }
}

function open(received: ConsumeMessage | GetMessage): { readonly parcel: Parcel; readonly note: CopyNote } {
  const { headers = {}, contentType, messageId, priority } = received.properties as Options.Publish;
  const note: { -readonly [K in keyof CopyNote]: CopyNote[K] } = {
    abandoned: Number(headers['x-db-abandoned'] ?? 0),
    turn: Number(headers['x-db-turn'] ?? 0),
    redriven: headers['x-db-redriven'] === true,
  };
  if (headers['x-db-state'] !== undefined) note.state = String(headers['x-db-state']);
  if (contentType === ENVELOPE) {
    const { state, parcel } = JSON.parse(received.content.toString()) as {
      state: string;
      parcel: PackedParcel;
    };
    return { parcel: unpackParcel(parcel), note: { ...note, state } };
  }
  const options: Options.Publish = { persistent: true, headers: withoutOwn(headers) };
  if (contentType !== undefined) options.contentType = contentType;
  if (messageId !== undefined) options.messageId = messageId;
  if (priority !== undefined) options.priority = priority;
  return { parcel: { content: received.content, options }, note };
}

/**
 * Headers of the message itself. `x-death` must not stay: the broker drops what it has dead-lettered through the same queue before, and
 * a message may wait on the same rung of the ladder many times.
 */
function withoutOwn(headers: MessagePropertyHeaders): Record<string, unknown> {
  let own = false;
  for (const name in headers) own ||= name.startsWith('x-');
  if (!own) return headers;
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('x-')));
}

function onlyOwn(headers: MessagePropertyHeaders): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('x-db-')));
}

function sizeOf(headers: MessagePropertyHeaders): number {
  let size = 0;
  for (const name in headers) size += name.length + String(headers[name]).length * 3 + 10;
  return size;
}
