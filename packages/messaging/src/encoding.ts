/**
 * How data is written where JSON is not wanted. The contract of the channel checks the data as an object, before it is encoded and after it is
 * decoded; on the wire the message then carries bytes and their media type.
 */
import type { Channel } from './channel.ts';
import type { Message } from './message.ts';

export interface Encoding {
  /** Media type on the wire, for instance `application/avro`. */
  readonly contentType: string;
  /** Throws when the data does not fit its schema. */
  encode(data: unknown): Uint8Array;
  /** Throws when the bytes are not of its schema. */
  decode(bytes: Uint8Array): unknown;
}

/** What stands in a message for this data. */
export function encodeData(
  { definition: { encoding } }: Channel,
  data: unknown,
): Pick<Message, 'data' | 'contentType'> {
  return encoding ? { data: encoding.encode(data), contentType: encoding.contentType } : { data };
}

/** The data of a received message. JSON is taken on every channel; throws on bytes of an encoding that the channel does not have. */
export function decodeData({ name, definition: { encoding } }: Channel, message: Message): unknown {
  const { data, contentType } = message;
  if (!(data instanceof Uint8Array)) return data;
  if (encoding && (contentType === undefined || contentType === encoding.contentType))
    return encoding.decode(data);
  throw new TypeError(
    `the data is ${contentType ?? 'bytes'}; channel "${name}" takes ${encoding?.contentType ?? 'JSON only'}`,
  );
}
