/**
 * One consumer of a subscription: takes deliveries of its queue or its partitions, hands them out with leases and settles them.
 *
 *   arrived --(noted, parked keys known)--> ready or waiting for its key --> out --ack--> gone
 *                                                                           |--retry--> a copy on the delay ladder, or put off in its lane
 *                                                                           |--dead letter--> a letter in the dead queue
 *                                                                           '--release, lost lease--> back to the broker (keyed: back to its lane)
 *
 * A settlement that moves a message publishes first, waits for the confirm and acknowledges then: a crash between the two repeats, never loses.
 * Acknowledgements have no answer in AMQP; a `basic.qos` behind them has, and the broker works a channel off in order.
 */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
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
import { Acks } from './acks.ts';
import { Lanes } from './lanes.ts';
import { Leases } from '../../leases.ts';
import { encodeLetter, type LetterText } from './letters.ts';
import { unreachable } from './link.ts';
import { encodeNotes, type Note, Notebook } from './notes.ts';
import { copyOf, decodeMessage, type Parcel, rawOf, type Received } from './wire.ts';

export interface ConsumerParts {
  readonly clock: Clock;
  readonly spec: ConsumerSpec;
  readonly channelSpec: ChannelSpec;
  readonly queues: readonly string[];
  readonly deadQueue: string;
  /** Undefined where the queue cannot count hand-outs (classic, ephemeral). */
  readonly notesQueue: string | undefined;
  readonly publish: (exchange: string, routingKey: string, parcel: Parcel) => Promise<void>;
  /** Publishes so that the queue gets it after the delay. */
  readonly publishLater: (queue: string, delayMs: number, parcel: Parcel) => Promise<void>;
  readonly readNotes: (queue: string, read: (messages: readonly ConsumeMessage[]) => void) => Promise<void>;
  readonly heldKeys: () => Promise<ReadonlySet<string>>;
  readonly nextToken: () => DeliveryToken;
  /** The channel or the queue is gone while the connection may live: declare and open again. */
  readonly onGone: () => void;
  readonly onClosed: () => void;
}

interface Entry {
  readonly received: Received;
  readonly amqp: ConsumeMessage;
  readonly queue: string;
  /** The channel it came on: only there it can be acknowledged. */
  readonly via: Channel;
  readonly acks: Acks;
  readonly key: string | undefined;
  /** `x-delivery-count`; undefined where the queue does not count. */
  readonly count: number | undefined;
  readonly copyId: string;
  readonly expiresAt: number;
  state: string | undefined;
  abandoned: number | undefined;
}

interface Fence {
  readonly via: Channel;
  readonly done: Promise<void>;
  next?: Promise<void>;
}

/** Unsettled messages the broker lends to a keyed consumer from each partition: what waits for its key is among them. */
const KEY_WINDOW = 250;
const PERSIST_RETRY_MS = 100;

export class RabbitConsumer implements Consumer {
  readonly #parts: ConsumerParts;
  readonly #receive: (deliveries: readonly Delivery[]) => void;
  readonly #keyed: boolean;
  /** Keeps the lane of a failing message: blockKey and sequencedDlq. */
  readonly #holds: boolean;
  #channel: Channel | undefined;
  #window = 0;
  #tags: string[] = [];
  readonly #arrived: Entry[] = [];
  #taking = false;
  readonly #lanes = new Lanes<Entry>();
  readonly #leases: Leases<Entry>;
  /** Tokens whose message is being moved: neither out nor settled yet. */
  readonly #moving = new Set<DeliveryToken>();
  readonly #putOff = new Map<Entry, () => void>();
  /** Keys whose dead letter holds what follows, with the order in which they came to be known. */
  readonly #parked = new Map<string, number>();
  #parkOrder = 0;
  readonly #loaded = new Set<string>();
  readonly #notebook = new Notebook();
  /** Those whose notes have been read. */
  readonly #looked = new WeakSet<Entry>();
  /** Acknowledged or given back: not to be lent again. */
  readonly #gone = new WeakSet<Entry>();
  #pumpPlanned = false;
  #paused = false;
  #closed = false;
  #fence: Fence | undefined;
  expired = 0;

