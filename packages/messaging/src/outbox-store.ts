/**
 * The port of an outbox with everything a relay and a person need: order per key through failures, one relay at a time, parked rows, rows
 * kept for a while. `keyed-relay.ts` calls it; `stores/` keeps it on SQLite, PostgreSQL and MariaDB.
 *
 * Rows are append-only: nobody updates them. Publishing moves a mark forward. What the mark passes without having been published (a key that
 * waits, a message refused for good) is noted beside the rows:
 *
 *   waiting --published--> published      waiting --refused for good--> parked --a person: retry--> waiting
 *                                                                       parked --a person: discard--> discarded
 *
 * `outbox.ts` holds the older, smaller source for a store whose rows have no keys; it knows a mark and nothing else.
 */
import { createHash } from 'node:crypto';
import type { OutgoingMessage } from './engine.ts';

/** A row as it is stored. It is decoded by the relay, so that a body that cannot be read is parked like anything else that can never be sent. */
export interface StoredRow {
  readonly number: number;
  readonly channel: string;
  /** ms since the epoch. */
  readonly dueAt: number | undefined;
  readonly priority: number | undefined;
  /** A CloudEvent. */
  readonly body: string;
}

/** A row beside which the mark went by. */
export interface HeldRow {
  readonly number: number;
  /** See `laneOf`. */
  readonly lane: string;
  readonly reason: string;
}

/** Rows that are held and read together: those of a lane, or all of a channel that have no key, which are no lane of one another. */
export interface LaneName {
  /** See `laneOf`; undefined: the rows without a key, each of which is a lane of its own. */
  readonly lane: string | undefined;
  readonly channel: string;
}

export interface HeldLane extends LaneName {
  readonly waiting: number;
  readonly parked: number;
}

export interface WaitingPage {
  readonly limit: number;
  /** Default: from the first. */
  readonly after?: number;
}

/** What one step of the relay came to, stored in one transaction. */
export interface RelayProgress {
  /** The mark moves to this fresh row; undefined when only held rows were handled. */
  readonly upTo: number | undefined;
  /** Fresh rows that stay behind the mark: until their key goes on, or until a person decides. */
  readonly waiting: readonly HeldRow[];
  readonly parked: readonly HeldRow[];
  /** Numbers of held rows that were published now; of fresh ones `upTo` says it. */
  readonly published: readonly number[];
  /** ms since the epoch. */
  readonly now: number;
}

/** The outbox while this relay has it; nobody else can move the mark. */
export interface OwnedOutbox {
  /** True once the connection that holds the lock is gone: every call rejects, and another relay may have taken over. */
  readonly lost: boolean;
  /** The oldest rows beyond the mark that no unfinished transaction can still come before. */
  readFresh(limit: number): Promise<readonly StoredRow[]>;
  /** Every lane with rows that wait or are parked; those without a key together by channel. */
  heldLanes(): Promise<readonly HeldLane[]>;
  /** Waiting rows of a lane, oldest first; rows without a key in an order of their own. `after` is the number of the last one read. */
  readWaiting(of: LaneName, page: WaitingPage): Promise<readonly StoredRow[]>;
  record(progress: RelayProgress): Promise<void>;
  /** Deletes what was published before `before` (ms since the epoch; -Infinity: nothing), at most one run of rows; true when there may be more. */
  purge(before: number, now: number): Promise<boolean>;
  /** Lets another relay have it. */
  release(): Promise<void>;
}

export interface ParkedRow {
  readonly number: number;
  readonly channel: string;
  readonly reason: string;
  /** ms since the epoch. */
  readonly parkedAt: number;
  readonly body: string;
}

export interface OutboxView {
  /** Rows beyond the mark; 10,000 stands for that or more. */
  readonly unpublished: number;
  /** Age in ms of the oldest of them, by the time of its message. */
  readonly oldestAgeMs: number | undefined;
  readonly waiting: number;
  readonly parked: number;
}

export interface OutboxStore {
  /** Takes the outbox for one relay; undefined while another one has it. A relay that dies loses it with its process. */
  own(): Promise<OwnedOutbox | undefined>;
  /** For people; cheap enough for every second. */
  view(now: number): Promise<OutboxView>;
  /** Rows that were refused for good, oldest first; `after` is the number of the last one seen. */
  parked(page: { readonly limit: number; readonly after?: number }): Promise<readonly ParkedRow[]>;
  /** They are published again with their key; returns how many were parked. The relay sees it at its next sweep. */
  retryParked(numbers: readonly number[], now: number): Promise<number>;
  /** Never published; their key goes on. The rows stay as long as published ones. Returns how many were parked. */
  discardParked(numbers: readonly number[], now: number): Promise<number>;
}

/** So that it fits an index of every database; longer ones are hashed. */
const LONGEST_LANE = 200;

/**
 * What has to keep its order: the rows of one key on one channel. A row without a key is a lane of its own. JSON, because a
 * key may hold what a database refuses in text.
 */
export function laneOf(
  row: Pick<OutgoingMessage, 'channel' | 'message'> & { readonly number: number },
): string {
  const { key } = row.message;
  if (key === undefined) return laneWithoutKey(row.number);
  const lane = JSON.stringify([row.channel, key]);
  return lane.length <= LONGEST_LANE ? lane : `sha256:${createHash('sha256').update(lane).digest('hex')}`;
}

export function laneWithoutKey(number: number): string {
  return `#${number}`;
}

export function isLaneWithoutKey(lane: string): boolean {
  return lane.startsWith('#');
}
