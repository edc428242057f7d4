/**
 * CloudEvents on AMQP 0-9-1. What we publish is in binary mode: attributes are `cloudEvents_*` headers, `message-id` is the id, the body is the
 * data. What we read may also use the `cloudEvents:` prefix, or be in structured mode (a JSON text).
 *
 * The toolkit's own headers begin with `x-db-`. They travel only on copies the engine makes of a message (retry, redrive), and a text that is
 * too long for a header makes the copy an envelope: a header table has to fit into one frame and amqplib's buffer of 64 KiB.
 */
import type { ConsumeMessage, GetMessage, MessagePropertyHeaders, Options } from 'amqplib';
import {
  cloudEventContentType,
  decodeCloudEvent,
  encodeReceived,
  refuseHeaderName,
} from '../../cloud-event.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';
import { carriable } from './foreign-headers.ts';
import { areTexts, fieldsOf, numberOf, textOf } from './read-json.ts';
import { refuseIllFormed, refuseUnfit } from './short-text.ts';

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
  /** Set when the message comes from a parked sequence. */
  readonly redriven?: boolean;
  /** The redrive it comes with; versions before that made no difference between the messages of a sequence do not tell. */
  readonly redrive?: string | undefined;
  /** The end of its sequence in this redrive: a parked key is free again from it on. */
  readonly isLast?: boolean;
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
/** Attributes with a place of their own in a message. A map, because a header may be called like something every object inherits (`constructor`). */
const FIELDS: ReadonlyMap<string, string> = new Map([
  ['id', 'id'],
  ['type', 'type'],
  ['source', 'source'],
  ['time', 'time'],
  ['partitionkey', 'key'],
  ['correlationid', 'correlationId'],
  ['causationid', 'causationId'],
  ['expirytime', 'expiresAt'],
  ['traceparent', 'traceparent'],
  ['routingkey', 'routingKey'],
]);
const REQUIRED = ['id', 'type', 'source'] as const;
const NOWHERE = '';
/** By the whole name of a header: to cut the prefix off each of them would cost more than to read the message. */
const UNDERSCORE_PLACES = placesBehind(UNDERSCORE);
const COLON_PLACES = placesBehind(COLON);
const UNDERSCORE_ID = `${UNDERSCORE}id`;
const COLON_ID = `${COLON}id`;
const SCHEMA_VERSION = /:v(\d{1,9})$/;
/** What AMQP allows the name of a header: one octet says how long it is. */
const HEADER_NAME_BYTES = 255;

let schemaType = '';
let schemaVersion = 0;
let schemaText = '';

/** Remembers one, as `versionOf` does. */
function schemaOf({ type, version }: Message): string {
  if (type !== schemaType || version !== schemaVersion) {
    schemaText = `urn:channel:${type}:v${version}`;
    schemaType = type;
    schemaVersion = version;
  }
  return schemaText;
}

/** Throws DB_MSG_INVALID_OPTIONS when a header's name is not allowed, or when id, key or routing key cannot be carried. */
export function encodeMessage(message: Message): Parcel {
  for (const name in message.headers) refuseHeaderName(name);
  return encodeDescendant(message);
}

/**
 * One that is made from a message that came, and keeps headers whose names we would not give. Throws DB_MSG_INVALID_OPTIONS when id, key or routing
 * key cannot be carried.
 */
export function encodeDescendant(message: Message): Parcel {
  refuseUnfit('the id of a message', message.id);
  if (message.routingKey !== undefined) refuseUnfit('a routing key', message.routingKey);
  if (message.key !== undefined) refuseIllFormed('a key', message.key);
  // Names are written out: to put them together for each message would cost more than the rest of it.
  const headers: Record<string, string> = {
    cloudEvents_specversion: '1.0',
    cloudEvents_id: message.id,
    cloudEvents_type: message.type,
    cloudEvents_source: message.source,
    cloudEvents_dataschema: schemaOf(message),
  };
  if (message.time !== '') headers.cloudEvents_time = message.time;
  if (message.key) headers.cloudEvents_partitionkey = message.key;
  if (message.correlationId) headers.cloudEvents_correlationid = message.correlationId;
  if (message.causationId) headers.cloudEvents_causationid = message.causationId;
  if (message.expiresAt) headers.cloudEvents_expirytime = message.expiresAt;
  if (message.traceparent) headers.cloudEvents_traceparent = message.traceparent;
  if (message.routingKey) headers.cloudEvents_routingkey = message.routingKey;
  for (const name in message.headers) {
    const value = message.headers[name];
    if (value) headers[UNDERSCORE + name] = value;
  }
  const common = { persistent: true, messageId: message.id };
  if (sizeOf(headers) > HEADER_BUDGET || isNameTooLong(message)) {
    const content = Buffer.from(encodeReceived(message));
    return { content, options: { ...common, contentType: cloudEventContentType } };
  }
  const binary = message.data instanceof Uint8Array;
  const content = binary
    ? Buffer.from(message.data as Uint8Array)
    : Buffer.from(JSON.stringify(message.data ?? null));
  const contentType = binary ? (message.contentType ?? 'application/octet-stream') : 'application/json';
  return { content, options: { ...common, contentType, headers } };
}

