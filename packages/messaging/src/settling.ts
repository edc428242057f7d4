/**
 * The settlements of one running subscription on their way to the engine: those of one tick go together, so that it can make them one commit.
 *
 *   added -> sent -> settled | lost
 *              |-- refused, trying again may help: sent again, until the drain time is over
 *              '-- refused for good: the batch goes one by one, so that only the one at fault is
 *                  'refused'; its owner parks it or gives it up, and never keeps its lease alive
 *
 * It knows no message and no outcome: what becomes of an attempt is its owner's, told by `SettlingOwner`.
 */
import { describeError } from './errors.ts';
import type { Attempt } from './attempts-on-hand.ts';
import { type Clock, pause } from './clock.ts';
import type { Consumer, Settlement, SettleResult } from './engine.ts';
import type { Log } from './log.ts';
import type { BusTelemetry, ConsumingPlace } from './telemetry.ts';

const RETRY_MS = 500;
/** After these no settlement of this connection will be taken. */
const ENDED: ReadonlySet<unknown> = new Set(['DB_MSG_STOPPED', 'DB_MSG_ENGINE_FAILED']);

/** Says of each attempt what became of its settlement, once. */
export interface SettlingOwner {
  settled(attempt: Attempt, result: SettleResult): void;
  /** Never taken. `ended`: the connection takes no other one either. */
  refused(attempt: Attempt, settlement: Settlement, reason: string, ended: boolean): void;
}

export interface SettlingParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly telemetry: BusTelemetry | undefined;
}

interface Sent {
  readonly settlements: readonly Settlement[];
  /** Whose they are. */
  readonly attempts: readonly Attempt[];
}

export class Settler {
  readonly #place: ConsumingPlace;
  readonly #parts: SettlingParts;
  readonly #owner: SettlingOwner;
  #consumer: Consumer | undefined;
  #settlements: Settlement[] = [];
  #attempts: Attempt[] = [];
  #isPlanned = false;
  #isGivenUp = false;
  readonly #under = new Set<Promise<void>>();
  readonly #begun = Promise.withResolvers<void>();

  constructor(place: ConsumingPlace, parts: SettlingParts, owner: SettlingOwner) {
    this.#place = place;
    this.#parts = parts;
    this.#owner = owner;
  }

  /** What was added before waits until now. */
  begin(consumer: Consumer): void {
    this.#consumer = consumer;
    this.#plan();
    this.#begun.resolve();
  }

  add(attempt: Attempt, settlement: Settlement): void {
    this.#settlements.push(settlement);
    this.#attempts.push(attempt);
    this.#plan();
  }

  /**
   * Resolves when what was added until the end of this turn is settled, whatever is added later: on a busy subscription something is always under way. What
   * was added before `begin` is not sent before it, so neither does this resolve.
   */
  async soFar(): Promise<void> {
    await this.#begun.promise;
    // What is added after this call in the same turn is sent in a microtask that was planned before this one.
    await Promise.resolve();
    await Promise.all(this.#under);
  }

  /** Resolves when nothing is under way. */
  async all(): Promise<void> {
    await Promise.resolve();
    while (this.#under.size > 0) await Promise.all(this.#under);
  }

  /** Nothing is tried again from here on. */
  giveUp(): void {
    this.#isGivenUp = true;
  }

  /** A server that stays away must not keep the process: what it did not take in `waitMs` is handed out again. */
  async allWithin(waitMs: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([this.all(), pause(this.#parts.clock, waitMs, over.signal)]);
    over.abort();
    if (this.#under.size === 0) return;
    this.giveUp();
    this.#parts.log.warn(
      { ...this.#place },
      'not all settlements were taken in the drain time; their messages will be handed out again',
    );
  }

  #plan(): void {
    if (this.#isPlanned || !this.#consumer || this.#settlements.length === 0) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      this.#isPlanned = false;
      const sent = { settlements: this.#settlements, attempts: this.#attempts };
      // Before it is sent: an engine may hand out within the call, and what is settled then is of the next batch.
      this.#settlements = [];
      this.#attempts = [];
      const sending = this.#send(sent);
      this.#under.add(sending);
      void sending.finally(() => this.#under.delete(sending));
    });
  }

  async #send(sent: Sent): Promise<void> {
    for (;;) {
      const answer = await this.#ask(sent).then(
        (results) => ({ results }),
        (error: unknown) => ({ error }),
      );
      if ('results' in answer) {
        const { results } = answer;
        sent.attempts.forEach((attempt, index) => this.#owner.settled(attempt, results[index] ?? 'settled'));
        return;
      }
      const { error } = answer;
      const retryable = (error as { retryable?: boolean } | undefined)?.retryable === true;
      this.#parts.log.error({ ...this.#place, error: describeError(error), retryable }, 'settling failed');
      if (!retryable) return this.#refused(sent, error);
      if (this.#isGivenUp) return;
      await pause(this.#parts.clock, RETRY_MS);
    }
  }

  async #refused({ settlements, attempts }: Sent, error: unknown): Promise<void> {
    const ended = ENDED.has((error as { code?: unknown } | undefined)?.code);
    const goOneByOne = !ended && settlements.length > 1;
    for (const [index, attempt] of attempts.entries()) {
      const settlement = settlements[index] as Settlement;
      if (goOneByOne) await this.#send({ settlements: [settlement], attempts: [attempt] });
      else this.#owner.refused(attempt, settlement, describeError(error), ended);
    }
  }

  async #ask({ settlements, attempts }: Sent): Promise<readonly SettleResult[]> {
    const consumer = this.#consumer as Consumer;
    const { telemetry } = this.#parts;
    if (!telemetry) return consumer.settle(settlements);
    const messages = attempts.map(({ message }) => message);
    return telemetry.settle({ ...this.#place, settlements, messages }, () => consumer.settle(settlements));
  }
}
