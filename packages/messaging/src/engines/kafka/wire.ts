/**
 * CloudEvents on Kafka. What we publish is in binary mode: attributes are `ce_*` headers, the record's value is the data, its key the partition
 * key. What we read may also be in structured mode (a JSON text as the value), as any CloudEvents producer may send it.
 *
 * The toolkit's own headers begin with `db-`. They travel on records the engine makes (a retry, a redrive, a delayed or urgent message) and are
 * taken off again before anybody sees the message.
 */
import { decodeCloudEvent, encodeCloudEvent } from '../../cloud-event.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';

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
}

const PREFIX = 'ce_';
const OWN = 'db-';
const CONTENT_TYPE = 'content-type';
const EXTENSION_NAME = /^[a-z0-9]{1,20}$/;
const SCHEMA_VERSION = /:v(\d{1,9})$/;
const JSON_TYPE = Buffer.from('application/json');
const SPEC = Buffer.from('1.0');
/** Attributes with a place of their own in a message. */
const FIELDS: Readonly<Record<string, keyof Message>> = {
  partitionkey: 'key',
  correlationid: 'correlationId',
  causationid: 'causationId',
  expirytime: 'expiresAt',
  traceparent: 'traceparent',
  routingkey: 'routingKey',
};
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
  ...Object.keys(FIELDS),
]);
const OPTIONAL = Object.entries(FIELDS);

/** Throws DB_MSG_INVALID_OPTIONS when a header's name is not allowed. `nullAsTombstone`: data null becomes a record without a value. */
export function encodeMessage(message: Message, nullAsTombstone = false): Parcel {
  const headers: (readonly [string, Buffer])[] = [
    ['ce_specversion', SPEC],
    ['ce_id', Buffer.from(message.id)],
    ['ce_type', Buffer.from(message.type)],
    ['ce_source', Buffer.from(message.source)],
    ['ce_dataschema', Buffer.from(`urn:channel:${message.type}:v${message.version}`)],
  ];
  if (message.time !== '') headers.push(['ce_time', Buffer.from(message.time)]);
  for (const [name, field] of OPTIONAL) {
    const value = message[field];
    if (value !== undefined) headers.push([PREFIX + name, Buffer.from(String(value))]);
  }
  for (const name in message.headers) {
    if (!EXTENSION_NAME.test(name) || RESERVED.has(name))
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `"${name}" cannot be a header: use 1 to 20 lower-case letters and digits`,
      );
    headers.push([PREFIX + name, Buffer.from(message.headers[name] ?? '')]);
  }
  const { data } = message;
  const binary = data instanceof Uint8Array;
  headers.push([
    CONTENT_TYPE,
    binary ? Buffer.from(message.contentType ?? 'application/octet-stream') : JSON_TYPE,
  ]);
  return {
    key: message.key === undefined ? undefined : Buffer.from(message.key),
    value: binary ? Buffer.from(data) : bytesOf(data, nullAsTombstone),
    headers,
  };
}

function bytesOf(data: unknown, nullAsTombstone: boolean): Buffer | undefined {
  if (nullAsTombstone && (data === null || data === undefined)) return undefined;
  return Buffer.from(JSON.stringify(data ?? null));
}

/** A record as it was read: the message alone in `parcel`, ready for another copy, and what travelled beside it. */
export interface Received {
  readonly parcel: Parcel;
  readonly message: Message | undefined;
  readonly malformed: string | undefined;
  readonly note: CopyNote;
  /** A record without a value that is no CloudEvent: what a compacted topic keeps of a deleted key. */
  readonly tombstone: boolean;
}

export interface RecordLike {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly (readonly [Buffer | null, Buffer | null])[];
}