/** Of a message that came as a JSON text, where names have no end. */
function isNameTooLong({ headers }: Message): boolean {
  for (const name in headers)
    if (Buffer.byteLength(name) > HEADER_NAME_BYTES - UNDERSCORE.length) return true;
  return false;
}

/** The message, and what a copy carries beside it. */
export interface Received {
  readonly message: Message | undefined;
  readonly malformed: string | undefined;
  readonly note: CopyNote;
  /** The message alone, ready for another copy. Made when asked for: most messages are handled and never copied. */
  readonly parcel: Parcel;
  /** The message for somebody who may change it: from then on `message` is read anew from the bytes that came. */
  give(): Message | undefined;
}

type Incoming = ConsumeMessage | GetMessage;

class Decoded implements Received {
  readonly malformed: string | undefined;
  readonly note: CopyNote;
  readonly #incoming: Incoming;
  #message: Message | undefined;
  #parcel: Parcel | undefined;

  constructor(incoming: Incoming) {
    this.#incoming = incoming;
    const { headers, contentType } = incoming.properties as Options.Publish;
    this.note = headers !== undefined && hasNote(headers) ? noteOn(headers) : NO_NOTE;
    let message: Message | undefined;
    let malformed: string | undefined;
    try {
      if (contentType === ENVELOPE) {
        const { state, parcel } = envelopeIn(incoming.content);
        this.note = { ...this.note, state };
        this.#parcel = unpackParcel(parcel);
      }
      message = this.#read();
    } catch (error) {
      malformed = (error as Error).message;
    }
    this.#message = message;
    this.malformed = malformed;
  }

  get message(): Message | undefined {
    if (this.malformed === undefined) this.#message ??= this.#read();
    return this.#message;
  }

  give(): Message | undefined {
    const { message } = this;
    this.#message = undefined;
    return message;
  }

  get parcel(): Parcel {
    this.#parcel ??= parcelOf(this.#incoming);
    return this.#parcel;
  }

  #read(): Message {
    const { content, options } = this.#parcel ?? {
      content: this.#incoming.content,
      options: this.#incoming.properties as Options.Publish,
    };
    return messageIn(content, options.headers, options.contentType);
  }
}

interface Envelope {
  readonly state: string;
  readonly parcel: PackedParcel;
}

/** Throws for what only has the content type of one: what came is the message then, and malformed. */
function envelopeIn(content: Buffer): Envelope {
  const found: unknown = JSON.parse(content.toString());
  const fields = fieldsOf(found);
  const parcel = fieldsOf(fields.parcel);
  const hasOptions = typeof parcel.options === 'object' && parcel.options !== null;
  if (!hasOptions || !areTexts(parcel, 'body') || !areTexts(fields, 'state'))
    throw new MessagingError('DB_MSG_MALFORMED', 'it is no envelope, as its content type says');
  return found as Envelope;
}

const NO_NOTE: CopyNote = { abandoned: 0, turn: 0, redriven: false };

export function decodeMessage(incoming: Incoming): Received {
  return new Decoded(incoming);
}

/** What people and the port see of a stored message: a CloudEvent, or what came instead of one. */
export function rawOf({ message, parcel }: Pick<Received, 'message' | 'parcel'>): string {
  return message ? encodeReceived(message) : parcel.content.toString();
}

