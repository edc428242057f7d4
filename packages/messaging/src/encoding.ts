/**
 * How data is written where JSON is not wanted. The contract of the channel checks the data as an object, before it is encoded and after it is
 * decoded; on the wire the message then carries bytes and their media type.
 */
import type { Channel } from './channel.ts';
import { MessagingError } from './errors.ts';
import type { Message } from './message.ts';

export interface Encoding {
  /** Media type on the wire, for instance `application/avro`. */
  readonly contentType: string;
  /** Throws when the data does not fit its schema. */
  encode(data: unknown): Uint8Array;
  /** Throws when the bytes are not of the schema of the version they were written in. */
  decode(bytes: Uint8Array, version: WrittenVersion): unknown;
  /** Whether the bytes themselves say that they are of today's schema: then no upcaster is asked, whatever version the message counts as. */
  isCurrent?(bytes: Uint8Array): boolean;
  /** The schema as other tools take it, for documents: its media type and its text as JSON. Part of the contract. */
  readonly schema?: { readonly format: string; readonly definition: unknown };
}

export interface WrittenVersion {
  /** Version of the contract in which the message was written. */
  readonly written: number;
  /** That of the channel here. */
  readonly current: number;
  /** The channel's upcasters will make it new: the data is wanted as its version wrote it. */
  readonly isUpcast: boolean;
}

/** What stands in a message for this data. Throws DB_MSG_INVALID_DATA. */
export function encodeData(
  { name, definition: { encoding } }: Channel,
  data: unknown,
): Pick<Message, 'data' | 'contentType'> {
  if (!encoding) return { data };
  try {
    return { data: encoding.encode(data), contentType: encoding.contentType };
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new MessagingError(
      'DB_MSG_INVALID_DATA',
      `channel "${name}": not ${encoding.contentType}: ${detail}`,
      { cause },
    );
  }
}

/** The version whose shape the data has once it is decoded. */
export function decodedVersion(
  { version, definition }: Channel,
  { data, version: written }: Message,
): number {
  return data instanceof Uint8Array && definition.encoding?.isCurrent?.(data) ? version : written;
}

/** The data of a received message. JSON is taken on every channel; throws on bytes of an encoding that the channel does not have. */
export function decodeData(channel: Channel, message: Message): unknown {
  const { name, version, definition } = channel;
  const { encoding, upcasters } = definition;
  const { data, contentType, version: written } = message;
  if (!(data instanceof Uint8Array)) return data;
  if (encoding && (contentType === undefined || contentType === encoding.contentType))
    return encoding.decode(data, {
      written,
      current: version,
      isUpcast: written < version && upcasters !== undefined,
    });
  throw new TypeError(
    `the data is ${contentType ?? 'bytes'}; channel "${name}" takes ${encoding?.contentType ?? 'JSON only'}`,
  );
}
