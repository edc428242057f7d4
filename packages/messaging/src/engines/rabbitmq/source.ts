/**
 * One queue that a consumer reads, on a channel of its own: what has arrived and waits to be handed out, which keys are parked, the acknowledgements
 * and the fence behind them. A subscription without order has one, with order per key one for each partition that this process has.
 *
 *   arrived --(noted, parked keys known)--> in its lane: ready, waiting for its key, or put off
 *
 * A channel of its own, because only closing a channel gives everything back to the queue at once and in order. A cancelled consumer keeps what it
 * has, and the broker makes the next one active meanwhile: it would get what FOLLOWS.
 */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { type CancelTimer, type Clock, pause } from '../../clock.ts';
import type { ChannelSpec } from '../../engine.ts';
import { Acks } from './acks.ts';
import { answered, beginConsuming, LONGEST_ANSWER_MS } from './answered.ts';
import { closed } from './closing.ts';
import { Lanes } from './lanes.ts';
import { unreachable } from './link.ts';
import { takenUntilHere } from './fence.ts';
import { dueAtOf } from './long-waits.ts';
import { copyIdOf, deliveryCountOf, type Note, type QueueNotes } from './notes.ts';
import { ParkedKeys, type Sight } from './parked-keys.ts';
import type { HeldKeys } from './placeholders.ts';
import { decodeMessage, type Received } from './wire.ts';

export interface SourceParts {
  readonly clock: Clock;
  readonly queue: string;
  readonly channelSpec: ChannelSpec;
  /** Unsettled messages the broker lends at once. */
  readonly window: number;
  /** Undefined where the queue cannot count hand-outs (classic, ephemeral, somebody else's). */
  readonly notes: QueueNotes | undefined;
  /** What holds keys in the dead letters; placeholders of the redrives that `arrived` are taken away. */
  readonly heldKeys: (arrived: ReadonlySet<string>) => Promise<HeldKeys>;
  /** Something may be ready. */
  readonly onReady: () => void;
  /** It cannot look at what it needs to know before it hands out, and tries again. */
  readonly onTrouble: (error: unknown) => void;
  /** `sequencedDlq`: the head of its key is a dead letter, so this one is parked behind it. Resolves when it is, or when the source is given up. */
  readonly onFollower: (entry: Entry) => Promise<void>;
  /** It was put off for longer than the ladder is, and has more of it to wait. */
  readonly onEarly: (entry: Entry, dueAt: number) => void;
  /** The channel or the queue is gone, and with it all that was out of it. */
  readonly onLost: (source: Source) => void;
}

/** A message that the broker has lent. */
export interface Entry {
  readonly received: Received;
  readonly amqp: ConsumeMessage;
  readonly source: Source;
  readonly key: string | undefined;
  /** `x-delivery-count`; undefined where the queue does not count. */
  readonly count: number | undefined;
  readonly expiresAt: number;
  state: string | undefined;
  abandoned: number | undefined;
  /** The edition of the notes that has been read for it. */
  looked: number | undefined;
  /** A redriven one: what was seen of its key in the dead letters. */
  sight: Sight | undefined;
  /** Its return would not be taken for a crash: that it is handed out has to be noted first. */
  spared: boolean;
  /** Acknowledged or given back. */
  gone: boolean;
}

interface Fence {
  readonly done: Promise<void>;
  next?: Promise<void>;
}

const LOOK_AGAIN_MS = 100;
const NOTHING: ReadonlySet<string> = new Set();

export class Source {
  readonly queue: string;
  readonly lanes = new Lanes<Entry>();
  /** On their way elsewhere without having been handed out: dead letters behind the head of their key, and what is not due yet. */
  moving = 0;
  readonly #parts: SourceParts;
  readonly #keyed: boolean;
  /** Keeps the lane of a failing message: blockKey and sequencedDlq. */
  readonly #holds: boolean;
  readonly #channel: Channel;
  readonly #acks: Acks;
  #tag = '';
  #live = true;
  readonly #arrived: Entry[] = [];
  #taking = false;
  readonly #putOff = new Map<Entry, CancelTimer>();
  readonly #parked = new ParkedKeys();
  #parkedKnown = false;
  /** What goes on failing, and has been told. */
  readonly #told = new Set<'look' | 'recheck'>();
  #recheckAgain = false;
  #rechecking: Promise<void> | undefined;
  readonly #followers = new Set<Promise<void>>();
  /** Copies with notes, of those that are not settled. */
  readonly #noted = new Set<string>();
  /** Something has arrived that was never out before: with one reader, nothing that was comes behind it. */
  #newSeen = false;
  #fence: Fence | undefined;

