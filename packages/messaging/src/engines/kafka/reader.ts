/**
 * The reader of one subscription in one process: a member of its group, the partitions it owns, and the consumers that share them.
 *
 *   fetched --> taken in (dropped | delayed | its place) --> chosen --written down as out--> handed out --+--ack--> settled
 *                                                              ^                                          |--retry--> a copy in `later`, settled
 *                                                              '--released, lease ended, revoked ---------'--dead letter--> a letter, settled
 *
 * Two rules make it safe. A message is handed out after its hand-out is committed, so a crash can be counted and a member that has lost the
 * group cannot begin anything. And what moves a message writes the copy first and settles then: a crash between the two repeats, never loses.
 */
import { type Clock, pause } from '../../clock.ts';
import type { ChannelSpec, Settlement } from '../../engine.ts';
import type { Binding } from '../../routing.ts';
import { Commits } from './commits.ts';
import type { KafkaConsumer } from './consumer.ts';
import type { DeadBook } from './dead-book.ts';
import { Farewell, FAREWELL_MS } from './farewell.ts';
import { Fetcher } from './fetcher.ts';
import { Intake } from './intake.ts';
import type { LetterText } from './letters.ts';
import type { Link } from './link.ts';
import { Membership } from './membership.ts';
import { Moves } from './moves.ts';
import type { KafkaSettings } from './options.ts';
import { AGAIN_MS, Parking } from './parking.ts';
import { type Entry, type LogSource, type Partition, oldest } from './partition.ts';
import type { Publisher } from './publisher.ts';
import { type ReaderView, viewOf } from './reader-view.ts';
import type { Takeover } from './takeover.ts';

export interface ReaderParts {
  readonly settings: KafkaSettings;
  readonly clock: Clock;
  readonly link: Link;
  readonly publisher: Publisher;
  readonly spec: ChannelSpec;
  readonly subscription: string;
  readonly group: string;
  /** By priority level. */
  readonly topics: readonly string[];
  /** Undefined on ephemeral channels: what is put off there stays in memory. */
  readonly later: string | undefined;
  readonly book: DeadBook | undefined;
  readonly bindings: () => readonly Binding[] | undefined;
  readonly takeover: Takeover;
}

const READ_AHEAD = 2_000;
/** Hand-outs written down before they happen, of a partition. */
const MOST_AHEAD = 256;

