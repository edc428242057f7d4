/**
 * CloudEvents on Kafka. What we publish is in binary mode: attributes are `ce_*` headers, the record's value is the data, its key the partition
 * key. What we read may also be in structured mode (a JSON text as the value), as any CloudEvents producer may send it.
 *
 * The toolkit's own headers begin with `db-`. They travel on records the engine makes (a retry, a redrive, a delayed or urgent message) and are
 * taken off again before anybody sees the message.
 */
import { decodeCloudEvent, encodeReceived, refuseHeaderName } from '../../cloud-event.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';
import { OWN, type RecordLike } from './log-record.ts';

/** Key, value and headers of a record; the headers keep their order. */
export interface Parcel {
  readonly key: Buffer | undefined;
  readonly value: Buffer | undefined;
  readonly headers: readonly (readonly [string, Buffer])[];
}

/** What travels beside a message on a record of the engine's own making. */
export interface CopyNote {
  readonly state?: string | undefined;
  /** Hand-outs in vain before this copy was made. */
  readonly abandoned?: number | undefined;
  /** Not handed out before, ms since the epoch. */
  readonly dueAt?: number | undefined;
  /** The place the message had in its partition, which it keeps among those of its key. */
  readonly rank?: number | undefined;
  readonly priority?: number | undefined;
  /** The dead letter this copy takes the place of: from here on it holds nothing, though its end may not have been read yet. */
  readonly redriven?: string | undefined;
  /** Of one that a rewind stored again: where in the same log the copy lies that it takes the place of. */
  readonly kept?: number | undefined;
}

const PREFIX = 'ce_';
const CONTENT_TYPE = 'content-type';
const SCHEMA_VERSION = /:v(\d{1,9})$/;
type Header = readonly [name: string, value: Buffer];
const JSON_TYPE: Header = [CONTENT_TYPE, Buffer.from('application/json')];
const SPEC: Header = ['ce_specversion', Buffer.from('1.0')];
/** Attributes with a place of their own in a message. */
const OPTIONAL: readonly (readonly [attribute: string, field: keyof Message])[] = [
  ['partitionkey', 'key'],
  ['correlationid', 'correlationId'],
  ['causationid', 'causationId'],
  ['expirytime', 'expiresAt'],
  ['traceparent', 'traceparent'],
  ['routingkey', 'routingKey'],
];
/** A map, because a header may be called like something every object inherits (`constructor`). */
const FIELDS: ReadonlyMap<string, keyof Message> = new Map(OPTIONAL);
const RESERVED = new Set([
  'specversion',
  'id',
  'type',
  'source',
  'time',
  'dataschema',
  'datacontenttype',
  'subject',
  'data',
  'data_base64',
  ...FIELDS.keys(),
]);

/** Throws DB_MSG_INVALID_OPTIONS when a header's name is not allowed. `nullAsTombstone`: data null becomes a record without a value. */
export function encodeMessage(message: Message, nullAsTombstone = false): Parcel {
  for (const name in message.headers) refuseHeaderName(name);
  return encodeDescendant(message, nullAsTombstone);
}

/** One that is made from a message that came, and keeps headers whose names we would not give. */
export function encodeDescendant(message: Message, nullAsTombstone = false): Parcel {
  const headers: Header[] = [SPEC, ['ce_id', Buffer.from(message.id)], ...originOf(message)];
  if (message.time !== '') headers.push(timeOf(message.time));
  for (const [name, field] of OPTIONAL) {
    const value = message[field];
    if (value !== undefined) headers.push([PREFIX + name, Buffer.from(String(value))]);
  }
  for (const name in message.headers) headers.push([PREFIX + name, Buffer.from(message.headers[name] ?? '')]);
  const { data } = message;
  const binary = data instanceof Uint8Array;
  headers.push(
    binary ? [CONTENT_TYPE, Buffer.from(message.contentType ?? 'application/octet-stream')] : JSON_TYPE,
  );
  return {
    key: message.key === undefined ? undefined : Buffer.from(message.key),
    value: binary ? Buffer.from(data) : bytesOf(data, nullAsTombstone),
    headers,
  };
}

/** Messages of one channel come together, so these are nearly always those of the last one. */
let lastOrigin: { type: string; source: string; version: number; headers: readonly Header[] } | undefined;
let lastTime: { readonly text: string; readonly header: Header } | undefined;

function originOf({ type, source, version }: Message): readonly Header[] {
  const last = lastOrigin;
  if (last?.type === type && last.source === source && last.version === version) return last.headers;
  const headers: readonly Header[] = [
    ['ce_type', Buffer.from(type)],
    ['ce_source', Buffer.from(source)],
    ['ce_dataschema', Buffer.from(`urn:channel:${type}:v${version}`)],
  ];
  lastOrigin = { type, source, version, headers };
  return headers;
}

