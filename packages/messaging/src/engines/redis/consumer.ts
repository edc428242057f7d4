/**
 * One consumer: claims what there is while it has room, and when there is nothing more it waits on its streams with a blocking read.
 *
 *   claiming --full--> waits for a settlement
 *      ^  '--drained--> waits for: an entry (XREAD BLOCK, also a stranger's), the bell (something was given back or falls due earlier),
 *      |                the time the script named, at the latest LOOK_MS
 *      '------------------------'
 *
 * One claim is under way at a time. When its answer was lost with the connection, the server may have lent what never came here: before the
 * next claim everything that is not on hand is given back uncounted.
 */
import type { CancelTimer, Clock } from '../../clock.ts';
import { decodeCloudEvent } from '../../cloud-event.ts';
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
import type { ScriptRunner } from './scripts.ts';

/** What the connection lends to its consumers. */
export interface ConsumerParts {
  readonly scripts: ScriptRunner;
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
  /** Token, event, state or null, abandoned: four of each. */
  given: readonly (string | number | null)[],
  ended: readonly (readonly [consumer: string, token: string])[],
  untilNext: number,
  drained: number,
  broken: number,
  bells: readonly (readonly [stream: string, id: string])[],
];

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
  /** Tokens on hand, with the monotonic time at which their lease is surely over. */
  readonly #held = new Map<string, number>();
  #claiming: Promise<void> | undefined;
  #again = false;
  #drained = false;
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
    this.#subject = [spec.channel, encodeURIComponent(spec.subscription), spec.subscription];
  }

  /** Looks for messages, unless it is looking: then once more after that. */
  look(): void {
    if (this.#paused) return;
    if (this.#claiming) {
      this.#again = true;
      return;
    }
    this.#claiming = this.#claim().finally(() => {
      this.#claiming = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.look();
    });
  }

  /** The lease of one of this consumer's hand-outs was ended by somebody's claim. */
  forgetToken(token: string): void {
    this.#held.delete(token);
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    this.#refuseClosed();
    const args = settlements.flatMap((one) => argumentsOf(one, this.#parts.clock.now()));
    // The room is free from here on: what is claimed next is decided after this on the same connection.
    const ends = settlements.map(({ token }) => this.#held.get(token as string));
    for (const { token } of settlements) this.#held.delete(token as string);
    try {
      const running = this.#parts.scripts.run('settle', [...this.#subject, this.#paused ? 1 : 0, ...args]);
      if (!this.#drained) this.look();
      const [results, woke, untilNext] = (await running) as [readonly number[], number, number];
      this.#parts.settled(this.spec.channel);
      if (woke === 1) this.look();
      else this.#planLook(untilNext);
      return results.map((one) => (one === 1 ? 'settled' : 'lost'));
    } catch (error) {
      settlements.forEach(({ token }, index) => {
        const end = ends[index];
        if (end !== undefined) this.#held.set(token as string, end);
      });
      throw error;
    }
  }

  async extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]> {
    this.#refuseClosed();
    const end = this.#leaseEnd();
    const results = (await this.#parts.scripts.run('extend', [
      ...this.#subject,
      this.spec.leaseMs,
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
      this.#answerLost = true;
      const room = this.#room();
      const leaseEnd = this.#leaseEnd();
      const reply = (await this.#parts.scripts.run('claim', [
        ...this.#subject,
        this.name,
        room,
        this.spec.leaseMs,
      ])) as ClaimReply | null;
      this.#answerLost = false;
      if (reply === null || reply[4] === 1) {
        await this.#parts.declareAgain();
        this.#planLook(RETRY_MS);
      }
      if (reply !== null) await this.#take(reply, leaseEnd);
    } catch {
      // Out of reach, or being started: the next look is soon, and what was lent meanwhile is given back by it.
      this.#planLook(RETRY_MS);
    }
  }

  async #take([given, ended, untilNext, drained, , bells]: ClaimReply, leaseEnd: number): Promise<void> {
    for (const [consumer, token] of ended) this.#parts.leaseEnded(consumer, token);
    if (this.#paused) return this.#giveBackAll(deliveriesOf(given).map(({ token }) => token));
    const deliveries = deliveriesOf(given);
    for (const { token } of deliveries) this.#held.set(token as string, leaseEnd);
    this.#drained = drained === 1;
    this.#planLook(untilNext);
    if (deliveries.length > 0) this.#receive(deliveries);
    if (this.#drained) void this.#listen(bells);
    else if (this.#room() > 0) this.#again = true;
  }

  async #giveBackAll(tokens: readonly DeliveryToken[]): Promise<void> {
    if (tokens.length === 0) return;
    await this.#parts.scripts.run('settle', [
      ...this.#subject,
      1,
      ...tokens.flatMap((token) => ['l', token]),
    ]);
  }

  async #giveBackUnseen(): Promise<void> {
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

function deliveriesOf(given: ClaimReply[0]): Delivery[] {
  const deliveries: Delivery[] = [];
  for (let index = 0; index + 3 < given.length; index += 4)
    deliveries.push(
      deliveryOf(
        given[index] as string,
        given[index + 1] as string,
        given[index + 2] as string | null,
        given[index + 3] as number,
      ),
    );
  return deliveries;
}

function deliveryOf(token: string, body: string, state: string | null, abandoned: number): Delivery {
  const common = { token, raw: body, state: state ?? undefined, abandoned };
  try {
    return { ...common, message: decodeCloudEvent(body) };
  } catch (error) {
    return { ...common, message: undefined, malformed: (error as Error).message };
  }
}
