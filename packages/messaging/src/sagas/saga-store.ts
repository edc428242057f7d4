/** THE port of sagas: where their state is kept. Every change is a compare-and-set on a version, which is also the fence of whoever works on an instance: the loser learns that it is one. */
import type { OutgoingMessage } from '../engine.ts';
import type { SagaState, SagaStatus } from './saga-state.ts';

export interface SagaRecord {
  readonly saga: string;
  /** Of the instance: what its messages are correlated by. */
  readonly key: string;
  readonly version: number;
  readonly state: SagaState;
  /** When somebody has to look at it, ms since the epoch; undefined: only when a message or a person comes. */
  readonly dueAt: number | undefined;
}

/** Which finished instances go. */
export interface SagaPurge {
  /** ms since the epoch: what ended before it. Longer ago than a message of the instance can be repeated: its row is what recognises a second start. */
  readonly before: number;
  /** Default: both. */
  readonly status?: 'completed' | 'compensated';
  /** Default false: an instance with mail that nobody has read stays for a person. */
  readonly withUnreadMail?: boolean;
  /** Default 10,000. */
  readonly limit?: number;
}

/** A message that came for an instance and waits to be taken by the step that it is for. */
export interface SagaMail {
  readonly messageId: string;
  readonly type: string;
  readonly data: unknown;
}

export interface KeptSagaMail extends SagaMail {
  /** Counts up from 0 in the order of their coming; unique in the instance, whatever was read. */
  readonly place: number;
}

export interface SagaChanges {
  readonly messages: readonly OutgoingMessage[];
  /** Ids of mail. */
  readonly read: readonly string[];
  /** ms since the epoch. */
  readonly now: number;
  /** `dueAt` is the end of a lease: whoever saves it works on it until then. Default false. */
  readonly isLease?: boolean;
}

/** Names and keys with U+0000 or lone surrogates reject with DB_MSG_INVALID_OPTIONS, also where they are only looked up. */
export interface SagaStore {
  /** Whether it hands messages to an outbox. Where it does not, the outcome of a step that emits is refused before it is stored. */
  readonly emits: boolean;
  /** Creates the tables that are missing. */
  prepare(): Promise<void>;
  /** Begins an instance; false when there is one of this key, whatever became of it. */
  create(record: SagaRecord): Promise<boolean>;
  load(saga: string, key: string): Promise<SagaRecord | undefined>;
  /**
   * Stores the record, hands `messages` to the outbox and marks the mail `read`, all in one transaction, if the stored version is still the one before. False when it is not:
   * nothing was changed. Mail that was read stays until the instance is purged, so that it is known when it comes again. When the state waits for mail, and
   * there is some that was not read and that its step has not looked at (`lookOf(state).upTo` or behind it), the record is due at once; else, and in a lease, at its `dueAt`. A state that is over is noted with
   * the time `now`, by which `purge` finds it. Rejects with a retryable error of the catalogue when another try may do, and always when it failed before anything of this was sent; whatever else it rejects with is for good, and then an outcome is stored as unknown instead.
   */
  save(record: SagaRecord, changes: SagaChanges): Promise<boolean>;
  /** Up to `limit` instances that are due at `now`, the longest due first. */
  due(saga: string, now: number, limit: number): Promise<readonly SagaRecord[]>;
  /**
   * Keeps the mail, once per message id, and makes an instance that waits due at `now`, unless it was saved as a lease: the save that ends it finds the mail, or its end does. False
   * when there is no such instance. Rejects with DB_MSG_INVALID_OPTIONS for an id or a type that is longer than the store compares (190 characters in SQL).
   */
  deliver(saga: string, key: string, mail: SagaMail, now: number): Promise<boolean>;
  /** What was not read, in the order of their coming. */
  mail(saga: string, key: string): Promise<readonly KeptSagaMail[]>;
  /** Forgets finished instances with their mail, the longest finished first; returns how many. */
  purge(saga: string, purge: SagaPurge): Promise<number>;
  list(saga: string, filter: { readonly status?: SagaStatus }, limit: number): Promise<readonly SagaRecord[]>;
}