function timeOf(text: string): Header {
  if (lastTime?.text !== text) lastTime = { text, header: ['ce_time', Buffer.from(text)] };
  return lastTime.header;
}

function bytesOf(data: unknown, nullAsTombstone: boolean): Buffer | undefined {
  if (nullAsTombstone && (data === null || data === undefined)) return undefined;
  return Buffer.from(JSON.stringify(data ?? null));
}

type Place = { readonly channel: string; readonly text: string };

/** What a record is: a message, or why it is none. */
interface Reading {
  readonly message: Message | undefined;
  readonly malformed: string | undefined;
}

/**
 * A record as it was read. It waits as it came, and becomes a message when somebody looks at it: what is read ahead of the handlers would else be the
 * larger part of what the process keeps.
 */
export class Received {
  readonly note: CopyNote;
  /** A record without a value that is no CloudEvent: what a compacted topic keeps of a deleted key. */
  readonly tombstone: boolean;
  readonly #record: RecordLike;
  readonly #place: Place;
  readonly #isEvent: boolean;
  readonly #hasExpiry: boolean;
  #madeAt: number | undefined;
  #read: Reading | undefined;

  /** `place` names a record that has no id of its own. */
  constructor(record: RecordLike, place: Place) {
    const { isEvent, hasExpiry, hasOwn } = record.names();
    this.#record = record;
    this.#place = place;
    this.#isEvent = isEvent;
    this.#hasExpiry = !isEvent || hasExpiry;
    this.tombstone = !isEvent && !record.hasValue;
    this.note = hasOwn ? readNote(record) : NO_NOTE;
  }

  get message(): Message | undefined {
    this.#read ??= this.#decode();
    return this.#read.message;
  }

  get malformed(): string | undefined {
    this.#read ??= this.#decode();
    return this.#read.malformed;
  }

  /** For somebody who may change the message: whoever asks for it later gets one that is read anew from the record. */
  give(): Reading {
    const read = this.#read ?? this.#decode();
    this.#read = undefined;
    return read;
  }

  /** When the message was made, by its own word, ms since the epoch; NaN when it has none. A copy's record is younger than its message. */
  get madeAt(): number {
    this.#madeAt ??= Date.parse(headerOf(this.#record, 'ce_time') ?? '');
    return this.#madeAt;
  }

  /** Of the message, or of the record when it is none. */
  get key(): string | undefined {
    return this.message?.key ?? this.#record.keyText();
  }

  /** ms since the epoch; Infinity without one, and where a stranger wrote no time: what cannot be read expires nothing. */
  get expiresAt(): number {
    const expiresAt = this.#hasExpiry ? this.message?.expiresAt : undefined;
    const at = expiresAt === undefined ? Number.NaN : Date.parse(expiresAt);
    return Number.isNaN(at) ? Number.POSITIVE_INFINITY : at;
  }

  /** The message alone, ready for another copy. */
  get parcel(): Parcel {
    const { key, value, headers } = this.#record;
    const own = headers.map(([name, text]) => [name?.toString() ?? '', text ?? Buffer.alloc(0)] as const);
    return {
      key: key ?? undefined,
      value: value ?? undefined,
      headers: own.filter(([name]) => !name.startsWith(OWN)),
    };
  }

  #decode(): { readonly message: Message | undefined; readonly malformed: string | undefined } {
    try {
      return { message: this.#message(), malformed: undefined };
    } catch (error) {
      return { message: undefined, malformed: (error as Error).message };
    }
  }

  #message(): Message {
    if (this.tombstone) return tombstoneMessage(this.#record, this.#place);
    return this.#isEvent ? binaryMessage(this.#record) : structuredMessage(this.#record);
  }
}

const NO_NOTE: CopyNote = Object.freeze({});

function readNote(record: RecordLike): CopyNote {
  const own = new Map<string, string>();
  record.visitTexts((name, text) => {
    if (name.startsWith(OWN)) own.set(name, text);
  });
  const number = (name: string): number | undefined => {
    const text = own.get(name);
    return text === undefined ? undefined : Number(text);
  };
  return {
    state: own.get('db-state'),
    abandoned: number('db-abandoned'),
    dueAt: number('db-due'),
    rank: number('db-rank'),
    priority: number('db-priority'),
    redriven: own.get('db-redriven'),
    kept: number('db-kept'),
  };
}

/** The parcel with the note beside it. */
export function copyOf(parcel: Parcel, note: CopyNote): Parcel {
  const headers = [...parcel.headers];
  const put = (name: string, value: string | number | undefined): void => {
    if (value !== undefined) headers.push([name, Buffer.from(String(value))]);
  };
  put('db-state', note.state);
  put('db-abandoned', note.abandoned === 0 ? undefined : note.abandoned);
  put('db-due', note.dueAt);
  put('db-rank', note.rank);
  put('db-priority', note.priority === 0 ? undefined : note.priority);
  put('db-redriven', note.redriven);
  put('db-kept', note.kept);
  return { ...parcel, headers };
}

