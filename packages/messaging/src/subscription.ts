/**
 * One running subscription: takes deliveries, checks them, calls the handler with bounded concurrency, turns its outcome into a
 * settlement, keeps leases alive meanwhile and drains.
 *
 *   received -> buffered -> handled -> settling -> gone
 *                  |           |          '-- rejected: tried again while the lease lives
 *                  |           '-- heartbeat every third of the lease
 *                  '-- released when the bus stops
 */
import {
  type AttemptState,
  deadLetterSettlement,
  describeError,
  isExhausted,
  isSuspect,
  isUntried,
  NEVER_TRIED,
  nextAttempt,
  readAttempts,
  recordFailure,
  retrySettlement,
  type RetryPolicy,
} from './attempts.ts';
import { type Publish, publishCausedBy } from './causation.ts';
import type { Channel } from './channel.ts';
import type { CancelTimer, Clock } from './clock.ts';
import { pause } from './clock.ts';
import type {
  Consumer,
  Delivery,
  DeliveryToken,
  EngineConnection,
  Settlement,
  SettleResult,
} from './engine.ts';
import { drawFraction, type Ids, type Randomness } from './ids.ts';
import type { Log } from './log.ts';
import type { Message } from './message.ts';
import { isPromise, type Outcome } from './outcome.ts';
import { readMessage, type Reading } from './reading.ts';
import type { Binding } from './routing.ts';
import type { BusTelemetry, ConsumingPlace } from './telemetry.ts';

/** What a handler may know about the attempt it is part of. */
export interface HandlerContext {
  /** 1 for the first. */
  readonly attempt: number;
  /** Aborted when the lease was lost (another will handle the message) or the drain time is over. */
  readonly signal: AbortSignal;
  /** Set when a person redrove this message. */
  readonly redrive: { readonly deadLetterId: string; readonly count: number } | undefined;
  /** `bus.publish` for what this message causes: it gets the same correlation id and this message's id as its `causationId`. May be taken out of the context. */
  readonly publish: Publish;
}

export interface SubscriptionSettings {
  readonly channel: Channel;
  readonly name: string;
  readonly concurrency: number;
  readonly prefetch: number;
  readonly leaseMs: number;
  readonly retries: Required<RetryPolicy>;
  readonly bindings: readonly Binding[] | undefined;
  readonly randomness: Randomness;
  /** Messages per call; 1 without batches. */
  readonly batchMax: number;
  readonly batched: boolean;
  readonly handle: (
    messages: readonly Message[],
    contexts: readonly HandlerContext[],
  ) => readonly Outcome[] | Promise<readonly Outcome[]>;
  /** Publishes the reply of a request; undefined data means there is none. */
  readonly sendReply: (request: Message, data: unknown) => Promise<void>;
  readonly publish: Publish;
}

export interface SubscriptionParts {
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Log;
  readonly telemetry: BusTelemetry | undefined;
}

interface Attempt {
  readonly delivery: Delivery;
  readonly message: Message;
  state: AttemptState;
  abort: AbortController | undefined;
}

export interface SubscriptionCounts {
  readonly handling: number;
  readonly handled: number;
  readonly failed: number;
  readonly lost: number;
}

/** What became of one attempt. */
type Concluded = Outcome | { readonly kind: 'threw'; readonly reason: string };

const SETTLE_RETRY_MS = 500;
/** Settlements get so long when handlers used up the drain time. */
const LEAST_SETTLE_MS = 1_000;
const SUSPECT_PUT_OFF_MS = 250;

export class RunningSubscription {
  readonly settings: SubscriptionSettings;
  readonly #parts: SubscriptionParts;
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #place: ConsumingPlace;
  #consumer: Consumer | undefined;
  readonly #buffer: Delivery[] = [];
  /** Everything received and not known to be settled: what the heartbeat keeps. */
  readonly #held = new Map<DeliveryToken, Attempt | undefined>();
  #settlements: Settlement[] = [];
  #settlePlanned = false;
  readonly #settling = new Set<Promise<void>>();
  #left = false;
  /** Messages on hand that may be what kills their process. */
  readonly #suspects = new Set<DeliveryToken>();
  /** How many suspects may be in at once. */
  #company = 1;
  #isLastIn = false;
  #handling = 0;
  #handled = 0;
  #failed = 0;
  #lost = 0;
  #stopping = false;
  #abandonedDrain = false;
  #idle: (() => void) | undefined;
  #cancelHeartbeat: CancelTimer = () => {};

