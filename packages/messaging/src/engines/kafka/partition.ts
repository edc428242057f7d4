/**
 * One partition of a subscription while this process owns it: the logs it is read from, what was read and is not settled, and in which order it may
 * be handed out. Nothing here waits or sends; `reader.ts` does.
 *
 *   channel's log(s) --+                         +-- no order: oldest first, by priority --+
 *                      +--> entry --> its place --+                                         +--> next()
 *   `later` log -------+                         +-- by key: a lane, lowest rank first ----+
 */
import type { CancelTimer } from '../../clock.ts';
import type { ChannelSpec } from '../../engine.ts';
import type { DeadBook } from './dead-book.ts';
import type { Source } from './fetcher.ts';
import { KeyLanes, type Ranked } from './key-lanes.ts';
import { LATER_WINDOW, type Ledger, WINDOW } from './ledger.ts';
import type { LogRecord } from './log-record.ts';
import { ReadyQueue } from './ready-queue.ts';
import { TakenBack } from './taken-back.ts';
import { Unread } from './unread.ts';
import { type CopyNote, Received } from './wire.ts';

export type SourceKind = 'main' | 'later' | 'dead';

export interface GivenLog {
  readonly kind: SourceKind;
  /** Priority of what is in it. */
  readonly level: number;
  readonly topic: string;
  readonly ledger: Ledger;
  /** To be read up to here before anything of the partition is handed out. */
  readonly gate: number;
}

/** From here on ranks of messages that have lost their place in their key, good in this process only. */
const BEHIND_ALL = 2 ** 50;
/** And of copies that never had one: their place in the subscription's own log. */
const NO_PLACE = 2 ** 51;

/** One log of a partition, as the fetcher sees it. */
export class LogSource implements Source {
  readonly kind: SourceKind;
  readonly level: number;
  readonly topic: string;
  readonly ledger: Ledger;
  readonly gate: number;
  readonly owner: Partition;
  /** What was taken in and is not settled. */
  readonly entries = new Set<Entry>();
  /** Of the channel's logs, where no key has to be known before. */
  readonly unread = new Unread();
  readonly #window: number;

  constructor(owner: Partition, given: GivenLog) {
    this.owner = owner;
    this.kind = given.kind;
    this.level = given.level;
    this.topic = given.topic;
    this.ledger = given.ledger;
    this.gate = given.gate;
    // On keyed channels all copies have to be known: one that is not might come before its followers.
    this.#window = given.kind !== 'later' ? WINDOW : owner.holds ? Number.POSITIVE_INFINITY : LATER_WINDOW;
  }

  get partition(): number {
    return this.owner.index;
  }

  get offset(): number {
    return Math.max(this.ledger.position, this.unread.end);
  }

  get wantsMore(): boolean {
    const { owner, ledger, kind, offset } = this;
    if (!owner.alive) return false;
    if (kind !== 'main' && offset < this.gate) return true;
    if (offset - ledger.watermark >= this.#window) return false;
    return kind !== 'main' || owner.wantsAhead;
  }

  /**
   * The place of a record among those of its key. A copy brings the one its message had in the channel's log. One that brings none was published with a delay,
   * and what lost its place or had a priority brings none that means anything here: such copies are there only where a channel got its order later. They
   * come behind the others, each at a place of its own; taken for a place in the channel's log, it would be another message's, which is then settled unhandled.
   */
  rankOf(offset: number, { rank, priority = 0 }: CopyNote): number {
    if (this.kind !== 'later') return offset;
    if (rank === undefined) return NO_PLACE + offset;
    const isPlace = rank >= NO_PLACE || (rank < BEHIND_ALL && priority === 0);
    return isPlace || !this.owner.keyed ? rank : NO_PLACE + offset;
  }

  /** Whether something may be taken in. */
  get hasUnread(): boolean {
    return !this.unread.isEmpty && this.ledger.position - this.ledger.watermark < this.#window;
  }
}

export interface Entry extends Ranked {
  readonly source: LogSource;
  readonly offset: number;
  readonly received: Received;
  readonly level: number;
  readonly timestamp: number;
  readonly expiresAt: number;
  /** Retried and redriven ones go before what was never tried. */
  readonly urgent: boolean;
  state: string | undefined;
  /** Hand-outs in vain before this copy was made; those of this copy are in the ledger. */
  readonly abandonedBefore: number;
  queued: boolean;
  cancelTimer: CancelTimer | undefined;
}

export interface PartitionParts {
  readonly index: number;
  readonly spec: ChannelSpec;
  /** Undefined on channels without dead letters. */
  readonly book: DeadBook | undefined;
  /** How much is read ahead of the handlers. */
  readonly readAhead: number;
}

export class Partition {
  readonly index: number;
  readonly keyed: boolean;
  /** Keeps the lane of a failing message: blockKey and sequencedDlq. */
  readonly holds: boolean;
  readonly lanes: KeyLanes<Entry>;
  readonly sources: LogSource[] = [];
  readonly takenBack = new TakenBack();
  /** False once it belongs to somebody else. */
  alive = true;
  readonly #parts: PartitionParts;
  readonly #urgent: ReadyQueue<Entry>[];
  readonly #ready: ReadyQueue<Entry>[];
  #readyCount = 0;
  #behind = BEHIND_ALL;