/** A copy of the parcel with the note beside it. */
export function copyOf(parcel: Parcel, note: CopyNote): Parcel {
  const headers: Record<string, unknown> = { ...parcel.options.headers };
  if (note.abandoned) headers['x-db-abandoned'] = note.abandoned;
  if (note.turn) headers['x-db-turn'] = note.turn;
  if (note.redriven) headers['x-db-redriven'] = true;
  if (note.redrive !== undefined) headers['x-db-redrive'] = note.redrive;
  if (note.isLast) headers['x-db-last'] = true;
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

/** What was packed by others, or before headers were made carriable, has to go out as well. */
export function unpackParcel({ body, options }: PackedParcel): Parcel {
  const headers: unknown = options.headers;
  const content = Buffer.from(body, 'base64');
  if (typeof headers !== 'object' || headers === null) return { content, options };
  return { content, options: { ...options, headers: carriable(headers) } };
}

function messageIn(
  content: Buffer,
  headers: MessagePropertyHeaders | undefined,
  contentType: string | undefined,
): Message {
  if (headers !== undefined) {
    if (headers[UNDERSCORE_ID] !== undefined)
      return binaryMessage(headers, UNDERSCORE, UNDERSCORE_PLACES, content, contentType);
    if (headers[COLON_ID] !== undefined)
      return binaryMessage(headers, COLON, COLON_PLACES, content, contentType);
  }
  return decodeCloudEvent(content.toString());
}

/** Where the value of each attribute goes: into the field of this name, or nowhere. What is not among them is an extension. */
function placesBehind(prefix: string): ReadonlyMap<string, string> {
  const read = (name: string): string => (name === 'dataschema' || name === 'specversion' ? name : NOWHERE);
  return new Map([...RESERVED].map((name) => [prefix + name, FIELDS.get(name) ?? read(name)]));
}

/** Built in one pass over the headers: this is the way of every message that is handled. */
function binaryMessage(
  headers: MessagePropertyHeaders,
  prefix: string,
  places: ReadonlyMap<string, string>,
  content: Buffer,
  contentType: string | undefined,
): Message {
  const extensions: Record<string, string> = {};
  const message: Record<string, unknown> = {
    id: undefined,
    type: undefined,
    version: 1,
    source: undefined,
    time: '',
    data: undefined,
    headers: extensions,
  };
  let specversion: unknown;
  for (const header in headers) {
    const place = places.get(header);
    const value: unknown = headers[header];
    if (place === undefined) {
      if (header.startsWith(prefix)) extensions[header.slice(prefix.length)] = String(value);
    } else if (place === 'dataschema') message.version = versionOf(String(value));
    else if (place === 'specversion') specversion = value;
    else if (place !== NOWHERE) message[place] = typeof value === 'string' ? value : String(value);
  }
  if (specversion !== '1.0') throw notCloudEvent(`specversion is ${JSON.stringify(specversion)}, not "1.0"`);
  for (const name of REQUIRED) if (!message[name]) throw notCloudEvent(`${name} is missing or empty`);
  message.data = dataOf(content, contentType);
  if (contentType !== undefined && message.data instanceof Uint8Array) message.contentType = contentType;
  return message as unknown as Message;
}

function notCloudEvent(detail: string): MessagingError {
  return new MessagingError('DB_MSG_MALFORMED', `not a CloudEvent: ${detail}`);
}

let lastSchema = '';
let lastVersion = 1;

/** Remembers one: the messages of a channel name the same schema, time and again. */
function versionOf(schema: string): number {
  if (schema !== lastSchema) {
    lastSchema = schema;
    lastVersion = Number(SCHEMA_VERSION.exec(schema)?.[1] ?? 1);
  }
  return lastVersion;
}

function dataOf(content: Buffer, contentType: string | undefined): unknown {
  if (contentType !== undefined && contentType !== 'application/json' && !/json/i.test(contentType))
    // A copy: whoever gets it may write into it, and the bytes that came are what a retry and a dead letter are made of.
    return Buffer.from(content);
  try {
    return JSON.parse(content.toString());
  } catch (cause) {
    throw new MessagingError('DB_MSG_MALFORMED', 'the data is not JSON, as its content type says', { cause });
  }
}

/** Never throws: on a broker these are headers that any publisher may set, and this is asked where nobody could answer for it. */
function noteOn(headers: MessagePropertyHeaders): CopyNote {
  const { 'x-db-state': state, 'x-db-redrive': redrive } = headers as Record<string, unknown>;
  return {
    abandoned: numberOf(headers['x-db-abandoned']) ?? 0,
    turn: numberOf(headers['x-db-turn']) ?? 0,
    redriven: headers['x-db-redriven'] === true,
    ...(state !== undefined && { state: textOf(state) }),
    ...(redrive !== undefined && { redrive: textOf(redrive), isLast: headers['x-db-last'] === true }),
  };
}

function parcelOf({ content, properties }: Incoming): Parcel {
  const { headers = {}, contentType, messageId, priority } = properties as Options.Publish;
  const options: Options.Publish = { persistent: true, headers: carriable(withoutOwn(headers)) };
  if (contentType !== undefined) options.contentType = contentType;
  if (messageId !== undefined) options.messageId = messageId;
  if (priority !== undefined) options.priority = priority;
  return { content, options };
}

/** Asked of every message: by the names, and not by a walk over the headers. */
function hasNote(headers: MessagePropertyHeaders): boolean {
  return (
    headers['x-db-abandoned'] !== undefined ||
    headers['x-db-turn'] !== undefined ||
    headers['x-db-state'] !== undefined ||
    headers['x-db-redriven'] !== undefined ||
    headers['x-db-redrive'] !== undefined
  );
}

/** The toolkit's and the broker's begin with `x-`. */
function hasOwn(headers: MessagePropertyHeaders): boolean {
  for (const name in headers) if (name.startsWith('x-')) return true;
  return false;
}

/**
 * Headers of the message itself. `x-death` must not stay: the broker drops what it has dead-lettered through the same queue before, and
 * a message may wait on the same rung of the ladder many times.
 */
function withoutOwn(headers: MessagePropertyHeaders): MessagePropertyHeaders {
  if (!hasOwn(headers)) return headers;
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith('x-')));
}

function onlyOwn(headers: MessagePropertyHeaders): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('x-db-')));
}

/** At most; UTF-8 takes up to three bytes for a UTF-16 unit. */
function sizeOf(headers: MessagePropertyHeaders): number {
  let size = 0;
  for (const name in headers) {
    const value: unknown = headers[name];
    size += name.length + textOf(value).length * 3 + 10;
  }
  return size;
}