  constructor(parts: ConsumerParts, receive: (deliveries: readonly Delivery[]) => void) {
    this.#parts = parts;
    this.#receive = receive;
    this.#keyed = parts.channelSpec.order === 'key';
    this.#holds = this.#keyed && parts.channelSpec.onFailure !== 'skip';
    this.#leases = new Leases(parts.clock, parts.spec.leaseMs, (entry) => this.#endLease(entry));
  }

  get spec(): ConsumerSpec {
    return this.#parts.spec;
  }

  /** Opens its channel on a new connection; what was out on the former one is lost to this consumer. */
  async open(model: ChannelModel): Promise<void> {
    if (this.#closed || this.#channel) return;
    const { queues, spec } = this.#parts;
    const channel = await model.createChannel();
    channel.on('error', () => {});
    channel.on('close', () => this.#lost(channel));
    this.#channel = channel;
    this.#window = this.#keyed ? Math.max(spec.prefetch, KEY_WINDOW) : spec.prefetch;
    await channel.prefetch(this.#window);
    if (this.#paused) return;
    this.#tags = [];
    const acks = new Acks(channel);
    for (const queue of queues) {
      const { consumerTag } = await channel.consume(queue, (message) => {
        if (message) this.#arrive(message, queue, channel, acks);
        // The broker cancelled it: the queue was deleted or its node is gone.
        else void channel.close().catch(() => {});
      });
      this.#tags.push(consumerTag);
    }
  }

  view(): { ready: number; inFlight: number; waiting: number; delayed: number } {
    return {
      ready: this.#arrived.length + this.#lanes.readyCount,
      inFlight: this.#leases.size + this.#moving.size,
      waiting: this.#lanes.waitingCount,
      delayed: this.#putOff.size,
    };
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const entries = settlements.map(({ token }) => this.#leases.take(token));
    settlements.forEach(({ token }, index) => entries[index] && this.#moving.add(token));
    try {
      return await this.#settleTaken(settlements, entries);
    } finally {
      for (const { token } of settlements) this.#moving.delete(token);
      this.#planPump();
    }
  }

  async #settleTaken(
    settlements: readonly Settlement[],
    entries: readonly (Entry | undefined)[],
  ): Promise<readonly SettleResult[]> {
    const moving: Promise<void>[] = [];
    const released: Entry[] = [];
    settlements.forEach((settlement, index) => {
      const entry = entries[index];
      if (!entry) return;
      if (settlement.kind === 'ack') {
        this.#moving.delete(settlement.token);
        this.#ack(entry);
      } else if (settlement.kind === 'release') released.push(entry);
      else moving.push(this.#move(entry, settlement));
    });
    if (released.length > 0) moving.push(this.#release(released));
    try {
      const done = await Promise.allSettled(moving);
      const failed = done.find((one) => one.status === 'rejected');
      if (failed) throw failed.reason;
      const first = entries.find((entry) => entry);
      first?.acks.flush();
      if (first) await this.#settledOn(first.via);
    } catch (error) {
      // Those that did not move are still lent, or trying again would find them lost.
      settlements.forEach(({ token }, index) => {
        const entry = entries[index];
        if (entry && !this.#gone.has(entry) && entry.via === this.#channel) this.#leases.lend(token, entry);
      });
      throw error;
    }
    return entries.map((entry) => (entry ? 'settled' : 'lost'));
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
    if (this.#keyed || !this.#channel) return;
    const back = [...this.#arrived.splice(0), ...this.#lanes.clear()];
    await this.#cancelAll(this.#channel);
    back.push(...this.#arrived.splice(0), ...this.#lanes.clear());
    await this.#release(back).catch(() => {});
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#paused = true;
    this.#closed = true;
    const channel = this.#channel;
    this.#channel = undefined;
    const back = this.#everything();
    this.#parts.onClosed();
    if (!channel) return;
    await this.#note(back).catch(() => {});
    // A cancel is answered only when the queue has applied the acknowledgements before it.
    await this.#cancelAll(channel);
    // With the channel the broker takes everything back, each to its old place.
    await channel.close().catch(() => {});
  }

  /** Letters were taken away: looks which keys are still held. */
  async recheck(): Promise<void> {
    if (!this.#holds) return;
    const before = this.#parkOrder;
    const held = await this.#parts.heldKeys();
    for (const [key, order] of this.#parked) if (order <= before && !held.has(key)) this.#parked.delete(key);
    for (const key of this.#lanes.blockedKeys()) if (!this.#parked.has(key)) this.#lanes.unblock(key);
    this.#planPump();
  }

  async #cancelAll(channel: Channel): Promise<void> {
    for (const tag of this.#tags.splice(0)) await channel.cancel(tag).catch(() => {});
  }

  /** Forgets all that came on the former channel and tells what it was. */
  #everything(): readonly Entry[] {
    const out = this.#leases.clear();
    const putOff = [...this.#putOff].map(([entry, cancel]) => {
      cancel();
      return entry;
    });
    this.#putOff.clear();
    this.#loaded.clear();
    return [...out, ...putOff, ...this.#lanes.clear(), ...this.#arrived.splice(0)];
  }

  #lost(channel: Channel): void {
    if (this.#channel !== channel) return;
    this.#channel = undefined;
    this.#fence = undefined;
    this.#everything();
    this.#parts.onGone();
  }

  #arrive(amqp: ConsumeMessage, queue: string, via: Channel, acks: Acks): void {
    const received = decodeMessage(amqp);
    const { message, note } = received;
    const counted = amqp.properties.headers?.['x-delivery-count'] as number | undefined;
    const count = this.#parts.notesQueue === undefined ? undefined : (counted ?? 0);
    this.#arrived.push({
      received,
      amqp,
      queue,
      via,
      acks,
      key: this.#keyed ? message?.key : undefined,
      count,
      copyId: `${message?.id ?? (amqp.properties.messageId as string | undefined) ?? ''}#${note.turn ?? 0}`,
      expiresAt: message?.expiresAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(message.expiresAt),
      state: note.state,
      abandoned: count === undefined ? undefined : (note.abandoned ?? 0) + count,
    });
    if (!this.#taking) this.#take();
  }

  /** In the order of arrival; pauses only for what needs a look at another queue first. */
  #take(): void {
    for (let entry = this.#arrived[0]; entry; entry = this.#arrived[0]) {
      if (this.#needsLook(entry)) {
        this.#taking = true;
        void this.#lookFor(entry).finally(() => {
          this.#taking = false;
          this.#take();
        });
        return;
      }
      this.#arrived.shift();
      this.#accept(entry);
    }
    this.#planPump();
  }

  #needsLook(entry: Entry): boolean {
    if (this.#looked.has(entry)) return false;
    return (entry.count ?? 0) > 0 || (this.#holds && !this.#loaded.has(entry.queue)) || this.#mayFree(entry);
  }

  /** A redriven message frees its key, unless something of the key was parked after the redrive had begun: that has to be redriven first. */
  #mayFree({ key, received }: Entry): boolean {
    return key !== undefined && received.note.redriven === true && this.#parked.has(key);
  }

  async #lookFor(entry: Entry): Promise<void> {
    const { notesQueue, heldKeys, readNotes, clock } = this.#parts;
    try {
      if (this.#holds && !this.#loaded.has(entry.queue)) {
        for (const key of await heldKeys())
          if (!this.#parked.has(key)) this.#parked.set(key, ++this.#parkOrder);
        this.#loaded.add(entry.queue);
      }
      if (entry.key !== undefined && this.#mayFree(entry) && !(await heldKeys()).has(entry.key))
        this.#parked.delete(entry.key);
      if (notesQueue !== undefined && (entry.count ?? 0) > 0) {
        await readNotes(notesQueue, (messages) => this.#notebook.read(messages));
        // What arrived before this reading is covered by it.
        for (const one of this.#arrived) this.#looked.add(one);
      }
      this.#looked.add(entry);
    } catch {
      await pause(clock, PERSIST_RETRY_MS);
    }
  }

  #accept(entry: Entry): void {
    if (entry.via !== this.#channel) return;
    if (entry.count !== undefined && entry.count > 0) {
      const { released, waits } = this.#notebook.about(entry.copyId, entry.count);
      entry.abandoned = Math.max(0, (entry.abandoned ?? 0) - released);
      if (waits) entry.state = waits.state;
      if (waits && waits.dueAt > this.#parts.clock.now()) return this.#acceptPutOff(entry, waits.dueAt);
    }
    const { key } = entry;
    if (key !== undefined && this.#holds && entry.received.note.redriven)
      return this.#lanes.resume(key, entry);
    if (key === undefined || !this.#holds || !this.#parked.has(key)) return this.#lanes.add(entry);
    if (this.#parts.channelSpec.onFailure === 'sequencedDlq') return void this.#parkFollower(entry);
    this.#lanes.block(key);
    this.#lanes.add(entry);
  }

  #acceptPutOff(entry: Entry, dueAt: number): void {
    if (this.#lanes.hold(entry)) this.#waitInLane(entry, dueAt);
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
    while (
      !this.#paused &&
      this.#channel &&
      this.#leases.size + this.#moving.size < this.#parts.spec.prefetch
    ) {
      const entry = this.#lanes.next();
      if (!entry) break;
      if (entry.expiresAt <= this.#parts.clock.now()) this.#drop(entry);
      else deliveries.push(this.#handOut(entry));
    }
    if (deliveries.length > 0) this.#receive(deliveries);
  }

  #drop(entry: Entry): void {
    this.expired += 1;
    this.#ack(entry);
  }

  #handOut(entry: Entry): Delivery {
    const token = this.#parts.nextToken();
    this.#leases.lend(token, entry);
    const { message, malformed } = entry.received;
    return {
      token,
      message,
      ...(malformed === undefined ? {} : { malformed }),
      // Made when asked for: only dead letters and people look at it.
      get raw() {
        return rawOf(entry.received);
      },
      state: entry.state,
      abandoned: entry.abandoned,
    };
  }

  #ack(entry: Entry): void {
    this.#gone.add(entry);
    if (entry.via === this.#channel) entry.acks.ack(entry.amqp);
    this.#lanes.advance(entry.key);
  }

  #endLease(entry: Entry): void {
    if (entry.abandoned !== undefined) entry.abandoned += 1;
    if (this.#keyed) this.#lanes.again(entry);
    else if (entry.via === this.#channel) entry.acks.giveBack(entry.amqp);
    this.#planPump();
  }

  async #release(entries: readonly Entry[]): Promise<void> {
    if (entries.length === 0) return;
    if (this.#keyed) {
      for (const entry of [...entries].reverse()) this.#lanes.again(entry);
      return;
    }
    await this.#note(entries);
    for (const entry of entries) {
      this.#gone.add(entry);
      if (entry.via === this.#channel) entry.acks.giveBack(entry.amqp);
    }
  }

  /** Tells whoever gets them next that the broker's count grew without a crash. */
  async #note(entries: readonly Entry[]): Promise<void> {
    const { notesQueue, publish } = this.#parts;
    if (notesQueue === undefined || entries.length === 0) return;
    const notes: Note[] = entries.map(({ copyId, count }) => ({ copy: copyId, count: count ?? 0 }));
    await publish('', notesQueue, encodeNotes(notes));
  }

  async #move(entry: Entry, settlement: Settlement): Promise<void> {
    if (settlement.kind === 'retry') await this.#retry(entry, settlement.dueAt, settlement.state);
    else if (settlement.kind === 'deadLetter') await this.#park(entry, settlement.letter);
  }

  async #retry(entry: Entry, dueAt: number, state: string): Promise<void> {
    const { clock, publish, publishLater, notesQueue } = this.#parts;
    if (this.#holds && entry.key !== undefined) {
      const note = { copy: entry.copyId, count: entry.count ?? 0, waits: { state, dueAt } };
      if (notesQueue !== undefined) await publish('', notesQueue, encodeNotes([note]));
      entry.state = state;
      return this.#waitInLane(entry, dueAt);
    }
    const { parcel, note } = entry.received;
    const copy = copyOf(parcel, { state, abandoned: entry.abandoned ?? 0, turn: (note.turn ?? 0) + 1 });
    const delayMs = dueAt - clock.now();
    if (delayMs > 0) await publishLater(entry.queue, delayMs, copy);
    else await publish('', entry.queue, copy);
    this.#ack(entry);
  }

  #waitInLane(entry: Entry, dueAt: number): void {
    const { clock } = this.#parts;
    const cancel = clock.setTimer(Math.max(0, dueAt - clock.now()), () => {
      this.#putOff.delete(entry);
      if (entry.via !== this.#channel) return;
      this.#lanes.again(entry);
      this.#planPump();
    });
    this.#putOff.set(entry, cancel);
  }

  async #park(entry: Entry, letter: LetterText): Promise<void> {
    const { key } = entry;
    const inLane = this.#holds && key !== undefined;
    await this.#publishLetter(entry, letter, inLane);
    if (inLane && key !== undefined && entry.via === this.#channel) {
      this.#parked.set(key, ++this.#parkOrder);
      if (this.#parts.channelSpec.onFailure === 'blockKey') this.#lanes.block(key);
      else for (const follower of this.#lanes.takeLane(key)) void this.#parkFollower(follower);
    }
    this.#ack(entry);
  }

  /** Publishing in the order of the calls keeps the sequence; each is acknowledged when its letter is confirmed. */
  async #parkFollower(entry: Entry): Promise<void> {
    const letter: LetterText = {
      id: `${this.#parts.spec.subscription}-${entry.copyId}`,
      reason: 'parked behind the dead letter at the head of its key',
      group: 'parked behind its key',
      at: this.#parts.clock.now(),
      history: [],
      stateOnRedrive: entry.state,
    };
    try {
      await this.#publishLetter(entry, letter, true);
      this.#ack(entry);
    } catch {
      // Not known to be parked: the broker gives it out again in its old place when the channel is opened anew.
      void entry.via.close().catch(() => {});
    }
  }

  #publishLetter(entry: Entry, letter: LetterText, inLane: boolean): Promise<void> {
    const { channel, subscription } = this.#parts.spec;
    return this.#parts.publish(
      '',
      this.#parts.deadQueue,
      encodeLetter(entry.received, letter, { channel, subscription, key: entry.key, inLane }),
    );
  }

  /** Shared by all settlements of a moment: one runs, and one more for those that came meanwhile. */
  #settledOn(via: Channel): Promise<void> {
    if (via !== this.#channel) return Promise.reject(unreachable('the channel closed before it was settled'));
    const running = this.#fence;
    if (running && running.via === via) {
      running.next ??= running.done.then(() => {
        this.#fence = undefined;
        return this.#settledOn(via);
      });
      return running.next;
    }
    const done = via.prefetch(this.#window).then(
      () => {},
      (error: unknown) => {
        throw unreachable('the channel closed before it was settled', error);
      },
    );
    const fence: Fence = { via, done };
    this.#fence = fence;
    const end = (): void => {
      if (this.#fence === fence && !fence.next) this.#fence = undefined;
    };
    done.then(end, end);
    return done;
  }
}