export class Reader {
  readonly #parts: ReaderParts;
  readonly #moves: Moves;
  readonly #membership: Membership;
  readonly #commits: Commits;
  readonly #parking: Parking;
  readonly #intake: Intake;
  readonly consumers = new Set<KafkaConsumer>();
  #partitions: readonly Partition[] = [];
  #fetcher: Fetcher<LogSource> | undefined;
  #assignment = 0;
  #revoking = false;
  #pumpPlanned = false;
  #turn = 0;
  #coming = 0;
  #quiet = Promise.withResolvers<void>();
  #closed = false;
  #closing: Promise<void> | undefined;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    const { settings, clock, group, topics, link, takeover } = parts;
    const onTrouble = (error: Error): void => this.#trouble(error);
    this.#membership = new Membership({
      settings,
      clock,
      group,
      topic: topics[0] ?? '',
      beforeRejoin: () => this.#beforeRejoin(),
      onAssigned: (partitions, kept) => this.#assigned(partitions, kept),
      holderOf: (name) => takeover.holderOf(name),
      ask: ({ memberId, generation, name }) =>
        link.atCoordinator<[string, number, string, string | null], void>(
          group,
          'Heartbeat',
          group,
          generation,
          memberId,
          name,
        ),
      onTrouble,
    });
    this.#moves = new Moves(parts);
    this.#commits = new Commits({
      link,
      clock,
      group,
      membership: this.#membership,
      ahead: () => this.#ahead(),
      onTrouble,
    });
    const moving = { moves: this.#moves, commits: this.#commits, isClosed: () => this.#closed, onTrouble };
    this.#parking = new Parking({ ...moving, clock });
    this.#intake = new Intake({
      ...parts,
      ...moving,
      parking: this.#parking,
      onReady: () => this.#planPump(),
      onLetters: () => this.recheck(),
      onCut: (partition) => this.#takeAnew(partition),
    });
  }

  async open(): Promise<void> {
    await this.#membership.join();
  }

  get isEmpty(): boolean {
    return this.consumers.size === 0;
  }

  /** It takes no more consumers. */
  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  view(): ReaderView {
    return viewOf(this.#partitions);
  }

  /** Looks again at all keys: dead letters have gone. */
  recheck(): void {
    for (const partition of this.#partitions)
      for (const key of partition.lanes.keys()) this.#parking.park(partition, partition.consider(key));
    this.#planPump();
  }

  /** Copies and letters first, all or unknown; then all is settled here, and then for everybody. */
  async settle(pairs: readonly (readonly [Settlement, Entry])[]): Promise<void> {
    // Of a member that is none any more the broker refuses the commit, and nobody refuses its copies and letters.
    if (pairs.some(([{ kind }]) => kind === 'retry' || kind === 'deadLetter'))
      await this.#membership.makeSure();
    const retried: (readonly [Extract<Settlement, { kind: 'retry' }>, Entry])[] = [];
    const dead: (readonly [LetterText, Entry])[] = [];
    const redriven: Entry[] = [];
    for (const [one, entry] of pairs) {
      if (one.kind === 'release' || !entry.source.owner.alive) continue;
      if (entry.source.kind === 'later' && entry.received.note.redriven !== undefined) redriven.push(entry);
      if (one.kind === 'retry') retried.push([one, entry]);
      else if (one.kind === 'deadLetter') dead.push([one.letter, entry]);
    }
    // Most are acknowledged: those need nothing but the commit.
    if (retried.length + dead.length > 0)
      await Promise.all([this.#moves.retried(retried), this.#moves.dead(dead)]);
    if (redriven.length > 0) await this.#moves.endLetters(redriven);
    const back: Entry[] = [];
    for (const [settlement, entry] of pairs) {
      if (!entry.source.owner.alive) continue;
      if (settlement.kind === 'release') back.push(entry);
      else if (settlement.kind === 'retry') this.#putOff(entry, settlement.dueAt, settlement.state);
      else this.#parking.done(entry);
    }
    this.giveBack(back);
    await this.#commits.flush();
  }

  endLease(entry: Entry): void {
    const { source, offset } = entry;
    if (!source.owner.alive) return;
    source.ledger.abandon(offset);
    this.#mark(source);
    this.#again(entry);
    void this.#commits.flush();
    this.#planPump();
  }

  /** To their old places, as if they had never been out. */
  giveBack(entries: readonly Entry[]): void {
    for (const entry of entries.toReversed()) {
      if (!entry.source.owner.alive) continue;
      entry.source.ledger.giveBack(entry.offset);
      this.#mark(entry.source);
      this.#again(entry);
    }
    this.#noteQuiet();
    this.#planPump();
  }

  capacityChanged(): void {
    this.#noteQuiet();
    this.#planPump();
  }

  /** Leaves the group with everything committed, as far as its broker answers. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock, settings } = this.#parts;
    const farewell = new Farewell(clock);
    // A join that is under way waits for the handlers of other members.
    const until = clock.monotonic() + FAREWELL_MS + settings.revokeGraceMs;
    this.#closed = true;
    this.#commits.stop();
    // What was only about to be handed out never was.
    for (const { sources } of this.#partitions)
      for (const source of sources) if (source.ledger.hasNotes) this.#mark(source);
    const answers = await farewell.endsWithin(FAREWELL_MS, this.#commits.flush());
    this.#drop(() => true);
    const left = Promise.all([this.#fetcher?.close(), this.#membership.leave()]);
    const leftInTime = await farewell.endsWithin(answers ? until - clock.monotonic() : 0, left);
    if (!leftInTime) this.#membership.cut();
  }

  flush(): Promise<void> {
    return this.#commits.flush();
  }

  #trouble(error: Error): void {
    if (this.#closed) return;
    this.#parts.settings.onNotice({ kind: 'trouble', during: this.#parts.group, error });
  }

  #mark(source: LogSource): void {
    this.#commits.mark(source);
  }

  // --- partitions come and go ---

  /** Nothing new is handed out, and what is out has a while to be settled. */
  async #beforeRejoin(): Promise<void> {
    this.#revoking = true;
    const { clock, settings } = this.#parts;
    const over = new AbortController();
    if (this.#outCount() > 0) {
      this.#quiet = Promise.withResolvers<void>();
      await Promise.race([this.#quiet.promise, pause(clock, settings.revokeGraceMs, over.signal)]);
    }
    await Promise.race([
      this.#commits.flush().catch(() => {}),
      pause(clock, settings.revokeGraceMs, over.signal),
    ]);
    over.abort();
  }

  #outCount(): number {
    let count = this.#coming;
    for (const consumer of this.consumers) count += consumer.held;
    return count;
  }

  #noteQuiet(): void {
    if (this.#revoking && this.#outCount() === 0) this.#quiet.resolve();
  }

  #assigned(partitions: readonly number[], kept: boolean): void {
    this.#assignment += 1;
    this.#revoking = false;
    this.#drop((one) => !kept || !partitions.includes(one.index));
    const fresh = partitions.filter((index) => !this.#partitions.some((one) => one.index === index));
    if (fresh.length > 0) void this.#take(fresh, this.#assignment);
    else this.#planPump();
  }

  #drop(isLost: (partition: Partition) => boolean): void {
    const lost = this.#partitions.filter(isLost);
    this.#partitions = this.#partitions.filter((one) => !lost.includes(one));
    if (lost.length === 0) return;
    for (const partition of lost) {
      partition.alive = false;
      for (const source of partition.sources) for (const entry of source.entries) entry.cancelTimer?.();
    }
    for (const consumer of this.consumers) consumer.lose(({ source }) => !source.owner.alive);
    const { settings, spec, subscription } = this.#parts;
    settings.onNotice({
      kind: 'revoked',
      channel: spec.name,
      subscription,
      partitions: lost.map(({ index }) => index),
    });
  }

  async #take(fresh: readonly number[], assignment: number): Promise<void> {
    const { clock, takeover, settings, spec, subscription } = this.#parts;
    for (;;) {
      if (this.#assignment !== assignment || this.#closed) return;
      const holder = this.#membership.identity?.memberId ?? '';
      try {
        const taken = await takeover.take(fresh, holder, READ_AHEAD);
        if (this.#assignment !== assignment || this.#closed) return;
        this.#partitions = [...this.#partitions, ...taken];
        break;
      } catch (error) {
        this.#trouble(error as Error);
        await pause(clock, AGAIN_MS);
      }
    }
    await this.#readOn();
    settings.onNotice({ kind: 'assigned', channel: spec.name, subscription, partitions: fresh });
    this.#planPump();
  }

  async #takeAnew(partition: Partition): Promise<void> {
    this.#drop((one) => one === partition);
    await this.#take([partition.index], this.#assignment);
  }

  async #readOn(): Promise<void> {
    const former = this.#fetcher;
    const { settings, clock } = this.#parts;
    const fetcher = new Fetcher<LogSource>({
      settings,
      clock,
      sources: this.#partitions.flatMap(({ sources }) => sources),
      onFetched: (fetched) => this.#intake.fetched(fetched),
      onTrouble: (error) => this.#trouble(error),
    });
    this.#fetcher = fetcher;
    fetcher.start();
    await former?.close();
  }

  // --- what is ready is handed out ---

  #planPump(): void {
    if (this.#pumpPlanned) return;
    this.#pumpPlanned = true;
    queueMicrotask(() => {
      this.#pumpPlanned = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#revoking || this.#closed) return;
    const rooms = [...this.consumers].map((consumer) => ({ consumer, room: Math.max(0, consumer.capacity) }));
    this.#intake.takeInFor(
      this.#partitions,
      rooms.reduce((sum, { room }) => sum + room, 0),
    );
    const loaded = this.#partitions.filter(({ readyCount, isLoaded }) => readyCount > 0 && isLoaded);
    const chosen = new Map<KafkaConsumer, Entry[]>();
    let count = 0;
    for (let next = this.#roomFor(rooms); next; next = this.#roomFor(rooms)) {
      const entry = this.#choose(loaded);
      if (!entry) break;
      next.room -= 1;
      next.consumer.coming += 1;
      count += 1;
      const entries = chosen.get(next.consumer);
      if (entries) entries.push(entry);
      else chosen.set(next.consumer, [entry]);
    }
    this.#coming += count;
    // What was chosen may have been dropped as expired.
    const isShort = rooms.some(({ room }) => room > 0);
    if (isShort && this.#partitions.some(({ isLoaded, hasUnread }) => isLoaded && hasUnread))
      this.#planPump();
    this.#fetcher?.wake();
    if (count === 0) return this.#noteQuiet();
    this.#handOut(chosen, count);
  }

  /** In turn, whoever has room. */
  #roomFor(rooms: readonly Room[]): Room | undefined {
    for (let tries = 0; tries < rooms.length; tries += 1) {
      const one = rooms[this.#turn++ % rooms.length] as Room;
      if (one.room > 0) return one;
    }
    return undefined;
  }

  /** What the broker knows already needs no commit; but nothing overtakes what waits for one. */
  #handOut(chosen: ReadonlyMap<KafkaConsumer, readonly Entry[]>, count: number): void {
    let known = this.#coming === count;
    for (const entries of chosen.values())
      known &&= entries.every(({ source, offset }) => source.ledger.isNoted(offset));
    if (known) return this.#deliver(chosen);
    void this.#commits.flush().then(
      () => this.#deliver(chosen),
      () => this.#deliver(chosen),
    );
  }

  #ahead(): number {
    let total = 0;
    for (const { spec } of this.consumers) total += spec.prefetch;
    return Math.min(MOST_AHEAD, total);
  }

  #choose(loaded: readonly Partition[]): Entry | undefined {
    const { clock, spec } = this.#parts;
    for (let level = spec.priorityLevels - 1; level >= 0; level -= 1) {
      for (let partition = oldest(loaded, level); partition; partition = oldest(loaded, level)) {
        const entry = partition.next(level) as Entry;
        if (!partition.mayLeave(entry)) continue;
        if (entry.expiresAt === Number.POSITIVE_INFINITY || entry.expiresAt > clock.now())
          return this.#lend(entry);
        entry.source.ledger.expired += 1;
        this.#parking.done(entry);
        void this.#commits.flush();
      }
    }
    return undefined;
  }

  #lend(entry: Entry): Entry {
    entry.stage = 'out';
    entry.source.ledger.handOut(entry.offset);
    this.#mark(entry.source);
    return entry;
  }

  /** Written down before: from here on a crash counts as a hand-out in vain. */
  #deliver(chosen: ReadonlyMap<KafkaConsumer, readonly Entry[]>): void {
    for (const [consumer, entries] of chosen) {
      consumer.coming -= entries.length;
      this.#coming -= entries.length;
      const alive = entries.filter(({ source }) => source.owner.alive);
      if (consumer.isPaused || this.#closed) this.giveBack(alive);
      else consumer.deliver(alive);
    }
    this.#noteQuiet();
  }

  /** Ready again, before what was never out. */
  #again(entry: Entry): void {
    const { owner } = entry.source;
    entry.stage = 'ready';
    if (entry.key === undefined) owner.queue(entry, true);
    else this.#parking.park(owner, owner.consider(entry.key));
  }

  // --- what was settled leaves ---

  #putOff(entry: Entry, dueAt: number, state: string): void {
    const { source } = entry;
    const { owner } = source;
    if (this.#parts.later === undefined) return this.#waitHere(entry, dueAt, state);
    if (!owner.holds || entry.key === undefined) return this.#parking.done(entry);
    this.#parking.park(owner, owner.moved(entry));
    this.#mark(source);
  }

  #waitHere(entry: Entry, dueAt: number, state: string): void {
    const { clock } = this.#parts;
    entry.state = state;
    entry.stage = 'waiting';
    entry.source.ledger.giveBack(entry.offset);
    this.#mark(entry.source);
    entry.cancelTimer = clock.setTimer(Math.max(0, dueAt - clock.now()), () => {
      entry.cancelTimer = undefined;
      if (!entry.source.owner.alive) return;
      this.#again(entry);
      this.#planPump();
    });
  }
}

interface Room {
  readonly consumer: KafkaConsumer;
  room: number;
}
