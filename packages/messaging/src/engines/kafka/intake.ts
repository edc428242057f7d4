/**
 * What was read of a subscription's logs is taken in: given a place among those of its key or of its priority, put off until its time, or dropped. Each log in its own way:
 *
 *   the channel's --ours, due--> its place      --not due--> a copy in `later`, settled      --not ours, or its copy is here--> settled
 *   `later` ------due--> its place              --not due--> waits here, on keyed channels in its lane
 *   dead letters -> the book, which says what holds a key
 *
 * It knows no consumers and hands nothing out; that is the reader's.
 */
import { type Clock, pause } from '../../clock.ts';
import type { ChannelSpec } from '../../engine.ts';
import { type Binding, isBound } from '../../routing.ts';
import type { Commits } from './commits.ts';
import type { DeadBook } from './dead-book.ts';
import type { Fetched } from './fetch.ts';
import type { LogRecord } from './log-record.ts';
import type { Moves } from './moves.ts';
import type { KafkaSettings } from './options.ts';
import { AGAIN_MS, type Parking } from './parking.ts';
import { type Entry, entryOf, type LogSource, type Partition } from './partition.ts';
import type { Takeover } from './takeover.ts';
import type { Stretch } from './unread.ts';

export interface IntakeParts {
  readonly settings: KafkaSettings;
  readonly clock: Clock;
  readonly spec: ChannelSpec;
  readonly subscription: string;
  readonly later: string | undefined;
  readonly book: DeadBook | undefined;
  /** Undefined: not known. */
  readonly bindings: () => readonly Binding[] | undefined;
  readonly takeover: Takeover;
  readonly moves: Moves;
  readonly commits: Commits;
  readonly parking: Parking;
  /** Whether the reader has been closed. */
  readonly isClosed: () => boolean;
  /** Something may be handed out now. */
  readonly onReady: () => void;
  /** What holds keys has changed. */
  readonly onLetters: () => void;
  /** The log of this partition is not what it was: it has to be taken over again. */
  readonly onCut: (partition: Partition) => Promise<void>;
  readonly onTrouble: (error: Error) => void;
}