  constructor(settings: SubscriptionSettings, parts: SubscriptionParts) {
    this.settings = settings;
    this.#parts = parts;
    this.#place = { channel: settings.channel.name, subscription: settings.name };
    this.#fields = { ...this.#place };
  }

  async start(connection: EngineConnection): Promise<void> {
    const { channel, name, prefetch, leaseMs } = this.settings;
    this.#consumer = await connection.subscribe(
      { channel: channel.name, subscription: name, prefetch, leaseMs },
      (deliveries) => this.#receive(deliveries),
    );
    this.#beat();
    // Deliveries may have come before the consumer was known here.
    this.#pump();
    this.#planSettle();
  }

  counts(): SubscriptionCounts {
    return { handling: this.#handling, handled: this.#handled, failed: this.#failed, lost: this.#lost };
  }

  /** Takes nothing new, gives back what no handler has, waits `drainMs` for the handlers, then leaves. */
  async stop(drainMs: number): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.#consumer?.pause();
    for (const delivery of this.#buffer.splice(0)) this.#settle({ kind: 'release', token: delivery.token });
    const end = this.#parts.clock.monotonic() + drainMs;
    if (this.#handling > 0) await this.#drained(drainMs);
    await this.#settledBy(Math.max(LEAST_SETTLE_MS, end - this.#parts.clock.monotonic()));
    this.#left = true;
    this.#cancelHeartbeat();
    await this.#consumer?.close();
  }

  async #drained(drainMs: number): Promise<void> {
    const idle = new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
    const over = new AbortController();
    const timeUp = pause(this.#parts.clock, drainMs, over.signal);
    await Promise.race([idle, timeUp]);
    over.abort();
    if (this.#handling === 0) return;
    this.#parts.log.warn(
      { ...this.#fields, handling: this.#handling },
      'handlers still ran when the drain time was over; their messages will be handed out again',
    );
    this.#abandonedDrain = true;
    for (const attempt of this.#held.values()) attempt?.abort?.abort(new Error('the bus is stopping'));
  }

  /** A server that stays away must not keep the process: what it did not take is handed out again. */
  async #settledBy(waitMs: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([this.#allSettled(), pause(this.#parts.clock, waitMs, over.signal)]);
    over.abort();
    if (this.#settling.size === 0) return;
    this.#abandonedDrain = true;
    this.#parts.log.warn(
      this.#fields,
      'not all settlements were taken in the drain time; their messages will be handed out again',
    );
  }

  #receive(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      this.#held.set(delivery.token, undefined);
      if (this.#stopping) this.#settle({ kind: 'release', token: delivery.token });
      else if (isSuspect(delivery)) this.#quarantine(delivery);
      else this.#buffer.push(delivery);
    }
    this.#pump();
  }

  /**
   * Suspects are let in a few at a time; the others are put off, and that is durable before one is handled. A bare one at a time would be safest and far too slow: a
   * process killed from outside leaves hundreds of innocents behind. So each that went well doubles how many may be in, a new
   * process begins at one again, and one that has a single life left is handled without any other: company costs nobody his last.
   */
  #quarantine(delivery: Delivery): void {
    const isLast = (delivery.abandoned ?? 0) >= this.settings.retries.abandoned - 1;
    const hasRoom = isLast ? this.#suspects.size === 0 : this.#suspects.size < this.#company;
    if (this.#isLastIn || !hasRoom) {
      const now = this.#parts.clock.now();
      return this.#settle(retrySettlement(delivery, readAttempts(delivery, now), now + SUSPECT_PUT_OFF_MS));
    }
    this.#suspects.add(delivery.token);
    this.#isLastIn = isLast;
    void this.#allSettled().then(() => {
      if (this.#stopping) return this.#settle({ kind: 'release', token: delivery.token });
      this.#buffer.unshift(delivery);
      this.#pump();
    });
  }

  #acquit(token: DeliveryToken): void {
    if (!this.#suspects.delete(token)) return;
    this.#isLastIn = false;
    this.#company = Math.min(this.#company * 2, this.settings.prefetch);
  }

  /** Nothing here waits for a promise that nobody made: with a synchronous contract and handler a message passes within one call. */
  #pump(): void {
    while (
      !this.#stopping &&
      this.#consumer &&
      this.#buffer.length > 0 &&
      this.#handling < this.settings.concurrency
    ) {
      this.#handling += 1;
      const working = this.#work(this.#buffer.splice(0, this.settings.batchMax));
      if (working)
        void working.finally(() => {
          this.#worked();
          this.#pump();
        });
      else this.#worked();
    }
  }

  #worked(): void {
    this.#handling -= 1;
    if (this.#handling === 0) this.#idle?.();
  }

  #work(deliveries: readonly Delivery[]): Promise<void> | undefined {
    const attempts: Attempt[] = [];
    let waiting: Promise<void> | undefined;
    for (const delivery of deliveries) {
      const prepared: Attempt | Promise<Attempt | undefined> | undefined = waiting
        ? waiting.then(() => this.#prepare(delivery))
        : this.#prepare(delivery);
      if (prepared instanceof Promise)
        waiting = prepared.then((attempt) => void (attempt && attempts.push(attempt)));
      else if (prepared) attempts.push(prepared);
    }
    return waiting ? waiting.then(() => this.#attemptAll(attempts)) : this.#attemptAll(attempts);
  }

  /** Immediate attempts of a batch go one by one, so that a good message is not tied to a bad one. */
  #attemptAll(attempts: readonly Attempt[]): Promise<void> | undefined {
    if (attempts.length === 0) return undefined;
    const again = this.#attempt(attempts);
    if (again instanceof Promise) return again.then((some) => this.#oneByOne(some));
    return again.length === 0 ? undefined : this.#oneByOne(again);
  }

  async #oneByOne(attempts: readonly Attempt[]): Promise<void> {
    for (const attempt of attempts) {
      let left: readonly Attempt[] = [attempt];
      while (left.length > 0) left = await this.#attempt(left);
    }
  }

  /** The message of a delivery that is worth handling; the others are settled here as dead letters. */
  #prepare(delivery: Delivery): Attempt | undefined | Promise<Attempt | undefined> {
    const state = isUntried(delivery) ? NEVER_TRIED : readAttempts(delivery, this.#parts.clock.now());
    const received = delivery.message;
    if (!received) return this.#refuseUnread(delivery, state, 'malformed', delivery.malformed ?? 'malformed');
    if (isExhausted(this.settings.retries, state))
      return this.#refuse(delivery, state, state.history.at(-1)?.reason ?? 'no attempts left');
    const reading = readMessage(this.settings.channel, received);
    if (reading instanceof Promise) return reading.then((read) => this.#taken(delivery, state, read));
    return this.#taken(delivery, state, reading);
  }

  #taken(delivery: Delivery, state: AttemptState, read: Reading): Attempt | undefined {
    if ('fault' in read)
      return this.#refuseUnread(
        delivery,
        state,
        'invalid',
        read.fault,
        `does not fit its contract: ${read.fault}`,
      );
    const attempt = { delivery, message: read.message, state, abort: undefined };
    this.#held.set(delivery.token, attempt);
    return attempt;
  }

  #refuseUnread(
    delivery: Delivery,
    state: AttemptState,
    kind: 'malformed' | 'invalid',
    fault: string,
    reason = fault,
  ): undefined {
    return this.#refuse(delivery, recordFailure(state, kind, fault, this.#parts.clock.now()), reason);
  }

  #refuse(delivery: Delivery, state: AttemptState, reason: string): undefined {
    this.#failed += 1;
    this.#park(delivery, state, reason);
    return undefined;
  }

  /** Calls the handler once and settles; returns what wants another attempt at once. */
  #attempt(attempts: readonly Attempt[]): readonly Attempt[] | Promise<readonly Attempt[]> {
    const outcomes = this.#call(attempts);
    if (outcomes instanceof Promise) return outcomes.then((some) => this.#concludeAll(attempts, some));
    return this.#concludeAll(attempts, outcomes);
  }

  #concludeAll(
    attempts: readonly Attempt[],
    outcomes: readonly Concluded[],
  ): readonly Attempt[] | Promise<readonly Attempt[]> {
    const again: Attempt[] = [];
    let waiting: Promise<void> | undefined;
    attempts.forEach((attempt, index) => {
      const wantsMore = this.#conclude(attempt, outcomes[index] as Concluded);
      if (wantsMore === true) again.push(attempt);
      else if (wantsMore instanceof Promise) {
        const concluded = wantsMore.then((more) => void (more && again.push(attempt)));
        waiting = waiting ? Promise.all([waiting, concluded]).then(() => {}) : concluded;
      }
    });
    return waiting ? waiting.then(() => again) : again;
  }

  #call(attempts: readonly Attempt[]): readonly Concluded[] | Promise<readonly Concluded[]> {
    const failed = (error: unknown): readonly Concluded[] => {
      const reason = describeError(error);
      return attempts.map(() => ({ kind: 'threw', reason }));
    };
    try {
      const outcomes = this.#handle(attempts);
      if (!isPromise(outcomes)) return checkedOutcomes(outcomes, attempts.length);
      return Promise.resolve(outcomes)
        .then((some) => checkedOutcomes(some, attempts.length))
        .catch(failed);
    } catch (error) {
      return failed(error);
    }
  }

  #handle(attempts: readonly Attempt[]): readonly Outcome[] | Promise<readonly Outcome[]> {
    const { settings } = this;
    const messages = attempts.map((one) => one.message);
    const contexts = attempts.map((one) => new AttemptContext(one, settings.publish));
    const { telemetry } = this.#parts;
    if (!telemetry) return settings.handle(messages, contexts);
    return telemetry.process(
      {
        ...this.#place,
        messages,
        attempts: contexts.map(({ attempt }) => attempt),
        batched: settings.batched,
      },
      () => settings.handle(messages, contexts),
    );
  }

  /** Turns one outcome into a settlement; true when the message wants another attempt at once. */
  #conclude(attempt: Attempt, outcome: Concluded): boolean | Promise<boolean> {
    const { delivery } = attempt;
    const { clock } = this.#parts;
    switch (outcome.kind) {
      case 'ack':
        if (outcome.reply === undefined) return this.#acked(delivery);
        return this.#reply(attempt.message, outcome.reply).then((failure) =>
          failure === undefined ? this.#acked(delivery) : this.#fail(attempt, 'threw', failure, undefined),
        );
      case 'snooze':
        this.#settle(retrySettlement(delivery, attempt.state, clock.now() + outcome.delayMs));
        return false;
      case 'deadLetter':
        this.#failed += 1;
        attempt.state = recordFailure(attempt.state, 'deadLetter', outcome.reason, clock.now());
        this.#park(delivery, attempt.state, outcome.reason);
        return false;
      case 'retry':
        return this.#fail(attempt, 'retry', outcome.reason, outcome.delayMs);
      case 'threw':
        return this.#fail(attempt, 'threw', outcome.reason, undefined);
    }
  }

  #acked({ token }: Delivery): false {
    this.#handled += 1;
    this.#settle({ kind: 'ack', token });
    return false;
  }

  async #reply(request: Message, data: unknown): Promise<string | undefined> {
    try {
      await this.settings.sendReply(request, data);
      return undefined;
    } catch (error) {
      return describeError(error);
    }
  }

  #fail(attempt: Attempt, kind: 'retry' | 'threw', reason: string, delayMs: number | undefined): boolean {
    this.#failed += 1;
    const now = this.#parts.clock.now();
    attempt.state = recordFailure(attempt.state, kind, reason, now);
    this.#parts.log.warn(
      { ...this.#fields, messageId: attempt.message.id, attempt: attempt.state.attempts, reason },
      'a message failed',
    );
    const { retries, randomness } = this.settings;
    const next = nextAttempt(retries, attempt.state, delayMs, () => drawFraction(randomness));
    if (next !== 'never') this.#tell(attempt.message, 'retry', kind, reason);
    if (next === 'now') {
      if (!this.#stopping && this.#held.has(attempt.delivery.token)) return true;
      this.#settle(retrySettlement(attempt.delivery, attempt.state, now));
    } else if (next === 'never') this.#park(attempt.delivery, attempt.state, reason);
    else this.#settle(retrySettlement(attempt.delivery, attempt.state, now + next.afterMs));
    return false;
  }

  #park(delivery: Delivery, state: AttemptState, reason: string): void {
    this.#parts.log.error(
      { ...this.#fields, messageId: delivery.message?.id, reason },
      'a message became a dead letter',
    );
    this.#tell(delivery.message, 'deadLetter', state.history.at(-1)?.kind ?? 'deadLetter', reason);
    this.#settle(
      deadLetterSettlement(delivery, state, this.#parts.ids.next(), reason, this.#parts.clock.now()),
    );
  }

  #tell(message: Message | undefined, outcome: 'retry' | 'deadLetter', kind: string, reason: string): void {
    this.#parts.telemetry?.failed({ ...this.#place, message, outcome, kind, reason });
  }

  #settle(settlement: Settlement): void {
    this.#settlements.push(settlement);
    this.#planSettle();
  }

  /** All settlements of one tick go together; the engine makes them one commit. */
  #planSettle(): void {
    if (this.#settlePlanned || !this.#consumer || this.#settlements.length === 0) return;
    this.#settlePlanned = true;
    queueMicrotask(() => {
      this.#settlePlanned = false;
      const batch = this.#settlements;
      this.#settlements = [];
      const sent = this.#sendBatch(batch);
      this.#settling.add(sent);
      void sent.finally(() => this.#settling.delete(sent));
    });
  }

  async #allSettled(): Promise<void> {
    await Promise.resolve();
    while (this.#settling.size > 0) await Promise.all(this.#settling);
  }

  async #sendBatch(batch: readonly Settlement[]): Promise<void> {
    const consumer = this.#consumer as Consumer;
    for (;;) {
      try {
        const results = await this.#settleAll(consumer, batch);
        batch.forEach(({ token }, index) => this.#settled(token, results[index] === 'lost'));
        return;
      } catch (error) {
        const retryable = (error as { retryable?: boolean }).retryable === true;
        this.#parts.log.error({ ...this.#fields, error: describeError(error), retryable }, 'settling failed');
        if (!retryable || this.#abandonedDrain) return;
        await pause(this.#parts.clock, SETTLE_RETRY_MS);
      }
    }
  }

  #settleAll(consumer: Consumer, settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const { telemetry } = this.#parts;
    if (!telemetry) return consumer.settle(settlements);
    const messages = settlements.map(({ token }) => this.#held.get(token)?.message);
    return telemetry.settle({ ...this.#place, settlements, messages }, () => consumer.settle(settlements));
  }

  #settled(token: DeliveryToken, lost: boolean): void {
    this.#forget(token);
    if (!lost) return;
    this.#lost += 1;
    this.#parts.log.warn(
      this.#fields,
      'a settlement came after its lease had ended: the message is handled again',
    );
  }

  #forget(token: DeliveryToken): void {
    this.#held.delete(token);
    this.#acquit(token);
  }

  #beat(): void {
    this.#cancelHeartbeat = this.#parts.clock.setTimer(this.settings.leaseMs / 3, () => {
      void this.#extend().finally(() => {
        if (!this.#left) this.#beat();
      });
    });
  }

  async #extend(): Promise<void> {
    const tokens = [...this.#held.keys()];
    if (tokens.length === 0) return;
    try {
      const results = await this.#consumer?.extend(tokens);
      tokens.forEach((token, index) => {
        if (results?.[index] === 'lost') this.#loseLease(token);
      });
    } catch (error) {
      this.#parts.log.warn({ ...this.#fields, error: describeError(error) }, 'extending leases failed');
    }
  }

  #loseLease(token: DeliveryToken): void {
    const attempt = this.#held.get(token);
    this.#forget(token);
    attempt?.abort?.abort(new Error('the lease was lost'));
    const buffered = this.#buffer.findIndex((delivery) => delivery.token === token);
    if (buffered >= 0) this.#buffer.splice(buffered, 1);
  }
}

