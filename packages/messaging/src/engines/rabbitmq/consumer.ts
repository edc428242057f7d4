/**
 * One consumer of a subscription: takes what its sources (one per queue) have ready, hands it out with leases and settles it. With order per key it
 * reads the partitions that fall to it (`members.ts`), and gives one up only when nothing of it is out any more.
 *
 *   ready in a source --> out --ack--> gone
 *                          |--retry--> a copy on the delay ladder, or put off in its lane
 *                          |--dead letter--> a letter in the dead queue
 *                          '--release, lost lease--> back to the broker (keyed: back to its lane)
 *
 * A settlement that moves a message publishes first, waits for the confirm and acknowledges then: a crash between the two repeats, never loses.
 */
import type { ChannelModel } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import type {
  ChannelSpec,
  Consumer,
  ConsumerSpec,
  Delivery,
  DeliveryToken,
  Settlement,
  SettleResult,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { Leases } from '../../leases.ts';
import { allDone } from './all-done.ts';
import { answered } from './answered.ts';
import { LONGEST_CLOSE_MS } from './closing.ts';
import { KEY_WINDOW, LARGEST_WINDOW } from './given-back.ts';
import { HandOut } from './hand-out.ts';
import { encodeLetter, type LetterText, obituaryOf } from './letters.ts';
import { markDue } from './long-waits.ts';
import { unreachable } from './link.ts';
import { type MemberHint, Members } from './members.ts';
import { copyIdOf, type QueueNotes } from './notes.ts';
import { BEHIND_ITS_KEY, type HeldKeys } from './placeholders.ts';
import { type Entry, Source } from './source.ts';
import { copyOf, type Parcel, type Received } from './wire.ts';

export interface ConsumerParts {
  readonly clock: Clock;
  readonly spec: ConsumerSpec;
  readonly channelSpec: ChannelSpec;
  readonly queues: readonly string[];
  readonly deadQueue: string;
  /** Of somebody else, who gets a copy; undefined where nobody asked for one. */
  readonly deadLetterExchange: string | undefined;
  /** The notes of one of the queues; undefined where it cannot count hand-outs (classic, ephemeral, somebody else's). */
  readonly notesOf: (queue: number, model: ChannelModel) => QueueNotes | undefined;
  readonly publish: (exchange: string, routingKey: string, parcel: Parcel) => Promise<void>;
  /** Publishes so that the queue gets it after the delay. */
  readonly publishLater: (queue: string, delayMs: number, parcel: Parcel) => Promise<void>;
  /** What `publishLater` takes at most, ms. */
  readonly longestDelayMs: number;
  readonly heldKeys: (arrived: ReadonlySet<string>) => Promise<HeldKeys>;
  /** Among the consumers of this connection. */
  readonly number: number;
  readonly nextToken: () => DeliveryToken;
  /** Others hear of it when this connection ends. */
  readonly leaveWill: () => Promise<void>;
  /** Tells the other consumers of the subscription; see `members.ts`. */
  readonly tellMembers: (hint: MemberHint, to: string | undefined) => Promise<boolean>;
  /** The channel or the queue is gone while the connection may live: declare and open again. */
  readonly onGone: () => void;
  /** Why a partition cannot be read; it goes on trying. */
  readonly onTrouble: (error: unknown) => void;
  readonly onClosed: () => void;
}

/**
 * When none has answered a newcomer for so long, all have, as a rule. What it opened before would be theirs: no harm, but each partition that comes and goes
 * is handed over once more, and that is what a group that is under load has the least time for.
 */
const ANSWERS_MS = 25;
const MOST_ANSWERS = 10;
const OPEN_AGAIN_MS = 100;
const NOTE_AGAIN_MS = 100;

export class RabbitConsumer implements Consumer {
  readonly #parts: ConsumerParts;
  readonly #receive: (deliveries: readonly Delivery[]) => void;
  readonly #keyed: boolean;
  readonly #holds: boolean;
  readonly #members: Members | undefined;
  #model: ChannelModel | undefined;
  readonly #sources = new Map<string, Source>();
  readonly #opening = new Map<string, { readonly model: ChannelModel; readonly done: Promise<void> }>();
  /** Being given up: nothing is handed out of them, and what is out may still be settled. */
  readonly #leaving = new Set<Source>();
  readonly #leases: Leases<Entry>;
  /** What is being moved: neither out nor settled yet. */
  readonly #moving = new Map<DeliveryToken, Entry>();
  /** To be handed out when that is noted. */
  readonly #noting = new Set<Entry>();
  #turn = 0;
  #pumpPlanned = false;
  #sharing: Promise<void> | undefined;
  #shareAgain = false;
  /** Does not know yet who is there. */
  #joining = false;
  #paused = false;
  #closed = false;
  expired = 0;

  constructor(parts: ConsumerParts, receive: (deliveries: readonly Delivery[]) => void) {
    const { clock, spec, channelSpec } = parts;
    this.#parts = parts;
    this.#receive = receive;
    this.#keyed = channelSpec.order === 'key';
    this.#holds = this.#keyed && channelSpec.onFailure !== 'skip';
    this.#leases = new Leases(clock, spec.leaseMs, (entry) => this.#endLease(entry));
    if (this.#keyed)
      this.#members = new Members({ clock, tell: parts.tellMembers, onChange: () => void this.#share() });
  }

  get spec(): ConsumerSpec {
    return this.#parts.spec;
  }

  /** Consumers of the subscription that this one knows of, itself included. */
  get memberCount(): number {
    return this.#members?.count ?? 1;
  }

  /** Opens what is not open, on a new connection or after a loss; what was out on the former one is lost to this consumer. */
  async open(model: ChannelModel, hintQueue: string): Promise<void> {
    if (this.#closed || this.#paused) return;
    const isNew = this.#model !== model;
    this.#model = model;
    if (!this.#members) {
      for (const queue of this.#parts.queues) await this.#openSource(model, queue);
      return;
    }
    if (isNew) await this.#join(this.#members, model, hintQueue);
    await this.#share();
  }

  /** Its queues are not to be read on this new connection, for now: the others share out what was its. One that reads there already goes on. */
  standAside(model: ChannelModel): void {
    if (this.#model === undefined || this.#model === model) return;
    this.#model = undefined;
    void this.#members?.leave();
  }

  async #join(members: Members, model: ChannelModel, hintQueue: string): Promise<void> {
    this.#joining = true;
    try {
      await this.#parts.leaveWill();
      // Whoever left meanwhile has left before joining, and would ask the others for ever.
      if (this.#closed || this.#model !== model) return;
      await members.join(`${hintQueue}#${this.#parts.number}`);
      let known = 0;
      for (let left = MOST_ANSWERS; left > 0 && members.count !== known; left -= 1) {
        known = members.count;
        await pause(this.#parts.clock, ANSWERS_MS);
      }
    } catch (error) {
      // The next try joins anew.
      if (this.#model === model) this.#model = undefined;
      throw error;
    } finally {
      this.#joining = false;
    }
  }

  hear(hint: MemberHint): void {
    this.#members?.hear(hint);
  }

  /** The connection of this queue is said to have ended. */
  doubt(hintQueue: string): void {
    void this.#members?.doubt(hintQueue);
  }

  get #taken(): number {
    return this.#leases.size + this.#moving.size + this.#noting.size;
  }

  view(): { ready: number; inFlight: number; waiting: number; delayed: number } {
    const view = { ready: 0, inFlight: this.#taken, waiting: 0, delayed: 0 };
    for (const source of this.#sources.values()) {
      const { ready, waiting, delayed } = source.view();
      view.ready += ready;
      view.waiting += waiting;
      view.delayed += delayed;
    }
    return view;
  }

  /** What it holds and has not handed out. */
  waiting(): readonly Received[] {
    return [...this.#sources.values()].flatMap((source) => source.waiting()).map(({ received }) => received);
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const entries = settlements.map(({ token }) => this.#leases.take(token));
    try {
      return await this.#settleTaken(settlements, entries);
    } finally {
      if (this.#moving.size > 0) for (const { token } of settlements) this.#moving.delete(token);
      this.#planPump();
      this.#leaveQuiet();
    }
  }

  async #settleTaken(
    settlements: readonly Settlement[],
    entries: readonly (Entry | undefined)[],
  ): Promise<readonly SettleResult[]> {
    const moving: Promise<void>[] = [];
    const released: Entry[] = [];
    for (const [index, settlement] of settlements.entries()) {
      const entry = entries[index];
      if (!entry) continue;
      if (settlement.kind === 'ack') {
        entry.source.ack(entry);
        continue;
      }
      this.#moving.set(settlement.token, entry);
      if (settlement.kind === 'release') released.push(entry);
      else moving.push(this.#move(entry, settlement));
    }
    if (released.length > 0) moving.push(this.#release(released));
    try {
      if (moving.length > 0) await allDone(moving);
      await this.#allSeen(entries);
    } catch (error) {
      // Those that did not move are still lent, or trying again would find them lost.
      for (const [index, entry] of entries.entries())
        if (entry && !entry.gone && entry.source.live)
          this.#leases.lend((settlements[index] as Settlement).token, entry);
      throw error;
    }
    return entries.map((entry) => (entry ? 'settled' : 'lost'));
  }

  /** The broker has seen all acknowledgements. */
  async #allSeen(entries: readonly (Entry | undefined)[]): Promise<void> {
    const sources = new Set<Source>();
    for (const entry of entries) if (entry) sources.add(entry.source);
    for (const source of sources) if (sources.size === 1) return source.settled();
    await allDone([...sources].map((source) => source.settled()));
  }

  async extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]> {
    return tokens.map((token) =>
      this.#leases.extend(token) || this.#moving.has(token) ? 'settled' : 'lost',
    );
  }

  async pause(): Promise<void> {
    if (this.#paused) return;
    this.#paused = true;
    // A keyed consumer keeps its place: another would get what follows a message that is still out here.
    if (!this.#keyed) await this.#soon(this.#giveBack());
  }

  async #giveBack(): Promise<void> {
    for (const source of this.#sources.values()) {
      const back = await source.stop();
      await this.#release(back).catch(() => {});
    }
  }

  /** A broker that stands still is not waited for until the heartbeats are missed: it takes back with the connection what is out. */
  #soon(leaving: Promise<void>): Promise<void> {
    return answered(this.#parts.clock, LONGEST_CLOSE_MS, leaving);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#paused = true;
    this.#closed = true;
    await this.#soon(this.#leaveAll());
  }

  async #leaveAll(): Promise<void> {
    await this.#sharing;
    const sources = [...this.#sources.values()];
    const back = [...this.#leases.clear(), ...this.#noting, ...sources.flatMap((source) => source.drain())];
    this.#sources.clear();
    this.#parts.onClosed();
    await this.#note(back).catch(() => {});
    await Promise.all(sources.map((source) => source.close()));
    await this.#members?.leave();
  }

  /** Letters were taken away: looks which keys are still held. */
  async recheck(): Promise<void> {
    if (!this.#holds) return;
    // One after the other, because all look at one queue.
    for (const source of this.#sources.values()) await source.recheck();
  }

  /** Opens the partitions that fall to this consumer and gives up the others; one run at a time. */
  #share(): Promise<void> {
    if (this.#joining) return Promise.resolve();
    this.#shareAgain = true;
    this.#sharing ??= Promise.resolve().then(() => this.#shareAll());
    return this.#sharing;
  }

  async #shareAll(): Promise<void> {
    try {
      while (this.#shareAgain && !this.#paused) {
        this.#shareAgain = false;
        await this.#shareOnce();
      }
    } finally {
      // In the step of the last look at `#shareAgain`: whoever asks for one more gets a run that will look.
      this.#sharing = undefined;
    }
  }

  async #shareOnce(): Promise<void> {
    const { queues, clock } = this.#parts;
    const share = this.#members?.share(queues.length);
    const mine = queues.filter((_, index) => share?.has(index));
    for (const [queue, source] of this.#sources) if (!mine.includes(queue)) this.#leaving.add(source);
    this.#leaveQuiet();
    const model = this.#model;
    if (!model) return;
    try {
      await Promise.all(mine.map((queue) => this.#openSource(model, queue)));
    } catch (error) {
      // A lost connection opens all again, and may have asked for it by now; what else there is (a queue that is gone) is declared again first.
      await pause(clock, OPEN_AGAIN_MS);
      if (this.#model !== model) return;
      this.#parts.onTrouble(error);
      this.#parts.onGone();
    }
  }

  /** Closes those of the sources to be given up of which nothing is out. */
  #leaveQuiet(): void {
    if (this.#leaving.size === 0 || this.#closed) return;
    const taken = [...this.#leases.entries(), ...this.#moving.values(), ...this.#noting];
    const busy = new Set(taken.map(({ source }) => source));
    for (const source of this.#leaving) {
      if (busy.has(source) || source.moving > 0) continue;
      this.#leaving.delete(source);
      void this.#leave(source);
    }
  }

  async #leave(source: Source): Promise<void> {
    this.#sources.delete(source.queue);
    await this.#note(source.drain()).catch(() => {});
    await source.close();
    // It may fall to this consumer again by now.
    void this.#share();
  }

  /** One run for all who open the queue meanwhile (a subscription and a restore): of two sources the second would be lent messages that nobody gets. */
  #openSource(model: ChannelModel, queue: string): Promise<void> {
    const under = this.#opening.get(queue);
    if (under?.model === model) return under.done;
    const opening = { model, done: this.#openOnce(model, queue) };
    this.#opening.set(queue, opening);
    const end = (): void => {
      if (this.#opening.get(queue) === opening) this.#opening.delete(queue);
    };
    opening.done.then(end, end);
    return opening.done;
  }

  async #openOnce(model: ChannelModel, queue: string): Promise<void> {
    const open = this.#sources.get(queue);
    if (open) return void this.#leaving.delete(open);
    const { clock, spec, channelSpec, queues, notesOf, heldKeys } = this.#parts;
    const source = await Source.open(model, {
      clock,
      queue,
      channelSpec,
      notes: notesOf(queues.indexOf(queue), model),
      heldKeys,
      window: this.#keyed ? KEY_WINDOW : Math.min(LARGEST_WINDOW, spec.prefetch),
      onReady: () => this.#planPump(),
      onTrouble: (error) => this.#parts.onTrouble(error),
      onFollower: (entry) => this.#parkFollower(entry),
      onEarly: (entry, dueAt) => void this.#sendRound(entry, dueAt),
      onLost: (lost) => this.#lost(lost),
    });
    if (this.#closed || this.#model !== model || !source.live) {
      source.abandon();
      if (this.#closed || this.#model !== model) return;
      // Ended before it was known here: nobody else would open the queue again.
      throw unreachable(`the consumer of the queue "${queue}" ended as soon as it had begun`);
    }
    this.#sources.set(queue, source);
    this.#planPump();
  }

  #lost(source: Source): void {
    source.drain();
    this.#leases.remove((entry) => entry.source === source);
    this.#leaving.delete(source);
    if (this.#sources.get(source.queue) !== source) return;
    this.#sources.delete(source.queue);
    this.#parts.onGone();
  }

  #planPump(): void {
    if (this.#pumpPlanned) return;
    this.#pumpPlanned = true;
    queueMicrotask(() => {
      this.#pumpPlanned = false;
      this.#pump();
    });
  }

  #pump(): void {
    const deliveries: Delivery[] = [];
    const noting: Entry[] = [];
    const sources = [...this.#sources.values()];
    const now = this.#parts.clock.now();
    // One look at the clock for all that go out together.
    const until = this.#leases.endOfNew();
    while (!this.#paused && this.#taken < this.#parts.spec.prefetch) {
      const entry = this.#next(sources);
      if (!entry) break;
      if (entry.expiresAt <= now) this.#drop(entry);
      else if (!entry.spared) deliveries.push(this.#handOut(entry, until));
      else {
        this.#noting.add(entry);
        noting.push(entry);
      }
    }
    if (deliveries.length > 0) this.#receive(deliveries);
    if (noting.length === 0) return;
    for (const [source, entries] of Map.groupBy(noting, ({ source }) => source))
      void this.#handOutNoted(source, entries);
  }

  async #handOutNoted(source: Source, entries: readonly Entry[]): Promise<void> {
    // Whoever gives them back meanwhile has to say so, behind this note.
    for (const entry of entries) entry.spared = false;
    let isNoted = true;
    try {
      await source.note(entries, { out: true });
    } catch {
      // Nobody knows whether it is stored; they are not handed out before it is.
      isNoted = false;
      for (const entry of entries) entry.spared = true;
      await pause(this.#parts.clock, NOTE_AGAIN_MS);
    }
    for (const entry of entries) this.#noting.delete(entry);
    if (!this.#closed && source.live) {
      if (isNoted && !this.#paused && !this.#leaving.has(source))
        this.#receive(entries.map((entry) => this.#handOut(entry)));
      else for (const entry of entries.toReversed()) source.lanes.again(entry);
    }
    this.#planPump();
    this.#leaveQuiet();
  }

  /** From the sources in turn, so that a full partition does not keep the others waiting. */
  #next(sources: readonly Source[]): Entry | undefined {
    for (let tried = 0; tried < sources.length; tried += 1) {
      const source = sources[this.#turn++ % sources.length] as Source;
      const entry = this.#leaving.has(source) ? undefined : source.lanes.next();
      if (entry) return entry;
    }
    return undefined;
  }

  #drop(entry: Entry): void {
    this.expired += 1;
    entry.source.ack(entry);
  }

  #handOut(entry: Entry, until = this.#leases.endOfNew()): Delivery {
    const token = this.#parts.nextToken();
    this.#leases.lend(token, entry, until);
    return new HandOut(token, entry);
  }

  #endLease(entry: Entry): void {
    if (entry.abandoned !== undefined) entry.abandoned += 1;
    if (this.#keyed) entry.source.lanes.again(entry);
    else entry.source.giveBack(entry);
    this.#planPump();
    this.#leaveQuiet();
  }

  async #release(entries: readonly Entry[]): Promise<void> {
    if (entries.length === 0) return;
    if (this.#keyed) {
      for (const entry of [...entries].reverse()) entry.source.lanes.again(entry);
      return;
    }
    await this.#note(entries);
    for (const entry of entries) entry.source.giveBack(entry);
  }

  /** Tells whoever gets them next that the broker's count grew without a crash. */
  async #note(entries: readonly Entry[]): Promise<void> {
    const counted = entries.filter(({ spared }) => !spared);
    await allDone(
      [...Map.groupBy(counted, ({ source }) => source)].map(([source, some]) => source.note(some, {})),
    );
  }

  async #move(entry: Entry, settlement: Settlement): Promise<void> {
    if (settlement.kind === 'retry') await this.#retry(entry, settlement.dueAt, settlement.state);
    else if (settlement.kind === 'deadLetter') await this.#park(entry, settlement.letter);
  }

  async #retry(entry: Entry, dueAt: number, state: string): Promise<void> {
    const { parcel, note } = entry.received;
    if (this.#holds && entry.key !== undefined) {
      await entry.source.note([entry], () => ({ state, dueAt }));
      entry.state = state;
      entry.spared = this.#keyed && entry.count !== undefined;
      return entry.source.putOff(entry, dueAt);
    }
    const copy = copyOf(parcel, { state, abandoned: entry.abandoned ?? 0, turn: (note.turn ?? 0) + 1 });
    await this.#sendBy(entry.source.queue, dueAt, copy);
    entry.source.ack(entry);
  }

  async #sendBy(queue: string, dueAt: number, copy: Parcel): Promise<void> {
    const { clock, publish, publishLater, longestDelayMs } = this.#parts;
    const delayMs = dueAt - clock.now();
    if (delayMs > longestDelayMs) await publishLater(queue, longestDelayMs, markDue(copy, dueAt));
    else if (delayMs > 0) await publishLater(queue, delayMs, copy);
    else await publish('', queue, copy);
  }

  /** Came round from the ladder and is not due yet: nobody sees it. */
  async #sendRound(entry: Entry, dueAt: number): Promise<void> {
    const { source, state, abandoned = 0, received } = entry;
    const turn = (received.note.turn ?? 0) + 1;
    const note = { ...(state === undefined ? {} : { state }), abandoned, turn };
    await this.#sendAside(entry, () => this.#sendBy(source.queue, dueAt, copyOf(received.parcel, note)));
  }

  /** What leaves its place in the queue without having been handed out. */
  async #sendAside(entry: Entry, send: () => Promise<void>): Promise<void> {
    const { source } = entry;
    source.moving += 1;
    try {
      await send();
      source.ackAside(entry);
    } catch {
      // Not known to be elsewhere: the broker gives it out again in its old place when the channel is opened anew.
      source.abandon();
    } finally {
      source.moving -= 1;
      this.#leaveQuiet();
    }
  }

  async #park(entry: Entry, letter: LetterText): Promise<void> {
    const { key } = entry;
    const inLane = this.#holds && key !== undefined;
    await this.#publishLetter(entry, letter, inLane);
    if (inLane && key !== undefined && entry.source.live) entry.source.park(key, entry);
    entry.source.ack(entry);
  }

  /** Publishing in the order of the calls keeps the sequence; each is acknowledged when its letter is confirmed. */
  async #parkFollower(entry: Entry): Promise<void> {
    const letter: LetterText = {
      id: `${this.#parts.spec.subscription}-${copyIdOf(entry.amqp, entry.received)}`,
      reason: 'parked behind the dead letter at the head of its key',
      group: BEHIND_ITS_KEY,
      at: this.#parts.clock.now(),
      history: [],
      stateOnRedrive: entry.state,
    };
    await this.#sendAside(entry, () => this.#publishLetter(entry, letter, true));
  }

  /** With the copy for others, where one is wanted; sent in the order of the calls, and settled only when both are stored. */
  async #publishLetter(entry: Entry, letter: LetterText, inLane: boolean): Promise<void> {
    const { spec, publish, deadQueue } = this.#parts;
    const { channel, subscription } = spec;
    const parcel = encodeLetter(entry.received, letter, { channel, subscription, key: entry.key, inLane });
    await allDone([publish('', deadQueue, parcel), this.#publishObituary(entry, letter)]);
  }

  async #publishObituary({ received, amqp, source }: Entry, letter: LetterText): Promise<void> {
    const { spec, publish, deadLetterExchange } = this.#parts;
    if (deadLetterExchange === undefined) return;
    const { channel, subscription } = spec;
    const parcel = obituaryOf(received, letter, { channel, subscription, queue: source.queue, amqp });
    try {
      await publish(deadLetterExchange, `${channel}.${subscription}`, parcel);
    } catch (error) {
      // Nobody has bound a queue for it, so nobody misses it.
      if (!(error instanceof MessagingError) || error.code !== 'DB_MSG_UNROUTABLE') throw error;
    }
  }
}