export class Intake {
  readonly #parts: IntakeParts;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  fetched(fetched: readonly Fetched<LogSource>[]): void {
    const { onLetters, onReady } = this.#parts;
    for (const one of fetched) {
      const { spot, next, fault } = one;
      if (!spot.owner.alive) continue;
      if (fault === 'outOfRange') void this.#goOn(spot);
      if (fault !== 'none') continue;
      const wasLoaded = spot.owner.isLoaded;
      if (spot.kind === 'dead') this.#readLetters(spot, one.records, next);
      else if (spot.kind === 'later' || spot.owner.keyed) this.#takeIn(spot, one);
      else if (next > spot.offset) spot.unread.keep(one.batches, next);
      if (!wasLoaded && spot.owner.isLoaded) onLetters();
    }
    onReady();
  }

  /** As many as could be handed out now, of each log: what waits longer waits unread. */
  takeInFor(partitions: readonly Partition[], room: number): void {
    for (const { sources } of partitions)
      for (const source of sources) {
        const { owner, level, unread } = source;
        for (let left = room - owner.freshAt(level); left > 0; left = room - owner.freshAt(level)) {
          if (!source.hasUnread) break;
          this.#takeIn(source, unread.take(left));
        }
      }
  }

  /** The broker has nothing where it is read on: some is gone and is skipped, or the log ends earlier and is begun anew. The next fetch asks again. */
  async #goOn(source: LogSource): Promise<void> {
    const { takeover, commits, isClosed, onCut, onTrouble } = this.#parts;
    while (!source.unread.isEmpty) this.#takeIn(source, source.unread.take(Number.POSITIVE_INFINITY));
    const isShort = await takeover.outOfRange(source).catch(onTrouble);
    if (!source.owner.alive || isClosed()) return;
    if (isShort !== true) return commits.mark(source);
    await onCut(source.owner);
  }

  #readLetters(source: LogSource, records: readonly LogRecord[], next: number): void {
    this.#parts.book?.apply(source.partition, records, next);
    source.ledger.skipTo(next);
    if (records.length > 0) this.#parts.onLetters();
  }

  #takeIn(source: LogSource, { records, next }: Stretch): void {
    const delayed: Entry[] = [];
    const { ledger } = source;
    for (const record of records) {
      if (record.offset < ledger.position) continue;
      if (ledger.isSettled(record.offset)) {
        ledger.skipTo(record.offset + 1);
        continue;
      }
      const entry = entryOf(source, record, this.#parts.spec.name);
      ledger.reach(record.offset);
      source.entries.add(entry);
      if (source.kind === 'later') this.#admitLater(entry);
      else if (this.#isOurs(entry)) this.#admitMain(entry, delayed);
      else this.#parts.parking.done(entry);
    }
    ledger.skipTo(next);
    if (delayed.length > 0) void this.#delay(source.owner, delayed);
  }

  /** Bindings are asked here, because Kafka gives every group everything. */
  #isOurs({ received }: Entry): boolean {
    const { spec, bindings, settings, subscription } = this.#parts;
    if (received.tombstone && !settings.isCompacted(spec.name)) {
      settings.onNotice({ kind: 'tombstone', channel: spec.name, subscription });
      return false;
    }
    if (spec.routing === 'fanout') return true;
    const bound = bindings();
    // What nobody can tell to be unwanted is not settled as that.
    if (bound === undefined || received.message === undefined) return true;
    return isBound(spec.routing, bound, received.message);
  }

  #admitMain(entry: Entry, delayed: Entry[]): void {
    const { clock, parking } = this.#parts;
    const { owner } = entry.source;
    const dueAt = entry.received.note.dueAt;
    if (dueAt !== undefined && dueAt > clock.now()) return void delayed.push(entry);
    // It was copied before a crash, and the copy is here.
    if (owner.holds && entry.key !== undefined && owner.lanes.find(entry.key, entry.rank))
      return parking.done(entry);
    parking.park(owner, owner.admit(entry));
  }

  #admitLater(entry: Entry): void {
    const { clock, parking, book, onReady } = this.#parts;
    const { source, key, rank, received } = entry;
    const { owner } = source;
    const { redriven, kept } = received.note;
    if (redriven !== undefined && !owner.takenBack.isFirst(redriven, received.message?.id))
      return parking.done(entry);
    // The rewind that stored it was killed before the group began behind what it stands for.
    if (kept !== undefined && source.ledger.hasRead(kept)) return parking.done(entry);
    if (owner.holds && key !== undefined) this.#replace(owner, key, rank);
    if (redriven !== undefined && owner.holds) book?.release(redriven);
    const dueAt = entry.received.note.dueAt ?? 0;
    const waitMs = dueAt - clock.now();
    if (waitMs <= 0) return this.#becomeDue(entry);
    if (owner.holds && key !== undefined) owner.lanes.add(key, entry);
    entry.cancelTimer = clock.setTimer(waitMs, () => {
      entry.cancelTimer = undefined;
      if (!owner.alive) return;
      if (owner.holds && key !== undefined) owner.lanes.remove(key, entry);
      this.#becomeDue(entry);
      onReady();
    });
  }

  #becomeDue(entry: Entry): void {
    const { owner } = entry.source;
    // Where failing messages lose their place, a copy comes behind all that is there.
    const placed = owner.keyed && !owner.holds ? Object.assign(entry, { rank: owner.lastRank() }) : entry;
    this.#parts.parking.park(owner, owner.admit(placed));
  }

  /** The newest copy counts. */
  #replace(owner: Partition, key: string, rank: number): void {
    const { commits, parking } = this.#parts;
    const former = owner.lanes.find(key, rank);
    if (!former || former.stage === 'out') return;
    owner.lanes.remove(key, former);
    if (former.stage === 'moved') return;
    parking.park(owner, owner.moved(former));
    commits.mark(former.source);
  }

  /** Published to be handed out later: it waits in the subscription's own log, so that it does not hold up the channel's. */
  async #delay(owner: Partition, entries: readonly Entry[]): Promise<void> {
    const { clock, later, moves, commits, parking, isClosed, onReady, onTrouble } = this.#parts;
    if (later === undefined) return entries.forEach((entry) => this.#becomeDue(entry));
    while (owner.alive && !isClosed()) {
      try {
        await moves.delayed(entries);
        break;
      } catch (error) {
        onTrouble(error as Error);
        await pause(clock, AGAIN_MS);
      }
    }
    if (!owner.alive) return;
    for (const entry of entries) parking.done(entry);
    onReady();
    await commits.flush().catch(onTrouble);
  }
}
