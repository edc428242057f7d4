/**
 * One consumer. Three ways lead to messages, and all ask for no more than there is room for:
 *
 *   a claim (script)   ends leases that are over, moves what is due, hands out what waits for a time or was given back, and on channels with keys or
 *                      priorities what is new. It comes first, is asked for by the bell, by the time the last one named, and at the latest each LOOK_MS.
 *   a claim of shards  the same script on channels with order: what is new in the shards that are this consumer's comes with it, and one of a key is out at a
 *                      time because this consumer sees to it (key-order.ts).
 *   a read (command)   XREADGROUP on a connection of this consumer's own, for what is new on plain channels. It blocks when there is nothing. Two are
 *                      under way while there is a backlog, half of the room each, so that the server reads while the handlers work; what is acknowledged
 *                      leaves with them.
 *
 * On channels that are not plain the wait after a claim is a blocking XREAD that takes nothing. A claim that finds no room because a blocked
 * read has reserved it ends that read (CLIENT UNBLOCK).
 *
 * When an answer was lost with the connection, the server may have lent what never came here: before the next claim everything that
 * is not on hand is given back uncounted.
 */
import type { Clock } from '../../clock.ts';
import type {
  Consumer,
  ConsumerSpec,
  Delivery,
  DeliveryToken,
  Settlement,
  SettleResult,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { RedisClient } from '../../redis/client.ts';
import {
  hasExpired,
  leaseEndAfter,
  leaveQuietly,
  NextLook,
  settlementArguments,
} from '../../redis/consuming.ts';
import {
  deliveriesOfLent,
  deliveryOfEntry,
  deliveryOfEvent,
  isWanted,
  type Wanted,
  wantedOf,
} from './incoming.ts';
import {
  type AcknowledgeReply,
  byStream,
  type ClaimReply,
  isReadAck,
  letterArguments,
  namesOf,
  PLAIN,
  SHARDED,
} from './consumer-calls.ts';
import { type Behind, KeyOrder } from './key-order.ts';
import { OnHand } from './on-hand.ts';
import { ShardBell } from './shard-bell.ts';
import { type Entry, StreamReader } from './reader.ts';
import type { StreamScripts } from './scripts.ts';

/** What the connection lends to its consumers. */
export interface ConsumerParts {
  readonly scripts: StreamScripts;
  readonly client: RedisClient;
  readonly clock: Clock;
  /** A connection of this consumer's own, for the blocking read. */
  readonly bell: RedisClient;
  /** Makes again what somebody removed from the server. */
  readonly declareAgain: () => Promise<void>;
  /** Never gives one twice. */
  readonly nextNumber: () => number;
  /** Leases that this claim ended may be those of another consumer of this process. */
  readonly leaseEnded: (consumer: string, token: string) => void;
  /** Something was settled: the channel's stream may be trimmed. */
  readonly settled: (channel: string) => void;
  readonly left: (consumer: RedisConsumer) => void;
}

/** What is being settled. */
interface Taken {
  readonly names: readonly string[];
  readonly keys: readonly string[];
  readonly areSure: boolean;
  readonly removed: readonly boolean[];
  /** Names of what waits here behind those that are not simply acknowledged: it goes behind them on the server in the same step. */
  readonly behind: readonly string[];
  /** One of them has some of its key behind it on the server. */
  readonly isFollowed: boolean;
}

/** Looked at least this often: what nobody rings for (a process that died before it rang) is found by it. */
const LOOK_MS = 5_000;
const RETRY_MS = 200;

export class RedisConsumer implements Consumer {
  readonly name: string;
  readonly spec: ConsumerSpec;
  readonly #parts: ConsumerParts;
  readonly #receive: (deliveries: readonly Delivery[]) => void;
  /** Channel, encoded subscription, group: how scripts are told whose they are. */
  readonly #subject: readonly [string, string, string];
  /** The counters of the subscription, and the stream of the channel: of its shards the beginning. */
  readonly #counters: string;
  readonly #stream: string;
  readonly #reader: StreamReader;
  readonly #onHand: OnHand;
  #claiming: Promise<void> | undefined;
  #claimWanted = true;
  /** As the last claim said: nothing is due, and on channels that are not plain nothing is new either. */
  #drained = false;
  /** As the last claim said; until then nothing is read. */
  #plain = false;
  #sharded = false;
  readonly #order = new KeyOrder();
  /** Shards that are another's by right, and are given up by the first claim that finds nothing of them on hand. */
  #leaving = 0;
  /** Monotonic; the leases of what this consumer read from shards were looked at then. */
  #leasesSeen = Number.NEGATIVE_INFINITY;
  #generation = '';
  /** As the server counts them; '' before the first claim. */
  #endings = '';
  /** What was read before may have been ended by then. */
  #endingsLearnt = Number.NEGATIVE_INFINITY;
  #wanted: Wanted = { routing: 'fanout', bindings: [] };
  /** Answers that were lost and not made good: the server may have lent what never came here. One may be lost while a claim is under way. */
  #answersLost = 0;
  readonly #shardBell: ShardBell;
  #paused = false;
  #closing: Promise<void> | undefined;
  readonly #nextLook: NextLook;

  constructor(
    name: string,
    spec: ConsumerSpec,
    receive: (deliveries: readonly Delivery[]) => void,
    parts: ConsumerParts,
  ) {
    this.name = name;
    this.spec = spec;
    this.#receive = receive;
    this.#parts = parts;
    this.#onHand = new OnHand(parts.nextNumber);
    this.#nextLook = new NextLook(parts.clock, LOOK_MS, () => this.look());
    const { channel, subscription: group } = spec;
    this.#subject = [channel, encodeURIComponent(group), group];
    const { prefix } = parts.scripts;
    const stream = `${prefix}:stream:${channel}`;
    this.#stream = stream;
    this.#counters = `${prefix}:sub:${channel}:${encodeURIComponent(group)}:meta`;
    this.#shardBell = new ShardBell(parts, () => this.look());
    this.#reader = new StreamReader({
      blocking: parts.bell,
      client: parts.client,
      clock: parts.clock,
      stream,
      group,
      consumer: name,
      most: Math.ceil(spec.prefetch / 2),
      take: (entries, askedAt) => this.#takeRead(entries, askedAt),
      failed: () => this.#loseAnswer(),
    });
  }

  /** Looks for messages by a claim; once more after the one that is under way. */
  look(): void {
    this.#claimWanted = true;
    this.#pump();
  }

  /** The lease of one of this consumer's hand-outs was ended by somebody's claim. */
  forgetToken(name: string): void {
    const token = this.#onHand.tokenOf(name);
    if (token !== undefined) this.#forgetAll([token]);
  }

  /** They are no longer this consumer's; what waits behind them here has to go behind them there. */
  #forgetAll(tokens: readonly DeliveryToken[]): void {
    const behind = tokens.flatMap((token) => {
      const key = this.#onHand.keyOf(token);
      this.#onHand.remove(token);
      return key === '' ? [] : this.#order.end(key, token);
    });
    this.#giveBackWaiting(behind);
  }

  /** Does what there is to do and room for: a claim where one is wanted or left things behind, else a read. */
  #pump(): void {
    if (this.#paused || this.#claiming) return;
    const leftBehind =
      this.#plain && !this.#drained && !this.#nextLook.isResting() && this.#room() > this.#reader.reserved;
    if (this.#claimWanted || leftBehind) {
      this.#claimWanted = false;
      this.#claiming = this.#claim().finally(() => {
        this.#claiming = undefined;
        this.#pump();
      });
    } else if (this.#plain && this.#drained && this.#answersLost === 0) this.#reader.read(this.#room());
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    this.#refuseClosed();
    // The room is free from here on: what is claimed next is decided after this on the same connection.
    const taken = this.#take(settlements);
    const { names, keys, areSure, removed, behind, isFollowed } = taken;
    try {
      const settling =
        !isFollowed && settlements.every(isReadAck)
          ? this.#acknowledge(names, areSure)
          : this.#settleByScript(settlements, taken);
      if (this.#drained && this.#leaving === 0) this.#pump();
      else this.look();
      const results = await settling;
      this.#parts.settled(this.spec.channel);
      if (this.#sharded) this.#goOn(settlements, keys, results);
      return results;
    } catch (error) {
      const end = this.#leaseEnd();
      settlements.forEach(({ token }, index) => {
        if (removed[index] === true)
          this.#onHand.restore(token, names[index] as string, end, keys[index] as string);
      });
      if (behind.length > 0) this.#loseAnswer();
      throw error;
    }
  }

  /** What the server calls them, whether all were surely still this consumer's, and which were on hand; none of them is from here on. */
  #take(settlements: readonly Settlement[]): Taken {
    const names: string[] = [];
    const keys: string[] = [];
    const removed: boolean[] = [];
    const behind: string[] = [];
    let areSure = true;
    let isFollowed = false;
    for (const { kind, token } of settlements) {
      const key = this.#sharded ? this.#onHand.keyOf(token) : '';
      names.push(this.#onHand.nameOf(token));
      keys.push(key);
      areSure &&= this.#onHand.isSure(token);
      removed.push(this.#onHand.remove(token));
      if (key === '') continue;
      isFollowed ||= this.#order.isFollowed(key, token);
      if (kind !== 'ack')
        for (const one of this.#order.takeBehind(key)) {
          behind.push(this.#onHand.nameOf(one.token));
          this.#onHand.remove(one.token);
        }
    }
    return { names, keys, areSure, removed, behind, isFollowed };
  }

  /** What waited for what is acknowledged now goes out; what waits behind the rest goes back. */
  #goOn(settlements: readonly Settlement[], keys: readonly string[], results: readonly SettleResult[]): void {
    const next: Delivery[] = [];
    const expired: Delivery[] = [];
    const behind: Behind[] = [];
    const now = this.#parts.clock.now();
    settlements.forEach(({ kind, token }, index) => {
      const key = keys[index] as string;
      if (key === '') return;
      if (kind !== 'ack' || results[index] !== 'settled' || this.#order.isFollowed(key, token))
        behind.push(...this.#order.end(key, token));
      else {
        let one = this.#order.next(key, token);
        for (; one && hasExpired(one.message, now); one = this.#order.next(key, one.token)) expired.push(one);
        if (one) next.push(one);
      }
    });
    this.#giveBackWaiting(behind);
    if (expired.length > 0) void this.#drop(expired);
    if (next.length > 0) this.#receive(next);
    if (this.#paused) this.#giveUpShards().catch(() => {});
  }

  /** Uncounted, and nobody is rung for: this consumer reads their shards. */
  #giveBackWaiting(behind: readonly Behind[]): void {
    if (behind.length === 0) return;
    const args = behind.flatMap(({ token, out }) => [
      'w',
      this.#onHand.nameOf(token),
      out === undefined ? '' : this.#onHand.nameOf(out),
    ]);
    for (const { token } of behind) this.#onHand.remove(token);
    const keys = new Set(behind.map(({ key }) => key));
    this.#runSettle(false, args).then(
      () => {
        this.#giveBackWaiting(this.#order.returned(keys));
        this.look();
      },
      () => this.#loseAnswer(),
    );
  }

  async #giveUpShards(): Promise<void> {
    await leaveQuietly(this.#parts.scripts.run('giveUpShards', [...this.#subject, this.name]));
  }

  /** What the server did is not known: everything that is not on hand is given back before the next claim. */
  #loseAnswer(): void {
    this.#answersLost += 1;
    this.#planLook(RETRY_MS);
  }

  async #acknowledge(names: readonly string[], areSure: boolean): Promise<readonly SettleResult[]> {
    const endings = areSure ? this.#endings : '';
    const { streams, places, counted } = byStream(names, this.#stream, this.#sharded);
    const keys = [String(1 + streams.length), this.#counters, ...streams];
    const args = [...keys, this.spec.subscription, this.#generation, endings, ...counted];
    const running = this.#sharded
      ? this.#parts.scripts.runPlain('acknowledge', args)
      : this.#reader.beside((client) => this.#parts.scripts.runPlain('acknowledge', args, client));
    const reply = (await running) as AcknowledgeReply;
    const results = new Array<SettleResult>(names.length).fill('settled');
    if (reply === null) return results;
    this.#learnEndings(reply[0]);
    for (const number of reply[1]) results[places?.[number - 1] ?? number - 1] = 'lost';
    return results;
  }

  async #settleByScript(
    settlements: readonly Settlement[],
    { names, keys, behind }: Taken,
  ): Promise<readonly SettleResult[]> {
    const now = this.#parts.clock.now();
    const args = settlements.flatMap((one, index) =>
      isReadAck(one) && keys[index] !== ''
        ? ['k', names[index] as string, keys[index] as string]
        : settlementArguments(one, names[index] as string, now, letterArguments),
    );
    const [results, woke, untilNext] = await this.#runSettle(this.#paused, [
      ...args,
      ...behind.flatMap((name) => ['w', name, '']),
    ]);
    if (woke === 1) this.look();
    else this.#planLook(untilNext);
    return settlements.map((_, index) => (results[index] === 1 ? 'settled' : 'lost'));
  }

  /** Somebody's hand-outs were ended since this consumer last knew: they may be its own, also those of which the answer is still on its way. */
  #learnEndings(endings: string): void {
    if (endings === this.#endings) return;
    this.#endings = endings;
    this.#endingsLearnt = this.#parts.clock.monotonic();
    this.#onHand.doubtAll();
  }

  #runSettle(
    ring: boolean,
    args: readonly (string | number)[],
  ): Promise<[results: readonly number[], woke: number, untilNext: number]> {
    const running = this.#parts.scripts.run('settle', [
      ...this.#subject,
      ring ? 1 : 0,
      this.#generation,
      ...args,
    ]);
    return running as Promise<[readonly number[], number, number]>;
  }

  async extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]> {
    this.#refuseClosed();
    const end = this.#leaseEnd();
    const results = (await this.#parts.scripts.run('extend', [
      ...this.#subject,
      this.name,
      this.spec.leaseMs,
      this.#generation,
      ...tokens.map((token) => this.#onHand.nameOf(token)),
    ])) as readonly number[];
    return tokens.map((token, index) => {
      const lost = results[index] !== 1;
      if (lost) this.#forgetAll([token]);
      else this.#onHand.extend(token, end);
      return lost ? 'lost' : 'settled';
    });
  }

  async pause(): Promise<void> {
    this.#paused = true;
    this.#nextLook.cancel();
    await this.#claiming;
    await this.#reader.stop();
    this.#giveBackWaiting(this.#order.takeAll());
    if (this.#sharded) await this.#giveUpShards();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.pause();
    } finally {
      // Also where the server refuses for good that shards are given up: nobody else ends its connection.
      this.#parts.bell.end();
      this.#parts.left(this);
      this.#onHand.clear();
      this.#order.clear();
      await leaveQuietly(this.#parts.scripts.run('forsake', [...this.#subject, this.name, 0, 1, '', '']));
    }
  }

  #refuseClosed(): void {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the consumer has been closed');
  }

  async #claim(): Promise<void> {
    this.#nextLook.cancel();
    try {
      this.#giveBackWaiting(this.#order.takeOlder(this.#parts.clock.monotonic() - this.spec.leaseMs / 3));
      if (this.#answersLost > 0) await this.#giveBackUnseen();
      const leaseEnd = this.#leaseEnd();
      this.#answersLost += 1;
      const reply = (await this.#parts.scripts.run('claim', [
        ...this.#subject,
        this.name,
        Math.max(0, this.#room() - this.#reader.reserved),
        this.spec.leaseMs,
        this.#endsLeases() ? 1 : 0,
      ])) as ClaimReply | null;
      this.#answersLost -= 1;
      if (reply !== null) await this.#takeClaimed(reply, leaseEnd);
      if (reply === null || reply[4] === 1) {
        await this.#parts.declareAgain();
        this.#rest();
      }
    } catch {
      // Out of reach, or being started: the next look is soon, and what was lent meanwhile is given back by it.
      this.#rest();
    }
  }

  async #takeClaimed(reply: ClaimReply, leaseEnd: number): Promise<void> {
    const [given, ended, untilNext, drained, , bells, kind, generation, routing, bindings, endings, read] =
      reply;
    for (const [consumer, token] of ended) this.#parts.leaseEnded(consumer, token);
    this.#plain = kind === PLAIN;
    this.#sharded = kind === SHARDED;
    this.#leaving = reply[12];
    this.#generation = generation;
    this.#learnEndings(endings);
    this.#wanted = wantedOf(routing, bindings);
    const deliveries = deliveriesOfLent(given);
    if (this.#paused)
      return this.#giveBackAll([...deliveries.map(({ token }) => token as string), ...namesOf(read)]);
    this.#drained = drained === 1;
    for (const { token } of deliveries) this.#onHand.addLent(token as string, leaseEnd);
    const fromShards = read.flatMap((one) => this.#deliveriesOfShard(one, leaseEnd));
    this.#handOut([...deliveries, ...fromShards]);
    // What is due has no room. There is some when something is settled, or when the read that has reserved it ends, and both look anyway.
    const isFull = this.#room() === 0 || (untilNext === 0 && this.#room() <= this.#reader.reserved);
    this.#planLook(untilNext >= 0 && isFull ? Math.max(untilNext, RETRY_MS) : untilNext);
    if (fromShards.length > 0) this.#planLook(this.spec.leaseMs / 3);
    if (this.#order.waiting > 0) this.#planLook(this.spec.leaseMs / 6);
    if (this.#order.waiting > this.spec.prefetch / 2) this.#giveBackWaiting(this.#order.takeAll());
    if (this.#plain) {
      // What is due has no room because a read that blocks has reserved it.
      if (!this.#drained && this.#reader.reserved > 0 && this.#room() <= this.#reader.reserved)
        this.#reader.release().catch(() => {});
    } else if (this.#drained) this.#shardBell.listen(bells);
    else if (this.#room() > 0) this.#claimWanted = true;
  }

  #deliveriesOfShard([shard, entries]: ClaimReply[11][number], leaseEnd: number): readonly Delivery[] {
    const deliveries: Delivery[] = [];
    for (let at = 0; at + 2 < entries.length; at += 3) {
      const token = this.#onHand.addRead(`${shard}:${entries[at]}`, leaseEnd, false, entries[at + 2]);
      deliveries.push(deliveryOfEvent(entries[at + 1] as string, token));
    }
    return deliveries;
  }

  /** Whether the next claim is to end the leases of what was read from shards: seldom enough to cost nothing, often enough to be in time. */
  #endsLeases(): boolean {
    const now = this.#parts.clock.monotonic();
    if (!this.#sharded || now - this.#leasesSeen < Math.min(LOOK_MS, this.spec.leaseMs) / 4) return false;
    this.#leasesSeen = now;
    return true;
  }

  #takeRead(entries: readonly Entry[], askedAt: number): void {
    if (entries.length > 0 && this.#paused) void this.#giveBackAll(entries.map(([id]) => id)).catch(() => {});
    else if (entries.length > 0) {
      this.#planLook(this.spec.leaseMs);
      const end = this.#leaseEnd();
      const doubted = askedAt <= this.#endingsLearnt;
      this.#handOut(
        entries.map((entry) => deliveryOfEntry(entry, this.#onHand.addRead(entry[0], end, doubted))),
      );
    }
    this.#pump();
  }

  /** What this subscription does not want, or what has expired, is settled here and never seen above. */
  #handOut(deliveries: readonly Delivery[]): void {
    const wanted = deliveries.filter(
      (one) => isWanted(one, this.#wanted) && !isExpired(one, this.#parts.clock),
    );
    if (wanted.length < deliveries.length) {
      const seen = new Set(wanted);
      void this.#drop(deliveries.filter((one) => !seen.has(one)));
    }
    const now = this.#parts.clock.monotonic();
    const first = this.#sharded ? wanted.filter((one) => this.#isFirst(one, now)) : wanted;
    if (first.length > 0) this.#receive(first);
  }

  #isFirst(one: Delivery, now: number): boolean {
    const key = this.#onHand.keyOf(one.token);
    return key === '' || this.#order.admit(key, one, now, this.#onHand.nameOf(one.token));
  }

  async #drop(deliveries: readonly Delivery[]): Promise<void> {
    const args = deliveries.flatMap((one) => [
      isExpired(one, this.#parts.clock) ? 'x' : 'a',
      this.#onHand.nameOf(one.token),
    ]);
    const isDone = await this.#runSettle(false, args).then(
      () => true,
      () => false,
    );
    for (const { token } of deliveries) this.#onHand.remove(token);
    this.#parts.settled(this.spec.channel);
    // Still pending: the next claim, in a while, gives back what is not on hand.
    if (!isDone) this.#loseAnswer();
    else if (this.#drained) this.#pump();
    else this.look();
  }

  async #giveBackAll(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    await this.#runSettle(
      true,
      names.flatMap((name) => ['l', name]),
    );
  }

  /** A read under way may have been lent what is only not here yet, so it is ended first. */
  async #giveBackUnseen(): Promise<void> {
    const made = this.#answersLost;
    await this.#reader.release();
    await this.#parts.scripts.run('forsake', [
      ...this.#subject,
      this.name,
      0,
      0,
      '',
      '',
      ...this.#onHand.names(),
    ]);
    this.#answersLost -= made;
    this.#giveBackWaiting(this.#order.allReturned());
  }

  #planLook(ms: number): void {
    if (!this.#paused) this.#nextLook.plan(ms);
  }

  /** Until then only what happens here leads to a claim, and none leads to the next. */
  #rest(): void {
    if (!this.#paused) this.#nextLook.rest(RETRY_MS);
  }

  /** Whoever holds hand-outs beyond their lease without asking is not stopped for ever by those that others took. */
  #room(): number {
    const { prefetch } = this.spec;
    if (this.#onHand.size >= prefetch) this.#forgetAll(this.#onHand.ended(this.#parts.clock.monotonic()));
    return Math.max(0, prefetch - this.#onHand.size);
  }

  #leaseEnd(): number {
    return leaseEndAfter(this.#parts.clock, this.spec.leaseMs);
  }
}

/** Of what a script lends it has seen to this itself, by the server's clock. */
function isExpired({ token, message }: Delivery, clock: Clock): boolean {
  return typeof token === 'number' && hasExpired(message, clock.now());
}