  static async open(model: ChannelModel, parts: SourceParts): Promise<Source> {
    const channel = await model.createChannel();
    const source = new Source(channel, parts);
    try {
      await channel.prefetch(parts.window);
      source.#tag = await beginConsuming(
        { ...parts, channel },
        (message) => {
          if (source.#live) source.#arrive(message);
        },
        () => source.abandon(),
      );
    } catch (error) {
      source.#live = false;
      source.#takePutOff();
      // What came before the failure may have opened them.
      void parts.notes?.close();
      source.abandon();
      throw error;
    }
    return source;
  }

  private constructor(channel: Channel, parts: SourceParts) {
    this.#parts = parts;
    this.queue = parts.queue;
    this.#channel = channel;
    this.#acks = new Acks(channel);
    this.#keyed = parts.channelSpec.order === 'key';
    this.#holds = this.#keyed && parts.channelSpec.onFailure !== 'skip';
    channel.on('error', () => {});
    channel.on('close', () => this.#end());
  }

  /** False once its channel is gone: then nothing of it can be settled any more. */
  get live(): boolean {
    return this.#live;
  }

  ack(entry: Entry): void {
    this.ackAside(entry);
    this.lanes.advance(entry.key);
  }

  /** It never was in its lane or has left it: a redriven message may have it now, whose turn does not end with this. */
  ackAside(entry: Entry): void {
    entry.gone = true;
    if (this.#live) this.#acks.ack(entry.amqp);
    if (this.#noted.size > 0) this.#forget(copyIdOf(entry.amqp, entry.received));
  }

  #forget(copy: string): void {
    if (this.#noted.delete(copy)) this.#parts.notes?.forget(copy);
  }

  /** They are handed out from now on, put off or given back; stored when it resolves. */
  async note(
    entries: readonly Entry[],
    what: Pick<Note, 'out'> | ((entry: Entry) => Note['waits']),
  ): Promise<void> {
    const { notes } = this.#parts;
    if (!notes || entries.length === 0) return;
    await notes.write(
      entries.map((entry) => {
        const copy = copyIdOf(entry.amqp, entry.received);
        this.#noted.add(copy);
        const waits = typeof what === 'function' ? what(entry) : undefined;
        return { copy, count: entry.count ?? 0, ...(waits ? { waits } : what) };
      }),
    );
  }

  giveBack(entry: Entry): void {
    entry.gone = true;
    if (this.#live) this.#acks.giveBack(entry.amqp);
  }

  /** The same message again in its place, at `dueAt`. */
  putOff(entry: Entry, dueAt: number): void {
    // Its channel went while that was being noted: whoever opens the queue anew reads the note.
    if (!this.#live) return;
    const { clock, onReady } = this.#parts;
    const cancel = clock.setTimer(Math.max(0, dueAt - clock.now()), () => {
      this.#putOff.delete(entry);
      if (!this.#live) return;
      this.lanes.again(entry);
      onReady();
    });
    this.#putOff.set(entry, cancel);
  }

  /** A dead letter stands for this key from now on. */
  park(key: string, { received }: Entry): void {
    this.#parked.park(key, received.note);
    if (this.#parts.channelSpec.onFailure === 'blockKey') this.lanes.block(key);
    else for (const follower of this.lanes.takeLane(key)) this.#follow(key, follower);
  }

  #follow(key: string, entry: Entry): void {
    this.#parked.park(key, entry.received.note);
    const parked = this.#parts.onFollower(entry).finally(() => this.#followers.delete(parked));
    this.#followers.add(parked);
  }

  /** What is to be parked is in the dead letters, and does not come again from the queue. */
  async #followersSettled(): Promise<void> {
    if (this.#followers.size === 0) return;
    await Promise.all(this.#followers);
    await this.settled();
  }

  /** Letters were taken away: looks which keys are still held, until that is known, because nobody says it again. One run for all who ask. */
  recheck(): Promise<void> {
    this.#recheckAgain = true;
    this.#rechecking ??= Promise.resolve().then(() => this.#recheckAll());
    return this.#rechecking;
  }

  async #recheckAll(): Promise<void> {
    try {
      while (this.#recheckAgain && this.#live) {
        this.#recheckAgain = false;
        try {
          await this.#recheckOnce();
          this.#told.delete('recheck');
        } catch (error) {
          this.#recheckAgain = true;
          await this.#restFrom('recheck', error);
        }
      }
    } finally {
      // In the step of the last look: whoever asks for one more gets a run that will look.
      this.#rechecking = undefined;
    }
  }

  /** Rejects also when what is to be parked cannot be: then it is being given up, and whoever opens the queue anew looks anyway. */
  async #recheckOnce(): Promise<void> {
    await this.#followersSettled();
    const before = this.#parked.now;
    this.#parked.release(await this.#parts.heldKeys(NOTHING), before);
    for (const key of this.lanes.blockedKeys()) if (!this.#parked.has(key)) this.lanes.unblock(key);
    this.#parts.onReady();
  }

  /** What has arrived and is not out, in no promised order between keys. */
  waiting(): readonly Entry[] {
    return [...this.lanes.all(), ...this.#arrived];
  }

  view(): { readonly ready: number; readonly waiting: number; readonly delayed: number } {
    return {
      ready: this.#arrived.length + this.lanes.readyCount,
      waiting: this.lanes.waitingCount,
      delayed: this.#putOff.size,
    };
  }

  /** Resolves when the broker has seen all acknowledgements. */
  settled(): Promise<void> {
    if (!this.#live) return Promise.reject(unreachable('the channel closed before it was settled'));
    this.#acks.flush();
    const running = this.#fence;
    if (running) {
      // Shared by all settlements of a moment: one runs, and one more for those that came meanwhile.
      running.next ??= running.done.then(() => {
        this.#fence = undefined;
        return this.settled();
      });
      return running.next;
    }
    const done = takenUntilHere(this.#channel, this.#parts.window).then(
      () => {},
      (error: unknown) => {
        throw unreachable('the channel closed before it was settled', error);
      },
    );
    const fence: Fence = { done };
    this.#fence = fence;
    const end = (): void => {
      if (this.#fence === fence && !fence.next) this.#fence = undefined;
    };
    done.then(end, end);
    return done;
  }

  /** Takes nothing more; what has arrived and is not out is told and no longer held here. */
  async stop(): Promise<readonly Entry[]> {
    const back = this.#takeAll();
    await this.#channel.cancel(this.#tag).catch(() => {});
    return [...back, ...this.#takeAll()];
  }

  /** Forgets what it holds and tells what it was. */
  drain(): readonly Entry[] {
    return [...this.#takePutOff(), ...this.#takeAll()];
  }

  #takePutOff(): Entry[] {
    const putOff = [...this.#putOff].map(([entry, cancel]) => {
      cancel();
      return entry;
    });
    this.#putOff.clear();
    return putOff;
  }

  /** With the channel the broker takes everything back, each to its old place. */
  async close(): Promise<void> {
    this.#live = false;
    // What was put off since it was drained has its note, and must not keep the process until it is due.
    this.#takePutOff();
    this.#acks.flush();
    // Whoever has the partition next waits for nothing more than the broker does: without an answer it takes all back a minute later.
    const { clock, notes } = this.#parts;
    await answered(clock, LONGEST_ANSWER_MS, this.#applied()).catch(() => {});
    await answered(clock, LONGEST_ANSWER_MS, closed(this.#channel));
    if (notes) await answered(clock, LONGEST_ANSWER_MS, notes.close());
  }

  /** Gives all up at once: what is out comes again. Nobody waits for the broker's answer, which a connection that is blocked does not get. */
  abandon(): void {
    this.#end();
    void this.#channel.close().catch(() => {});
  }

  #end(): void {
    if (!this.#live) return;
    this.#live = false;
    void this.#parts.notes?.close();
    this.#parts.onLost(this);
  }

  /**
   * The queue itself has applied the acknowledgements: both a cancel and a consumer that comes and goes are answered by the queue, in order. With a
   * single active consumer the second one only stands by, and the first is not cancelled (see above).
   */
  async #applied(): Promise<void> {
    if (!this.#keyed) return void (await this.#channel.cancel(this.#tag));
    const { consumerTag } = await this.#channel.consume(this.queue, () => {});
    await this.#channel.cancel(consumerTag);
  }

  #takeAll(): Entry[] {
    return [...this.lanes.clear(), ...this.#arrived.splice(0)];
  }

  #arrive(amqp: ConsumeMessage): void {
    const received = decodeMessage(amqp);
    const { message, note } = received;
    const count = this.#parts.notes === undefined ? undefined : deliveryCountOf(amqp);
    this.#arrived.push({
      received,
      amqp,
      source: this,
      key: this.#keyed ? message?.key : undefined,
      count,
      expiresAt: message?.expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(message.expiresAt),
      state: note.state,
      abandoned: count === undefined ? undefined : (note.abandoned ?? 0) + count,
      looked: undefined,
      sight: undefined,
      spared: this.#keyed && (count ?? 0) > 0,
      gone: false,
    });
    if (this.#keyed && count !== undefined) this.#countNoted(count, copyIdOf(amqp, received));
    if (!this.#taking) this.#take();
  }

  #countNoted(count: number, copy: string): void {
    if (count > 0) this.#noted.add(copy);
    else if (!this.#newSeen) {
      this.#newSeen = true;
      this.#parts.notes?.onlyThese(this.#noted);
    }
  }

  /** In the order of arrival; pauses only for what needs a look at another queue first. */
  #take(): void {
    for (let entry = this.#arrived[0]; entry; entry = this.#arrived[0]) {
      if (this.#needsLook(entry)) {
        this.#taking = true;
        this.#takeBehind(this.#lookFor(entry));
        return;
      }
      this.#arrived.shift();
      this.#accept(entry);
    }
    this.#parts.onReady();
  }

  /** What breaks here breaks its channel, as it would in the client's own callback, and not the process. */
  #takeBehind(look: Promise<void>): void {
    const go = (): void => {
      this.#taking = false;
      if (this.#live) this.#take();
    };
    look.then(go).catch((error: unknown) => {
      this.abandon();
      this.#parts.onTrouble(error);
    });
  }

  #needsLook(entry: Entry): boolean {
    return this.#needsNotes(entry) || this.#needsSight(entry);
  }

  #needsNotes({ looked, count }: Entry): boolean {
    return (count ?? 0) > 0 && looked !== this.#parts.notes?.edition;
  }

  #needsSight({ key, sight, received }: Entry): boolean {
    if (!this.#holds) return false;
    if (!this.#parkedKnown) return true;
    if (key === undefined || sight !== undefined || !received.note.redriven) return false;
    return this.#parked.isUnsure(key, received.note);
  }

  async #lookFor(entry: Entry): Promise<void> {
    const { notes } = this.#parts;
    try {
      if (this.#needsSight(entry)) await this.#lookAtLetters();
      if (notes && this.#needsNotes(entry)) {
        const { edition } = notes;
        await notes.read();
        // What arrived before this reading is covered by it, unless it has been forgotten again.
        for (const one of this.#arrived) one.looked = edition;
      }
      this.#told.delete('look');
    } catch (error) {
      await this.#restFrom('look', error);
    }
  }

  /** What is tried again at once and for ever: one word of it is enough until it has succeeded. */
  async #restFrom(what: 'look' | 'recheck', error: unknown): Promise<void> {
    if (!this.#told.has(what) && this.#live) this.#parts.onTrouble(error);
    this.#told.add(what);
    await pause(this.#parts.clock, LOOK_AGAIN_MS);
  }

  /**
   * One look for everything redriven that is here: it is a walk through all letters. A placeholder must not be taken before what is parked in front of the
   * last copy is stored, or after a crash in between that would come again and find its key free.
   */
  async #lookAtLetters(): Promise<void> {
    await this.#followersSettled();
    const at = this.#parked.now;
    const { ends, sure } = arrivalsIn(this.#arrived);
    const held = await this.#parts.heldKeys(ends);
    if (!this.#parkedKnown) this.#parked.learn(held);
    this.#parkedKnown = true;
    for (const one of sure) one.sight = { at, held: held.get(one.key ?? '') };
  }

  #accept(entry: Entry): void {
    const { notes } = this.#parts;
    if (notes && entry.count !== undefined && entry.count > 0) {
      const { crashes, waits } = notes.about(copyIdOf(entry.amqp, entry.received), entry.count);
      entry.abandoned = (entry.received.note.abandoned ?? 0) + crashes;
      if (waits) entry.state = waits.state;
      if (waits && waits.dueAt > this.#parts.clock.now()) {
        if (this.lanes.hold(entry)) this.putOff(entry, waits.dueAt);
        return;
      }
    }
    const dueAt = dueAtOf(entry.amqp);
    if (dueAt !== undefined && dueAt > this.#parts.clock.now()) return this.#parts.onEarly(entry, dueAt);
    const { key } = entry;
    if (key === undefined || !this.#holds) return this.lanes.add(entry);
    const { note } = entry.received;
    const isBlocking = this.#parts.channelSpec.onFailure === 'blockKey';
    // With `blockKey` a sequence is one message: what follows it waits here and not among the letters.
    if (note.redriven && (this.#parked.admit(key, note, entry.sight) || isBlocking))
      return this.lanes.resume(key, entry);
    if (!this.#parked.has(key)) return this.lanes.add(entry);
    if (!isBlocking) return this.#follow(key, entry);
    this.lanes.block(key);
    this.lanes.add(entry);
  }
}

/** Of what has arrived: the redrives of which the last copy is here and nothing that may have to be parked is in front of it, and the messages that one look can tell about. */
function arrivalsIn(arrived: readonly Entry[]): {
  readonly ends: ReadonlySet<string>;
  readonly sure: readonly Entry[];
} {
  const ends = new Set<string>();
  const sure: Entry[] = [];
  const sequences = new Map<string, string | undefined>();
  for (const one of arrived) {
    const { key, received } = one;
    if (key === undefined) continue;
    const { redriven, redrive, isLast } = received.note;
    if (!sequences.has(key)) sequences.set(key, redrive);
    const isAlone = redrive !== undefined && sequences.get(key) === redrive;
    if (!isAlone) sequences.set(key, undefined);
    if (!redriven || (isLast && !isAlone)) continue;
    if (redrive !== undefined && isLast) ends.add(redrive);
    sure.push(one);
  }
  return { ends, sure };
}
