/**
 * One consumer. Two ways lead to messages, and both ask for no more than there is room for:
 *
 *   a claim (script)   ends leases that are over, moves what is due, hands out what waits for a time or was given back, and on channels with keys or
 *                      priorities what is new. It comes first, is asked for by the bell, by the time the last one named, and at the latest each LOOK_MS.
 *   a read (command)   XREADGROUP on a connection of this consumer's own, for what is new on plain channels. It blocks when there is nothing. Two are
 *                      under way while there is a backlog, half of the room each, so that the server reads while the handlers work.
 *
 * On channels that are not plain the wait after a claim is a blocking XREAD that takes nothing. A claim that finds no room because a blocked
 * read has reserved it ends that read (CLIENT UNBLOCK).
 *
 * When an answer was lost with the connection, the server may have lent what never came here: before the next claim everything that
 * is not on hand is given back uncounted.
 */
import type { CancelTimer, Clock } from '../../clock.ts';
import type {
  Consumer,
  ConsumerSpec,
  Delivery,
  DeliveryToken,
  Settlement,
  SettleResult,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { RedisClient } from './client.ts';
import { deliveriesOfLent, deliveryOfEntry, isWanted, type Lent, type Wanted, wantedOf } from './incoming.ts';
import { type Entry, StreamReader } from './reader.ts';
import type { ScriptRunner } from './scripts.ts';

/** What the connection lends to its consumers. */
export interface ConsumerParts {
  readonly scripts: ScriptRunner;
  readonly client: RedisClient;
  readonly clock: Clock;
  /** A connection of this consumer's own, for the blocking read. */
  readonly bell: RedisClient;
  /** Makes again what somebody removed from the server. */
  readonly declareAgain: () => Promise<void>;
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
];

/** Looked at least this often: what nobody rings for (a process that died before it rang) is found by it. */
const LOOK_MS = 5_000;
const RETRY_MS = 200;
const RENEW_AFTER = 4_096;

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
  /** Tokens on hand, with the monotonic time at which their lease is surely over. */
  #held = new Map<string, number>();
  #released = 0;
  #claiming: Promise<void> | undefined;
  #claimWanted = true;
  /** As the last claim said: nothing is due, and on channels that are not plain nothing is new either. */
  #drained = false;
  /** As the last claim said; until then nothing is read. */
  #plain = false;
  #generation = '';
  #wanted: Wanted = { routing: 'fanout', bindings: [] };
  /** The server may have lent what never came here. */
  #answerLost = false;
  #listening = false;
  #paused = false;
  #closing: Promise<void> | undefined;
  #cancelWake: CancelTimer = () => {};
  #wakeAt = Number.POSITIVE_INFINITY;

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
      take: (entries) => this.#takeRead(entries),
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
    this.#held.delete(token);
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
    this.#renewHeld(settlements.length);
    const released = settlements.filter(({ token }) => this.#held.delete(token as string));
    try {
      const settling = settlements.every(isPlainAck)
        ? this.#acknowledge(settlements)
        : this.#settleByScript(settlements);
      if (this.#drained) this.#pump();
      else this.look();
      const results = await settling;
      this.#parts.settled(this.spec.channel);
      return results;
    } catch (error) {
      for (const { token } of released) this.#held.set(token as string, this.#leaseEnd());
      throw error;
    }
  }

  /**
   * A map that is written to without end leaves a chain of its former tables behind, and each garbage collection of young objects keeps all that
   * hangs on it. A new one now and then ends the chain.
   */
  #renewHeld(released: number): void {
    this.#released += released;
    if (this.#released < RENEW_AFTER) return;
    this.#released = 0;
    this.#held = new Map(this.#held);
  }

  async #acknowledge(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const args = [...this.#acknowledging, this.#generation];
    for (const { token } of settlements) args.push(token as string);
    const lost = (await this.#parts.scripts.runPlain('acknowledge', args)) as readonly number[];
    const results = settlements.map((): SettleResult => 'settled');
    for (const number of lost) results[number - 1] = 'lost';
    return results;
  }

  async #settleByScript(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const args = settlements.flatMap((one) => argumentsOf(one, this.#parts.clock.now()));
    const [results, woke, untilNext] = await this.#runSettle(this.#paused, args);
    if (woke === 1) this.look();
    else this.#planLook(untilNext);
    return results.map((one) => (one === 1 ? 'settled' : 'lost'));
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
      ...tokens,
    ])) as readonly number[];
    return tokens.map((token, index) => {
      const lost = results[index] !== 1;
      if (lost) this.#held.delete(token as string);
      else if (this.#held.has(token as string)) this.#held.set(token as string, end);
      return lost ? 'lost' : 'settled';
    });
  }

  async pause(): Promise<void> {
    this.#paused = true;
    this.#cancelWake();
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
    this.#held.clear();
    try {
      await this.#parts.scripts.run('forsake', [...this.#subject, this.name, 0, 1, '', '']);
    } catch (error) {
      // Out of reach: then what it held comes back when its leases end or this instance is found gone. Leaving must not fail for that.
      if (!(error instanceof MessagingError && error.retryable)) throw error;
    }
  }

  #refuseClosed(): void {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the consumer has been closed');
  }

  async #claim(): Promise<void> {
    this.#cancelWake();
    this.#wakeAt = Number.POSITIVE_INFINITY;
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
    const [given, ended, untilNext, drained, , bells, plain, generation, routing, bindings] = reply;
    for (const [consumer, token] of ended) this.#parts.leaseEnded(consumer, token);
    this.#plain = plain === 1;
    this.#generation = generation;
    this.#wanted = wantedOf(routing, bindings);
    const deliveries = deliveriesOfLent(given);
    if (this.#paused) return this.#giveBackAll(deliveries);
    this.#drained = drained === 1;
    this.#planLook(untilNext);
    this.#handOut(deliveries, leaseEnd);
    if (this.#plain) {
      // What is due has no room because a read that blocks has reserved it.
      if (!this.#drained && this.#reader.reserved > 0 && this.#room() <= this.#reader.reserved)
        this.#reader.release().catch(() => {});
    } else if (this.#drained) void this.#listen(bells);
    else if (this.#room() > 0) this.#claimWanted = true;
  }

  #takeRead(entries: readonly Entry[]): void {
    if (entries.length > 0) {
      const deliveries = entries.map(deliveryOfEntry);
      if (this.#paused) void this.#giveBackAll(deliveries).catch(() => {});
      else {
        this.#planLook(this.spec.leaseMs);
        this.#handOut(deliveries, this.#leaseEnd());
      }
    }
    this.#pump();
  }

  #readFailed(): void {
    this.#answerLost = true;
    this.#planLook(RETRY_MS);
  }

  /** What this subscription does not want, or what has expired, is settled here and never seen above. */
  #handOut(deliveries: readonly Delivery[], leaseEnd: number): void {
    const wanted: Delivery[] = [];
    const dropped: string[] = [];
    for (const one of deliveries) {
      const token = one.token as string;
      this.#held.set(token, leaseEnd);
      if (isExpired(one, this.#parts.clock)) dropped.push('x', token);
      else if (isWanted(one, this.#wanted)) wanted.push(one);
      else dropped.push('a', token);
    }
    if (dropped.length > 0) void this.#drop(dropped);
    if (wanted.length > 0) this.#receive(wanted);
  }

  async #drop(args: readonly string[]): Promise<void> {
    try {
      await this.#runSettle(false, args);
    } catch {
      // Still pending: the next claim gives back what is not on hand.
      this.#answerLost = true;
      this.#planLook(RETRY_MS);
    }
    for (let index = 1; index < args.length; index += 2) this.#held.delete(args[index] as string);
    this.#parts.settled(this.spec.channel);
    this.#pump();
  }

  async #giveBackAll(deliveries: readonly Delivery[]): Promise<void> {
    if (deliveries.length === 0) return;
    await this.#runSettle(
      true,
      deliveries.flatMap(({ token }) => ['l', token]),
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
      ...this.#held.keys(),
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
    if (this.#paused) return;
    const wait = ms < 0 ? LOOK_MS : Math.min(ms, LOOK_MS);
    const at = this.#parts.clock.monotonic() + wait;
    if (at >= this.#wakeAt) return;
    this.#cancelWake();
    this.#wakeAt = at;
    this.#cancelWake = this.#parts.clock.setTimer(wait, () => {
      this.#wakeAt = Number.POSITIVE_INFINITY;
      this.look();
    });
  }

  /** Whoever holds hand-outs beyond their lease without asking is not stopped for ever by those that others took. */
  #room(): number {
    const now = this.#parts.clock.monotonic();
    if (this.#held.size >= this.spec.prefetch)
      for (const [token, end] of this.#held) if (end < now) this.#held.delete(token);
    return Math.max(0, this.spec.prefetch - this.#held.size);
  }

  #leaseEnd(): number {
    return this.#parts.clock.monotonic() + 2 * this.spec.leaseMs;
  }
}

function argumentsOf(settlement: Settlement, now: number): readonly (string | number)[] {
  const { token } = settlement;
  switch (settlement.kind) {
    case 'ack':
      return ['a', token];
    case 'release':
      return ['l', token];
    case 'retry':
      return ['r', token, settlement.dueAt - now, settlement.state];
    case 'deadLetter': {
      const { id, reason, group, at, history, stateOnRedrive } = settlement.letter;
      return ['d', token, id, reason, group, at, JSON.stringify(history), stateOnRedrive];
    }
  }
}

/** Only a first hand-out on a plain channel has the id of its entry as its token. */
function isPlainAck({ kind, token }: Settlement): boolean {
  return kind === 'ack' && !(token as string).includes('|');
}

/** Of what a script lends it has seen to this itself, by the server's clock. */
function isExpired({ token, message }: Delivery, clock: Clock): boolean {
  return (
    message?.expiresAt !== undefined &&
    !(token as string).includes('|') &&
    Date.parse(message.expiresAt) <= clock.now()
  );
}