/** What people and the port see of a stored message: a CloudEvent, or what came instead of one. */
export function rawOf({ message, parcel }: Pick<Received, 'message' | 'parcel'>): string {
  return message ? encodeReceived(message) : (parcel.value?.toString() ?? '');
}

/** Bytes the record takes, about: what the broker's limit is compared with. */
export function sizeOf({ key, value, headers }: Parcel): number {
  let size = 80 + (key?.length ?? 0) + (value?.length ?? 0);
  for (const [name, text] of headers) size += name.length + text.length + 4;
  return size;
}

/** The text of one header, for what the engine writes about records of its own. */
export function headerOf(record: RecordLike, wanted: string): string | undefined {
  for (const [name, value] of record.headers) if (name?.toString() === wanted) return value?.toString() ?? '';
  return undefined;
}

function structuredMessage(record: RecordLike): Message {
  const message = decodeCloudEvent(record.valueText());
  const key = record.keyText();
  return message.key === undefined && key !== undefined ? { ...message, key } : message;
}

function tombstoneMessage(record: RecordLike, { channel, text }: Place): Message {
  const key = record.keyText();
  return {
    id: text,
    type: channel,
    version: 1,
    source: 'kafka:tombstone',
    time: '',
    data: null,
    headers: {},
    ...(key === undefined ? {} : { key }),
  };
}

/** Built in one pass: this is the way of every message that is handled. */
function binaryMessage(record: RecordLike): Message {
  const message = new BinaryMessage();
  record.visitTexts((name, text) => message.take(name, text));
  return message.finished(record);
}

class BinaryMessage {
  id = '';
  type = '';
  source = '';
  specversion = '';
  time = '';
  version = 1;
  contentType: string | undefined;
  readonly headers: Record<string, string> = {};
  optional: { -readonly [Field in keyof Message]?: Message[Field] } | undefined;

  take(name: string, text: string): void {
    switch (name) {
      case 'ce_id':
        this.id = text;
        return;
      case 'ce_type':
        this.type = text;
        return;
      case 'ce_source':
        this.source = text;
        return;
      case 'ce_specversion':
        this.specversion = text;
        return;
      case 'ce_time':
        this.time = text;
        return;
      case 'ce_dataschema':
        this.version = versionOf(text);
        return;
      case CONTENT_TYPE:
        this.contentType = text;
        return;
      default:
        if (name.startsWith(PREFIX)) this.#takeOther(name.slice(PREFIX.length), text);
    }
  }

  #takeOther(attribute: string, text: string): void {
    const field = FIELDS.get(attribute);
    if (field !== undefined) this.optional = Object.assign(this.optional ?? {}, { [field]: text });
    else if (!RESERVED.has(attribute)) this.headers[attribute] = text;
  }

  finished(record: RecordLike): Message {
    for (const name of ['id', 'type', 'source', 'specversion'] as const)
      if (this[name] === '') throw malformed(`ce_${name} is missing`);
    if (this.specversion !== '1.0') throw malformed(`specversion is "${this.specversion}", not "1.0"`);
    const { contentType } = this;
    const isText = contentType === undefined || isJson(contentType);
    const message: { -readonly [Field in keyof Message]: Message[Field] } = {
      id: this.id,
      type: this.type,
      version: this.version,
      source: this.source,
      time: this.time,
      // Bytes are copied: whoever gets them may write into them, and the record's lie among those of its batch.
      data: isText ? parseJson(record) : record.value && Buffer.from(record.value),
      headers: this.headers,
    };
    if (this.optional) Object.assign(message, this.optional);
    const key = message.key ?? record.keyText();
    if (key !== undefined) message.key = key;
    if (!isText && record.hasValue) message.contentType = contentType;
    return message;
  }
}

/** Messages of one channel come together, so the last answer is nearly always the next one too. */
let lastSchema = '';
let lastVersion = 1;

function versionOf(schema: string): number {
  if (schema === lastSchema) return lastVersion;
  lastSchema = schema;
  lastVersion = Number(SCHEMA_VERSION.exec(schema)?.[1] ?? 1);
  return lastVersion;
}

function isJson(contentType: string): boolean {
  return contentType === 'application/json' || /[/+]json\b/i.test(contentType);
}

function parseJson(record: RecordLike): unknown {
  if (!record.hasValue) return null;
  try {
    return JSON.parse(record.valueText());
  } catch (cause) {
    throw new MessagingError('DB_MSG_MALFORMED', 'the data is not JSON, as its content type says', { cause });
  }
}

function malformed(detail: string): MessagingError {
  return new MessagingError('DB_MSG_MALFORMED', `not a CloudEvent: ${detail}`);
}
