/**
 * THE port of event-sourced streams: what happened to one thing, in order, for ever. A stream is appended to under optimistic concurrency; all
 * streams together have one order that readers follow by opaque checkpoints without ever missing what commits late.
 *
 * What is stored are facts of one owner in its own database. They are not messages: what others should know goes through the outbox.
 */
import type { SqlTransaction } from '../sql.ts';

/** One fact: `type` says what happened, in the past tense. `data` is JSON. */
export interface StreamEvent<Type extends string = string, Data = unknown> {
  readonly type: Type;
  readonly data: Data;
}

export interface RecordedEvent<E extends StreamEvent = StreamEvent> {
  /** UUIDv7, of recording; not an order. */
  readonly id: string;
  readonly stream: string;
  /** 1 for the first of its stream, without gaps. */
  readonly version: number;
  readonly type: E['type'];
  readonly data: E['data'];
  /** ms since the epoch, of the appender's clock; not an order. */
  readonly recordedAt: number;
  /** Where a reader that has handled this one goes on. Opaque: its form differs by database and may change. */
  readonly checkpoint: string;
}

export interface AppendOptions {
  /** The version the decision was made on; 0: the stream must not exist. Not given: whatever it is. */
  readonly expectedVersion?: number;
}

export interface Appended {
  /** Of the stream, after it. */
  readonly version: number;
}

export interface ReadOptions {
  /** A whole number from 0. Default 1. */
  readonly fromVersion?: number;
  /** 1 to 10,000, which is the default. */
  readonly limit?: number;
}

export interface Snapshot {
  /** Of the stream, at the state. */
  readonly version: number;
  /** Of the form of the state: whoever reads with another number ignores it. */
  readonly schemaVersion: number;
  readonly state: unknown;
}

/**
 * Numbers that are none reject with DB_MSG_INVALID_OPTIONS: as a version, NaN would be a conflict for ever and a stream without events. So do names with U+0000 or lone surrogates,
 * also where they are only read by.
 */
export interface StreamStore {
  /** Creates the tables that are missing. */
  prepare(): Promise<void>;

  /**
   * All or none. Rejects with DB_MSG_STREAM_CONFLICT when the stream is not at the expected version: read again and decide anew.
   * On SQL a deadlock or an overtaking is tried again inside.
   */
  append(stream: string, events: readonly StreamEvent[], options?: AppendOptions): Promise<Appended>;

  /**
   * The same inside the caller's open transaction, with its other changes. May also reject with DB_MSG_STREAM_OVERTAKEN, after which that
   * transaction has to be given up and done again as a whole.
   */
  appendIn(
    tx: SqlTransaction,
    stream: string,
    events: readonly StreamEvent[],
    options?: AppendOptions,
  ): Promise<Appended>;

  /** In order. An unknown stream has none. */
  read(stream: string, options?: ReadOptions): Promise<readonly RecordedEvent[]>;

  /**
   * The next of all streams after `checkpoint` (undefined: from the first), at most `limit`. Every event that ever commits comes once, those of a stream
   * in their order; what is committed but could still be preceded by an open transaction comes later. Between streams the order is that of the database,
   * which need not be that of cause and effect.
   */
  readAll(checkpoint: string | undefined, limit: number): Promise<readonly RecordedEvent[]>;

  /** Undefined when there is none of this schema. */
  loadSnapshot(stream: string, name: string, schemaVersion: number): Promise<Snapshot | undefined>;
  /** One per stream and name: it takes the place of the former. */
  saveSnapshot(stream: string, name: string, snapshot: Snapshot): Promise<void>;
}