/** What is seldom looked at, the signal and the publisher, is made when it is asked for. */
class AttemptContext implements HandlerContext {
  readonly attempt: number;
  readonly redrive: HandlerContext['redrive'];
  readonly #attempt: Attempt;
  readonly #publish: Publish;

  constructor(attempt: Attempt, publish: Publish) {
    const { redriveOf, redrives, attempts } = attempt.state;
    this.attempt = attempts + 1;
    this.redrive = redriveOf === undefined ? undefined : { deadLetterId: redriveOf, count: redrives };
    this.#attempt = attempt;
    this.#publish = publish;
  }

  get signal(): AbortSignal {
    this.#attempt.abort ??= new AbortController();
    return this.#attempt.abort.signal;
  }

  get publish(): Publish {
    return publishCausedBy(this.#attempt.message, this.#publish);
  }
}

/** One outcome for each message, or a TypeError: a handler that forgot some would lose them. */
function checkedOutcomes(outcomes: readonly Outcome[], expected: number): readonly Outcome[] {
  const list: readonly (Outcome | undefined)[] = Array.isArray(outcomes) ? outcomes : [];
  const given = list.filter((one) => one?.kind !== undefined).length;
  if (given !== expected || list.length !== expected)
    throw new TypeError(
      `the handler returned ${given} outcomes for ${expected} messages: it has to return ack(), retry(), snooze(), deadLetter() or reply(), one for each`,
    );
  return outcomes;
}
