/**
 * One running subscription: takes deliveries, checks them, calls the handler with bounded concurrency, turns its outcome into a
 * settlement, keeps leases alive meanwhile and drains.
 *
 *   received -> buffered -> handled -> settling -> gone
 *      |           |           |          |-- out of reach: tried again while the lease is kept
 *      |           |           |          '-- refused for good: a retry becomes a dead letter that says so; anything else is
 *      |           |           |              given up, its lease ends and the message is handed out again
 *      |           |           '-- heartbeat every third of the lease
 *      |           '-- released when the bus stops
 *      '-- put off while it may be what kills its process (`quarantine.ts`)
 *
 * How settlements reach the engine is in `settling.ts`.
 */
import { describeError } from './errors.ts';
import {
  deadLetterSettlement,
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
import { Attempt, AttemptsOnHand } from './attempts-on-hand.ts';
import type { Publish } from './causation.ts';
import type { Channel } from './channel.ts';
import type { CancelTimer } from './clock.ts';
import { pause } from './clock.ts';
import type { Consumer, Delivery, EngineConnection, Settlement, SettleResult } from './engine.ts';
import { AttemptContext, type HandlerContext } from './handler-context.ts';
import { drawFraction, type Ids, type Randomness } from './ids.ts';
import type { Message } from './message.ts';
import { callHook } from './hook.ts';
import { checkedOutcome, checkedOutcomes, type Concluded } from './concluded.ts';
import { isPromise, type Outcome } from './outcome.ts';
import { Quarantine } from './quarantine.ts';
import { readMessage, type Reading } from './reading.ts';
import type { Binding } from './routing.ts';
import { Settler, type SettlingParts } from './settling.ts';
import type { ConsumingPlace } from './telemetry.ts';

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
  /** The same for one message, where there are no batches: the common way makes no lists of one. */
  readonly handleOne: ((message: Message, context: HandlerContext) => Outcome | Promise<Outcome>) | undefined;
  /** Publishes the reply of a request; undefined data means there is none. */
  readonly sendReply: (request: Message, data: unknown) => Promise<void>;
  readonly publish: Publish;
}

export interface SubscriptionParts extends SettlingParts {
  readonly ids: Ids;
}

/** Of one subscription of this process, since it was made. */
export interface HandlingCounts {
  /** Handlers at work now. */
  readonly handling: number;
  readonly handled: number;
  /** Attempts that failed. A message that is given up without one (it cannot be read, has none left, asks for a wait that the engine refuses) counts once, too. */
  readonly failed: number;
  /** Settled too late or not at all: the message is handed out again. */
  readonly lost: number;
}

/** Settlements get so long when handlers used up the drain time. */
const LEAST_SETTLE_MS = 1_000;
const SUSPECT_PUT_OFF_MS = 250;
/** The buffer may never run empty; so many places in front are given up at once. */
const TAKEN_PLACES = 256;

export class RunningSubscription {
  readonly settings: SubscriptionSettings;
  readonly #parts: SubscriptionParts;
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #place: ConsumingPlace;
  #consumer: Consumer | undefined;
  readonly #held = new AttemptsOnHand();
  /** Those that no handler has yet, from `#next` on; one whose lease was lost meanwhile is passed over. */
  #buffer: (Attempt | undefined)[] = [];
  #next = 0;
  readonly #settling: Settler;
  readonly #quarantine: Quarantine;
  #left = false;
  #handling = 0;
  #handled = 0;
  #failed = 0;
  #lost = 0;
  #stopping = false;
  #stopped: Promise<void> | undefined;
  #idle: (() => void) | undefined;
  #cancelHeartbeat: CancelTimer = () => {};

