/**
 * Avro as the encoding of a channel: `encoding: avroEncoding(schema)`. The Avro schema says what the bytes are, the channel's own schema what the
 * data may be; both are checked.
 *
 * Avro bytes do not say which schema wrote them. Three ways to know: the message's contract version (`writers` by version, resolved by Avro's rules
 * of schema evolution), the number in front of each record where a schema registry of Confluent's kind is used (`registry`), or that there
 * has only ever been one. Bytes whose schema is not known are refused: decoded by another schema they would be nonsense that fits.
 */
import avro from 'avsc';
import type { Encoding, WrittenVersion } from '../encoding.ts';
import { describeError, MessagingError } from '../errors.ts';
import { within } from '../sound-numbers.ts';
import { soundnessOf } from './avro-soundness.ts';

/** An Avro schema as its JSON, for instance `{ type: 'record', name: 'Order', fields: [...] }`. */
export type AvroSchema = string | Readonly<Record<string, unknown>> | readonly unknown[];

export interface AvroOptions {
  /**
   * Schemas of earlier versions of the channel's contract, by version. Each has to be resolvable to today's: that is checked here. Where the channel
   * has upcasters, they get what was written, and Avro resolves nothing.
   */
  readonly writers?: Readonly<Record<number, AvroSchema>>;
  /**
   * Records begin with a zero byte and the four bytes of a schema's number, as Confluent's serializers write them. `id` is the number of today's
   * schema, whole, from 0 to 4,294,967,295, `writers` are others by number. Nothing is fetched: who asks a registry gives what it said.
   */
  readonly registry?: { readonly id: number; readonly writers?: Readonly<Record<number, AvroSchema>> };
  /** Media type on the wire. Default `application/avro`. */
  readonly contentType?: string;
}

/** How what one schema wrote is read. */
interface Reader {
  /** The data as today's schema has it. */
  readonly resolved: (body: Buffer) => unknown;
  /** The data as it was written, for upcasters. */
  readonly asWritten: (body: Buffer) => unknown;
}
type Readers = ReadonlyMap<number, Reader>;

const SCHEMA_FORMAT = 'application/vnd.apache.avro+json;version=1.9.0';
const FRAME_BYTES = 5;
/** What the four bytes of a frame hold. */
const LAST_ID = 2 ** 32 - 1;

/** Throws DB_MSG_INVALID_OPTIONS when a schema is none, an earlier one cannot be resolved to today's, or the number of a registry fits no frame. */
export function avroEncoding(schema: AvroSchema, options: AvroOptions = {}): Encoding {
  const type = typeOf(schema);
  const today = readerOf(type, type);
  const refuseUnsound = soundnessOf(type);
  const { registry } = options;
  if (registry) within('avroEncoding', 'registry.id', registry.id, 0, LAST_ID);
  const earlier = registry
    ? readersOf(type, registry.writers, 'registry id')
    : readersOf(type, options.writers, 'version');
  const numbers: Readers = registry ? new Map([...earlier, [registry.id, today]]) : earlier;
  return Object.freeze({
    contentType: options.contentType ?? 'application/avro',
    schema: { format: SCHEMA_FORMAT, definition: type.schema({ exportAttrs: true }) },
    encode: (data: unknown) => {
      const body = type.toBuffer(data);
      // Bytes that no reader takes would be a dead letter of everybody: who publishes them is told.
      refuseUnsound?.(body);
      return registry ? framed(registry.id, body) : body;
    },
    decode: (bytes: Uint8Array, version: WrittenVersion) => {
      const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const reader = registry ? byNumber(numbers, buffer) : byVersion(numbers, today, version);
      const body = registry ? buffer.subarray(FRAME_BYTES) : buffer;
      return version.isUpcast && reader !== today ? reader.asWritten(body) : reader.resolved(body);
    },
    ...(registry ? { isCurrent: (bytes: Uint8Array) => numberOf(bytes) === registry.id } : {}),
  });
}

/** Undefined where there is no frame. */
function numberOf(bytes: Uint8Array): number | undefined {
  if (bytes[0] !== 0 || bytes.length < FRAME_BYTES) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
}

function byNumber(numbers: Readers, bytes: Buffer): Reader {
  const id = numberOf(bytes);
  if (id === undefined) throw new TypeError('the bytes do not begin with the number of a schema');
  const reader = numbers.get(id);
  if (!reader) throw new TypeError(`schema ${id} is not known here`);
  return reader;
}

function byVersion(versions: Readers, today: Reader, { written, current }: WrittenVersion): Reader {
  const reader = written === current ? today : versions.get(written);
  if (!reader)
    throw new TypeError(`the Avro schema of version ${written} is not known: name it in "writers"`);
  return reader;
}

function typeOf(schema: AvroSchema): avro.Type {
  try {
    return avro.Type.forSchema(structuredClone(schema) as avro.Schema, { omitRecordMethods: true });
  } catch (error) {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `not an Avro schema: ${describeError(error)}`);
  }
}

function readerOf(reader: avro.Type, writer: avro.Type): Reader {
  const refuseUnsound = soundnessOf(writer);
  const resolver = reader === writer ? undefined : reader.createResolver(writer);
  const read = (type: avro.Type, body: Buffer, by?: typeof resolver): unknown => {
    refuseUnsound?.(body);
    return type.fromBuffer(body, by);
  };
  return {
    resolved: (body) => read(reader, body, resolver),
    asWritten: (body) => read(writer, body),
  };
}

function readersOf(
  reader: avro.Type,
  writers: Readonly<Record<number, AvroSchema>> = {},
  by: string,
): Readers {
  return new Map(
    Object.entries(writers).map(([number, schema]) => {
      try {
        return [Number(number), readerOf(reader, typeOf(schema))];
      } catch (error) {
        throw new MessagingError(
          'DB_MSG_INVALID_OPTIONS',
          `what ${by} ${number} wrote cannot be read as today's schema: ${describeError(error)}`,
        );
      }
    }),
  );
}

function framed(id: number, body: Buffer): Buffer {
  const frame = Buffer.alloc(FRAME_BYTES);
  frame.writeUInt32BE(id, 1);
  return Buffer.concat([frame, body]);
}
