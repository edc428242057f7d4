/**
 * One consumer. Two ways lead to messages, and both ask for no more than there is room for:
 *
 *   a claim (script)   ends leases that are over, moves what is due, hands out what waits for a time or was given back, and on channels with keys or
 *                      priorities what is new. It comes first, is asked for by the bell, by the time the last one named, and at the latest each LOOK_MS.
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
  Letter,
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
import { deliveriesOfLent, deliveryOfEntry, isWanted, type Lent, type Wanted, wantedOf } from './incoming.ts';
import { OnHand } from './on-hand.ts';
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

type ClaimReply = readonly [
  given: Lent,
  ended: readonly (readonly [consumer: string, token: string])[],
  untilNext: number,
  drained: number,
  broken: number,
  bells: readonly (readonly [stream: string, id: string])[],
  plain: number,
  generation: string,
  routing: string,
  bindings: string,
  endings: string,
];

/** Null: all were settled in time. */
type AcknowledgeReply = readonly [endings: string, lost: readonly number[]] | null;

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
  /** The keys of `acknowledge`, their number first, and the group. */
  readonly #acknowledging: readonly string[];
  readonly #reader: StreamReader;
  readonly #onHand: OnHand;
  #claiming: Promise<void> | undefined;
  #claimWanted = true;
  /** As the last claim said: nothing is due, and on channels that are not plain nothing is new either. */
  #drained = false;
  /** As the last claim said; until then nothing is read. */
  #plain = false;
  #generation = '';
  /** As the server counts them; '' before the first claim. */
  #endings = '';
  /** What was read before may have been ended by then. */
  #endingsLearnt = Number.NEGATIVE_INFINITY;
  #wanted: Wanted = { routing: 'fanout', bindings: [] };
  /** The server may have lent what never came here. */
  #answerLost = false;
  #listening = false;
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
    this.#acknowledging = ['2', stream, `${prefix}:sub:${channel}:${encodeURIComponent(group)}:meta`, group];
    this.#reader = new StreamReader({
      blocking: parts.bell,
      client: parts.client,
      clock: parts.clock,
      stream,
      group,
      consumer: name,
      most: Math.ceil(spec.prefetch / 2),
      take: (entries, askedAt) => this.#takeRead(entries, askedAt),
      failed: () => this.#readFailed(),
    });
  }

  /** Looks for messages by a claim; once more after the one that is under way. */
  look(): void {
    this.#claimWanted = true;
    this.#pump();
  }

  /** The lease of one of this consumer's hand-outs was ended by somebody's claim. */
  forgetToken(token: string): void {
    this.#onHand.forget(token);
  }

  /** Does what there is to do and room for: a claim where one is wanted or left things behind, else a read. */
  #pump(): void {
    if (this.#paused || this.#claiming) return;
    const leftBehind = this.#plain && !this.#drained && this.#room() > this.#reader.reserved;
    if (this.#claimWanted || leftBehind) {
      this.#claimWanted = false;
      this.#claiming = this.#claim().finally(() => {
        this.#claiming = undefined;
        this.#pump();
      });
    } else if (this.#plain && this.#drained && !this.#answerLost) this.#reader.read(this.#room());
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    this.#refuseClosed();
    // The room is free from here on: what is claimed next is decided after this on the same connection.
    const { names, areSure, removed } = this.#take(settlements);
    try {
      const settling = settlements.every(isReadAck)
        ? this.#acknowledge(names, areSure)
        : this.#settleByScript(settlements, names);
      if (this.#drained) this.#pump();
      else this.look();
      const results = await settling;
      this.#parts.settled(this.spec.channel);
      return results;
    } catch (error) {
      const end = this.#leaseEnd();
      settlements.forEach(({ token }, index) => {
        if (removed[index] === true) this.#onHand.restore(token, names[index] as string, end);
      });
      throw error;
    }
  }

  /** What the server calls them, whether all were surely still this consumer's, and which were on hand; none of them is from here on. */
  #take(settlements: readonly Settlement[]): {
    readonly names: readonly string[];
    readonly areSure: boolean;
    readonly removed: readonly boolean[];
  } {
    const names: string[] = [];
    const removed: boolean[] = [];
    let areSure = true;
    for (const { token } of settlements) {
      names.push(this.#onHand.nameOf(token));
      areSure &&= this.#onHand.isSure(token);
      removed.push(this.#onHand.remove(token));
    }
    return { names, areSure, removed };
  }

  async #acknowledge(ids: readonly string[], areSure: boolean): Promise<readonly SettleResult[]> {
    const endings = areSure ? this.#endings : '';
    const args = [...this.#acknowledging, this.#generation, endings, ...ids];
    const reply = (await this.#reader.beside((client) =>
      this.#parts.scripts.runPlain('acknowledge', args, client),
    )) as AcknowledgeReply;
    const results = new Array<SettleResult>(ids.length).fill('settled');
    if (reply === null) return results;
    this.#learnEndings(reply[0]);
    for (const number of reply[1]) results[number - 1] = 'lost';
    return results;
  }

  async #settleByScript(
    settlements: readonly Settlement[],
    names: readonly string[],
  ): Promise<readonly SettleResult[]> {
    const now = this.#parts.clock.now();
    const args = settlements.flatMap((one, index) =>
      settlementArguments(one, names[index] as string, now, letterArguments),
    );
    const [results, woke, untilNext] = await this.#runSettle(this.#paused, args);
    if (woke === 1) this.look();
    else this.#planLook(untilNext);
    return results.map((one) => (one === 1 ? 'settled' : 'lost'));
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
      if (lost) this.#onHand.remove(token);
      else this.#onHand.extend(token, end);
      return lost ? 'lost' : 'settled';
    });
  }

  async pause(): Promise<void> {
    this.#paused = true;
    this.#nextLook.cancel();
    await this.#claiming;
    await this.#reader.stop();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.pause();
    this.#parts.bell.end();
    this.#parts.left(this);
    this.#onHand.clear();
    await leaveQuietly(this.#parts.scripts.run('forsake', [...this.#subject, this.name, 0, 1, '', '']));
  }

  #refuseClosed(): void {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the consumer has been closed');
  }

  async #claim(): Promise<void> {
    this.#nextLook.cancel();
    try {
      if (this.#answerLost) await this.#giveBackUnseen();
      const leaseEnd = this.#leaseEnd();
      this.#answerLost = true;
      const reply = (await this.#parts.scripts.run('claim', [
        ...this.#subject,
        this.name,
        Math.max(0, this.#room() - this.#reader.reserved),
        this.spec.leaseMs,
      ])) as ClaimReply | null;
      this.#answerLost = false;
      if (reply === null || reply[4] === 1) {
        await this.#parts.declareAgain();
        this.#planLook(RETRY_MS);
      }
      if (reply !== null) await this.#takeClaimed(reply, leaseEnd);
    } catch {
      // Out of reach, or being started: the next look is soon, and what was lent meanwhile is given back by it.
      this.#planLook(RETRY_MS);
    }
  }

  async #takeClaimed(reply: ClaimReply, leaseEnd: number): Promise<void> {
    const [given, ended, untilNext, drained, , bells, plain, generation, routing, bindings, endings] = reply;
    for (const [consumer, token] of ended) this.#parts.leaseEnded(consumer, token);
    this.#plain = plain === 1;
    this.#generation = generation;
    this.#learnEndings(endings);
    this.#wanted = wantedOf(routing, bindings);
    const deliveries = deliveriesOfLent(given);
    if (this.#paused) return this.#giveBackAll(deliveries.map(({ token }) => token as string));
    this.#drained = drained === 1;
    this.#planLook(untilNext);
    for (const { token } of deliveries) this.#onHand.addLent(token as string, leaseEnd);
    this.#handOut(deliveries);
    if (this.#plain) {
      // What is due has no room because a read that blocks has reserved it.
      if (!this.#drained && this.#reader.reserved > 0 && this.#room() <= this.#reader.reserved)
        this.#reader.release().catch(() => {});
    } else if (this.#drained) void this.#listen(bells);
    else if (this.#room() > 0) this.#claimWanted = true;
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

  #readFailed(): void {
    this.#answerLost = true;
    this.#planLook(RETRY_MS);
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
    if (wanted.length > 0) this.#receive(wanted);
  }

  async #drop(deliveries: readonly Delivery[]): Promise<void> {
    const args = deliveries.flatMap((one) => [
      isExpired(one, this.#parts.clock) ? 'x' : 'a',
      this.#onHand.nameOf(one.token),
    ]);
    try {
      await this.#runSettle(false, args);
    } catch {
      // Still pending: the next claim gives back what is not on hand.
      this.#answerLost = true;
      this.#planLook(RETRY_MS);
    }
    for (const { token } of deliveries) this.#onHand.remove(token);
    this.#parts.settled(this.spec.channel);
    this.#pump();
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
  }

  /** Waits for an entry after those the group has seen. */
  async #listen(bells: ClaimReply[5]): Promise<void> {
    if (this.#listening || bells.length === 0 || this.#closing) return;
    this.#listening = true;
    try {
      await this.#parts.bell.send([
        'XREAD',
        'COUNT',
        '1',
        'BLOCK',
        String(LOOK_MS),
        'STREAMS',
        ...bells.map(([stream]) => stream),
        ...bells.map(([, id]) => id),
      ]);
      this.#listening = false;
      if (!this.#closing) this.look();
    } catch {
      this.#listening = false;
      this.#planLook(RETRY_MS);
    }
  }

  #planLook(ms: number): void {
    if (!this.#paused) this.#nextLook.plan(ms);
  }

  /** Whoever holds hand-outs beyond their lease without asking is not stopped for ever by those that others took. */
  #room(): number {
    const { prefetch } = this.spec;
    if (this.#onHand.size >= prefetch) this.#onHand.removeEnded(this.#parts.clock.monotonic());
    return Math.max(0, prefetch - this.#onHand.size);
  }

  #leaseEnd(): number {
    return leaseEndAfter(this.#parts.clock, this.spec.leaseMs);
  }
}

function letterArguments(letter: Letter): readonly (string | number)[] {
  const { id, reason, group, at, history, stateOnRedrive } = letter;
  return [id, reason, group, at, JSON.stringify(history), stateOnRedrive];
}

/** Of what this consumer read itself: scripts lend under texts. */
function isReadAck({ kind, token }: Settlement): boolean {
  return kind === 'ack' && typeof token === 'number';
}

/** Of what a script lends it has seen to this itself, by the server's clock. */
function isExpired({ token, message }: Delivery, clock: Clock): boolean {
  return typeof token === 'number' && hasExpired(message, clock.now());
}