  constructor(parts: PartitionParts) {
    const { spec, index, book } = parts;
    this.#parts = parts;
    this.index = index;
    this.keyed = spec.order === 'key';
    this.holds = this.keyed && spec.onFailure !== 'skip' && !spec.ephemeral;
    this.lanes = new KeyLanes((key) => (this.holds ? book?.heldFrom(index, key) : undefined));
    this.#urgent = Array.from({ length: spec.priorityLevels }, () => new ReadyQueue());
    this.#ready = Array.from({ length: spec.priorityLevels }, () => new ReadyQueue());
  }

  addSource(given: GivenLog): void {
    this.sources.push(new LogSource(this, given));
  }

  /** Whether less is ready, or waits to be taken in, than is to be read ahead. */
  get wantsAhead(): boolean {
    let count = this.#readyCount;
    for (const { unread } of this.sources) count += unread.count;
    return count < this.#parts.readAhead;
  }

  /** Whether all that has to be known first has been read. */
  get isLoaded(): boolean {
    return this.sources.every((source) => source.offset >= source.gate || !source.wantsMore);
  }

  get readyCount(): number {
    return this.#readyCount;
  }

  /** How many of this level are ready that were never tried. */
  freshAt(level: number): number {
    return this.#ready[level]?.length ?? 0;
  }

  get hasUnread(): boolean {
    return this.sources.some((source) => source.hasUnread);
  }

  /** Timestamp of what `next` would give at this level; undefined when there is nothing. */
  peekAt(level: number): number | undefined {
    return (this.#urgent[level]?.first ?? this.#ready[level]?.first)?.timestamp;
  }

  next(level: number): Entry | undefined {
    const entry = this.#urgent[level]?.shift() ?? this.#ready[level]?.shift();
    if (!entry) return undefined;
    this.#readyCount -= 1;
    entry.queued = false;
    return entry;
  }

  /** A place behind everything else of its key. */
  lastRank(): number {
    return (this.#behind += 1);
  }

  queue(entry: Entry, first = false): void {
    if (entry.queued) return;
    entry.queued = true;
    this.#readyCount += 1;
    const level = Math.min(entry.level, this.#ready.length - 1);
    const queue = (entry.urgent ? this.#urgent : this.#ready)[level] as ReadyQueue<Entry>;
    if (first) queue.unshift(entry);
    else queue.push(entry);
  }

  /** Is ready from now on: at its place. */
  admit(entry: Entry): readonly Entry[] {
    entry.stage = 'ready';
    if (entry.key === undefined) {
      this.queue(entry);
      return [];
    }
    this.lanes.add(entry.key, entry);
    return this.consider(entry.key);
  }

  /** Looks at a key: its first may be handed out now, or some are to be parked behind its dead letter, which are returned. */
  consider(key: string | undefined): readonly Entry[] {
    if (key === undefined) return [];
    const head = this.lanes.head(key);
    if (head) this.queue(head);
    else if (this.#parts.spec.onFailure === 'sequencedDlq') return this.lanes.takeHeld(key);
    return [];
  }

  /** Whether it may still be handed out: a lower rank may have come meanwhile, or its key may be held. */
  mayLeave(entry: Entry): boolean {
    if (entry.stage !== 'ready') return false;
    return entry.key === undefined || this.lanes.head(entry.key) === entry;
  }

  /** Settled: its place is free. Returns what has to be parked now. */
  settle(entry: Entry): readonly Entry[] {
    this.#leave(entry);
    if (entry.key === undefined) return [];
    this.lanes.remove(entry.key, entry);
    return this.consider(entry.key);
  }

  /**
   * Its copy takes over: the log has done with it, its key still waits for the copy. The copy may also have been read before its confirm arrived: then nothing
   * is to be waited for. Returns what has to be parked now.
   */
  moved(entry: Entry): readonly Entry[] {
    if (entry.key !== undefined && this.lanes.hasOther(entry.key, entry)) return this.settle(entry);
    this.#leave(entry);
    entry.stage = 'moved';
    return [];
  }

  #leave(entry: Entry): void {
    entry.cancelTimer?.();
    entry.cancelTimer = undefined;
    entry.stage = 'gone';
    entry.source.entries.delete(entry);
    entry.source.ledger.settle(entry.offset);
  }
}

/** A record as it was read, without a place yet. */
export function entryOf(source: LogSource, record: LogRecord, channel: string): Entry {
  const received = new Received(record, {
    channel,
    text: `${source.topic}/${source.partition}/${record.offset}`,
  });
  const { note } = received;
  return {
    source,
    offset: record.offset,
    received,
    key: source.owner.keyed ? received.key : undefined,
    rank: source.rankOf(record.offset, note),
    stage: 'waiting',
    level: source.kind === 'later' ? (note.priority ?? 0) : source.level,
    timestamp: record.timestamp,
    expiresAt: received.expiresAt,
    urgent: source.kind === 'later',
    state: note.state,
    abandonedBefore: note.abandoned ?? 0,
    queued: false,
    cancelTimer: undefined,
  };
}

/** When the message was published, ms since the epoch: of a copy its record tells only when it was put off. */
export function sentAt({ source, received, timestamp }: Entry): number {
  return source.kind === 'later' ? Math.min(timestamp, received.madeAt || timestamp) : timestamp;
}

/** The partition whose first record of this level was published first. */
export function oldest(partitions: readonly Partition[], level: number): Partition | undefined {
  let found: Partition | undefined;
  let since = Number.POSITIVE_INFINITY;
  for (const partition of partitions) {
    const timestamp = partition.peekAt(level);
    if (timestamp === undefined || timestamp >= since) continue;
    since = timestamp;
    found = partition;
  }
  return found;
}