  constructor(settings: SubscriptionSettings, parts: SubscriptionParts) {
    this.settings = settings;
    this.#parts = parts;
    this.#place = { channel: settings.channel.name, subscription: settings.name };
    this.#fields = { ...this.#place };
    this.#settling = new Settler(this.#place, parts, {
      settled: (attempt, result) => this.#settled(attempt, result),
      refused: (...refusal) => this.#settlementRefused(...refusal),
    });
    this.#quarantine = new Quarantine(settings.retries.abandoned, settings.prefetch);
  }

  async start(connection: EngineConnection): Promise<void> {
    const { channel, name, prefetch, leaseMs } = this.settings;
    const consumer = await connection.subscribe(
      { channel: channel.name, subscription: name, prefetch, leaseMs },
      (deliveries) => this.#receive(deliveries),
    );
    // Stopped while the engine was asked: nobody else would close it, and nobody has paused it.
    if (this.#stopping) return consumer.close();
    this.#consumer = consumer;
    this.#beat();
    // Deliveries may have come before the consumer was known here.
    this.#pump();
    this.#settling.begin(consumer);
  }

  counts(): HandlingCounts {
    return { handling: this.#handling, handled: this.#handled, failed: this.#failed, lost: this.#lost };
  }

  /**
   * Takes nothing new, gives back what no handler has, waits `drainMs` for the handlers, then leaves. All of it, also where the engine refuses a part: it then
   * rejects with the first refusal, and nothing of this subscription lives on.
   */
  stop(drainMs: number): Promise<void> {
    this.#stopped ??= this.#stop(drainMs);
    return this.#stopped;
  }

  async #stop(drainMs: number): Promise<void> {
    this.#stopping = true;
    const [paused] = await Promise.allSettled([this.#consumer?.pause()]);
    for (let attempt = this.#take(); attempt; attempt = this.#take()) this.#release(attempt);
    const end = this.#parts.clock.monotonic() + drainMs;
    if (this.#handling > 0) await this.#drained(drainMs);
    await this.#settling.allWithin(Math.max(LEAST_SETTLE_MS, end - this.#parts.clock.monotonic()));
    this.#left = true;
    this.#cancelHeartbeat();
    await this.#consumer?.close();
    if (paused?.status === 'rejected') throw paused.reason;
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
    this.#settling.giveUp();
    for (const { abort } of this.#held.all()) abort?.abort(new Error('the bus is stopping'));
  }

  #receive(deliveries: readonly Delivery[]): void {
    if (this.#next >= TAKEN_PLACES) {
      this.#buffer.splice(0, this.#next);
      this.#next = 0;
    }
    for (const delivery of deliveries) {
      const attempt = new Attempt(delivery, NEVER_TRIED);
      this.#held.add(attempt);
      if (this.#stopping) this.#release(attempt);
      else if (isSuspect(delivery)) this.#quarantined(attempt);
      else this.#buffer.push(attempt);
    }
    this.#pump();
  }

  /** Those that are not let in are put off, and that is durable before one is handled. */
  #quarantined(attempt: Attempt): void {
    const { delivery } = attempt;
    const now = this.#parts.clock.now();
    const { state, fault } = readAttempts(delivery, now);
    // No handler will see it.
    if (fault !== undefined) return void this.#buffer.push(attempt);
    attempt.state = state;
    if (!this.#quarantine.letIn(attempt)) return this.#retryAt(attempt, now + SUSPECT_PUT_OFF_MS);
    void this.#settling.soFar().then(() => {
      if (this.#stopping) return this.#release(attempt);
      this.#buffer.splice(this.#next, 0, attempt);
      this.#pump();
    });
  }

  /** The next one that waits; undefined when there is none. */
  #take(): Attempt | undefined {
    while (this.#next < this.#buffer.length) {
      const attempt = this.#buffer[this.#next];
      // The place is given up by itself; taking each from the front would move the rest.
      this.#buffer[this.#next++] = undefined;
      if (attempt?.isOnHand) return attempt;
    }
    this.#buffer.length = 0;
    this.#next = 0;
    return undefined;
  }

  /** Nothing here waits for a promise that nobody made: with a synchronous contract and handler a message passes within one call. */
  #pump(): void {
    while (!this.#stopping && this.#consumer && this.#handling < this.settings.concurrency) {
      const attempt = this.#take();
      if (!attempt) return;
      this.#handling += 1;
      const working = this.#work(attempt);
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

  #work(first: Attempt): Promise<void> | undefined {
    if (!this.settings.batched) {
      const prepared = this.#prepare(first);
      if (prepared instanceof Promise) return prepared.then((worth) => this.#attemptOne(worth, first));
      return this.#attemptOne(prepared, first);
    }
    const batch = [first];
    for (let one = this.#nextOfBatch(batch); one; one = this.#nextOfBatch(batch)) batch.push(one);
    return this.#workBatch(batch);
  }

  #nextOfBatch(batch: readonly Attempt[]): Attempt | undefined {
    return batch.length < this.settings.batchMax ? this.#take() : undefined;
  }

  #workBatch(batch: readonly Attempt[]): Promise<void> | undefined {
    const attempts: Attempt[] = [];
    let waiting: Promise<void> | undefined;
    for (const attempt of batch) {
      const prepared: boolean | Promise<boolean> = waiting
        ? waiting.then(() => this.#prepare(attempt))
        : this.#prepare(attempt);
      if (prepared instanceof Promise)
        waiting = prepared.then((worth) => void (worth && attempts.push(attempt)));
      else if (prepared) attempts.push(attempt);
    }
    return waiting ? waiting.then(() => this.#attemptAll(attempts)) : this.#attemptAll(attempts);
  }

  #attemptOne(worth: boolean, attempt: Attempt): Promise<void> | undefined {
    if (!worth) return undefined;
    const { handleOne, publish } = this.settings;
    if (!handleOne || this.#parts.telemetry) return this.#attemptAll([attempt]);
    let outcome: Outcome | Promise<Outcome>;
    try {
      outcome = handleOne(attempt.message as Message, new AttemptContext(attempt, publish));
    } catch (error) {
      return this.#concludeOne(attempt, { kind: 'threw', reason: describeError(error) });
    }
    if (!isPromise(outcome)) return this.#concludeOne(attempt, checkedOutcome(outcome));
    return Promise.resolve(outcome)
      .then(checkedOutcome, (error: unknown) => ({ kind: 'threw' as const, reason: describeError(error) }))
      .then((concluded) => this.#concludeOne(attempt, concluded));
  }

  #concludeOne(attempt: Attempt, outcome: Concluded): Promise<void> | undefined {
    const wantsMore = this.#conclude(attempt, outcome);
    if (wantsMore === false) return undefined;
    if (wantsMore === true) return this.#oneByOne([attempt]);
    return wantsMore.then((more) => (more ? this.#oneByOne([attempt]) : undefined));
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

  /** Reads the message: true when it is worth handling; the others are settled here as dead letters. */
  #prepare(attempt: Attempt): boolean | Promise<boolean> {
    const { delivery } = attempt;
    if (!isUntried(delivery)) {
      const { state, fault } = readAttempts(delivery, this.#parts.clock.now());
      attempt.state = state;
      if (fault !== undefined) return this.#refuseUnread(attempt, 'malformed', fault);
    }
    const received = delivery.message;
    if (!received) return this.#refuseUnread(attempt, 'malformed', delivery.malformed ?? 'malformed');
    if (isExhausted(this.settings.retries, attempt.state))
      return this.#refuse(attempt, attempt.state.history.at(-1)?.reason ?? 'no attempts left');
    const reading = readMessage(this.settings.channel, received);
    if (reading instanceof Promise) return reading.then((read) => this.#taken(attempt, read));
    return this.#taken(attempt, reading);
  }

  #taken(attempt: Attempt, read: Reading): boolean {
    if ('fault' in read)
      return this.#refuseUnread(attempt, 'invalid', read.fault, `does not fit its contract: ${read.fault}`);
    attempt.message = read.message;
    return true;
  }

  #refuseUnread(attempt: Attempt, kind: 'malformed' | 'invalid', fault: string, reason = fault): false {
    attempt.state = recordFailure(attempt.state, kind, fault, this.#parts.clock.now());
    return this.#refuse(attempt, reason);
  }

  #refuse(attempt: Attempt, reason: string): false {
    this.#failed += 1;
    this.#park(attempt, reason);
    return false;
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
    const messages = attempts.map((one) => one.message as Message);
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
    const { clock } = this.#parts;
    switch (outcome.kind) {
      case 'ack':
        if (outcome.reply === undefined) return this.#acked(attempt);
        return this.#reply(attempt.message as Message, outcome.reply).then((failure) =>
          failure === undefined ? this.#acked(attempt) : this.#fail(attempt, 'threw', failure, undefined),
        );
      case 'snooze':
        this.#retryAt(attempt, clock.now() + outcome.delayMs);
        return false;
      case 'deadLetter':
        this.#failed += 1;
        attempt.state = recordFailure(attempt.state, 'deadLetter', outcome.reason, clock.now());
        this.#park(attempt, outcome.reason);
        return false;
      case 'retry':
        return this.#fail(attempt, 'retry', outcome.reason, outcome.delayMs);
      case 'threw':
        return this.#fail(attempt, 'threw', outcome.reason, undefined);
    }
  }

  #acked(attempt: Attempt): false {
    this.#handled += 1;
    this.#settling.add(attempt, { kind: 'ack', token: attempt.delivery.token });
    return false;
  }

  #release(attempt: Attempt): void {
    this.#settling.add(attempt, { kind: 'release', token: attempt.delivery.token });
  }

  #retryAt(attempt: Attempt, dueAt: number): void {
    this.#settling.add(attempt, retrySettlement(attempt.delivery, attempt.state, dueAt));
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
      { ...this.#fields, messageId: attempt.message?.id, attempt: attempt.state.attempts, reason },
      'a message failed',
    );
    const { retries, randomness } = this.settings;
    const next = nextAttempt(retries, attempt.state, delayMs, () => drawFraction(randomness));
    if (next !== 'never') this.#tell(attempt.message, 'retry', kind, reason);
    if (next === 'now') {
      if (!this.#stopping && attempt.isOnHand) return true;
      this.#retryAt(attempt, now);
    } else if (next === 'never') this.#park(attempt, reason);
    else this.#retryAt(attempt, now + next.afterMs);
    return false;
  }

  #park(attempt: Attempt, reason: string): void {
    const { delivery, state } = attempt;
    this.#parts.log.error(
      { ...this.#fields, messageId: delivery.message?.id, reason },
      'a message became a dead letter',
    );
    this.#tell(delivery.message, 'deadLetter', state.history.at(-1)?.kind ?? 'deadLetter', reason);
    this.#settling.add(
      attempt,
      deadLetterSettlement(delivery, state, this.#parts.ids.next(), reason, this.#parts.clock.now()),
    );
  }

  #tell(message: Message | undefined, outcome: 'retry' | 'deadLetter', kind: string, reason: string): void {
    const { telemetry, log } = this.#parts;
    if (!telemetry) return;
    // What it throws would leave the message without a settlement and its place taken for ever.
    callHook(
      () => telemetry.failed({ ...this.#place, message, outcome, kind, reason }),
      (error) => log.warn({ ...this.#fields, error: describeError(error) }, 'telemetry threw'),
    );
  }

  #settled(attempt: Attempt, result: SettleResult): void {
    this.#forget(attempt);
    if (result !== 'lost') return;
    this.#lost += 1;
    this.#parts.log.warn(
      this.#fields,
      'a settlement came after its lease had ended: the message is handled again',
    );
  }

  /**
   * Kept on hand its lease would be extended for ever and its place never come free. A wait that the engine does not have can still be told to a person; for
   * the others there is no better place than the engine's own: the lease ends, and who hands it out again counts it.
   */
  #settlementRefused(attempt: Attempt, { kind }: Settlement, reason: string, ended: boolean): void {
    if (kind === 'retry' && !ended) {
      const now = this.#parts.clock.now();
      if (!hasFailed(attempt, now)) this.#failed += 1;
      const detail = `the engine refused to hand it out again later: ${reason}`;
      attempt.state = recordFailure(attempt.state, 'deadLetter', detail, now);
      return this.#park(attempt, detail);
    }
    this.#forget(attempt);
    this.#lost += 1;
    this.#parts.log.error(
      { ...this.#fields, messageId: attempt.delivery.message?.id, settlement: kind, reason },
      'a settlement was refused for good: the message is handed out again when its lease has ended',
    );
  }

  #forget(attempt: Attempt): void {
    this.#held.remove(attempt);
    this.#quarantine.letOut(attempt);
  }

  #beat(): void {
    this.#cancelHeartbeat = this.#parts.clock.setTimer(this.settings.leaseMs / 3, () => {
      void this.#extend().finally(() => {
        if (!this.#left) this.#beat();
      });
    });
  }

  async #extend(): Promise<void> {
    const attempts = this.#held.all();
    if (attempts.length === 0) return;
    try {
      const results = await this.#consumer?.extend(attempts.map(({ delivery }) => delivery.token));
      attempts.forEach((attempt, index) => {
        if (results?.[index] === 'lost') this.#loseLease(attempt);
      });
    } catch (error) {
      this.#parts.log.warn({ ...this.#fields, error: describeError(error) }, 'extending leases failed');
    }
  }

  #loseLease(attempt: Attempt): void {
    this.#forget(attempt);
    attempt.abort?.abort(new Error('the lease was lost'));
  }
}

/** Whether an attempt of this hand-out failed, and was counted. */
function hasFailed({ delivery, state }: Attempt, now: number): boolean {
  return state.attempts > readAttempts(delivery, now).state.attempts;
}
