/** One message as handlers see it. On the wire it is a CloudEvent (`cloud-event.ts`). */
export interface Message<T = unknown> {
  /** UUIDv7. Stays the same through every retry, redelivery and redrive: the key of an inbox. */
  readonly id: string;
  /** Name of the channel whose contract the data follows. */
  readonly type: string;
  /** Version of that contract. */
  readonly version: number;
  /** Who published it: the `source` of the bus. */
  readonly source: string;
  /** When it was made, ISO 8601 in UTC. Not an order. */
  readonly time: string;
  readonly data: T;
  /** Partition key: messages of one key keep their order on channels with `order: 'key'`. */
  readonly key?: string;
  /** What bindings look at on channels with `direct` or `topic` routing. */
  readonly routingKey?: string;
  /** Media type of `data` when it is bytes (a `Uint8Array`) of another encoding than JSON, for instance `application/avro`. */
  readonly contentType?: string;
  /** Shared by all messages of one conversation. */
  readonly correlationId?: string;
  /** The id of the message that caused this one. */
  readonly causationId?: string;
  /** ISO 8601; after it the message is dropped and counted instead of handled. */
  readonly expiresAt?: string;
  /** W3C trace context of the publisher. */
  readonly traceparent?: string;
  /** Free text extensions; names are lower-case letters and digits, as CloudEvents asks. */
  readonly headers: Readonly<Record<string, string>>;
}