/** `place` names a record that has no id of its own. */
export function decodeRecord(record: RecordLike, place: { channel: string; text: string }): Received {
  const own = new Map<string, string>();
  const headers: (readonly [string, Buffer])[] = [];
  let isEvent = false;
  for (const [rawName, rawValue] of record.headers) {
    const name = rawName?.toString() ?? '';
    if (name.startsWith(OWN)) own.set(name, rawValue?.toString() ?? '');
    else {
      isEvent ||= name === 'ce_id';
      headers.push([name, rawValue ?? Buffer.alloc(0)]);
    }
  }
  const parcel = { key: record.key ?? undefined, value: record.value ?? undefined, headers };
  const note = own.size === 0 ? NO_NOTE : readNote(own);
  const tombstone = record.value === null && !isEvent;
  try {
    const message = tombstone
      ? tombstoneMessage(parcel, place)
      : isEvent
        ? binaryMessage(parcel)
        : structuredMessage(parcel);
    return { parcel, message, malformed: undefined, note, tombstone };
  } catch (error) {
    return { parcel, message: undefined, malformed: (error as Error).message, note, tombstone };
  }
}

const NO_NOTE: CopyNote = Object.freeze({});

function readNote(own: ReadonlyMap<string, string>): CopyNote {
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
  return { ...parcel, headers };
}

/** What people and the port see of a stored message: a CloudEvent, or what came instead of one. */
export function rawOf({ message, parcel }: Pick<Received, 'message' | 'parcel'>): string {
  return message ? encodeCloudEvent(message) : (parcel.value?.toString() ?? '');
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

function structuredMessage({ key, value }: Parcel): Message {
  const message = decodeCloudEvent(value?.toString() ?? '');
  return message.key === undefined && key !== undefined ? { ...message, key: key.toString() } : message;
}

function tombstoneMessage({ key }: Parcel, { channel, text }: { channel: string; text: string }): Message {
  return {
    id: text,
    type: channel,
    version: 1,
    source: 'kafka:tombstone',
    time: '',
    data: null,
    headers: {},
    ...(key === undefined ? {} : { key: key.toString() }),
  };
}

/** Built in one pass: this is the way of every message that is handled. */
function binaryMessage({ key, value, headers }: Parcel): Message {
  const extensions: Record<string, string> = {};
  const message: Record<string, unknown> = { version: 1, time: '' };
  let contentType: string | undefined;
  for (const [name, bytes] of headers) {
    const text = bytes.toString();
    if (name === CONTENT_TYPE) contentType = text;
    if (!name.startsWith(PREFIX)) continue;
    const attribute = name.slice(PREFIX.length);
    const field = FIELDS[attribute];
    if (field !== undefined) message[field] = text;
    else if (!RESERVED.has(attribute)) extensions[attribute] = text;
    else if (attribute === 'dataschema') message.version = Number(SCHEMA_VERSION.exec(text)?.[1] ?? 1);
    else message[attribute] = text;
  }
  for (const name of ['id', 'type', 'source', 'specversion'])
    if (!message[name]) throw malformed(`ce_${name} is missing`);
  if (message.specversion !== '1.0') throw malformed(`specversion is "${message.specversion}", not "1.0"`);
  delete message.specversion;
  delete message.subject;
  message.headers = extensions;
  if (message.key === undefined && key !== undefined) message.key = key.toString();
  readData(message, value, contentType);
  return message as unknown as Message;
}

function readData(
  message: Record<string, unknown>,
  value: Buffer | undefined,
  contentType: string | undefined,
): void {
  if (value === undefined) message.data = null;
  else if (contentType !== undefined && !isJson(contentType)) {
    message.data = value;
    message.contentType = contentType;
  } else message.data = parseJson(value);
}

function isJson(contentType: string): boolean {
  return contentType === 'application/json' || /[/+]json\b/i.test(contentType);
}

function parseJson(value: Buffer): unknown {
  try {
    return JSON.parse(value.toString());
  } catch (cause) {
    throw new MessagingError('DB_MSG_MALFORMED', 'the data is not JSON, as its content type says', { cause });
  }
}

function malformed(detail: string): MessagingError {
  return new MessagingError('DB_MSG_MALFORMED', `not a CloudEvent: ${detail}`);
}
